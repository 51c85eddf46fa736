"""The command line: `ddpm-course train`, `sample`, `upscale`, `evaluate`, `export`, `grade`,
`download`.
"""

import signal
import sys
import threading
from pathlib import Path
from typing import Annotated

import typer

from ddpm_course.cli.evaluate import evaluate_command
from ddpm_course.cli.export import export_command
from ddpm_course.cli.grade import grade_command
from ddpm_course.cli.sample import sample_command
from ddpm_course.cli.train import train_command
from ddpm_course.cli.upscale import upscale_command
from ddpm_course.data.flowers102 import download_flowers102

app = typer.Typer(
    help="Train denoising diffusion models on flowers, and draw from them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("train")(train_command)
app.command("sample")(sample_command)
app.command("upscale")(upscale_command)
app.command("evaluate")(evaluate_command)
app.command("export")(export_command)
app.command("grade")(grade_command)


@app.command("download")
def download_command(
    data_root: Annotated[Path, typer.Option(help="Folder to put it in.")] = Path("data"),
) -> None:
    """Fetch Oxford 102 Flowers (about 350 MB) through torchvision."""
    download_flowers102(data_root)
    typer.echo(f"Flowers-102 is complete under {data_root}")


def main() -> None:
    """Run the command line. What a user can mend ends in one sentence and exit code 1."""
    threading.excepthook = _report_thread
    # SIGTERM, which torchrun and the schedulers of clusters send, acts like Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        app()
    except (ValueError, OSError, ArithmeticError, MemoryError, ModuleNotFoundError) as error:
        sys.exit(f"ddpm-course: {_sentence(error)}")


def _report_thread(args: threading.ExceptHookArgs) -> None:
    """Say nothing of a full disk: TensorBoard's thread hands it to the main one, which does."""
    if not issubclass(args.exc_type, OSError):
        threading.__excepthook__(args)


def _sentence(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror + (f": {error.filename}." if error.filename else " while writing.")
    return str(error)
