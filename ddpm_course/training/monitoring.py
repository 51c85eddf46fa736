"""What a run shows of itself: sample grids, the held-out error and the best weights."""

import math
from pathlib import Path

from torch import Tensor

from ddpm_course.data.grids import image_grid, save_image
from ddpm_course.data.images import ImageData, to_uint8
from ddpm_course.evaluation.denoising import x0_error
from ddpm_course.pretrained.weights import save_pretrained
from ddpm_course.samplers import sample
from ddpm_course.training.curves import append_row, drop_rows_after, read_column
from ddpm_course.training.loop import TrainState
from ddpm_course.training.run_folder import BEST, SAMPLES, interrupts_held_back
from ddpm_course.training.speed import autocast

CURVE = "held_out.csv"

WithConditions = tuple[ImageData, dict[str, Tensor]]
"""Images, and the network's conditions with one row per image."""


def draw_samples(state: TrainState, out: Path, precision: str, cond: dict[str, Tensor]) -> None:
    """Save a grid of samples of the averaged weights, always from the same noise.

    It has 16 samples, or one per row of the conditions if these are fewer.
    """
    schedule, device = state.ema.schedule, state.ema.device
    number = min([16, *map(len, cond.values())])
    cond = {name: value[:number].to(device) for name, value in cond.items()}
    with autocast(precision, device):
        x = sample(
            state.ema.bind(**cond),
            (number, *state.ema.image_shape),
            schedule,
            steps=min(25, schedule.T),
            device=device,
        )
    save_image(out / SAMPLES / f"step_{state.step:06d}.png", image_grid(to_uint8(x)))


class HeldOut:
    """Measures the averaged weights on images kept out of training, and keeps the best.

    held_out.csv    step and mean `x0_error`, one row per measurement
    best/           the weights with the lowest error so far

    Args:
        out: the folder of the run.
        settings: the settings of the run, a JSON record.
        images: the images to measure on, with the conditions that the network needs.
        done: the step that the run is resumed from. Later rows of held_out.csv are dropped.
    """

    def __init__(self, out: Path, settings: dict, images: WithConditions, done: int):
        self.out, self.settings, self.images = out, settings, images
        drop_rows_after(out / CURVE, done)
        self.best = min(read_column(out / CURVE, "x0_error"), default=math.inf)

    def measure(self, state: TrainState) -> float:
        """The mean error over all log-SNRs. Adds it to held_out.csv, and saves the weights if it
        is the lowest so far.
        """
        with autocast(self.settings["precision"], state.ema.device):
            error = x0_error(state.ema, *self.images).mean().item()
        with interrupts_held_back():  # so that the best weights always have their row
            if error < self.best:
                self.best = error
                record = self.settings | {"best_step": state.step, "x0_error": error}
                save_pretrained(self.out / BEST, state.ema, record)
            append_row(self.out / CURVE, {"step": state.step, "x0_error": error})
        return error
