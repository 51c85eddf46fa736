"""Live panels for the notebooks. A move of a slider redraws within 100 ms on two CPU cores:
curves are small SVG drawings and pictures are enlarged pixels, both far cheaper than a figure.
"""

import io
import math

import ipywidgets as w
import torch
from torch import Tensor

from ddpm_course.data import to_uint8
from ddpm_course.diffusion import q_sample
from ddpm_course.pictures import image_grid
from ddpm_course.plots import COLOURS
from ddpm_course.rng import generator
from ddpm_course.schedules import SCHEDULES, NoiseSchedule

WIDTH, HEIGHT, MARGIN = 300, 190, 34


def describe(schedule: NoiseSchedule, t: int) -> str:
    """What the panel says about time t, in one line of text."""
    abar, snr = schedule.alphas_cumprod[t].item(), schedule.snr[t].item()
    decibels = f"{10 * math.log10(snr):.1f} dB" if 0 < snr < math.inf else "no noise"
    left = 100 * schedule.sqrt_alphas_cumprod[-1].item()
    return f"ᾱ_t = {abar:.4g} · SNR = {snr:.4g} ({decibels}) · at T, {left:.2g} % of x_0 is left"


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
        at_t.value = _png(q_sample(x0, now, noise, schedule))
        at_T.value = _png(q_sample(x0, T.value, noise, schedule))
        curves.value = _curves(schedule, now)
        text.value = describe(schedule, now)

    def stretch(change) -> None:
        t.max = T.value

    T.observe(stretch, "value")
    for control in (name, beta_start, beta_end, T, t):
        control.observe(redraw, "value")
    redraw()
    controls = w.VBox([name, beta_start, beta_end, T, t])
    seen = w.VBox([at_t, w.HTML("x<sub>t</sub>, at your t")])
    end = w.VBox([at_T, w.HTML("x<sub>T</sub>, where sampling starts")])
    return w.VBox([w.HBox([controls, seen, end]), curves, text])


def _png(x: Tensor) -> bytes:
    """f[3,S,S] in [-1, 1] as a PNG file, 192 pixels a side or a little less."""
    buffer = io.BytesIO()
    image_grid(to_uint8(x[None]), tile=192).save(buffer, format="png", compress_level=1)
    return buffer.getvalue()


def _curves(schedule: NoiseSchedule, t: int) -> str:
    """ᾱ and log-SNR over time as one SVG, with a line at t."""
    abar, log_snr = schedule.alphas_cumprod, schedule.log_snr.clamp(-20, 12)
    return (
        f'<svg viewBox="0 0 {2 * WIDTH} {HEIGHT}" width="{2 * WIDTH}" role="img" '
        f'aria-label="{describe(schedule, t)}" font-family="sans-serif" font-size="11">'
        + _panel(0, "share of the image left, ᾱ", abar, 0, 1, t)
        + _panel(WIDTH, "log signal-to-noise ratio", log_snr, -20, 12, t)
        + "</svg>"
    )


def _panel(left: int, title: str, values: Tensor, low: float, high: float, t: int) -> str:
    T = len(values) - 1
    stride = max(1, T // 150)
    ts = [*range(0, T, stride), T]
    across, down = WIDTH - 2 * MARGIN, HEIGHT - 2 * MARGIN

    def x(time: float) -> float:
        return left + MARGIN + across * time / T

    def y(value: float) -> float:
        return MARGIN + down * (high - value) / (high - low)

    numbers = values.tolist()
    points = " ".join(f"{x(k):.1f},{y(numbers[k]):.1f}" for k in ts)
    bottom, top, ink = y(low), y(high), 'fill="currentColor"'  # readable on dark pages too
    return (
        f'<rect x="{x(0)}" y="{top}" width="{across}" height="{down}" fill="white" stroke="#bbb"/>'
        f'<text x="{x(T / 2)}" y="{top - 8}" text-anchor="middle" {ink}>{title}</text>'
        f'<text x="{x(0) - 4}" y="{top + 8}" text-anchor="end" {ink}>{high:g}</text>'
        f'<text x="{x(0) - 4}" y="{bottom}" text-anchor="end" {ink}>{low:g}</text>'
        f'<text x="{x(0)}" y="{bottom + 15}" {ink}>0</text>'
        f'<text x="{x(T)}" y="{bottom + 15}" text-anchor="end" {ink}>T = {T}</text>'
        f'<line x1="{x(t)}" x2="{x(t)}" y1="{top}" y2="{bottom}" stroke="#888"/>'
        f'<polyline points="{points}" fill="none" stroke="{COLOURS["x_t"]}" stroke-width="2"/>'
        f'<circle cx="{x(t)}" cy="{y(numbers[t]):.1f}" r="4" fill="{COLOURS["noise"]}"/>'
    )
