"""The command `ddpm-course upscale`: one picture, four times as large."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from PIL import Image
from tqdm import tqdm

from ddpm_course.cli.options import (
    Device,
    Overwrite,
    Precision,
    Source,
    enough_memory,
    one_of,
    refuse_to_write,
)
from ddpm_course.data.grids import save_image
from ddpm_course.data.image_files import bytes_of, open_picture, size_of
from ddpm_course.pretrained.weights import UPSCALER, load_pretrained
from ddpm_course.samplers import SAMPLERS
from ddpm_course.super_resolution.model import LEVELS, STEPS, refuse_larger, upscale
from ddpm_course.training.setup import pick_device
from ddpm_course.training.speed import autocast


def upscale_command(
    picture: Annotated[Path, typer.Option("--in", help="Picture to enlarge.")],
    out: Annotated[Path, typer.Option(help="PNG to write.")],
    source: Source = UPSCALER,
    level: Annotated[
        int, typer.Option(help=f"Noise it gets first: 0 if it is right, up to {LEVELS} if not.")
    ] = 0,
    sampler: Annotated[str, typer.Option(help=one_of(SAMPLERS))] = "ddim",
    steps: Annotated[int, typer.Option(help="Network calls, 1 to T.")] = STEPS,
    seed: Annotated[int, typer.Option(help="Names the noise: others invent other detail.")] = 0,
    overwrite: Overwrite = False,
    precision: Precision = "auto",
    device: Device = "auto",
) -> None:
    """Make a picture four times as wide and high, with the detail that flowers have."""
    refuse_to_write(out, overwrite)
    mend = "name a picture with --in"
    refuse_larger(*size_of(picture, mend))
    image = open_picture(picture, mend)
    where = pick_device(device)
    denoiser = load_pretrained(source).to(where)
    with enough_memory("choose a smaller picture, or --device cpu"), autocast(precision, where):
        [large] = upscale(
            denoiser, bytes_of(image)[None], level=level, sampler=sampler, steps=steps, seed=seed,
            progress=partial(tqdm, total=steps, unit="step", dynamic_ncols=True),
        )  # fmt: skip
    save_image(out, Image.fromarray(large.permute(1, 2, 0).numpy()))
    typer.echo(f"{image.width}×{image.height} → {large.shape[2]}×{large.shape[1]} in {out}")
