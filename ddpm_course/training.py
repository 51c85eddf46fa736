"""The training loop, with what a run of hours needs: EMA, warm-up, clipping, exact resume.

Algorithm 1 of DDPM (Ho et al. 2020): draw images, times and noise, and take a gradient step on
the denoiser's loss. Every draw depends on (seed, step) alone, so a run that was stopped goes on
as if it had not been.
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from ddpm_course.checkpoint import TrainingFolder, refuse_to_overwrite
from ddpm_course.data import ImageData, to_unit
from ddpm_course.diffusion import Denoiser
from ddpm_course.ema import EMA
from ddpm_course.interrupts import interrupts_held_back
from ddpm_course.rng import generator, randn_like

# Streams of random numbers: what a draw is for is the last part of its generator's name.
EPOCH, IMAGES, TIMES, NOISE, DROPOUT = range(5)

Batches = Callable[[int], dict[str, Tensor]]
"""batch(step) -> {"x0": f[B,*], **conditions}, a function of the step alone."""


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
    precision: str = "auto"
    """With "bf16" the network computes in bfloat16 where that is safe, with "fp32" nowhere; "auto"
    means bf16 on hardware that multiplies it faster."""
    log_every: int = 10
    """Steps between two states, and two lines of metrics."""
    checkpoint_every: int = 500
    """Steps between two checkpoints."""

    def __post_init__(self):
        for name in ("steps", "batch_size", "log_every", "checkpoint_every"):
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
        if self.precision not in ("auto", "fp32", "bf16"):
            raise ValueError(f"precision is auto, fp32 or bf16, not {self.precision!r}.")


@dataclass(frozen=True)
class TrainState:
    """Where a run stands. Loss, gradient norm and speed are means since the last state."""

    step: int
    """Steps done."""
    loss: float
    """Mean squared error of the network's prediction."""
    gradient_norm: float
    """2-norm over all parameters, before clipping."""
    learning_rate: float
    images_per_second: float
    ema: Denoiser
    """The averaged denoiser, to sample from. It goes on changing as the run goes on."""

    def metrics(self) -> dict[str, float]:
        """What is logged: every number but the step."""
        return {
            "loss": self.loss,
            "gradient_norm": self.gradient_norm,
            "learning_rate": self.learning_rate,
            "images_per_second": self.images_per_second,
        }


