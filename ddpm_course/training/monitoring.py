"""What a run shows of itself on its way: sample grids, the held-out error, the best weights."""

import math
from pathlib import Path

from torch import Tensor

from ddpm_course.data.grids import image_grid, save_image
from ddpm_course.data.images import ImageData, to_uint8
from ddpm_course.evaluation.denoising import LOG_SNRS, times_of, x0_error
from ddpm_course.pretrained.weights import save_pretrained
from ddpm_course.samplers import sample
from ddpm_course.schedules import NoiseSchedule
from ddpm_course.training.interrupts import interrupts_held_back
from ddpm_course.training.loop import TrainState
from ddpm_course.training.run_folder import append_row, cut_rows, read_rows
from ddpm_course.training.speed import autocast

CURVE, BEST = "held_out.csv", "best"

WithConditions = tuple[ImageData, dict[str, Tensor]]
"""Pictures, and what the network is told beside the noisy ones, a row for each."""


def draw_samples(state: TrainState, out: Path, precision: str, told: dict[str, Tensor]) -> None:
    """A grid of samples of the averaged weights, always from the same noise: 16, or as many as
    there are conditions to draw them under.
    """
    schedule, device = state.ema.schedule, state.ema.device
    number = min([16, *map(len, told.values())])
    with autocast(precision, device):
        x = sample(
            state.ema.bind(**{name: values[:number].to(device) for name, values in told.items()}),
            (number, *state.ema.image_shape),
            schedule,
            steps=min(25, schedule.T),
            device=device,
        )
    save_image(out / "samples" / f"step_{state.step:06d}.png", image_grid(to_uint8(x)))


class HeldOut:
    """Measures the averaged weights on pictures kept out of training, and keeps the best.

    held_out.csv    step and mean `x0_error`, a line each time
    best/           the weights with the lowest error so far

    Args:
        out: folder of the run.
        settings: those of the run.
        schedule: that of the run.
        pictures: what is measured on, with the conditions the network needs.
        done: steps behind the run; later lines of held_out.csv are dropped.

    Raises ValueError for a schedule that cannot be measured on.
    """

    def __init__(
        self,
        out: Path,
        settings: dict,
        schedule: NoiseSchedule,
        pictures: WithConditions,
        done: int,
    ):
        self.out, self.settings, self.pictures = out, settings, pictures
        times_of(LOG_SNRS, schedule)
        cut_rows(out / CURVE, done)
        errors = [float(row["x0_error"]) for row in read_rows(out / CURVE)]
        self.best = min(errors, default=math.inf)

    def measure(self, state: TrainState) -> float:
        """The mean error over all log-SNRs; also written down, and the weights if it is the
        lowest.
        """
        with autocast(self.settings["precision"], state.ema.device):
            error = x0_error(state.ema, *self.pictures).mean().item()
        with interrupts_held_back():  # the best weights never lack their line
            if error < self.best:
                self.best = error
                record = self.settings | {"best_step": state.step, "x0_error": error}
                save_pretrained(self.out / BEST, state.ema, record)
            append_row(self.out / CURVE, {"step": state.step, "x0_error": error})
        return error
