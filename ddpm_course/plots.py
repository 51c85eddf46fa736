"""Figures of the course, in one style. Nothing here touches pyplot's global state."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from cycler import cycler
from IPython.display import Image as DisplayImage
from IPython.display import display
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from ddpm_course.data import to_uint8
from ddpm_course.schedules import NoiseSchedule

# One colour each through the whole course (Okabe & Ito's palette, safe for colour-blind eyes).
COLOURS = {"x0": "#0072B2", "noise": "#D55E00", "x_t": "#009E73", "prediction": "#CC79A7"}
CYCLE = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"]

STYLE: Any = {
    "font.size": 11,
    "axes.titlesize": 12,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "axes.prop_cycle": cycler(color=CYCLE),
    "lines.linewidth": 2,
}
DPI = 100


def figure(width: float = 9, height: float = 3, **subplots):
    """An empty figure in the course's style and its axes, as `pyplot.subplots` gives them."""
    with mpl.rc_context(STYLE):
        fig = Figure(figsize=(width, height), layout="constrained")
        return fig, fig.subplots(**subplots)


def show(picture: Figure, alt: str) -> None:
    """Display a figure in the notebook, with alternative text for those who cannot see it: `alt`
    says what there is to see.

    Stored with 256 colours, so that a notebook full of noise stays small.
    """
    with mpl.rc_context(STYLE):
        raw, small = io.BytesIO(), io.BytesIO()
        picture.savefig(raw, format="png", dpi=DPI)
    colours = Image.open(raw).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    colours.save(small, format="png", optimize=True)
    display(DisplayImage(small.getvalue(), alt=alt))


def image_rows(
    rows: Mapping[str, Tensor], titles: Sequence[str] | None = None, scale: int = 2
) -> Figure:
    """Rows of images f[N,3,S,S] in [-1, 1], each row named at its left, columns titled.

    Every pixel becomes scale×scale pixels of the figure, so nothing is blurred or invented.
    """
    first = next(iter(rows.values()))
    tile, gap = first.shape[-1] * scale, 6
    left = 12 + 10 * max(len(name) for name in rows)
    top = 24 if titles else 2
    width, height = left + len(first) * (tile + gap), top + len(rows) * (tile + gap)
    with mpl.rc_context(STYLE):
        fig = Figure(figsize=(width / DPI, height / DPI), dpi=DPI)
        for r, (name, images) in enumerate(rows.items()):
            y = height - top - (r + 1) * (tile + gap) + gap
            fig.text((left - 8) / width, (y + tile / 2) / height, name, ha="right", va="center")
            for c, pixels in enumerate(to_uint8(images).permute(0, 2, 3, 1).cpu().numpy()):
                x = left + c * (tile + gap)
                axes = fig.add_axes((x / width, y / height, tile / width, tile / height))
                axes.imshow(pixels, interpolation="nearest")
                axes.set_axis_off()
                if titles and r == 0:
                    axes.set_title(titles[c], fontsize=11, pad=5)
    return fig


def schedule_curves(schedules: Mapping[str, NoiseSchedule]) -> Figure:
    """ᾱ and log-SNR of named schedules over t/T."""
    fig, (left, right) = figure(9, 3.2, ncols=2)
    for name, schedule in schedules.items():
        time = np.arange(schedule.T + 1) / schedule.T
        left.plot(time, schedule.alphas_cumprod, label=name)
        right.plot(time[1:], schedule.log_snr[1:], label=name)
    left.set(title="share of the image left, ᾱ", xlabel="t / T", ylim=(-0.02, 1.02))
    right.set(title="log signal-to-noise ratio", xlabel="t / T", ylim=(-20, 12))
    left.legend(frameon=False)
    return fig


def histograms(columns: Mapping[str, Tensor], colours: Sequence[str]) -> Figure:
    """Side by side, how the values of each tensor are spread over [-3, 3]."""
    fig, axes = figure(9, 2.2, ncols=len(columns), sharex=True)
    bins = np.linspace(-3, 3, 61)
    for axis, colour, (name, values) in zip(axes, colours, columns.items(), strict=True):
        axis.hist(values.flatten().cpu().numpy(), bins=bins, density=True, color=colour)
        axis.set(title=name, yticks=[])
        axis.grid(False)
    return fig
