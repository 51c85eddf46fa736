"""Where the curves of a run can be watched, through 🤗 Accelerate's trackers.

Accelerate takes seconds to import, so it is imported by those who open a tracker, not by every
`ddpm-course --help`.
"""

import hashlib
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from accelerate.tracking import GeneralTracker


def _tensorboard(folder: Path, done: int) -> "GeneralTracker":
    from accelerate.tracking import TensorBoardTracker

    # purge_step hides what was logged after the state that the run is resumed from.
    return TensorBoardTracker("tensorboard", folder, purge_step=done + 1)


def _wandb(folder: Path, done: int) -> "GeneralTracker":
    if find_spec("wandb") is None:
        raise ValueError(
            'Weights & Biases is not installed: add it with `pip install -e ".[wandb]"`, or leave '
            "--track out."
        )
    from accelerate import PartialState
    from accelerate.tracking import WandBTracker

    PartialState()  # Accelerate's log lines need it, and this tracker writes some
    # The id is made from the folder, so a resumed run goes on in the same place.
    where = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:12]
    return WandBTracker("ddpm_course", dir=folder, name=folder.name, id=where, resume="allow")


TRACKERS: dict[str, Callable[[Path, int], "GeneralTracker"]] = {
    "tensorboard": _tensorboard,
    "wandb": _wandb,
}


def check_tracker(name: str) -> None:
    """Raise ValueError unless it is one of `TRACKERS`."""
    if name not in TRACKERS:
        raise ValueError(f"Unknown tracker {name!r}: choose one of {', '.join(TRACKERS)}.")


def open_tracker(name: str, folder: Path, done: int = 0) -> "GeneralTracker":
    """A started tracker that keeps its files in the run's folder; `done` steps lie behind.

    Has `log(metrics, step)` and `finish()`. Weights & Biases obeys WANDB_MODE=offline.
    Raises ValueError for an unknown tracker, or one that is not installed.
    """
    check_tracker(name)
    tracker = TRACKERS[name](folder, done)
    tracker.start()
    return tracker
