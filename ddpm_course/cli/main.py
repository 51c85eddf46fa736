"""The entry of the command line: from arguments to a command, from an error to one sentence."""

import math
import signal
import sys
import threading
from dataclasses import asdict
from importlib.metadata import version
from typing import Annotated, Any

import tyro
from tyro.conf import OmitArgPrefixes, subcommand

from ddpm_course.cli.download import Download
from ddpm_course.cli.evaluate import Evaluate
from ddpm_course.cli.export import Export
from ddpm_course.cli.grade import Grade
from ddpm_course.cli.sample import Sample
from ddpm_course.cli.train import Train
from ddpm_course.cli.upscale import Upscale

Command = (
    Annotated[Train, subcommand("train")]
    | Annotated[Sample, subcommand("sample")]
    | Annotated[Upscale, subcommand("upscale")]
    | Annotated[Evaluate, subcommand("evaluate")]
    | Annotated[Export, subcommand("export")]
    | Annotated[Grade, subcommand("grade")]
    | Annotated[Download, subcommand("download")]
)
ABOUT = "Train diffusion models on flowers, and generate images. --version prints the version."


def main() -> None:
    """Run the command line. An error that a user can repair ends in one sentence and exit code 1.

    A usage error ends in exit code 2, an interrupt in 130.
    """
    if sys.argv[1:] == ["--version"]:
        print(f"ddpm-course {version('ddpm-course')}")
        return
    threading.excepthook = _report_thread
    # SIGTERM, which torchrun and the schedulers of clusters send, acts like Ctrl-C. So does the
    # SIGHUP of a closed terminal, unless `nohup` has it ignored.
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # Windows knows no SIGHUP
        if number and signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler)
    try:
        command = parse()
        if isinstance(command, Train):
            command = command.completed(parse)
        refuse_infinite(asdict(command))
        command.run()
    except KeyboardInterrupt:
        sys.exit(130)
    except (ValueError, OSError, ArithmeticError, MemoryError, ModuleNotFoundError) as error:
        sys.exit(f"ddpm-course: {_sentence(error)}")


def parse(default: Any = tyro.MISSING_NONPROP) -> Any:
    """The command that the arguments ask for. Options that they leave out come from `default`."""
    command: Any = Command
    return tyro.cli(
        command, prog="ddpm-course", description=ABOUT, default=default, config=[OmitArgPrefixes]
    )


def refuse_infinite(options: dict) -> None:
    """Raise ValueError for an option that is NaN or infinite."""
    for name, value in options.items():
        if isinstance(value, dict):
            refuse_infinite(value)
        elif isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"--{name.replace('_', '-')} must be a finite number, not {value}.")


def _report_thread(args: threading.ExceptHookArgs) -> None:
    """Silence TensorBoard's thread about a full disk: it also raises in the main thread."""
    if not issubclass(args.exc_type, OSError):
        threading.__excepthook__(args)


def _sentence(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror + (f": {error.filename}." if error.filename else " while writing.")
    return str(error) or f"it stopped with a {type(error).__name__} that gives no reason."
