"""What the commands share: how they describe themselves, and where they write."""

from pathlib import Path
from typing import Annotated

import typer


def one_of(choices) -> str:
    return "One of " + ", ".join(choices) + "."


Source = Annotated[
    str, typer.Option("--from", help="Folder of a run, or name of a shipped checkpoint.")
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
PRECISIONS = "auto, fp32 or bf16; auto: bf16 where the hardware multiplies it faster."
Precision = Annotated[str, typer.Option(help=PRECISIONS)]
Picture = Annotated[Path, typer.Option(help="Picture to write, a PNG.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace --out if it exists.")]


def refuse_to_write(out: Path, overwrite: bool) -> None:
    """Raise ValueError unless `out` is a PNG file that may be written."""
    if out.suffix.lower() != ".png" or out.is_dir() or out.parent.is_file():
        raise ValueError(f"--out names a PNG file, such as flowers.png, not {out}.")
    if out.exists() and not overwrite:
        raise ValueError(f"{out} exists: name another file, or add --overwrite.")
