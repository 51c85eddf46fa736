"""The course's figures, in one style and without pyplot's global state."""

import io
import warnings
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from IPython.display import Image as DisplayImage
from IPython.display import display
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.textpath import TextPath
from PIL import Image
from scipy.cluster.vq import kmeans2
from scipy.spatial import KDTree
from torch import Tensor

from ddpm_course.data.images import to_uint8
from ddpm_course.lab.style import COLOURS, INK, NAMES
from ddpm_course.schedules import NoiseSchedule

DPI = 100  # a pixel on the screen; figures are stored with twice as many
METRICS = {
    "kernel": "kernel distance",
    "frechet": "Fréchet distance",
    "recognised": "share recognised",
    "variety": "diversity, real = 1",
}


def figure(width: float = 9, height: float = 3, headline: str = "", **subplots):
    """An empty figure in the course's style, and its axes, like `pyplot.subplots`.

    `headline` is a sentence over all axes that says what to see.
    """
    fig = Figure(figsize=(width, height), layout="constrained")
    if headline:
        fig.suptitle(headline, x=0.01, ha="left")
    return fig, fig.subplots(**subplots)


def show(fig: Figure, alt: str) -> None:
    """Display a figure in the notebook, with alternative text that says what it shows.

    It is transparent, sharp on dense screens, and stored with 256 colours, so that a notebook full
    of noise stays small.
    """
    [image], file = _paletted([rendered(fig, 2 * DPI)]), io.BytesIO()
    image.save(file, format="png", optimize=True)
    display(DisplayImage(file.getvalue(), width=image.width // 2, alt=alt))


def show_animation(
    frames: Sequence[Figure | Image.Image], alt: str, milliseconds: int = 80
) -> None:
    """Display frames as one looping animated PNG that pauses at the last frame."""
    small, file = _paletted(_as_images(frames)), io.BytesIO()
    small[0].save(
        file, format="png", save_all=True, append_images=small[1:], loop=0, optimize=True,
        duration=[milliseconds] * (len(small) - 1) + [2500],
    )  # fmt: skip
    display(DisplayImage(file.getvalue(), alt=alt))


def _as_images(frames: Sequence[Figure | Image.Image]) -> list[Image.Image]:
    """All as large as the largest, aligned right: names on the left may differ in length."""
    images = [rendered(f, DPI) if isinstance(f, Figure) else f.convert("RGBA") for f in frames]
    width, height = (max(image.size[k] for image in images) for k in (0, 1))
    return [image.crop((image.width - width, 0, image.width, height)) for image in images]


def rendered(fig: Figure, dpi: int) -> Image.Image:
    """A figure as RGBA, `dpi` pixels per inch."""
    file = io.BytesIO()
    fig.savefig(file, format="png", dpi=dpi)
    return Image.open(file).convert("RGBA")


def _paletted(images: Sequence[Image.Image]) -> list[Image.Image]:
    """RGBA images of one size with a palette of 256 colours that they share, transparency included.

    Pillow's own quantiser is coarse where there is transparency.
    """
    pixels = np.stack([np.asarray(image) for image in images]).view(np.uint32)[..., 0]
    distinct, indices = np.unique(pixels, return_inverse=True)
    colours = distinct.view(np.uint8).reshape(-1, 4)
    clear = [255, 255, 255, 0]
    colours[colours[:, 3] == 0] = clear
    if len(colours) > 256:
        few = colours[:: 1 + len(colours) // 10_000].astype(float)
        with warnings.catch_warnings(action="ignore"):  # a colour that nothing needs does no harm
            means, _ = kmeans2(few, few[:: 1 + len(few) // 255], iter=8, minit="matrix")
        palette = np.vstack([clear, means])  # the ground stays exactly transparent
        nearest = KDTree(palette).query(colours)[1].astype(np.uint8)
        colours, indices = palette.round().astype(np.uint8), nearest[indices]
    made = [Image.fromarray(frame) for frame in indices.astype(np.uint8).reshape(pixels.shape)]
    for image in made:
        image.putpalette(colours.tobytes(), "RGBA")
    return made


def label_lines(axis: Axes, at: str = "end") -> None:
    """Write each line's name beside it in its colour, so that no eye travels to a legend.

    at="end" puts it right of the last point, and names move apart; at="peak" above the highest.
    Labels that start with "_" are left out.
    """
    lines = [line for line in axis.lines if not str(line.get_label()).startswith("_")]
    curves: list[Any] = [line.get_xydata() for line in lines]
    if at == "peak":
        axis.margins(y=0.15)
        points = [curve[np.nanargmax(curve[:, 1])] for curve in curves]
        offsets = [(0.0, 4.0) for _ in lines]
        place: Any = {"ha": "center", "va": "bottom"}
    else:
        low, high = sorted(axis.get_ylim())
        ends = np.array([curve[-1] for curve in curves]).reshape(-1, 2)
        points = list(np.column_stack([ends[:, 0], np.clip(ends[:, 1], low, high)]))
        fig: Any = axis.figure
        fig.draw_without_rendering()  # now the axes have their place
        heights = [axis.transData.transform(point)[1] * 72 / fig.dpi for point in points]
        moved = _apart(heights, 14, lowest=axis.bbox.y0 * 72 / fig.dpi + 6)
        offsets = [(6.0, new - old) for new, old in zip(moved, heights, strict=True)]
        place = {"ha": "left", "va": "center"}
    for line, point, offset in zip(lines, points, offsets, strict=True):
        name, colour = str(line.get_label()), line.get_color()
        axis.annotate(
            NAMES.get(name, name), point, offset, textcoords="offset points", color=colour, **place
        )


def _apart(values: Sequence[float], gap: float, lowest: float) -> list[float]:
    """The values in the same order, pushed apart evenly to be `gap` apart and above `lowest`."""
    moved, order = list(values), np.argsort(values, kind="stable")
    for _ in range(50):
        moved = [max(value, lowest) for value in moved]
        for below, above in pairwise(order):
            short = max(0.0, gap - (moved[above] - moved[below]))
            moved[below] -= short / 2
            moved[above] += short / 2
    return moved


def point_out(axis: Axes, text: str, xy: tuple[float, float], offset=(40, 30)) -> None:
    """Ring a point (x, y) of the axes and write a conclusion beside it, `offset` points away."""
    axis.annotate(
        text, xy, xytext=offset, textcoords="offset points", va="center",
        ha="left" if offset[0] >= 0 else "right",
        arrowprops={"arrowstyle": "-", "color": INK, "shrinkB": 7},
    )  # fmt: skip
    axis.plot(*xy, "o", markersize=13, markerfacecolor="none", color=INK, markeredgewidth=1.5)


def image_rows(
    rows: Mapping[str, Tensor],
    titles: Sequence[str] | None = None,
    scale: int | None = None,
    *,
    numbers: Mapping[str, Sequence[str]] | None = None,
    headline: str = "",
) -> Figure:
    """Rows of images f[N,3,S,S] in [-1, 1], with each row's name on its left.

    A pixel becomes scale×scale pixels of the screen, so nothing is blurred. By default an image
    becomes at least 128 pixels wide. `titles` stand over the columns, and numbers[name] on the
    images of that row.
    """
    side = next(iter(rows.values())).shape[-1]
    tile, gap = side * (scale or max(1, -(-128 // side))), 6
    left = 12 + max(_text_width(name) for name in rows)
    top = (26 if titles else 2) + (30 if headline else 0)
    width = left + max(map(len, rows.values())) * (tile + gap)
    height = top + len(rows) * (tile + gap)
    fig = Figure(figsize=(width / DPI, height / DPI), dpi=DPI)
    if headline:
        fig.text(left / width, 1 - 4 / height, headline, fontsize=14, va="top")
    for r, (name, images) in enumerate(rows.items()):
        y = height - top - (r + 1) * (tile + gap) + gap
        fig.text((left - 8) / width, (y + tile / 2) / height, name, ha="right", va="center")
        for c, pixels in enumerate(to_uint8(images).permute(0, 2, 3, 1).cpu().numpy()):
            x = left + c * (tile + gap)
            axis = fig.add_axes((x / width, y / height, tile / width, tile / height))
            axis.imshow(pixels, interpolation="nearest")
            axis.set_axis_off()
            if titles and r == 0:
                axis.set_title(titles[c], loc="center", fontsize=11, pad=6)
            if numbers and name in numbers:
                _write_on(axis, numbers[name][c])
    return fig


def _text_width(text: str) -> int:
    if not text.strip():  # TextPath can't measure blanks
        return 0
    return int(TextPath((0, 0), text, size=11).get_extents().xmax * DPI / 72)


def _write_on(axis: Axes, text: str) -> None:
    """White on dark in the lower right corner: readable on every image."""
    axis.text(
        0.96, 0.05, text, transform=axis.transAxes, ha="right", color="white", fontsize=10,
        bbox={"boxstyle": "round,pad=0.25", "facecolor": "#111111", "alpha": 0.7, "linewidth": 0},
    )  # fmt: skip


def lines(
    panels: Mapping[str, Mapping[str, tuple[Any, Any]]],
    *,
    xlabel: str = "",
    colours: Mapping[str, str] | None = None,
    height: float = 3,
    headline: str = "",
    labels: str = "end",
    **settings,
) -> Figure:
    """Curves in panels side by side: panels[title][label] is (x, y).

    A label that `COLOURS` has decides the colour, unless `colours` does. Names stand at the curves,
    see `label_lines`; those that start with "_" are left out. `settings` go to every panel (`ylim`,
    `yscale`, ...).
    """
    fig, axes = figure(9, height, headline, ncols=len(panels), squeeze=False)
    for axis, (title, curves) in zip(axes[0], panels.items(), strict=True):
        for label, (x, y) in curves.items():
            meaning = label.removeprefix("_")
            colour = (colours or {}).get(meaning, COLOURS.get(meaning))
            axis.plot(x, y, label=label, color=colour)
        axis.set(title=title, xlabel=xlabel, **settings)
        if settings.get("xscale") == "log":  # whole numbers, not powers of ten
            axis.minorticks_off()
            ticks = next(iter(curves.values()))[0]
            axis.set_xticks(ticks, [f"{value:g}" for value in ticks])
    for axis in axes[0]:
        label_lines(axis, labels)
    return fig


def schedule_curves(schedules: Mapping[str, NoiseSchedule], headline: str = "") -> Figure:
    """ᾱ and log-SNR of named schedules over t/T."""
    fig, axes = figure(9, 3.2, headline, ncols=2)
    for name, schedule in schedules.items():
        time, colour = np.arange(schedule.T + 1) / schedule.T, COLOURS.get(name)
        axes[0].plot(time, schedule.alphas_cumprod, label=name, color=colour)
        axes[1].plot(time[1:], schedule.log_snr[1:], label=name, color=colour)
    signal, snr = r"$\bar{\alpha}$, share of the variance left", "log signal-to-noise ratio"
    axes[0].set(title=signal, xlabel="$t\\,/\\,T$", ylim=(-0.02, 1.02))
    axes[1].set(title=snr, xlabel="$t\\,/\\,T$", ylim=(-20, 12))
    label_lines(axes[1])
    return fig


def histograms(columns: Mapping[str, Tensor], colours: Sequence[str], headline: str = "") -> Figure:
    """A histogram per tensor over [-3, 3], side by side."""
    fig, axes = figure(9, 2.2, headline, ncols=len(columns), sharex=True, sharey=True)
    bins = np.linspace(-3, 3, 61)
    for axis, colour, (name, values) in zip(axes, colours, columns.items(), strict=True):
        axis.hist(values.flatten().cpu().numpy(), bins=bins, density=True, color=colour)
        axis.set(title=name, yticks=[])
        axis.spines.left.set_visible(False)
        axis.grid(False)
    return fig


def clouds(
    panels: Mapping[str, Tensor],
    colours: Sequence[str],
    limit: float = 2.5,
    side: float = 1.6,
    ghost: Tensor | None = None,
) -> Figure:
    """Point clouds f[N,2] side by side, on the square [-limit, limit]².

    `ghost` is one more cloud, pale behind each of them: where the points should be.
    """
    fig, axes = figure(side * len(panels), side + 0.3, ncols=len(panels), squeeze=False)
    for axis, colour, (title, points) in zip(axes[0], colours, panels.items(), strict=True):
        if ghost is not None:
            pale = {"color": COLOURS["floor"], "alpha": 0.25, "linewidths": 0}
            axis.scatter(*ghost.T.cpu().numpy(), s=4, **pale)
        axis.scatter(*points.T.cpu().numpy(), s=3, color=colour, alpha=0.7, linewidths=0)
        axis.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal", xticks=[], yticks=[])
        axis.set_title(title, loc="center")
        axis.spines[:].set(visible=True, alpha=0.4)
    return fig


def heatmap(values: Tensor, title: str, xlabel: str, ylabel: str, width: float = 9) -> Figure:
    """A matrix f[rows,columns] as colours: violet for negative, orange for positive values."""
    fig, axis = figure(width, 3)
    top = values.abs().max().item()
    shown = axis.imshow(values.numpy(), aspect="auto", cmap="PuOr_r", vmin=-top, vmax=top)
    axis.set(title=title, xlabel=xlabel, ylabel=ylabel)
    axis.grid(False)
    fig.colorbar(shown, ax=axis).outline.set_visible(False)
    return fig


def bars(values: Mapping[str, float], title: str, unit: str, colour: str = "x0") -> Figure:
    """Named numbers as horizontal bars with their values."""
    fig, axis = figure(9, 0.6 + 0.36 * len(values))
    shapes = axis.barh(list(values), list(values.values()), color=COLOURS[colour])
    axis.bar_label(shapes, fmt=f"%.3g {unit}", padding=4)
    axis.set(title=title, xticks=[])
    axis.spines.bottom.set_visible(False)
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
    fig, axes = figure(9, 0.8 + 0.3 * len(names), ncols=len(columns), sharey=True, squeeze=False)
    for axis, column in zip(axes[0], columns, strict=True):
        for place, name in enumerate(names):
            if entry := rows[name].get(column):
                colour = COLOURS["floor" if place == 0 else "prediction"]
                axis.errorbar(
                    entry["mean"], place, xerr=entry["std"] or 0, fmt="o", color=colour, capsize=3
                )
        floor = rows[names[0]][column]["mean"]
        axis.axvline(floor, color=COLOURS["floor"], linewidth=1, zorder=0)
        axis.set(title=METRICS[column], yticks=range(len(names)), yticklabels=names)
    axes[0, 0].invert_yaxis()
    return fig
