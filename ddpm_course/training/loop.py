"""Algorithm 1 of DDPM (Ho et al. 2020), and the loop of a run that may take days.

Every random draw of a step depends on (seed, step) alone. So a run that was stopped continues as
if it had not been.
"""

import math
import time
from collections.abc import Generator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from ddpm_course.data.batching import Batches, send
from ddpm_course.diffusion import Denoiser
from ddpm_course.rng import DROPOUT, NOISE, TIMES, generator, randn_like
from ddpm_course.training.config import TrainConfig, learning_rate
from ddpm_course.training.distributed import (
    gradients_averaged,
    mean_over_processes,
    processes,
    rank,
    replicate,
)
from ddpm_course.training.ema import EMA
from ddpm_course.training.run_folder import RunFolder, interrupts_held_back
from ddpm_course.training.speed import autocast, enough_memory, make_optimizer, prepare_network

EXPLODED = 1e3  # a network that always predicts 0 has a loss of about 1
TOO_LARGE = (
    "process each batch in more parts with --accumulate, which learns the same, or choose a "
    "smaller --preset or --image-size"
)


def training_step(
    denoiser: Denoiser,
    optimizer: torch.optim.Optimizer,
    inputs: dict[str, Tensor],
    step: int,
    config: TrainConfig,
) -> tuple[Tensor, Tensor]:
    """One step of Algorithm 1, on images x0 f[B,*] and the conditions beside them.

    Returns the loss and the 2-norm of the gradient before clipping. Both stay on the device, so
    nothing waits for it. Of several processes each uses its share of the batch, and the loss is
    that of its share.
    """
    # Lines 2 to 4 of the algorithm: images, times and noise, for the whole batch.
    x0, device = inputs["x0"], inputs["x0"].device
    cond = {name: value for name, value in inputs.items() if name != "x0"}
    t = draw_times(len(x0), denoiser.schedule.T, generator(config.seed, step, TIMES))
    t = send(t, device)
    noise = randn_like(x0, generator(config.seed, step, NOISE, device=device))

    # Line 5: the gradient of the loss, part by part to save memory, and a step along it.
    optimizer.zero_grad()
    parts, losses = my_parts(len(x0), config), []
    for number, part in enumerate(parts):
        torch.manual_seed(generator(config.seed, step, rank(), number, DROPOUT).initial_seed())
        my_cond = {name: value[part] for name, value in cond.items()}
        with gradients_averaged(denoiser, now=number + 1 == len(parts)):
            with autocast(config.precision, device):
                loss = denoiser.loss(x0[part], t[part], noise[part], **my_cond).mean()
            (loss / len(parts)).backward()
        losses.append(loss.detach())

    norm = clip_grad_norm_(denoiser.net.parameters(), config.grad_clip)
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(step, config)
    optimizer.step()
    return torch.stack(losses).mean(), norm


def draw_times(number: int, T: int, generator: torch.Generator) -> Tensor:
    """One time per image, i64[number], each of 1..T equally likely."""
    return torch.randint(1, T + 1, (number,), generator=generator)


