"""The command `ddpm-course sample`: images from trained weights."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import arg

import ddpm_course as dc
from ddpm_course.cli import options
from ddpm_course.cli.options import Flag
from ddpm_course.cli.species import species_label

MOST = 100_000  # images in one call


@dataclass
class Sample:
    """Generate images from trained weights: one grid with enlarged pixels, or a PNG per image,
    pixel for pixel.
    """

    out: Path  # PNG file to write; with --separate a new folder.
    source: options.Source = options.COURSE
    number: int = 16  # Number of images.
    sampler: options.Sampler = options.SAMPLER
    steps: int = options.STEPS  # Network calls per image, 1 to T.
    spacing: options.Spacing = None
    eta: float | None = None  # Stochasticity of ddim, up to 1, which is as much as ddpm; None: 0.
    label: str | None = None
    """Species to generate, by name or by number; `ddpm-course species` lists them. None: a random
    class per image, if the network has any."""
    guidance: float | None = None
    """Scale of classifier-free guidance; 1 means none. None: 1.5 if the network has classes."""
    seed: int = 0  # Image k depends on (seed, k) alone.
    enlarge: Annotated[
        Flag, arg(name="upscale", help="Make images four times as wide and high.")
    ] = False
    separate: Flag = False  # Write a PNG per image instead of one grid.
    overwrite: options.Overwrite = False
    batch_size: int = 128  # Most images computed at once, to fit memory.
    precision: options.Precision = "auto"
    device: options.Device = "auto"

    def run(self) -> None:
        import torch

        from ddpm_course.data.grids import image_grid, save_image, save_separately
        from ddpm_course.samplers import usual_spacing
        from ddpm_course.super_resolution.model import DRAWN, STEPS, refuse_larger
        from ddpm_course.training.setup import pick_device

        self._check()
        device = pick_device(self.device)
        denoiser = dc.load_pretrained(self.source).to(device)
        if denoiser.net.config["has_level"]:
            raise ValueError(f"{self.source} is an upscaler: use it with `upscale`.")
        if self.enlarge:
            refuse_larger(*denoiser.image_shape[1:])
        label = self._label(denoiser.net.config["num_classes"])
        spacing = self.spacing or usual_spacing(self.sampler)
        settings: dict[str, Any] = {"sampler": self.sampler, "spacing": spacing}
        if self.eta is not None:
            settings["eta"] = self.eta
        bar, batches = partial(options.progress_bar, unit="step"), []
        for first in range(0, self.number, self.batch_size):
            count = min(self.batch_size, self.number - first)
            with options.computing(self.precision, device, "choose a smaller --batch-size"):
                x = dc.sample(
                    self._conditioned(denoiser, label, first, count),
                    (count, *denoiser.image_shape),
                    denoiser.schedule,
                    steps=self.steps,
                    seed=self.seed,
                    first=first,
                    device=device,
                    progress=partial(bar, total=self.steps),
                    **settings,
                )
                batches.append(dc.to_uint8(x).cpu())
        images = torch.cat(batches)
        if self.enlarge:
            upscaler = dc.load_pretrained(options.UPSCALER).to(device)
            progress = partial(bar, desc="upscale", total=STEPS)
            remedy = "leave --upscale out, or add --device cpu"
            with options.computing(self.precision, device, remedy):
                upscale = partial(dc.upscale, level=DRAWN, seed=self.seed, progress=progress)
                # one at a time: a large image keeps a processor busy, and fits
                large = [upscale(upscaler, x[None], first=k) for k, x in enumerate(images)]
            images = torch.cat(large)
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
        options.refuse_outside(MOST, number=self.number, batch_size=self.batch_size)
        if self.eta is not None and self.sampler != "ddim":
            raise ValueError("--eta belongs to the sampler ddim.")

    def _label(self, classes: int | None) -> int | None:
        """The number of the label in a network of so many classes. Raises ValueError for a label or
        guidance that the network lacks.
        """
        if self.guidance is not None and not classes:
            raise ValueError("--guidance pulls towards a class, and this network has none.")
        if self.label is None:
            return None
        if not classes:
            raise ValueError("--label chooses a class, and this network has none.")
        try:
            label = int(self.label)
        except ValueError:
            label = species_label(self.label, classes)
        if not 0 <= label < classes:
            raise ValueError(f"--label {label} is not between 0 and {classes - 1}.")
        return label

    def _conditioned(self, denoiser: "dc.Denoiser", label: int | None, first: int, count: int):
        """The denoiser with labels and guidance filled in, for images first, first + 1, ..."""
        import torch

        from ddpm_course.rng import LABELS

        classes = denoiser.net.config["num_classes"]
        if not classes:
            return denoiser
        if label is None:
            draws = dc.image_generators(self.seed, count, (LABELS,), first=first)
            y = torch.cat([torch.randint(classes, (1,), generator=draw) for draw in draws])
        else:
            y = torch.full((count,), label)
        guidance = options.GUIDANCE if self.guidance is None else self.guidance
        y = y.to(denoiser.device)
        return denoiser.bind(y=y) if guidance == 1 else dc.guided(denoiser, y, guidance)
