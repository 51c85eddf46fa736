"""The command `ddpm-course upscale`: one image, four times as wide and high."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

import ddpm_course as dc
from ddpm_course.cli import options


@dataclass
class Upscale:
    """Make an image four times as wide and high, with the detail that flowers have."""

    image: Annotated[Path, arg(name="in")]  # Image to upscale.
    out: Path  # PNG file to write.
    source: options.Source = options.UPSCALER
    level: int = 0  # Noise added to the image first: 0 if every pixel is right, up to 200 if not.
    sampler: options.Sampler = "ddim"
    steps: int = 10  # Network calls, 1 to T.
    seed: int = 0  # Chooses the noise. Another seed invents other detail.
    overwrite: options.Overwrite = False
    precision: options.Precision = "auto"
    device: options.Device = "auto"

    def run(self) -> None:
        from PIL import Image

        from ddpm_course.data.grids import save_image
        from ddpm_course.data.image_files import bytes_of, open_image, size_of
        from ddpm_course.super_resolution.model import refuse_larger
        from ddpm_course.training.setup import pick_device

        options.refuse_file(self.out, self.overwrite, "flowers.png")
        remedy = "name an image with --in"
        refuse_larger(*size_of(self.image, remedy))
        image = open_image(self.image, remedy)
        device = pick_device(self.device)
        denoiser = dc.load_pretrained(self.source).to(device)
        remedy = "choose a smaller image, or --device cpu"
        with options.computing(self.precision, device, remedy):
            [large] = dc.upscale(
                denoiser,
                bytes_of(image)[None],
                level=self.level,
                sampler=self.sampler,
                steps=self.steps,
                seed=self.seed,
                progress=partial(options.progress_bar, total=self.steps, unit="step"),
            )
        save_image(self.out, Image.fromarray(large.permute(1, 2, 0).numpy()))
        print(f"{image.width}×{image.height} → {large.shape[2]}×{large.shape[1]} in {self.out}")
