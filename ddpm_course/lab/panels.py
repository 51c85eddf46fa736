"""Live panels for the notebooks. Moving a slider redraws within 100 ms on two CPU cores: curves are
small SVG drawings and images are enlarged pixels, both far cheaper than a matplotlib figure.
"""

import math
from collections.abc import Callable, Sequence

import ipywidgets as w
import torch
from torch import Tensor

from ddpm_course.data.grids import png_bytes
from ddpm_course.diffusion import q_posterior, q_sample
from ddpm_course.lab.style import COLOURS
from ddpm_course.lab.svg import Axes, drawing
from ddpm_course.layers import SinusoidalTimeEmbedding
from ddpm_course.rng import generator
from ddpm_course.schedules import SCHEDULES, NoiseSchedule


def describe(schedule: NoiseSchedule, t: int) -> str:
    """One line of text about time t: ᾱ_t, its SNR, and how much of x_0 is left in x_T."""
    abar, snr = schedule.alphas_cumprod[t].item(), schedule.snr[t].item()
    decibels = f"{10 * math.log10(snr):.1f} dB" if 0 < snr < math.inf else "no noise"
    left = 100 * schedule.sqrt_alphas_cumprod[-1].item()
    return f"ᾱ_t = {abar:.4g} · SNR = {snr:.4g} ({decibels}) · x_T keeps {left:.2g} % of x_0"


def schedule_explorer(x0: Tensor) -> w.VBox:
    """Sliders for schedule, β_1, β_T, T and t over one image f[3,S,S] in [-1, 1].

    Shows ᾱ and log-SNR as curves, and the image noised at t and at T, always with the same noise.
    """
    noise = torch.randn(x0.shape, generator=generator(0))
    name = w.Dropdown(options=list(SCHEDULES), value="linear", description="schedule")
    beta_start = w.FloatLogSlider(
        value=1e-4, base=10, min=-5, max=-2, step=0.1, description="β_1", readout_format=".1e"
    )
    beta_end = w.FloatSlider(
        value=0.02, min=0.001, max=0.2, step=0.001, description="β_T", readout_format=".3f"
    )
    T = w.IntSlider(value=350, min=10, max=1000, step=10, description="T")
    t = w.IntSlider(value=100, min=0, max=350, description="t")
    curves, text = w.HTML(), w.Label()
    at_t, at_T = (w.Image(format="png", layout=w.Layout(width="192px")) for _ in range(2))

    def redraw(change=None) -> None:
        linear = name.value == "linear"
        beta_start.disabled = beta_end.disabled = not linear
        ends = {"beta_start": beta_start.value, "beta_end": beta_end.value} if linear else {}
        schedule = SCHEDULES[name.value](T.value, **ends)
        now = min(t.value, T.value)
        at_t.value = png_bytes(q_sample(x0, now, noise, schedule)[None], 192)
        at_T.value = png_bytes(q_sample(x0, T.value, noise, schedule)[None], 192)
        curves.value = _schedule_curves(schedule, now)
        text.value = describe(schedule, now)

    def limit_t(change) -> None:
        t.max = T.value

    T.observe(limit_t, "value")
    _redraw_on_move(redraw, name, beta_start, beta_end, T, t)
    controls = w.VBox([name, beta_start, beta_end, T, t])
    now = w.VBox([at_t, w.HTML("x<sub>t</sub>, at your t")])
    end = w.VBox([at_T, w.HTML("x<sub>T</sub>, where sampling starts")])
    return w.VBox([w.HBox([controls, now, end]), curves, text])


def _redraw_on_move(redraw: Callable, *controls: w.ValueWidget) -> None:
    """Redraws once now, and whenever a control moves."""
    for control in controls:
        control.observe(redraw, "value")
    redraw()


