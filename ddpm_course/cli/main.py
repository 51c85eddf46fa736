"""The entry of the command line: from arguments to a command, from an error to one sentence."""

import io
import math
import signal
import sys
import threading
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

import tyro
from tyro.conf import OmitArgPrefixes

from ddpm_course.cli.download import Download
from ddpm_course.cli.evaluate import Evaluate
from ddpm_course.cli.export import Export
from ddpm_course.cli.grade import Grade
from ddpm_course.cli.notebooks import Notebooks
from ddpm_course.cli.sample import Sample
from ddpm_course.cli.species import Species
from ddpm_course.cli.train import Train
from ddpm_course.cli.upscale import Upscale

Command = Notebooks | Sample | Upscale | Train | Evaluate | Species | Export | Grade | Download
ABOUT = "Train diffusion models on flowers, and generate images. --version prints the version."


def main() -> None:
    """Run the command line. An error that a user can repair ends in one sentence and exit code 1.

    A usage error ends in exit code 2, an interrupt in 130.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a console without "×" must not cost a result
    tyro._experimental_options["utf8_boxes"] = sys.stdout.isatty()
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
        refuse_unusable(asdict(command))
        command.run()
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # whoever reads, such as `head`, has enough
        sys.exit(1)
    except (ValueError, OSError, ArithmeticError, MemoryError, ModuleNotFoundError) as error:
        sys.exit(f"ddpm-course: {_sentence(error)}")


def parse(default: Any = tyro.MISSING_NONPROP) -> Any:
    """The command that the arguments ask for. Options that they leave out come from `default`."""
    command: Any = Command
    return tyro.cli(
        command, prog="ddpm-course", description=ABOUT, default=default, config=[OmitArgPrefixes]
    )


def refuse_unusable(options: dict) -> None:
    """Raise ValueError for a number that is NaN, infinite, or too large for 64 bits."""
    for name, value in options.items():
        option = f"--{name.replace('_', '-')}"
        if isinstance(value, dict):
            refuse_unusable(value)
        elif isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{option} must be a finite number, not {value}.")
        elif isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise ValueError(f"{option} must fit in 64 bits.")


def _report_thread(args: threading.ExceptHookArgs) -> None:
    """Silence TensorBoard's thread about a full disk: it also raises in the main thread."""
    if not issubclass(args.exc_type, OSError):
        threading.__excepthook__(args)


def _sentence(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror + (f": {error.filename}." if error.filename else " while writing.")
    if isinstance(error, UnicodeEncodeError):
        return f"A name is not in UTF-8, which a library needs: rename {error.object!a:.80}."
    return str(error) or f"{type(error).__name__}, without an explanation."
