"""Where the curves of a run can be watched: TensorBoard or Weights & Biases.

Both are imported only when a tracker is opened, since they take seconds to import.
"""

import hashlib
from importlib.util import find_spec
from pathlib import Path


class TensorBoard:
    """Writes event files into the run's folder `tensorboard`."""

    def __init__(self, folder: Path, done: int):
        from torch.utils.tensorboard import SummaryWriter

        # purge_step hides what was logged after the state that the run is resumed from.
        self.writer = SummaryWriter(folder / "tensorboard", purge_step=done + 1)

    def log(self, metrics: dict[str, float], step: int) -> None:
        for name, value in metrics.items():
            self.writer.add_scalar(name, value, step)
        self.writer.flush()

    def finish(self) -> None:
        self.writer.close()


class WeightsAndBiases:
    """Sends metrics to wandb.ai, or only into the run's folder with WANDB_MODE=offline."""

    def __init__(self, folder: Path, done: int):
        import wandb

        # The id is made from the folder, so a resumed run continues the same curves.
        name = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:12]
        self.run = wandb.init(
            project="ddpm_course", dir=folder, name=folder.name, id=name, resume="allow"
        )

    def log(self, metrics: dict[str, float], step: int) -> None:
        self.run.log(metrics, step=step)

    def finish(self) -> None:
        self.run.finish()


TRACKERS: dict[str, type[TensorBoard | WeightsAndBiases]] = {
    "tensorboard": TensorBoard,
    "wandb": WeightsAndBiases,
}


def check_tracker(name: str) -> None:
    """Raise ValueError unless `name` is one of `TRACKERS` and is installed."""
    if name not in TRACKERS:
        raise ValueError(f"Unknown tracker {name!r}: choose one of {', '.join(TRACKERS)}.")
    if name == "wandb" and find_spec("wandb") is None:
        raise ValueError(
            'Weights & Biases is not installed: add it with `pip install -e ".[wandb]"`, or leave '
            "--track out."
        )


def open_tracker(name: str, folder: Path, done: int = 0) -> TensorBoard | WeightsAndBiases:
    """A tracker that keeps its files in the run's folder, with `log(metrics, step)` and `finish()`.

    `done` is the number of steps that a resumed run has behind it. Raises as `check_tracker` does.
    """
    check_tracker(name)
    return TRACKERS[name](folder, done)
