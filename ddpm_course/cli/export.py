"""The command `ddpm-course export`: trained weights for other programs."""

from pathlib import Path
from typing import Annotated

import typer

from ddpm_course.cli.options import Source
from ddpm_course.pretrained.diffusers_format import export_diffusers
from ddpm_course.pretrained.weights import COURSE, load_pretrained


def export_command(
    to_diffusers: Annotated[
        Path, typer.Option(help="New folder that DDPMPipeline.from_pretrained opens.")
    ],
    source: Source = COURSE,
) -> None:
    """Write trained weights as a 🤗 diffusers pipeline, ready for the Hub."""
    export_diffusers(to_diffusers, load_pretrained(source))
    typer.echo(f"A DDPMPipeline in {to_diffusers}")
