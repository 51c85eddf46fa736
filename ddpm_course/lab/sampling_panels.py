"""Live panels that sample from a denoiser: step by step, so that you can cancel, or at once."""

import asyncio
import time

import ipywidgets as w
import torch
from torch import Tensor

from ddpm_course.data.flowers102 import species
from ddpm_course.data.grids import png_bytes
from ddpm_course.data.images import to_uint8, to_unit
from ddpm_course.diffusion import Denoise, Denoiser, guided, q_sample
from ddpm_course.evaluation.distances import psnr
from ddpm_course.rng import DOUBT, image_generators, randn
from ddpm_course.samplers import SAMPLERS, usual_spacing
from ddpm_course.schedules import timesteps
from ddpm_course.super_resolution.model import LEVELS, downsampled, upscale

STEPS = (5, 10, 20, 50, 100, 250)
TILE, COLUMNS = 128, 4


class SamplingPanel(w.VBox):
    """Controls for sampler, steps and seed, buttons to draw and to cancel, progress and previews.

    Sampling is a task of the kernel's event loop and yields to it after every step. That is when
    the preview appears and a click on Cancel arrives. Other cells wait until the task ends.

    Args:
        denoiser: the model to sample from.
        number: how many images to sample at once.
    """

    def __init__(self, denoiser: Denoiser, number: int = 8):
        self.denoiser, self.number = denoiser, number
        self.sampler = w.Dropdown(options=list(SAMPLERS), value="ddim", description="sampler")
        steps = [n for n in STEPS if n <= denoiser.schedule.T]
        self.steps = w.SelectionSlider(options=steps, value=steps[0], description="steps")
        self.seed = w.IntSlider(value=0, min=0, max=99, description="seed")
        self.draw_button = w.Button(description="Draw", button_style="primary", icon="paint-brush")
        self.cancel_button = w.Button(description="Cancel", disabled=True, icon="stop")
        self.bar, self.text = w.IntProgress(min=0), w.Label("Nothing is drawn yet.")
        width = f"{TILE * min(number, COLUMNS)}px"  # without it the panel would stretch the image
        self.picture = w.Image(format="png", layout=w.Layout(display="none", width=width))
        self.task: asyncio.Task | None = None
        self.cancelled = False
        self.draw_button.on_click(self._start)
        self.cancel_button.on_click(self._cancel)
        wrap = w.Layout(flex_flow="row wrap")
        self.controls = w.HBox([self.sampler, self.steps, self.seed], layout=wrap)
        buttons = w.HBox([self.draw_button, self.cancel_button, self.bar, self.text])
        super().__init__([self.controls, buttons, self.picture])

    def denoise(self) -> Denoise:
        """The denoiser to sample from, with the current settings."""
        return self.denoiser

    def _start(self, _) -> None:
        self.draw_button.disabled = True  # at once, so that a double click starts one task
        self.task = asyncio.ensure_future(self.draw())

    def _cancel(self, _) -> None:
        self.cancelled = True

    async def draw(self) -> None:
        """Sample with the current settings, until done or cancelled."""
        schedule, steps = self.denoiser.schedule, self.steps.value
        device = self.denoiser.device
        generators = image_generators(self.seed.value, self.number, device=device)
        x_T = randn((self.number, *self.denoiser.image_shape), generators, device=device)
        grid = timesteps(schedule, steps, usual_spacing(self.sampler.value))
        self.cancelled, self.cancel_button.disabled = False, False
        self.draw_button.disabled = True
        self.bar.value, self.bar.max = 0, steps
        self.picture.layout.display = "block"
        started = shown = time.perf_counter()
        try:
            sampler = SAMPLERS[self.sampler.value]
            trajectory = sampler(self.denoise(), x_T, schedule, grid, generators)
            for done, (t, x, _) in enumerate(trajectory, start=1):
                now = time.perf_counter()
                if done == steps or now - shown > 0.1:  # no more previews than an eye can follow
                    self.picture.value, shown = png_bytes(x, TILE, COLUMNS), now
                self.bar.value = done
                self.text.value = f"step {done} of {steps}, t = {t}, {now - started:.1f} s"
                await asyncio.sleep(0.001)
                if self.cancelled:
                    self.text.value = f"Cancelled after step {done} of {steps}."
                    return
            self.text.value = f"Drawn in {steps} steps, {time.perf_counter() - started:.1f} s."
        except Exception as error:  # asyncio reports a task's error only where it is awaited
            self.text.value = f"Stopped: {error}"
            raise
        finally:
            self.draw_button.disabled, self.cancel_button.disabled = False, True


class GuidancePanel(SamplingPanel):
    """A `SamplingPanel` with controls for the species and the guidance scale.

    Args:
        denoiser: class-conditional on Oxford's 102 species.
        number: how many images to sample at once.
    """

    def __init__(self, denoiser: Denoiser, number: int = 8):
        super().__init__(denoiser, number)
        names = sorted((name, label) for label, name in enumerate(species()))
        self.species = w.Dropdown(options=names, description="species")
        self.scale = w.FloatSlider(value=2, min=0, max=10, step=0.5, description="scale")
        self.sampler.value, self.steps.value = "dpm_solver_pp_2m", 10
        self.controls.children = (self.species, self.scale, *self.controls.children)

    def denoise(self) -> Denoise:
        device = self.denoiser.device
        y = torch.full((self.number,), self.species.value, device=device)
        return guided(self.denoiser, y, self.scale.value)


def level_explorer(denoiser: Denoiser, small: Tensor) -> w.VBox:
    """Sliders for noise level and seed over one low-resolution image u8[3,S,S]. Shows the noisy
    image that the upscaler is conditioned on, and its 4× larger sample in five steps.
    """
    level = w.IntSlider(value=0, min=0, max=LEVELS, step=10, description="level")
    seed = w.IntSlider(value=0, min=0, max=9, description="seed")
    for slider in (level, seed):
        slider.continuous_update = False  # sampling takes longer than a hand moves
    width, device = w.Layout(width=f"{2 * TILE}px"), denoiser.device
    condition, sampled = (w.Image(format="png", layout=width) for _ in range(2))
    text = w.Label()

    def redraw(change=None) -> None:
        large = upscale(denoiser, small[None], level=level.value, seed=seed.value, steps=5)
        generators = image_generators(seed.value, 1, (DOUBT,), device)
        noise = randn((1, *small.shape), generators, device=device).cpu()
        noisy = q_sample(to_unit(small[None]), level.value, noise, denoiser.schedule)
        condition.value = png_bytes(noisy, 2 * TILE)
        sampled.value = png_bytes(to_unit(large), 2 * TILE)
        agreement = psnr(to_uint8(downsampled(to_unit(large))), small[None]).item()
        text.value = f"level {level.value}: downsampled again, it agrees to {agreement:.0f} dB"

    for slider in (level, seed):
        slider.observe(redraw, "value")
    redraw()
    left = w.VBox([condition, w.Label("the noisy low-resolution image")])
    right = w.VBox([sampled, w.Label("a sample, 4× larger in each dimension")])
    return w.VBox([w.HBox([level, seed]), w.HBox([left, right]), text])
