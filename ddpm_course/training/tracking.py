"""Where the curves of a run can be watched: TensorBoard or Weights & Biases.

Both are imported only when they are used, since they take seconds to import.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
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
        with _in_one_sentence():
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
"""Each is made from a run's folder and the steps that a resumed run has behind it."""


def check_tracker(name: str) -> None:
    """Raise ValueError unless the tracker of that name in `TRACKERS` can be used now.

    Weights & Biases must be installed and, unless WANDB_MODE is offline, accept the user's key.
    """
    if name == "wandb":
        if find_spec("wandb") is None:
            raise ValueError(
                'Weights & Biases is not installed: add it with `pip install -e ".[wandb]"`, or '
                "leave --track out."
            )
        with _in_one_sentence():
            import wandb

            wandb.login()  # asks for a key in a terminal


@contextmanager
def _in_one_sentence() -> Iterator[None]:
    """Turn whatever goes wrong with key, network or settings of wandb into a ValueError."""
    try:
        yield
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(
            f"Weights & Biases cannot be used ({reason[:120].rstrip('.')}): set WANDB_MODE=offline "
            "to keep the curves in the run's folder, or leave --track out."
        ) from error
