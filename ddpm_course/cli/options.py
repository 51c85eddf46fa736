"""What the commands share: how they describe themselves, and where they write."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from ddpm_course.training.speed import is_out_of_memory


def one_of(choices) -> str:
    return "One of " + ", ".join(choices) + "."


Source = Annotated[
    str, typer.Option("--from", help="Folder of a run, or name of a shipped checkpoint.")
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
PRECISIONS = "auto, fp32 or bf16; auto: bf16 where the hardware multiplies it faster."
Precision = Annotated[str, typer.Option(help=PRECISIONS)]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace --out if it exists.")]


def refuse_to_write(out: Path, overwrite: bool, example: str = "flowers.png") -> None:
    """Raise ValueError unless `out` is a file of the example's kind that may be written."""
    kind = Path(example).suffix
    if out.suffix.lower() != kind or out.is_dir():
        raise ValueError(f"--out names a {kind[1:].upper()} file, such as {example}, not {out}.")
    if out.exists() and not overwrite:
        raise ValueError(f"{out} exists: name another file, or add --overwrite.")
    refuse_unwritable(out)


def refuse_unwritable(out: Path) -> None:
    """Raise ValueError unless `out` can be made where it is to be."""
    parent = next(folder for folder in out.absolute().parents if folder.exists())
    if not parent.is_dir():
        raise ValueError(f"{parent} is a file: name another folder for --out.")
    if not os.access(parent, os.W_OK):
        raise ValueError(f"{parent} may not be written to: name another folder for --out.")


@contextmanager
def enough_memory(way_out: str) -> Iterator[None]:
    """Raises MemoryError with the `way_out` where what stands below runs out of memory."""
    try:
        yield
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise MemoryError(f"Out of memory: {way_out}.") from error
