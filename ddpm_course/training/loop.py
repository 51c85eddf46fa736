"""The training loop, with what a run of hours needs: EMA, warm-up, clipping, exact resume.

Algorithm 1 of DDPM (Ho et al. 2020): draw images, times and noise, and take a gradient step on
the denoiser's loss. Every draw depends on (seed, step) alone, so a run that was stopped goes on
as if it had not been.
"""

import math
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from ddpm_course.diffusion import Denoiser
from ddpm_course.rng import DROPOUT, NOISE, TIMES, generator, randn_like
from ddpm_course.training.batches import Batches
from ddpm_course.training.config import TrainConfig
from ddpm_course.training.distributed import (
    averaging,
    mean_over_processes,
    processes,
    rank,
    replicate,
)
from ddpm_course.training.ema import EMA
from ddpm_course.training.interrupts import interrupts_held_back
from ddpm_course.training.run_folder import (
    TrainingFolder,
    exclusive,
    refuse_to_overwrite,
    refuse_to_resume_nothing,
)
from ddpm_course.training.speed import (
    autocast,
    first_that_fits,
    is_out_of_memory,
    make_optimizer,
    prepare_network,
    send,
)

EXPLODED = 1e3  # a network that always answers 0 has a loss of about 1


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
) -> Generator[TrainState]:
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

    Under `torchrun` every process calls this alike, and works on its share of each batch.

    An interrupt is held back until the step or save in hand is whole, and then the state is
    saved; so it is when the caller stops asking for states. With several processes, which may be
    a step apart, an interrupt can lose up to `checkpoint_every` steps. Dropout draws from torch's
    global generator, which every step seeds anew.

    Raises ValueError if `folder` holds a run already or another process trains there, or if
    `resume` finds no state, one of a run that was set up differently, or nothing left to do;
    FloatingPointError when the loss is no longer finite, or has exploded; MemoryError when a batch
    does not fit.
    """
    device = denoiser.device
    _refuse_unequal_shares(config)
    prepare_network(denoiser.net, config, device)
    learner = replicate(denoiser)
    optimizer = make_optimizer(denoiser.net, device)
    ema = EMA(denoiser, config.ema_decay)
    store = TrainingFolder(folder, denoiser, optimizer, ema, config.identity(), run, rank() == 0)
    if resume:
        refuse_to_resume_nothing(folder)
    with exclusive(Path(folder)) if folder and store.writes else nullcontext():
        if resume:
            done = saved = store.load()
        else:
            if rank() == 0:
                refuse_to_overwrite(folder)
            done = saved = 0
            store.save(0)  # a folder that cannot be written to is found out now, not hours later
        if done >= config.steps:
            raise ValueError(f"The run has {done} steps already: ask for more than that to go on.")
        meter = _Meter()
        denoiser.train()

        def save() -> None:
            nonlocal saved
            if done > saved:
                _stop_if_diverged(meter, done, saved)
                store.save(done)
                saved = done

        try:
            for step in progress(range(done, config.steps)):
                state = None
                with interrupts_held_back():
                    meter.begin()
                    rate = config.learning_rate * min(1.0, (step + 1) / max(config.warmup_steps, 1))
                    meter.add(*_gradients_that_fit(learner, batch(step), step, config, save))
                    for group in optimizer.param_groups:
                        group["lr"] = rate
                    optimizer.step()
                    ema.update(denoiser)
                    done = step + 1
                    if done % config.log_every == 0 or done == config.steps:
                        _stop_if_diverged(meter, done, saved)
                        loss, norm, steps_per_second = meter.read()
                        speed = steps_per_second * config.batch_size
                        state = TrainState(done, loss, norm, rate, speed, ema.model)
                        store.append_metrics(done, state.metrics())
                        if log is not None:
                            log(state.metrics(), done)
                    if done % config.checkpoint_every == 0 or done == config.steps:
                        save()
                if state is not None:
                    yield state
        except (KeyboardInterrupt, GeneratorExit):
            with interrupts_held_back():
                save()
            raise


def _gradients_that_fit(
    denoiser: Denoiser,
    inputs: dict[str, Tensor],
    step: int,
    config: TrainConfig,
    save: Callable[[], None],
) -> tuple[Tensor, Tensor]:
    """`_gradients`; where memory runs out, save and raise a MemoryError that says what fits."""
    try:
        return _gradients(denoiser, inputs, step, config)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
    save()
    # Here the error, and with it what the failed step had allocated, is gone.
    size = config.batch_size // processes()
    more = [n for n in range(config.accumulate + 1, size + 1) if size % n == 0]

    def attempt(accumulate: int) -> None:
        _gradients(denoiser, inputs, step, replace(config, accumulate=accumulate))

    # Several processes do not run out together, so none of them can try alone.
    parts = first_that_fits(attempt, more) if processes() == 1 else next(iter(more), None)
    if parts is None:
        way_out = "not even one image fits: choose a smaller --preset or --image-size."
    else:
        fits = "fit" if processes() == 1 else "may fit"
        way_out = f"{size // parts} {fits}: add --accumulate {parts}, which learns the same."
    raise MemoryError(
        f"Out of memory with {size // config.accumulate} images at once on "
        f"{inputs['x0'].device}; {way_out}"
    )


def _gradients(
    denoiser: Denoiser, inputs: dict[str, Tensor], step: int, config: TrainConfig
) -> tuple[Tensor, Tensor]:
    """The gradients of one step of Algorithm 1, clipped. Returns this process's loss and their
    norm, left on the device: no waiting.

    Times and noise are drawn for the whole batch; then come the parts of it that are this
    process's, one after the other.
    """
    x0 = inputs["x0"]
    cond = {name: value for name, value in inputs.items() if name != "x0"}
    device, T = x0.device, denoiser.schedule.T
    t = torch.randint(1, T + 1, (len(x0),), generator=generator(config.seed, step, TIMES))
    t = send(t, device)
    noise = randn_like(x0, generator(config.seed, step, NOISE, device=device))
    denoiser.net.zero_grad()
    parts, losses = processes() * config.accumulate, []

    def share(values: Tensor) -> Tensor:
        return values.tensor_split(parts)[rank() * config.accumulate + part]

    for part in range(config.accumulate):
        seed = generator(config.seed, step, rank(), part, DROPOUT).initial_seed()
        torch.manual_seed(seed)
        with averaging(denoiser, now=part == config.accumulate - 1):
            with autocast(config.precision, device):
                mine = {name: share(value) for name, value in cond.items()}
                loss = denoiser.loss(share(x0), share(t), share(noise), **mine).mean()
            (loss / config.accumulate).backward()
        losses.append(loss.detach())
    norm = torch.nn.utils.clip_grad_norm_(denoiser.net.parameters(), config.grad_clip)
    return torch.stack(losses).mean(), norm


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
        means = torch.stack([torch.stack(values).mean() for values in (self.losses, self.norms)])
        loss, norm = mean_over_processes(means).tolist()
        speed = len(self.losses) / (time.perf_counter() - self.started)
        self.losses, self.norms = [], []
        return loss, norm, speed


def _stop_if_diverged(meter: _Meter, step: int, saved: int) -> None:
    """Raise before a state is saved from which no training can go on."""
    loss, norm = (float(value) for value in meter.last)
    if math.isfinite(norm) and loss < EXPLODED:
        return
    kept = f"The checkpoint of step {saved} is kept" if saved else "No checkpoint was saved yet"
    raise FloatingPointError(
        f"The loss is {loss:.3g} at step {step}, past saving. {kept}; try a lower --learning-rate, "
        "a longer --warmup-steps or --precision fp32."
    )


def _refuse_unequal_shares(config: TrainConfig) -> None:
    if config.batch_size % (processes() * config.accumulate):
        raise ValueError(
            f"A batch of {config.batch_size} cannot be split equally over {processes()} processes "
            f"with {config.accumulate} parts each: choose --batch-size to suit."
        )
