"""Curves as small SVG drawings: what a live panel can redraw in a few milliseconds."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT, MARGIN = 300, 190, 34


@dataclass(frozen=True)
class Panel:
    """Curves over one pair of axes.

    Attributes:
        title: stands above.
        curves: (xs, ys, colour) each.
        x, y: (lowest, highest) value of each axis; what lies beyond is cut off.
        x_names: what to write at the two ends of the x axis; by default the numbers.
        mark: an x at which to draw a line, with a dot on the first curve.
    """

    title: str
    curves: Sequence[tuple[Sequence[float], Sequence[float], str]]
    x: tuple[float, float]
    y: tuple[float, float]
    x_names: tuple[str, str] | None = None
    mark: tuple[float, float, str] | None = None
    width: int = WIDTH


def drawing(panels: Sequence[Panel], label: str) -> str:
    """The panels side by side as one SVG; `label` tells those who cannot see it what it shows."""
    total, left, parts = sum(p.width for p in panels), 0, []
    for panel in panels:
        parts.append(_panel(panel, left))
        left += panel.width
    return (
        f'<svg viewBox="0 0 {total} {HEIGHT}" width="{total}" role="img" '
        f'aria-label="{escape(label)}" font-family="sans-serif" font-size="11">'
        + "".join(parts)
        + "</svg>"
    )


def _panel(panel: Panel, left: int) -> str:
    (x_low, x_high), (y_low, y_high) = panel.x, panel.y
    across, down = panel.width - 2 * MARGIN, HEIGHT - 2 * MARGIN

    def x(value: float) -> float:
        return left + MARGIN + across * (value - x_low) / (x_high - x_low)

    def y(value: float) -> float:
        inside = min(max(value, y_low), y_high)
        return MARGIN + down * (y_high - inside) / (y_high - y_low)

    bottom, top, ink = y(y_low), y(y_high), 'fill="currentColor"'  # readable on dark pages too
    first, last = panel.x_names or (f"{x_low:g}", f"{x_high:g}")
    middle = x((x_low + x_high) / 2)
    drawn = [
        f'<rect x="{x(x_low)}" y="{top}" width="{across}" height="{down}" fill="white" '
        'stroke="#bbb"/>',
        f'<text x="{middle}" y="{top - 8}" text-anchor="middle" {ink}>{escape(panel.title)}</text>',
        f'<text x="{x(x_low) - 4}" y="{top + 8}" text-anchor="end" {ink}>{y_high:g}</text>',
        f'<text x="{x(x_low) - 4}" y="{bottom}" text-anchor="end" {ink}>{y_low:g}</text>',
        f'<text x="{x(x_low)}" y="{bottom + 15}" {ink}>{escape(first)}</text>',
        f'<text x="{x(x_high)}" y="{bottom + 15}" text-anchor="end" {ink}>{escape(last)}</text>',
    ]
    if panel.mark:
        at, _, _ = panel.mark
        drawn.append(f'<line x1="{x(at)}" x2="{x(at)}" y1="{top}" y2="{bottom}" stroke="#888"/>')
    for xs, ys, colour in panel.curves:
        points = " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in zip(xs, ys, strict=True))
        drawn.append(
            f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>'
        )
    if panel.mark:
        at, height, colour = panel.mark
        drawn.append(f'<circle cx="{x(at)}" cy="{y(height):.1f}" r="4" fill="{colour}"/>')
    return "".join(drawn)
