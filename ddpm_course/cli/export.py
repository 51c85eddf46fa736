"""The command `ddpm-course export`: trained weights for other programs."""

from dataclasses import dataclass
from pathlib import Path

import ddpm_course as dc
from ddpm_course.cli import options


@dataclass
class Export:
    """Write trained weights for other programs: a 🤗 diffusers pipeline, ready for the Hub, or an
    ONNX file, which runs without PyTorch.
    """

    to_diffusers: Path | None = None  # New folder, which DDPMPipeline.from_pretrained opens.
    onnx: Path | None = None  # New file.
    source: options.Source = options.COURSE

    def run(self) -> None:
        if (self.to_diffusers is None) == (self.onnx is None):
            raise ValueError("Name one thing to write: --to-diffusers FOLDER or --onnx FILE.")
        if self.to_diffusers is not None:
            from ddpm_course.pretrained.diffusers_format import export_diffusers

            str(
                self.to_diffusers
            ).encode()  # raises for a name that is not UTF-8, as diffusers would
            options.refuse_folder(self.to_diffusers)
            export_diffusers(self.to_diffusers, dc.load_pretrained(self.source))
            print(f"A DDPMPipeline in {self.to_diffusers}")
        if self.onnx is not None:
            options.refuse_unwritable(self.onnx)
            from ddpm_course.pretrained.onnx_format import export_onnx

            export_onnx(self.onnx, dc.load_pretrained(self.source))
            print(f"The network in {self.onnx}")
