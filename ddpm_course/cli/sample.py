"""The command `ddpm-course sample`: images from trained weights."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from tqdm import tqdm
from tyro.conf import arg

import ddpm_course as dc
from ddpm_course.cli import options
from ddpm_course.cli.options import Flag


@dataclass
class Sample:
    """Generate images from trained weights: one grid with enlarged pixels, or a PNG per image,
    pixel for pixel.
    """

    out: Path  # PNG file to write; with --separate a new folder.
    source: options.Source = options.COURSE
    number: int = 16  # Number of images.
    sampler: options.Sampler = "ddim"
    steps: int = 50  # Network calls per image, 1 to T.
    spacing: options.SpacingName = "trailing"  # Grid of times that the sampler steps on.
    eta: float | None = None  # Stochasticity of ddim, up to 1, which is as much as ddpm; None: 0.
    label: int | None = None  # Class to generate, counted from 0; for class-conditional networks.
    guidance: float = 1.0  # Scale of classifier-free guidance; 1 means none.
    seed: int = 0  # Image k depends on (seed, k) alone.
    enlarge: Annotated[Flag, arg(name="upscale")] = (
        False  # Make images four times as wide and high.
    )
    separate: Flag = False  # Write a PNG per image instead of one grid.
    overwrite: options.Overwrite = False
    batch_size: int = 128  # Most images computed at once, to fit memory.
    precision: options.Precision = "auto"
    device: options.Device = "auto"

    def run(self) -> None:
        from ddpm_course.data.grids import image_grid, save_image, save_separately
        from ddpm_course.super_resolution.model import DRAWN, STEPS, refuse_larger
        from ddpm_course.training.setup import pick_device

        self._check()
        device = pick_device(self.device)
        denoiser = dc.load_pretrained(self.source).to(device)
        if denoiser.net.config["has_level"]:
            raise ValueError(f"{self.source} is an upscaler: use it with `upscale`.")
        if self.enlarge:
            refuse_larger(*denoiser.net.image_shape[1:])
        denoiser.max_batch = self.batch_size
        settings: dict[str, Any] = {"sampler": self.sampler, "spacing": self.spacing}
        if self.eta is not None:
            settings["eta"] = self.eta
        bar = partial(tqdm, unit="step", dynamic_ncols=True)
        with options.computing(self.precision, device, "choose a smaller --batch-size"):
            x = dc.sample(
                self._conditioned(denoiser),
                (self.number, *denoiser.net.image_shape),
                denoiser.schedule,
                steps=self.steps,
                seed=self.seed,
                device=device,
                progress=partial(bar, total=self.steps),
                **settings,
            )
        if not x.isfinite().all():
            raise ValueError(
                f"The images came out as NaN: the weights of {self.source} are damaged, or "
                "bfloat16 is too coarse for them (--precision fp32)."
            )
        images = dc.to_uint8(x)
        if self.enlarge:
            upscaler = dc.load_pretrained(options.UPSCALER).to(device)
            upscaler.max_batch = 1  # one large image keeps a processor busy, and fits
            remedy = "leave --upscale out, or add --device cpu"
            progress = partial(bar, desc="upscale", total=STEPS)
            with options.computing(self.precision, device, remedy):
                images = dc.upscale(
                    upscaler, images, level=DRAWN, seed=self.seed, progress=progress
                )
        if self.separate:
            save_separately(self.out, images)
        else:
            save_image(self.out, image_grid(images))
        print(f"{self.number} images in {self.out}")

    def _check(self) -> None:
        """Raise ValueError for options that don't fit together, or an --out that can't be made."""
        if self.separate and self.overwrite:
            raise ValueError("--separate makes a new folder, so there is nothing to --overwrite.")
        if self.separate:
            options.refuse_folder(self.out)
        else:
            options.refuse_file(self.out, self.overwrite, "flowers.png")
        options.at_least(1, number=self.number, batch_size=self.batch_size)
        if self.eta is not None and self.sampler != "ddim":
            raise ValueError("--eta belongs to the sampler ddim.")
        if self.guidance != 1 and self.label is None:
            raise ValueError("--guidance pulls towards a class: name one with --label.")

    def _conditioned(self, denoiser: "dc.Denoiser"):
        """The denoiser with label and guidance filled in."""
        if self.label is None:
            return denoiser
        classes = denoiser.net.config["num_classes"]
        if classes is None or not 0 <= self.label < classes:
            known = f"they run from 0 to {classes - 1}" if classes else "this network knows none"
            raise ValueError(f"--label {self.label} is not a label of this network: {known}.")
        y = next(denoiser.parameters()).new_full((self.number,), self.label).long()
        return dc.guided(denoiser, y, self.guidance) if self.guidance != 1 else denoiser.bind(y=y)