def _schedule_curves(schedule: NoiseSchedule, t: int) -> str:
    """ᾱ and log-SNR over time, marked at t."""
    T = schedule.T
    times = [*range(0, T, max(1, T // 150)), T]

    def over_time(title: str, values: list[float], low: float, high: float) -> Axes:
        curve = (times, [values[k] for k in times], COLOURS["x_t"])
        mark = (t, values[t], COLOURS["noise"])
        return Axes(title, [curve], (0, T), (low, high), ("0", f"T = {T}"), mark)

    left = over_time("share of the variance left, ᾱ", schedule.alphas_cumprod.tolist(), 0, 1)
    log_snr = schedule.log_snr.clamp(-20, 12).tolist()
    right = over_time("log signal-to-noise ratio", log_snr, -20, 12)
    return drawing([left, right], describe(schedule, t))


def posterior_explorer(schedule: NoiseSchedule) -> w.VBox:
    """Sliders for t and the numbers x_0 and x_t. Shows the two Gaussians whose product is the
    posterior q(x_{t-1} | x_t, x_0), and that product.
    """
    t = w.IntSlider(value=schedule.T // 2, min=1, max=schedule.T, description="t")
    x0 = w.FloatSlider(value=1.0, min=-2, max=2, step=0.1, description="x_0")
    x_t = w.FloatSlider(value=-0.4, min=-2, max=2, step=0.1, description="x_t")
    curves, text = w.HTML(), w.Label()
    grid = torch.linspace(-3, 3, 241, dtype=torch.float64)

    def gaussian(mean: float, variance: float, colour: str):
        variance = max(variance, 1e-4)  # at t = 1 two of them are points: drawn as needles
        peak = 1 / math.sqrt(2 * math.pi * variance)
        density = peak * torch.exp(-((grid - mean) ** 2) / (2 * variance))
        return grid.tolist(), density.tolist(), colour

    def redraw(change=None) -> None:
        known, noisy = (torch.tensor([s.value], dtype=torch.float64) for s in (x0, x_t))
        mean, variance = q_posterior(known, noisy, t.value, t.value - 1, schedule)
        abar, beta = schedule.alphas_cumprod[t.value - 1].item(), schedule.betas[t.value].item()
        gaussians = [
            gaussian(math.sqrt(abar) * x0.value, 1 - abar, COLOURS["x0"]),
            gaussian(x_t.value / math.sqrt(1 - beta), beta / (1 - beta), COLOURS["x_t"]),
            gaussian(mean.item(), variance, COLOURS["prediction"]),
        ]
        text.value = f"x_(t−1) has mean {mean.item():.3f}, standard deviation {variance**0.5:.3f}"
        title = "given x₀ (blue), given x_t (green), given both (pink)"
        curves.value = drawing([Axes(title, gaussians, (-3, 3), (0, 2), width=600)], text.value)

    _redraw_on_move(redraw, t, x0, x_t)
    return w.VBox([w.HBox([t, x0, x_t]), curves, text])


def embedding_explorer() -> w.VBox:
    """Sliders for t and the size of the time embedding. Shows its entries, and how similar the
    embeddings of other t are.
    """
    t = w.IntSlider(value=400, min=0, max=999, description="t")
    dim = w.SelectionSlider(options=[8, 16, 32, 64, 128], value=64, description="entries")
    curves, text = w.HTML(), w.Label()
    times = list(range(0, 1000, 4))

    def redraw(change=None) -> None:
        embed = SinusoidalTimeEmbedding(dim.value)
        row = embed(torch.tensor([t.value]))[0]
        similarity = (embed(torch.tensor(times)) @ row / (dim.value / 2)).tolist()
        first = ", ".join(f"{v:.2f}" for v in row[:4].tolist())
        text.value = f"t = {t.value}: first entries {first}"
        entries = (list(range(dim.value)), row.tolist(), COLOURS["x_t"])
        similarities = (times, similarity, COLOURS["prediction"])
        mark = (t.value, 1.0, COLOURS["noise"])
        names = ("sines", "cosines")
        left = Axes("the row of clocks", [entries], (0, dim.value - 1), (-1, 1), names)
        title = "similarity of each t to this one"
        right = Axes(title, [similarities], (0, 1000), (-1, 1), mark=mark)
        curves.value = drawing([left, right], text.value)

    _redraw_on_move(redraw, t, dim)
    return w.VBox([w.HBox([t, dim]), curves, text])


def trajectory_slider(trajectory: Sequence[tuple[int, Tensor, Tensor]]) -> w.VBox:
    """A slider along a trajectory of (t, x_t, x̂_0), images f[B,3,S,S]. Shows both at the chosen
    stop.
    """
    last = len(trajectory) - 1
    stop = w.IntSlider(value=len(trajectory) * 2 // 3, min=0, max=last, description="stop")
    noisy, guess = (w.Image(format="png") for _ in range(2))
    text = w.Label()

    def redraw(change=None) -> None:
        t, x, x0 = trajectory[stop.value]
        noisy.value, guess.value = png_bytes(x, 96), png_bytes(x0, 96)
        text.value = f"t = {t}: x_t on the left, the guess of x_0 on the right"

    _redraw_on_move(redraw, stop)
    return w.VBox([stop, text, w.HBox([noisy, guess])])
