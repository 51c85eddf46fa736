"""Figures of the course, in one style. Nothing here touches pyplot's global state."""

import io
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import torch
from cycler import cycler
from IPython.display import Image as DisplayImage
from IPython.display import display
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from ddpm_course.data import to_uint8
from ddpm_course.diffusion import q_sample
from ddpm_course.pictures import image_grid
from ddpm_course.schedules import NoiseSchedule

# One colour each through the whole course (Okabe & Ito's palette, safe for colour-blind eyes).
COLOURS = {"x0": "#0072B2", "noise": "#D55E00", "x_t": "#009E73", "prediction": "#CC79A7"}
CYCLE = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"]

STYLE: Any = {
    "figure.constrained_layout.use": True,
    "font.size": 11,
    "axes.titlesize": 12,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "axes.prop_cycle": cycler(color=CYCLE),
    "lines.linewidth": 2,
    "legend.frameon": False,
}


def figure(width: float = 9, height: float = 3, **subplots):
    """An empty figure in the course's style and its axes, as `pyplot.subplots` gives them."""
    with mpl.rc_context(STYLE):
        fig = Figure(figsize=(width, height))
        return fig, fig.subplots(**subplots)


def show(picture: Figure | Image.Image, alt: str) -> None:
    """Display a figure or image in the notebook, with alternative text for those who cannot see
    it (`alt` says what it shows, not that it is a figure).
    """
    buffer = io.BytesIO()
    if isinstance(picture, Figure):
        with mpl.rc_context(STYLE):
            picture.savefig(buffer, format="png", dpi=100)
    else:
        picture.save(buffer, format="png", optimize=True)
    display(DisplayImage(buffer.getvalue(), alt=alt))


def forward_strip(
    x0: Tensor, schedule: NoiseSchedule, ts: Sequence[int], noise: Tensor
) -> Image.Image:
    """One image f[3,S,S] at several times, left to right, always with the same noise."""
    t = torch.tensor(ts)
    batch = x0.expand(len(ts), *x0.shape)
    return image_grid(to_uint8(q_sample(batch, t, noise.expand_as(batch), schedule)), len(ts), 96)


def schedule_curves(schedules: dict[str, NoiseSchedule], t: float | None = None) -> Figure:
    """ᾱ and log-SNR of named schedules over t/T; `t` marks a moment (as a share of T)."""
    fig, (left, right) = figure(9, 3.2, ncols=2)
    for name, schedule in schedules.items():
        time = np.arange(schedule.T + 1) / schedule.T
        left.plot(time, schedule.alphas_cumprod, label=name)
        right.plot(time[1:], schedule.log_snr[1:], label=name)
    left.set(title="Signal left: ᾱ", xlabel="t / T", ylim=(-0.02, 1.02))
    right.set(title="Signal to noise: log SNR", xlabel="t / T", ylim=(-20, 12))
    for axes in (left, right):
        if t is not None:
            axes.axvline(t, color="0.5", linewidth=1)
    left.legend()
    return fig
