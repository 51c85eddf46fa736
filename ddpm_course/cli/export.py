"""The command `ddpm-course export`: trained weights for other programs."""

from dataclasses import dataclass
from pathlib import Path

import ddpm_course as dc
from ddpm_course.cli import options


@dataclass
class Export:
    """Write trained weights as a 🤗 diffusers pipeline, ready for the Hub."""

    to_diffusers: Path  # New folder, which DDPMPipeline.from_pretrained opens.
    source: options.Source = options.COURSE

    def run(self) -> None:
        from ddpm_course.pretrained.diffusers_format import export_diffusers

        str(self.to_diffusers).encode()  # raises for a name that is not UTF-8, as diffusers would
        options.refuse_folder(self.to_diffusers)
        export_diffusers(self.to_diffusers, dc.load_pretrained(self.source))
        print(f"A DDPMPipeline in {self.to_diffusers}")
