"""The command `ddpm-course sample`: images from trained weights."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from torch import Tensor
from tqdm import tqdm

from ddpm_course.cli.options import (
    Device,
    Overwrite,
    Precision,
    Source,
    enough_memory,
    one_of,
    refuse_to_write,
    refuse_unwritable,
)
from ddpm_course.data.grids import image_grid, save_image, save_separately
from ddpm_course.data.images import to_uint8
from ddpm_course.diffusion import Denoise, Denoiser, guided
from ddpm_course.pretrained.files import refuse_to_fill
from ddpm_course.pretrained.weights import COURSE, UPSCALER, load_pretrained
from ddpm_course.samplers import SAMPLERS, sample
from ddpm_course.schedules import SPACINGS
from ddpm_course.super_resolution.model import DRAWN, STEPS, refuse_larger, upscale
from ddpm_course.training.setup import pick_device
from ddpm_course.training.speed import autocast


def sample_command(
    out: Annotated[Path, typer.Option(help="PNG to write; with --separate a new folder.")],
    source: Source = COURSE,
    number: Annotated[int, typer.Option(help="How many images to draw.")] = 16,
    sampler: Annotated[str, typer.Option(help=one_of(SAMPLERS))] = "ddim",
    steps: Annotated[int, typer.Option(help="Network calls an image, 1 to T.")] = 50,
    spacing: Annotated[str, typer.Option(help=one_of(SPACINGS))] = "trailing",
    eta: Annotated[
        float | None, typer.Option(help="Noise of ddim: 0 none, 1 as much as ddpm.")
    ] = None,
    label: Annotated[
        int | None, typer.Option(help="Class to draw, from 0; conditional networks only.")
    ] = None,
    guidance: Annotated[
        float, typer.Option(help="Scale of classifier-free guidance; 1 is none.")
    ] = 1.0,
    seed: Annotated[int, typer.Option(help="Image k depends on (seed, k) alone.")] = 0,
    enlarge: Annotated[
        bool, typer.Option("--upscale", help="Make each image four times as large, a side.")
    ] = False,
    separate: Annotated[
        bool, typer.Option("--separate", help="A PNG for each image, instead of one of all.")
    ] = False,
    overwrite: Overwrite = False,
    batch_size: Annotated[
        int, typer.Option(help="Most images drawn at once, to fit memory.")
    ] = 128,
    precision: Precision = "auto",
    device: Device = "auto",
) -> None:
    """Draw images from trained weights: a sheet of them with enlarged pixels, or a PNG for each,
    pixel for pixel.
    """
    if separate:
        refuse_to_fill(out)
        refuse_unwritable(out)
        if overwrite:
            raise ValueError("--separate makes a new folder, so there is nothing to --overwrite.")
    else:
        refuse_to_write(out, overwrite)
    for name, value in (("number", number), ("batch-size", batch_size)):
        if value < 1:
            raise ValueError(f"--{name} must be 1 or more, not {value}.")
    if eta is not None and sampler != "ddim":
        raise ValueError("--eta belongs to the sampler ddim.")
    where = pick_device(device)
    denoiser = load_pretrained(source).to(where)
    if denoiser.net.config["has_level"]:
        raise ValueError(f"{source} enlarges pictures and draws none: use it with `upscale`.")
    if enlarge:
        refuse_larger(*denoiser.image_shape[1:])
    denoise = _denoise_for(denoiser, label, guidance)
    options: dict[str, Any] = {} if eta is None else {"eta": eta}
    bar = partial(tqdm, unit="step", dynamic_ncols=True)

    def draw(first: int, count: int) -> Tensor:
        with autocast(precision, where):
            return sample(
                denoise(count),
                (count, *denoiser.image_shape),
                denoiser.schedule,
                sampler=sampler,
                steps=steps,
                spacing=spacing,
                seed=seed,
                first=first,
                device=where,
                progress=partial(bar, total=steps),
                **options,
            )

    with enough_memory("choose a smaller --batch-size"):
        starts = range(0, number, batch_size)
        x = torch.cat([draw(first, min(batch_size, number - first)) for first in starts])
    if not x.isfinite().all():
        raise ValueError(
            f"The images came out as NaN: the weights of {source} are damaged, or bfloat16 is too "
            "coarse for them (--precision fp32)."
        )
    images = to_uint8(x)
    if enlarge:
        upscaler = load_pretrained(UPSCALER).to(where)
        progress = partial(bar, desc="upscale", total=STEPS)
        way_out = "leave --upscale out, or add --device cpu"
        with enough_memory(way_out), autocast(precision, where):
            # one at a time: a large image keeps a processor busy, and fits
            images = torch.cat([
                upscale(upscaler, image[None], level=DRAWN, seed=seed, first=k, progress=progress)
                for k, image in enumerate(images)
            ])  # fmt: skip
    if separate:
        save_separately(out, images)
    else:
        save_image(out, image_grid(images))
    typer.echo(f"{number} images in {out}")


def _denoise_for(
    denoiser: Denoiser, label: int | None, guidance: float
) -> Callable[[int], Denoise]:
    """For a number of images the denoiser, with label and guidance filled in."""
    classes = denoiser.net.config["num_classes"]
    if label is None:
        if guidance != 1.0:
            raise ValueError("--guidance pulls towards a class: name one with --label.")
        return lambda number: denoiser
    if classes is None or not 0 <= label < classes:
        known = (
            "this network knows none" if classes is None else f"they run from 0 to {classes - 1}"
        )
        raise ValueError(f"--label {label} is not a label of this network: {known}.")

    def denoise(number: int) -> Denoise:
        y = torch.full((number,), label, device=denoiser.device)
        return guided(denoiser, y, guidance) if guidance != 1.0 else denoiser.bind(y=y)

    return denoise
