"""Options and checks that several commands share. Nothing here imports PyTorch at the top."""

import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import FlagCreatePairsOff, arg

if TYPE_CHECKING:
    import torch

COURSE, UPSCALER = "flowers32-tiny", "flowers-upscaler"
# The best and among the cheapest in the tables of `benchmarks/results` (quality, guidance).
STEPS, GUIDANCE = 15, 1.5
SamplerName = Literal["ddpm", "ddim", "dpm_solver_pp_2m"]
SpacingName = Literal["trailing", "linspace", "leading", "logsnr"]
SAMPLER: SamplerName = "dpm_solver_pp_2m"
PrecisionName = Literal["auto", "fp32", "bf16"]

Flag = FlagCreatePairsOff[bool]
Source = Annotated[str, arg(name="from", help="Folder of a run, or name of a shipped checkpoint.")]
Sampler = Annotated[SamplerName, arg(help="How to step from noise to an image.")]
Spacing = Annotated[
    SpacingName | None, arg(help="Grid of times to step on. None: the sampler's usual one.")
]
Overwrite = Annotated[Flag, arg(help="Replace --out if it exists.")]
Precision = Annotated[
    PrecisionName, arg(help="auto: bf16 where the hardware multiplies it faster.")
]
Device = Annotated[str, arg(help="auto, cpu, cuda or mps.")]


def command_line(*arguments: object) -> str:
    """A command of `ddpm-course` to paste into a shell."""
    return shlex.join(["ddpm-course", *map(str, arguments)])


def at_least(least: int, **options: int) -> None:
    """Raise ValueError for an option below `least`."""
    for name, value in options.items():
        if value < least:
            raise ValueError(f"--{name.replace('_', '-')} must be {least} or more, not {value}.")


def refuse_file(out: Path, overwrite: bool, example: str) -> None:
    """Raise ValueError unless `out` is a file of the example's kind that may be written."""
    kind = Path(example).suffix
    if out.suffix.lower() != kind or out.is_dir():
        raise ValueError(f"--out names a {kind[1:].upper()} file, such as {example}, not {out}.")
    if out.exists() and not overwrite:
        raise ValueError(f"{out} exists: name another file, or add --overwrite.")
    _refuse_parent(out)


def refuse_folder(out: Path) -> None:
    """Raise ValueError unless `out` is a folder that may be made, or is empty."""
    from ddpm_course.pretrained.files import refuse_to_fill

    refuse_to_fill(out)
    _refuse_parent(out)


def _refuse_parent(out: Path) -> None:
    parent = next(folder for folder in out.absolute().parents if folder.exists())
    if not parent.is_dir():
        raise ValueError(f"{parent} is a file: name another folder for --out.")
    if not os.access(parent, os.W_OK):
        raise ValueError(f"{parent} may not be written to: name another folder for --out.")


@contextmanager
def computing(precision: str, device: "torch.device", remedy: str) -> Iterator[None]:
    """Autocast; running out of memory inside raises a MemoryError that names the remedy."""
    from ddpm_course.training.speed import autocast, enough_memory

    with enough_memory(remedy), autocast(precision, device):
        yield
