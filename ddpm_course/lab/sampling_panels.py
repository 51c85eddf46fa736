"""Live panels that sample from a denoiser, step by step, so that you can watch and cancel."""

import asyncio
import time
from collections.abc import Iterator
from typing import ClassVar
from weakref import WeakSet

import ipywidgets as w
import torch
from IPython.display import Image as DisplayImage
from IPython.display import display

from ddpm_course.data.flowers102 import species
from ddpm_course.data.grids import png_bytes
from ddpm_course.diffusion import Denoise, Denoiser, guided
from ddpm_course.lab.panels import HIDE_STILL
from ddpm_course.lab.style import NAMES
from ddpm_course.rng import image_generators, randn
from ddpm_course.samplers import SAMPLERS, usual_spacing
from ddpm_course.schedules import timesteps

STEPS = (5, 10, 15, 20, 50, 100, 250)
TILE, SIDE, KEPT = 128, 256, 4
SUNFLOWER = 53

WIDE = w.Layout(flex="1 1 460px")  # the track of a slider is then at least 300 pixels long
ROW = w.Layout(flex_flow="row wrap", grid_gap="8px 24px")


class SamplingPanel(w.VBox):
    """Controls for sampler, steps and seed. Shows x_t beside x̂_0 while it samples, and the last
    four results, each with the settings it was generated with.

    Sampling is a task of the kernel's event loop, to which it yields after every step: then
    the images appear, Cancel is heard, and other cells run. A new panel cancels what the panels
    before it are still sampling, so rerunning a cell starts afresh.

    Args:
        denoiser: the model to sample from.
        number: how many images to sample at once.
    """

    panels: ClassVar[WeakSet["SamplingPanel"]] = WeakSet()
    cancelled = False

    def __init__(self, denoiser: Denoiser, number: int = 4):
        for panel in self.panels:
            panel.cancelled = True
        self.panels.add(self)
        self.denoiser, self.number = denoiser, number
        self.task: asyncio.Task | None = None
        steps = [n for n in STEPS if n <= denoiser.schedule.T]
        names = [(NAMES.get(key, key), key) for key in SAMPLERS]
        self.sampler = w.Dropdown(options=names, value="dpm_solver_pp_2m", description="sampler")
        self.steps = w.SelectionSlider(options=steps, description="steps")
        self.steps.value = max(n for n in steps if n <= 15)
        self.seed = w.IntSlider(min=0, max=99, description="seed")
        self.button = w.Button(description="Generate", button_style="primary", icon="play")
        self.cancel_button = w.Button(description="Cancel", disabled=True, icon="stop")
        self.button.on_click(self._start)
        self.cancel_button.on_click(self._cancel)
        self.bar, self.text = w.IntProgress(min=0), w.HTML()
        self.noisy, self.guess = (_image(SIDE) for _ in range(2))
        self.results = w.HBox(layout=ROW)
        super().__init__()
        self._arrange([self.sampler, self.steps, self.seed])

    def _arrange(self, controls: list[w.Widget]) -> None:
        """Put everything in its place, and generate the first result."""
        for control in controls:
            control.layout = WIDE
        now = [_captioned(self.noisy, "x<sub>t</sub>"), _captioned(self.guess, "x̂<sub>0</sub>")]
        self.controls = controls
        self.children = [
            w.HTML(HIDE_STILL),
            w.HBox(controls, layout=ROW),
            w.HBox([self.button, self.cancel_button, self.bar, self.text], layout=ROW),
            w.HBox(now, layout=ROW),
            w.HTML("The last results, the newest first:"),
            self.results,
        ]
        for _ in self._steps():
            pass

    def denoise(self) -> Denoise:
        """The denoiser to sample from, with the current settings."""
        return self.denoiser

    def settings(self) -> str:
        """The current settings, as a result's caption."""
        sampler = NAMES.get(self.sampler.value, self.sampler.value)
        return f"{sampler}, {self.steps.value} steps, seed {self.seed.value}"

    def _ipython_display_(self) -> None:
        """Beneath the panel the newest result is stored, for a notebook that is opened again."""
        self.add_class("lab-panel")
        sentence = "Run this cell to use the panel. Its first result:"
        display(self._repr_mimebundle_() | {"text/plain": sentence}, raw=True)
        newest = self.results.children[0].children[0].value
        display(DisplayImage(newest, alt=f"Generated with {self.settings()}."))

    def _start(self, _) -> None:
        self.button.disabled = True  # at once, so that a double click starts one task
        self.task = asyncio.ensure_future(self.generate())

    def _cancel(self, _) -> None:
        self.cancelled = True

    async def generate(self) -> None:
        """Sample with the current settings, until done or cancelled."""
        self.cancelled = False
        self._busy(True)
        try:
            for _ in self._steps():
                await asyncio.sleep(0.001)
                if self.cancelled:
                    self.text.value = f"Cancelled: {self.text.value}"
                    return
        except Exception as error:  # asyncio reports a task's error only where it is awaited
            self.text.value = f"Stopped: {error}"
            raise
        finally:
            self._busy(False)

    def _busy(self, busy: bool) -> None:
        """While it samples, only Cancel can be used, so that images and settings agree."""
        for control in (*self.controls, self.button):
            control.disabled = busy
        self.cancel_button.disabled = not busy

    def _steps(self) -> Iterator[None]:
        """Sample with the current settings and show each step; then keep the result."""
        settings, steps, denoiser = self.settings(), self.steps.value, self.denoiser
        generators = image_generators(self.seed.value, self.number, device=denoiser.device)
        x_T = randn((self.number, *denoiser.image_shape), generators, device=denoiser.device)
        grid = timesteps(denoiser.schedule, steps, usual_spacing(self.sampler.value))
        self.bar.value, self.bar.max = 0, steps
        sampler, started, shown = SAMPLERS[self.sampler.value], time.perf_counter(), 0.0
        trajectory = sampler(self.denoise(), x_T, denoiser.schedule, grid, generators)
        for done, (t, x, x0) in enumerate(trajectory, start=1):
            now = time.perf_counter()
            if done == steps or now - shown > 0.1:  # no more often than an eye can follow
                self.noisy.value, self.guess.value = (png_bytes(each, TILE) for each in (x, x0))
                shown = now
            self.bar.value = done
            took = f"step {done} of {steps}, t = {t}, {now - started:.1f} s"
            self.text.value = f"{settings}: {took}"
            yield
        result = _captioned(_image(192), settings)
        result.children[0].value = png_bytes(x, TILE)
        self.results.children = (result, *self.results.children[: KEPT - 1])


class GuidancePanel(SamplingPanel):
    """A `SamplingPanel` with controls for the species and the guidance scale.

    Args:
        denoiser: class-conditional on Oxford's 102 species.
        number: how many images to sample at once.
    """

    def _arrange(self, controls: list[w.Widget]) -> None:
        names = sorted((name, label) for label, name in enumerate(species()))
        self.species = w.Dropdown(options=names, value=SUNFLOWER, description="species")
        self.scale = w.FloatSlider(value=1.5, min=0, max=10, step=0.5, description="guidance")
        super()._arrange([self.species, self.scale, *controls])

    def denoise(self) -> Denoise:
        device = self.denoiser.device
        y = torch.full((self.number,), self.species.value, device=device)
        return guided(self.denoiser, y, self.scale.value)

    def settings(self) -> str:
        name = species()[self.species.value]
        return f"{name}, guidance {self.scale.value:g}, {super().settings()}"


def _image(width: int) -> w.Image:
    return w.Image(format="png", layout=w.Layout(width=f"{width}px"))


def _captioned(image: w.Image, caption: str) -> w.VBox:
    return w.VBox([image, w.HTML(caption)], layout=w.Layout(width=image.layout.width))
