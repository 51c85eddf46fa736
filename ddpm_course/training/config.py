"""The settings of a training run."""

from dataclasses import asdict, dataclass

# What may change when a run is resumed: none of it changes a draw (dropout apart).
FREE = (
    *("steps", "accumulate", "precision", "channels_last", "compile"),
    *("log_every", "checkpoint_every"),
)


@dataclass(frozen=True)
class TrainConfig:
    """Everything about a run except the network and the data."""

    steps: int = 1000
    """Optimiser steps in the whole run."""
    batch_size: int = 32
    """Images a step."""
    learning_rate: float = 2e-4
    """Step size of AdamW, after warm-up."""
    warmup_steps: int = 100
    """Steps over which the learning rate rises from 0 in a straight line."""
    grad_clip: float = 1.0
    """Longest gradient, as the 2-norm over all parameters; longer ones are scaled down to it."""
    ema_decay: float = 0.999
    """Share of the averaged weights that a step keeps in the long run (see `EMA`)."""
    label_dropout: float = 0.1
    """Probability that a label is replaced by "no label", which guidance needs."""
    flip: bool = True
    """Mirror half of the images, left to right."""
    seed: int = 0
    """Names every random draw of the run, together with the step."""
    accumulate: int = 1
    """Equal parts that a batch is worked through in, to save memory: the gradient is their mean,
    that of the whole batch (dropout apart)."""
    precision: str = "auto"
    """With "bf16" the network computes in bfloat16 where that is safe, with "fp32" nowhere; "auto"
    means bf16 on hardware that multiplies it faster."""
    channels_last: bool | None = None
    """Keep each pixel's channels side by side in memory; None means on CUDA, whose convolutions
    want it so."""
    compile: bool | None = None
    """Compile the network with `torch.compile`, which takes a minute; None means on CUDA GPUs that
    its compiler knows."""
    log_every: int = 10
    """Steps between two states, and two lines of metrics."""
    checkpoint_every: int = 500
    """Steps between two checkpoints."""

    def __post_init__(self):
        for name in ("steps", "batch_size", "accumulate", "log_every", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more, not {getattr(self, name)}.")
        for name in ("learning_rate", "grad_clip"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, not {getattr(self, name)}.")
        if not 0 <= self.label_dropout <= 1:
            raise ValueError(f"label_dropout lies between 0 and 1, not {self.label_dropout}.")
        if not 0 <= self.ema_decay < 1:
            raise ValueError(f"ema_decay lies between 0 and 1, not {self.ema_decay}.")
        if self.warmup_steps < 0 or self.seed < 0:
            raise ValueError("warmup_steps and seed must be 0 or more.")
        if self.batch_size % self.accumulate:
            raise ValueError(
                f"A batch of {self.batch_size} cannot be split into {self.accumulate} equal parts: "
                "choose accumulate so that it divides batch_size."
            )
        check_precision(self.precision)

    def identity(self) -> dict:
        """The settings that a resumed run must share; the others may change without harm."""
        return {name: value for name, value in asdict(self).items() if name not in FREE}


def check_precision(name: str) -> None:
    """Raise ValueError unless it is one of the names that `TrainConfig.precision` takes."""
    if name not in ("auto", "fp32", "bf16"):
        raise ValueError(f"precision is auto, fp32 or bf16, not {name!r}.")
