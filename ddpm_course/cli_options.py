"""What the commands share in how they describe themselves."""

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
