"""The U-Net as a drawing: the network of the preset `tiny`, block by block."""

from itertools import pairwise
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import BoxStyle, FancyBboxPatch
from torch import Tensor

from ddpm_course.data.images import to_uint8
from ddpm_course.lab.style import COLOURS, INK

BLOCK, ATTENTION, RESIZE = "#4a6fb3", "#2f4a80", "#7f8aa0"
TIME = "#c9830c"


class Level(NamedTuple):
    """One resolution: the height of its centre, how tall its blocks are, and their left edges."""

    name: str
    y: float
    height: float
    down: tuple[float, float, float]  # a convolution and two residual blocks
    up: tuple[float, float, float]  # three residual blocks
    last: float  # the upsampling, or the final convolution


LEVELS = (
    Level("32×32 pixels, 32 channels", 368, 92, (122, 150, 178), (812, 840, 868), 896),
    Level("16×16 pixels, 64 channels", 234, 66, (206, 234, 262), (684, 712, 740), 768),
    Level("8×8 pixels, 64 channels", 124, 44, (290, 318, 346), (556, 584, 612), 640),
)
MIDDLE, WIDTH = (418, 446, 474), 22


def unet_drawing(image: Tensor, prediction: Tensor) -> Figure:
    """Boxes for every block from `image` to `prediction`, f[3,S,S] in [-1, 1] each, with the skip
    connections and the places where the time enters as arrows.
    """
    fig = Figure(figsize=(9, 4.4))
    axis = fig.add_axes((0, 0, 1, 1))
    axis.set(xlim=(0, 1040), ylim=(0, 510))
    axis.set_axis_off()
    ends = ((image, 8, "noisy $x_t$", "x_t"), (prediction, 936, "prediction", "prediction"))
    for pixels, x, name, colour in ends:
        extent = (x, x + 96, 320, 416)
        axis.imshow(to_uint8(pixels).permute(1, 2, 0).cpu().numpy(), extent=extent, aspect="auto")
        axis.text(x + 48, 306, name, ha="center", va="top", color=COLOURS[colour])
    for k, level in enumerate(LEVELS):
        _draw_level(axis, level, top=k == 0, attention=k == 2)
    _draw_middle(axis)
    _draw_path(axis)
    _draw_legend(axis)
    return fig


def _draw_level(axis: Axes, level: Level, *, top: bool, attention: bool) -> None:
    name, y, height, down, up, last = level
    letter = "A" if attention else ""
    _box(axis, down[0], y, height, RESIZE, "in" if top else "↓")
    _box(axis, last, y, height, RESIZE, "out" if top else "↑")
    for x in (*down[1:], *up):
        _residual_block(axis, x, y, height, letter)
    above = y + height / 2
    axis.text((down[0] + last + WIDTH) / 2, above + 36, name, ha="center")
    for k, (stored, used) in enumerate(zip(down, reversed(up), strict=True)):
        start, end, bend = stored + WIDTH / 2, used + WIDTH / 2, above + 30 - 9 * k
        axis.plot([start, start, end], [above + 2, bend, bend], "--", color=INK, linewidth=1)
        _arrow(axis, (end, bend), (end, above + 1), INK, linestyle="--", linewidth=1)


def _draw_middle(axis: Axes) -> None:
    lowest = LEVELS[-1]
    for x in (MIDDLE[0], MIDDLE[2]):
        _residual_block(axis, x, lowest.y, lowest.height, "")
    _box(axis, MIDDLE[1], lowest.y, lowest.height, ATTENTION, "A")
    axis.text(MIDDLE[1] + WIDTH / 2, 70, "middle", ha="center", va="top")


def _draw_path(axis: Axes) -> None:
    """The arrows that lead x from box to box, along the U."""
    top, lowest = LEVELS[0], LEVELS[-1]
    _arrow(axis, (106, top.y), (120, top.y), INK)
    _arrow(axis, (920, top.y), (934, top.y), INK)
    for upper, lower in pairwise(LEVELS):
        edge = lower.y + lower.height / 2
        x = lower.down[0] + WIDTH / 2
        axis.plot([upper.down[-1] + WIDTH + 2, x], [upper.y, upper.y], color=INK)
        _arrow(axis, (x, upper.y), (x, edge + 1), INK)
        x = lower.last + WIDTH / 2
        axis.plot([x, x], [edge + 2, upper.y], color=INK)
        _arrow(axis, (x, upper.y), (upper.up[0] - 1, upper.y), INK)
    _arrow(axis, (lowest.down[-1] + WIDTH + 2, lowest.y), (MIDDLE[0] - 1, lowest.y), INK)
    _arrow(axis, (MIDDLE[-1] + WIDTH + 2, lowest.y), (lowest.up[0] - 1, lowest.y), INK)


def _draw_legend(axis: Axes) -> None:
    _arrow(axis, (16, 14), (16, 34), TIME)
    axis.text(28, 24, "time enters", va="center")
    for x, colour, letter, text in (
        (160, RESIZE, "", "convolution"), (310, BLOCK, "", "residual block"),
        (480, BLOCK, "A", "residual block, attention"), (730, ATTENTION, "A", "attention"),
    ):  # fmt: skip
        _box(axis, x, 24, 22, colour, letter)
        axis.text(x + 30, 24, text, va="center")
    _arrow(axis, (858, 24), (894, 24), INK, linestyle="--", linewidth=1)
    axis.text(902, 24, "skip connection", va="center")


def _residual_block(axis: Axes, x: float, y: float, height: float, letter: str) -> None:
    _box(axis, x, y, height, BLOCK, letter)
    below, middle = y - height / 2, x + WIDTH / 2
    _arrow(axis, (middle, below - 20), (middle, below - 2), TIME)


def _box(axis: Axes, x: float, y: float, height: float, colour: str, letter: str) -> None:
    round_corners = BoxStyle("round", pad=0, rounding_size=4)
    corner = (x, y - height / 2)
    axis.add_patch(FancyBboxPatch(corner, WIDTH, height, round_corners, color=colour, linewidth=0))
    middle = x + WIDTH / 2
    axis.text(middle, y, letter, ha="center", va="center_baseline", color="white", fontsize=9)


def _arrow(
    axis: Axes,
    start: tuple[float, float],
    end: tuple[float, float],
    colour: str,
    linestyle: str = "-",
    linewidth: float = 1.6,
) -> None:
    style = {"arrowstyle": "-|>", "color": colour, "linestyle": linestyle, "linewidth": linewidth}
    axis.annotate("", end, start, arrowprops={**style, "shrinkA": 0, "shrinkB": 0})
