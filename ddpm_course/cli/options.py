"""Options and checks that several commands share. Nothing here imports PyTorch at the top."""

import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Literal

from tqdm import tqdm
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

progress_bar = partial(tqdm, dynamic_ncols=True, disable=None)  # None: only in a terminal

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


def command_line(*arguments: object, program: str = "ddpm-course") -> str:
    """A command to paste into a shell."""
    runner = ["uv", "run"] if "UV" in os.environ else []
    return shlex.join([*runner, program, *map(str, arguments)])


def refuse_outside(most: int, **options: int) -> None:
    """Raise ValueError for an option that is not between 1 and `most`."""
    for name, value in options.items():
        if not 1 <= value <= most:
            option = name.replace("_", "-")
            raise ValueError(f"--{option} must be between 1 and {most}, not {value}.")


def refuse_file(out: Path, overwrite: bool, example: str) -> None:
    """Raise ValueError unless `out` is a file of the example's kind that may be written."""
    kind = Path(example).suffix
    if out.suffix.lower() != kind or out.is_dir():
        raise ValueError(f"--out names a {kind[1:].upper()} file, such as {example}, not {out}.")
    if out.exists() and not overwrite:
        raise ValueError(f"{out} exists: name another file, or add --overwrite.")
    refuse_unwritable(out)


def refuse_folder(out: Path) -> None:
    """Raise ValueError unless `out` is a folder that may be made, or is empty."""
    from ddpm_course.pretrained.files import refuse_to_fill

    refuse_to_fill(out)
    refuse_unwritable(out / "file")


def refuse_unwritable(file: Path) -> None:
    """Raise ValueError if `file` cannot be written, as a trial in a temporary folder shows."""
    from ddpm_course.pretrained.files import write_text

    path = file.absolute()
    try:
        parent = next(folder for folder in path.parents if folder.exists())
        with TemporaryDirectory(prefix=".", dir=parent) as trial:
            write_text(Path(trial) / path.relative_to(parent), "")
    except OSError as error:
        raise ValueError(
            f"{file} cannot be written ({error.strerror}): choose another name or folder."
        ) from error


@contextmanager
def computing(precision: str, device: "torch.device", remedy: str) -> Iterator[None]:
    """Autocast; running out of memory inside raises a MemoryError that names the remedy."""
    from ddpm_course.training.speed import autocast, enough_memory

    with enough_memory(remedy), autocast(precision, device):
        yield
