"""The settings of a training run, and the learning rate that they give each step."""

import math
from dataclasses import asdict, dataclass

MAY_CHANGE_ON_RESUME = {
    "steps",
    "decay_steps",
    "accumulate",
    "precision",
    "channels_last",
    "compile",
    "log_every",
    "checkpoint_every",
}
"""Settings that a resumed run may change: none of them changes a random draw, except dropout's."""
MOST = 10**9
"""Steps or images: more than any run has, and few enough for every integer of PyTorch."""


@dataclass(frozen=True)
class TrainConfig:
    """Everything about a training run except the network and the data. `train` checks it."""

    steps: int = 1000
    """Optimiser steps in the whole run."""
    batch_size: int = 32
    """Images per step."""
    learning_rate: float = 2e-4
    """Learning rate of AdamW between warm-up and decay."""
    warmup_steps: int = 100
    """Steps at the start over which the learning rate rises linearly."""
    decay_steps: int = 0
    """Steps at the end over which the learning rate falls linearly to 0. A resumed run always uses
    the rate of its current settings, so more steps move the decay to the new end."""
    grad_clip: float = 1.0
    """Largest 2-norm of the gradient over all parameters. Longer gradients are scaled down."""
    ema_decay: float = 0.999
    """Share of the averaged weights that a step keeps in the long run (see `EMA`)."""
    label_dropout: float = 0.1
    """Probability that a label is replaced by the null class, which guidance needs."""
    flip: bool = True
    """Mirror half of the images left to right."""
    seed: int = 0
    """Names every random draw of the run, together with the step."""
    accumulate: int = 1
    """Equal parts that a batch is processed in, to save memory. Their mean gradient is that of the
    whole batch, except for dropout."""
    precision: str = "auto"
    """bf16 computes the network in bfloat16 where that is safe, fp32 never does. auto means bf16 on
    hardware that multiplies it faster."""
    channels_last: bool | None = None
    """Keep the channels of each pixel side by side in memory. None means on CUDA, whose
    convolutions are faster that way."""
    compile: bool | None = None
    """Compile the network with `torch.compile`, which takes a minute. None means on CUDA GPUs that
    its compiler supports."""
    log_every: int = 10
    """Steps between two states, and between two rows of metrics."""
    checkpoint_every: int = 500
    """Steps between two checkpoints."""

    def check(self) -> None:
        """Raise ValueError for a setting out of range, or for settings that do not fit together."""
        check_range(self, 1, MOST, "steps", "batch_size", "accumulate")
        check_range(self, 1, MOST, "log_every", "checkpoint_every")
        check_range(self, 0, MOST, "warmup_steps", "decay_steps")
        check_range(self, 0, 2**64 - 1, "seed")  # all that torch.manual_seed takes
        check_range(self, 0, 1, "label_dropout")
        for name in ("learning_rate", "grad_clip"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be above 0 and finite, not {getattr(self, name)}.")
        if not 0 <= self.ema_decay < 1:
            raise ValueError(f"ema_decay must be at least 0 and below 1, not {self.ema_decay}.")
        if self.decay_steps and self.warmup_steps + self.decay_steps > self.steps:
            raise ValueError(
                f"{self.warmup_steps} warm-up steps and {self.decay_steps} decay steps do not fit "
                f"into {self.steps} steps: choose fewer of them."
            )
        if self.batch_size % self.accumulate:
            raise ValueError(
                f"A batch of {self.batch_size} cannot be split into {self.accumulate} equal parts: "
                "choose accumulate so that it divides batch_size."
            )
        check_precision(self.precision)

    def identity(self) -> dict:
        """The settings that a resumed run must share with the run it continues."""
        return {k: v for k, v in asdict(self).items() if k not in MAY_CHANGE_ON_RESUME}


def learning_rate(step: int, config: TrainConfig) -> float:
    """The learning rate of a step, counted from 0: linear warm-up, a plateau, linear decay.

    The last of `warmup_steps` steps is the first at the full rate. The first of `decay_steps` steps
    is the last at the full rate, and the rate would reach 0 one step after the run.
    """
    warm_up = (step + 1) / max(config.warmup_steps, 1)
    decay = (config.steps - step) / max(config.decay_steps, 1)
    return config.learning_rate * min(1.0, warm_up, decay)


def check_range(settings: object, low: int, high: int, *names: str) -> None:
    """Raise ValueError for a setting that is not a number from `low` to `high`."""
    for name in names:
        if not low <= (value := getattr(settings, name)) <= high:
            raise ValueError(f"{name} must lie between {low} and {high}, not {value}.")


def check_precision(name: str) -> None:
    """Raise ValueError unless `TrainConfig.precision` takes this name."""
    if name not in ("auto", "fp32", "bf16"):
        raise ValueError(f"precision is auto, fp32 or bf16, not {name!r}.")