def image_batches(
    data: ImageData,
    config: TrainConfig,
    *,
    conditional: bool = False,
    device: torch.device | str = "cpu",
) -> Batches:
    """Batches from a whole data set held on `device`: x0 f[B,3,S,S] in [-1, 1], and labels y if
    `conditional`, some replaced by the null class.

    Each epoch is a new permutation, so every image is seen once before any is seen again.
    Raises ValueError if `conditional` and there are no labels.
    """
    if conditional and data.labels is None:
        raise ValueError("These pictures have no labels, so training cannot be conditional.")
    images, N = data.images.to(device), len(data.images)

    @lru_cache(maxsize=2)  # a batch can straddle two epochs
    def order(epoch: int) -> Tensor:
        return torch.randperm(N, generator=generator(config.seed, epoch, EPOCH))

    def batch(step: int) -> dict[str, Tensor]:
        seen = torch.arange(step * config.batch_size, (step + 1) * config.batch_size)
        epochs = range(int(seen[0]) // N, int(seen[-1]) // N + 1)
        index = torch.cat([order(e)[seen[seen // N == e] % N] for e in epochs])
        draw = generator(config.seed, step, IMAGES)
        mirrored = torch.rand(config.batch_size, generator=draw) < (0.5 if config.flip else 0)
        unlabelled = torch.rand(config.batch_size, generator=draw) < config.label_dropout
        x0 = to_unit(images[index.to(device)])
        x0 = torch.where(mirrored.to(device)[:, None, None, None], x0.flip(-1), x0)
        if not conditional or data.labels is None:
            return {"x0": x0}
        y = data.labels[index].masked_fill(unlabelled, data.num_classes or 0)
        return {"x0": x0, "y": y.to(device)}

    return batch


def train(
    denoiser: Denoiser,
    batch: Batches,
    config: TrainConfig,
    *,
    folder: Path | str | None = None,
    resume: bool = False,
    run: dict | None = None,
    log: Callable[[dict[str, float], int], None] | None = None,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> Iterator[TrainState]:
    """Train `denoiser` in place, yielding a state every `log_every` steps and at the end.

    Args:
        denoiser: the model, on the device to train on.
        batch: gives the images of a step.
        config: see `TrainConfig`.
        folder: where to keep metrics, weights and the training state; None keeps nothing.
        resume: go on from the training state in `folder`, bit for bit on a CPU in fp32.
        run: a JSON record kept in the folder's config.json.
        log: a tracker's log(metrics, step).
        progress: wraps the iterator of steps (`tqdm`, say).

    An interrupt is held back until the step or save in hand is whole, and then the state is
    saved; so it is when the caller stops asking for states. Dropout draws from torch's global
    generator, which every step seeds anew.

    Raises ValueError if `folder` holds a run already, or if `resume` finds no state, one of a run
    that was set up differently, or nothing left to do; FloatingPointError when the loss is no
    longer finite.
    """
    optimizer = torch.optim.AdamW(denoiser.net.parameters(), weight_decay=0.0)
    ema = EMA(denoiser, config.ema_decay)
    store = TrainingFolder(folder, denoiser, optimizer, ema, _identity(config), run)
    if resume:
        done = saved = store.load()
    else:
        refuse_to_overwrite(folder)
        done = saved = 0
        store.save(0)  # a folder that cannot be written to is found out now, not hours later
    if done >= config.steps:
        raise ValueError(f"The run has {done} steps already: ask for more than that to go on.")
    meter = _Meter()
    denoiser.train()
    try:
        for step in progress(range(done, config.steps)):
            state = None
            with interrupts_held_back():
                meter.begin()
                rate = config.learning_rate * min(1.0, (step + 1) / max(config.warmup_steps, 1))
                meter.add(*_gradient_step(denoiser, batch(step), optimizer, rate, step, config))
                ema.update(denoiser)
                done = step + 1
                if done % config.log_every == 0 or done == config.steps:
                    _stop_unless_finite(meter, done, saved)
                    loss, norm, steps_per_second = meter.read()
                    speed = steps_per_second * config.batch_size
                    state = TrainState(done, loss, norm, rate, speed, ema.model)
                    store.append_metrics(done, state.metrics())
                    if log is not None:
                        log(state.metrics(), done)
                if done % config.checkpoint_every == 0 or done == config.steps:
                    _stop_unless_finite(meter, done, saved)
                    store.save(done)
                    saved = done
            if state is not None:
                yield state
    except (KeyboardInterrupt, GeneratorExit):
        if done > saved:
            with interrupts_held_back():
                _stop_unless_finite(meter, done, saved)
                store.save(done)
        raise


def _gradient_step(
    denoiser: Denoiser,
    inputs: dict[str, Tensor],
    optimizer: torch.optim.Optimizer,
    learning_rate: float,
    step: int,
    config: TrainConfig,
) -> tuple[Tensor, Tensor]:
    """One step of Algorithm 1. Returns loss and gradient norm, left on the device: no waiting."""
    x0 = inputs["x0"]
    cond = {name: value for name, value in inputs.items() if name != "x0"}
    device, T = x0.device, denoiser.schedule.T
    t = torch.randint(1, T + 1, (len(x0),), generator=generator(config.seed, step, TIMES))
    noise = randn_like(x0, generator(config.seed, step, NOISE, device=device))
    torch.manual_seed(generator(config.seed, step, DROPOUT).initial_seed())
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
    with torch.autocast(device.type, torch.bfloat16, _use_bf16(config.precision, device)):
        loss = denoiser.loss(x0, t, noise, **cond).mean()
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(denoiser.net.parameters(), config.grad_clip)
    optimizer.step()
    optimizer.zero_grad()
    return loss.detach(), norm


class _Meter:
    """Gathers losses and gradient norms on the device; only reading them waits for it."""

    def __init__(self):
        self.last = (torch.tensor(0.0), torch.tensor(0.0))
        self.losses: list[Tensor] = []
        self.norms: list[Tensor] = []

    def begin(self) -> None:
        if not self.losses:
            self.started = time.perf_counter()

    def add(self, loss: Tensor, norm: Tensor) -> None:
        self.last = (loss, norm)
        self.losses.append(loss)
        self.norms.append(norm)

    def read(self) -> tuple[float, float, float]:
        """Mean loss, mean gradient norm and steps a second since the last reading."""
        loss, norm = (float(torch.stack(values).mean()) for values in (self.losses, self.norms))
        speed = len(self.losses) / (time.perf_counter() - self.started)
        self.losses, self.norms = [], []
        return loss, norm, speed


def _stop_unless_finite(meter: _Meter, step: int, saved: int) -> None:
    """Raise before a state is saved from which no training can go on."""
    if all(math.isfinite(float(value)) for value in meter.last):
        return
    kept = f"The checkpoint of step {saved} is kept" if saved else "No checkpoint was saved yet"
    raise FloatingPointError(
        f"The loss is no longer finite at step {step}. {kept}; try a lower --learning-rate or "
        "--precision fp32."
    )


def _identity(config: TrainConfig) -> dict:
    """The settings that a resumed run must share; the others may change without harm."""
    free = ("steps", "log_every", "checkpoint_every", "precision")
    return {name: value for name, value in asdict(config).items() if name not in free}


def _use_bf16(precision: str, device: torch.device) -> bool:
    """bfloat16 where asked for, or where the hardware multiplies it faster than float32."""
    if precision != "auto":
        return precision == "bf16"
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and torch.cpu._is_avx512_bf16_supported()
