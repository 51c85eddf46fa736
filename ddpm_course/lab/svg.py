"""Curves as small SVG drawings, which a live panel can redraw in a few milliseconds."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT, MARGIN = 300, 190, 34


@dataclass(frozen=True)
class Axes:
    """Curves over one pair of axes.

    Attributes:
        title: text above the axes.
        curves: (xs, ys, colour) per curve.
        x, y: (lowest, highest) value of each axis. Values of y beyond it are clamped.
        x_names: text at the two ends of the x axis, by default the numbers.
        mark: (x, y, colour) of a dot with a vertical line through it.
    """

    title: str
    curves: Sequence[tuple[Sequence[float], Sequence[float], str]]
    x: tuple[float, float]
    y: tuple[float, float]
    x_names: tuple[str, str] | None = None
    mark: tuple[float, float, str] | None = None
    width: int = WIDTH


def drawing(axes: Sequence[Axes], label: str) -> str:
    """All axes side by side as one SVG, with `label` as its alternative text."""
    total, left, parts = sum(a.width for a in axes), 0, []
    for a in axes:
        parts.append(_drawn(a, left))
        left += a.width
    return (
        f'<svg viewBox="0 0 {total} {HEIGHT}" width="{total}" role="img" '
        f'aria-label="{escape(label)}" font-family="sans-serif" font-size="11">'
        + "".join(parts)
        + "</svg>"
    )


def _drawn(axes: Axes, left: int) -> str:
    (x_low, x_high), (y_low, y_high) = axes.x, axes.y
    across, down = axes.width - 2 * MARGIN, HEIGHT - 2 * MARGIN

    def x(value: float) -> float:
        return left + MARGIN + across * (value - x_low) / (x_high - x_low)

    def y(value: float) -> float:
        inside = min(max(value, y_low), y_high)
        return MARGIN + down * (y_high - inside) / (y_high - y_low)

    start, end, bottom, top = x(x_low), x(x_high), y(y_low), y(y_high)
    first, last = axes.x_names or (f"{x_low:g}", f"{x_high:g}")

    def text(at: float, height: float, words: str, anchor: str) -> str:
        # currentColor is readable on dark pages, too
        place = f'x="{at}" y="{height}" text-anchor="{anchor}" fill="currentColor"'
        return f"<text {place}>{escape(words)}</text>"

    parts = [
        f'<rect x="{start}" y="{top}" width="{across}" height="{down}" fill="white" '
        'stroke="#bbb"/>',
        text((start + end) / 2, top - 8, axes.title, "middle"),
        text(start - 4, top + 8, f"{y_high:g}", "end"),
        text(start - 4, bottom, f"{y_low:g}", "end"),
        text(start, bottom + 15, first, "start"),
        text(end, bottom + 15, last, "end"),
    ]
    if axes.mark:
        at = x(axes.mark[0])
        parts.append(f'<line x1="{at}" x2="{at}" y1="{top}" y2="{bottom}" stroke="#888"/>')
    for xs, ys, colour in axes.curves:
        points = " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in zip(xs, ys, strict=True))
        parts.append(
            f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>'
        )
    if axes.mark:
        at, height, colour = axes.mark
        parts.append(f'<circle cx="{x(at)}" cy="{y(height):.1f}" r="4" fill="{colour}"/>')
    return "".join(parts)
