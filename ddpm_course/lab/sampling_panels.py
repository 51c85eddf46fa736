"""Live panels that draw from a denoiser: step by step, so that they can be stopped, or at once."""

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
    """Sampler, steps and seed; a button that draws, one that cancels; progress and previews.

    Drawing runs as a task of the kernel's event loop and gives way after every step: that is when
    the picture is shown and the cancel button heard. Another cell waits until it is done.

    Args:
        denoiser: whose pictures to draw.
        number: how many at once.
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
        width = f"{TILE * min(number, COLUMNS)}px"  # else the panel would stretch it
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
        """What is drawn from, with the settings of this moment."""
        return self.denoiser

    def _start(self, _) -> None:
        self.draw_button.disabled = True  # at once, so that a double click draws once
        self.task = asyncio.ensure_future(self.draw())

    def _cancel(self, _) -> None:
        self.cancelled = True

    async def draw(self) -> None:
        """Draw with the settings of this moment, until done or cancelled."""
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
            walk = SAMPLERS[self.sampler.value](self.denoise(), x_T, schedule, grid, generators)
            for done, (t, x, _) in enumerate(walk, start=1):
                now = time.perf_counter()
                if done == steps or now - shown > 0.1:  # no more pictures than an eye can follow
                    self.picture.value, shown = png_bytes(x, TILE, COLUMNS), now
                self.bar.value = done
                self.text.value = f"step {done} of {steps}, t = {t}, {now - started:.1f} s"
                await asyncio.sleep(0.001)
                if self.cancelled:
                    self.text.value = f"Cancelled after step {done} of {steps}."
                    return
            self.text.value = f"Drawn in {steps} steps, {time.perf_counter() - started:.1f} s."
        except Exception as error:  # a task keeps its error to itself
            self.text.value = f"Stopped: {error}"
            raise
        finally:
            self.draw_button.disabled, self.cancel_button.disabled = False, True


class GuidancePanel(SamplingPanel):
    """The same with a species by name, and how hard to pull towards it.

    Args:
        denoiser: class-conditional, of Oxford's 102 species.
        number: how many at once.
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
    """Sliders for noise level and seed over a small picture u8[3,S,S]: what an upscaler is told of
    it, and the picture four times as large that it draws in five steps.
    """
    level = w.IntSlider(value=0, min=0, max=LEVELS, step=10, description="level")
    seed = w.IntSlider(value=0, min=0, max=9, description="seed")
    for slider in (level, seed):
        slider.continuous_update = False  # a picture takes longer than a hand moves
    width, device = w.Layout(width=f"{2 * TILE}px"), denoiser.device
    told, drawn = (w.Image(format="png", layout=width) for _ in range(2))
    text = w.Label()

    def redraw(change=None) -> None:
        large = upscale(denoiser, small[None], level=level.value, seed=seed.value, steps=5)
        draws = image_generators(seed.value, 1, (DOUBT,), device)
        noise = randn((1, *small.shape), draws, device=device).cpu()
        noisy = q_sample(to_unit(small[None]), level.value, noise, denoiser.schedule)
        told.value, drawn.value = (png_bytes(x, 2 * TILE) for x in (noisy, to_unit(large)))
        agrees = psnr(to_uint8(downsampled(to_unit(large))), small[None]).item()
        text.value = f"level {level.value}: made small again, it agrees to {agrees:.0f} dB"

    for slider in (level, seed):
        slider.observe(redraw, "value")
    redraw()
    seen = w.VBox([told, w.Label("what it is told of the small picture")])
    made = w.VBox([drawn, w.Label("what it makes of it")])
    return w.VBox([w.HBox([level, seed]), w.HBox([seen, made]), text])
