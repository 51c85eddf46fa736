"""The course's figures, in one style and without pyplot's global state."""

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

from ddpm_course.data.images import to_uint8
from ddpm_course.schedules import NoiseSchedule

# The same meaning throughout the course (Okabe & Ito's palette, safe for colour-blind readers).
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
METRICS = {
    "kernel": "kernel distance",
    "frechet": "Fréchet distance",
    "recognised": "share recognised",
    "variety": "diversity, real = 1",
}


def figure(width: float = 9, height: float = 3, **subplots):
    """An empty figure in the course's style, and its axes, like `pyplot.subplots`."""
    with mpl.rc_context(STYLE):
        fig = Figure(figsize=(width, height), layout="constrained")
        return fig, fig.subplots(**subplots)


def show(fig: Figure, alt: str) -> None:
    """Display a figure in the notebook, with alternative text that says what it shows.

    It is stored with 256 colours, so that a notebook full of noise stays small.
    """
    file = io.BytesIO()
    _rendered(fig).quantize(256, dither=Image.Dither.NONE).save(file, format="png", optimize=True)
    display(DisplayImage(file.getvalue(), alt=alt))


def image_rows(
    rows: Mapping[str, Tensor], titles: Sequence[str] | None = None, scale: int | None = None
) -> Figure:
    """Rows of images f[N,3,S,S] in [-1, 1], with each row's name on its left.

    A pixel becomes scale×scale pixels of the figure, so nothing is blurred. By default an image
    becomes 128 pixels wide.
    """
    first = next(iter(rows.values()))
    scale = scale or max(1, 128 // first.shape[-1])
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
    left.set(title="ᾱ, share of the variance left", xlabel="t / T", ylim=(-0.02, 1.02))
    right.set(title="log signal-to-noise ratio", xlabel="t / T", ylim=(-20, 12))
    left.legend(frameon=False)
    return fig


def histograms(columns: Mapping[str, Tensor], colours: Sequence[str]) -> Figure:
    """A histogram per tensor over [-3, 3], side by side."""
    fig, axes = figure(9, 2.2, ncols=len(columns), sharex=True)
    bins = np.linspace(-3, 3, 61)
    for axis, colour, (name, values) in zip(axes, colours, columns.items(), strict=True):
        axis.hist(values.flatten().cpu().numpy(), bins=bins, density=True, color=colour)
        axis.set(title=name, yticks=[])
        axis.grid(False)
    return fig


def lines(
    panels: Mapping[str, Mapping[str, tuple[Any, Any]]],
    *,
    xlabel: str = "",
    colours: Mapping[str, str] | None = None,
    height: float = 3,
    **settings,
) -> Figure:
    """Curves in panels side by side: panels[title][label] is (x, y).

    Labels that start with "_" are left out of the legend. `settings` go to every panel (`ylim`,
    `yscale`, ...).
    """
    fig, axes = figure(9, height, ncols=len(panels), squeeze=False)
    for axis, (title, curves) in zip(axes[0], panels.items(), strict=True):
        for label, (x, y) in curves.items():
            axis.plot(x, y, label=label, color=(colours or {}).get(label.removeprefix("_")))
        axis.set(title=title, xlabel=xlabel, **settings)
        if settings.get("xscale") == "log":  # whole numbers, not powers of ten
            axis.minorticks_off()
            ticks = next(iter(curves.values()))[0]
            axis.set_xticks(ticks, [f"{value:g}" for value in ticks])
        if any(not label.startswith("_") for label in curves):
            axis.legend(frameon=False)
    return fig


def clouds(
    panels: Mapping[str, Tensor], colours: Sequence[str], limit: float = 2.5, side: float = 1.6
) -> Figure:
    """Point clouds f[N,2] side by side, on the square [-limit, limit]²."""
    fig, axes = figure(side * len(panels), side + 0.3, ncols=len(panels), squeeze=False)
    for axis, colour, (title, points) in zip(axes[0], colours, panels.items(), strict=True):
        axis.scatter(*points.T.cpu().numpy(), s=2, color=colour, alpha=0.5, linewidths=0)
        axis.set(title=title, xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal")
        axis.set_axis_off()
    return fig


def heatmap(values: Tensor, title: str, xlabel: str, ylabel: str, width: float = 9) -> Figure:
    """A matrix f[rows,columns] as colours: blue for negative, orange for positive values."""
    fig, axis = figure(width, 3)
    top = values.abs().max().item()
    shown = axis.imshow(values.numpy(), aspect="auto", cmap="PuOr_r", vmin=-top, vmax=top)
    axis.set(title=title, xlabel=xlabel, ylabel=ylabel)
    axis.grid(False)
    fig.colorbar(shown, ax=axis)
    return fig


def bars(values: Mapping[str, float], title: str, unit: str, colour: str = "x0") -> Figure:
    """Named numbers as horizontal bars with their values."""
    fig, axis = figure(9, 0.6 + 0.36 * len(values))
    shapes = axis.barh(list(values), list(values.values()), color=COLOURS[colour])
    axis.bar_label(shapes, fmt=f"%.3g {unit}", padding=4)
    axis.set(title=title, xticks=[])
    axis.margins(x=0.15)
    axis.invert_yaxis()
    axis.grid(False)
    return fig


def intervals(rows: Mapping[str, Mapping[str, Any]], columns: Sequence[str]) -> Figure:
    """Means with their standard deviations, one panel per column.

    rows[name][column] has a "mean" and a "std", which may be None. The first row stands for real
    images, and a line marks its means.
    """
    names = list(rows)
    fig, axes = figure(9, 0.8 + 0.27 * len(names), ncols=len(columns), sharey=True, squeeze=False)
    for axis, column in zip(axes[0], columns, strict=True):
        for place, name in enumerate(names):
            if entry := rows[name].get(column):
                colour = COLOURS["x0" if place == 0 else "prediction"]
                axis.errorbar(
                    entry["mean"], place, xerr=entry["std"] or 0, fmt="o", color=colour, capsize=3
                )
        axis.axvline(rows[names[0]][column]["mean"], color=COLOURS["x0"], linewidth=1, zorder=0)
        axis.set(title=METRICS[column], yticks=range(len(names)), yticklabels=names)
    axes[0, 0].invert_yaxis()
    return fig


def show_animation(
    frames: Sequence[Figure | Image.Image], alt: str, milliseconds: int = 80
) -> None:
    """Display frames as one looping animated PNG that pauses at the last frame.

    All frames share 128 colours, chosen from the later ones: pure noise would use them all up.
    """
    images = [_rendered(f) if isinstance(f, Figure) else f.convert("RGB") for f in frames]
    sampled = [np.asarray(images[k * (len(images) - 1) // 3]) for k in (1, 2, 3)]
    palette = Image.fromarray(np.concatenate(sampled)).quantize(128, dither=Image.Dither.NONE)
    small = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
    file = io.BytesIO()
    small[0].save(
        file, format="png", save_all=True, append_images=small[1:], loop=0, optimize=True,
        duration=[milliseconds] * (len(small) - 1) + [2500],
    )  # fmt: skip
    display(DisplayImage(file.getvalue(), alt=alt))


def _rendered(fig: Figure) -> Image.Image:
    file = io.BytesIO()
    with mpl.rc_context(STYLE):
        fig.savefig(file, format="png", dpi=DPI)
    return Image.open(file).convert("RGB")


def course_map(hours: Mapping[str, float]) -> Figure:
    """The notebooks as boxes along a path of two rows, each with its hours."""
    fig, axis = figure(9, 2.6)
    half = -(-len(hours) // 2)
    for k, (name, length) in enumerate(hours.items()):
        row, column = divmod(k, half)
        x, y = column if row == 0 else half - 1 - column, -row  # the second row runs backwards
        number, title = name.split(" ", 1)
        axis.text(
            x, y, f"{number}\n{title.replace(' and ', chr(10) + 'and ')}\n{length:g} h",
            ha="center", va="center", fontsize=9.5, linespacing=1.35,
            bbox={"boxstyle": "round,pad=0.5", "facecolor": "#dcebf5", "edgecolor": COLOURS["x0"]},
        )  # fmt: skip
    path = [(0, 0), (half - 1, 0), (half - 1, -1), (half - (len(hours) - half), -1)]
    axis.plot(*zip(*path, strict=True), color="#bbb", linewidth=6, zorder=0)
    axis.set(xlim=(-0.55, half - 0.45), ylim=(-1.5, 0.5))
    axis.set_axis_off()
    return fig