def my_parts(number: int, config: TrainConfig) -> list[slice]:
    """The slices of a batch of `number` images that this process takes, one after the other.

    There are `config.accumulate` of them. Together the processes cover the batch.
    """
    count, first = processes() * config.accumulate, rank() * config.accumulate
    edges = [number * k // count for k in range(first, first + config.accumulate + 1)]
    return [slice(start, end) for start, end in pairwise(edges)]


@dataclass(frozen=True)
class TrainState:
    """The state of a run. Loss, gradient norm and speed are means since the last state."""

    step: int
    """Steps done."""
    loss: float
    """Mean squared error of the network's prediction."""
    gradient_norm: float
    """2-norm over all parameters, before clipping."""
    learning_rate: float
    images_per_second: float
    ema: Denoiser
    """The averaged denoiser, to sample from. It keeps changing as the run continues."""

    def metrics(self) -> dict[str, float]:
        """Every number that is logged, except the step."""
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
) -> Generator[TrainState]:
    """Train `denoiser` in place, yielding a state every `log_every` steps and at the end.

    Args:
        denoiser: the model, on the device to train on.
        batch: returns the images x0 f[B,*] of a step, and the conditions beside them.
        config: see `TrainConfig`.
        folder: where to keep metrics, weights and the training state. None keeps nothing.
        resume: continue from the training state in `folder`, bit for bit on a CPU in fp32.
        run: a JSON record that is kept in the folder's config.json.

    Under `torchrun` every process makes the same call, and works on its share of each batch.

    An interrupt waits until the current step or save is complete, and then the state is saved. It
    is also saved when the caller stops asking for states. With several processes, which may be a
    step apart, an interrupt can lose up to `checkpoint_every` steps. Dropout draws from torch's
    global generator, which every step seeds.

    Raises ValueError if `folder` holds a run already or another process trains there, or if
    `resume` finds no state, one of a run that was set up differently, or nothing left to do;
    FloatingPointError if the loss is no longer finite or has exploded; MemoryError if a batch does
    not fit.
    """
    config.check()
    if config.batch_size % (processes() * config.accumulate):
        raise ValueError(
            f"A batch of {config.batch_size} cannot be split equally over {processes()} processes "
            f"with {config.accumulate} parts each: choose --batch-size to suit."
        )
    device = denoiser.device
    prepare_network(denoiser.net, config, device)
    learner = replicate(denoiser)
    optimizer = make_optimizer(denoiser.net, device)
    ema = EMA(denoiser, config.ema_decay)
    run_folder = RunFolder(folder, denoiser, optimizer, ema, config, run)

    with run_folder.open(resume):
        done = run_folder.step
        if done >= config.steps:
            raise ValueError(f"The run has {done} steps already: ask for more than that.")
        denoiser.train()
        meter = Meter()
        try:
            for step in range(done, config.steps):
                # An interrupt waits, so a step and its save happen as a whole or not at all. Where
                # memory runs out, the optimiser may be half-way: the last checkpoint is what stays.
                with interrupts_held_back(), enough_memory(TOO_LARGE):
                    loss, norm = training_step(learner, optimizer, batch(step), step, config)
                    ema.update(denoiser)
                    meter.add(loss, norm)
                    done = step + 1
                    report = done % config.log_every == 0 or done == config.steps
                    checkpoint = done % config.checkpoint_every == 0 or done == config.steps
                    if report or checkpoint:
                        meter.stop_if_diverged(done, run_folder.step)
                    if report:
                        state = meter.state(done, config, ema.model)
                        run_folder.append_metrics(done, state.metrics())
                    if checkpoint:
                        run_folder.save(done)
                if report:
                    yield state
                    meter = Meter()  # so that the speed leaves out what the caller did
        except (KeyboardInterrupt, GeneratorExit):
            with interrupts_held_back():
                if done > run_folder.step:
                    meter.stop_if_diverged(done, run_folder.step)
                    run_folder.save(done)
            raise


class Meter:
    """Collects losses and gradient norms on the device. Only reading them waits for it."""

    def __init__(self) -> None:
        self.losses: list[Tensor] = []
        self.norms: list[Tensor] = []
        self.started = time.perf_counter()

    def add(self, loss: Tensor, norm: Tensor) -> None:
        self.losses.append(loss)
        self.norms.append(norm)

    def state(self, step: int, config: TrainConfig, ema: Denoiser) -> TrainState:
        """The state after `step` steps, with means over all processes."""
        means = torch.stack([torch.stack(self.losses).mean(), torch.stack(self.norms).mean()])
        loss, norm = mean_over_processes(means).tolist()
        images = len(self.losses) * config.batch_size
        speed = images / (time.perf_counter() - self.started)
        return TrainState(step, loss, norm, learning_rate(step - 1, config), speed, ema)

    def stop_if_diverged(self, step: int, saved: int) -> None:
        """Raise before a state is saved that no training can continue from."""
        if not self.losses:
            return
        loss, norm = float(self.losses[-1]), float(self.norms[-1])
        if math.isfinite(norm) and loss < EXPLODED:
            return
        kept = f"The checkpoint of step {saved} is kept" if saved else "No checkpoint was saved yet"
        raise FloatingPointError(
            f"The loss is {loss:.3g} at step {step}, past saving. {kept}; start "
            "again with a lower --learning-rate, more --warmup-steps or --precision fp32."
        )
