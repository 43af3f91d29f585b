"""Pictures of quality against time and against size, as SVG in the colours of the page."""

import html
import math
from collections.abc import Callable, Sequence

from workbook.evaluate import pareto
from workbook.evaluate.rows import Row

WIDTH = 460
HEIGHT = 300
LEFT = 76
RIGHT = 20
TOP = 16
BOTTOM = 48
RADIUS = 9


def picture(rows: Sequence[Row], title: str, value: Callable[[Row], float | None]) -> str:
    """An SVG with a point for each row: value(row) on a logarithmic axis, its quality above.

    A point has the number of its row in `rows`, counted from 1. Filled points are on the Pareto
    front of time, size and quality. "" if fewer than one row has both values.
    """
    points = [
        (number, row, value(row) or 0, row.quality)
        for number, row in enumerate(rows, 1)
        if row.quality is not None and (value(row) or 0) > 0
    ]
    if not points:
        return ""
    best = {id(row) for row in pareto.front(rows)}
    across = _log_axis([x for _, _, x, _ in points])
    up = _axis([y for *_, y in points])
    metric = points[0][1].metric or "quality"
    hint = ", less is better" if metric in pareto.ERRORS else ""
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{html.escape(metric)} against {html.escape(title)}">'
    ]
    parts += _frame(across, up, title, metric + hint)
    # points on the front come last, so that no other one covers them
    for number, row, x, y in sorted(points, key=lambda point: id(point[1]) in best):
        kind = "best" if id(row) in best else "other"
        left = _place(x, across, LEFT, WIDTH - RIGHT, math.log10)
        top = _place(y, up, HEIGHT - BOTTOM, TOP)
        about = html.escape(f"{row.file} ({row.runtime}): {x:.3g}, {y:.4g}")
        parts.append(
            f'<g class="{kind}"><title>{about}</title>'
            f'<circle cx="{left:.1f}" cy="{top:.1f}" r="{RADIUS}"/>'
            f'<text x="{left:.1f}" y="{top + 4:.1f}">{number}</text></g>'
        )
    return "\n".join([*parts, "</svg>"])


def _frame(
    across: tuple[float, float, list[float]],
    up: tuple[float, float, list[float]],
    title: str,
    metric: str,
) -> list[str]:
    bottom = HEIGHT - BOTTOM
    parts = []
    for tick in across[2]:
        left = _place(tick, across, LEFT, WIDTH - RIGHT, math.log10)
        parts.append(f'<path class="grid" d="M{left:.1f} {TOP}V{bottom}"/>')
        parts.append(f'<text class="tick" x="{left:.1f}" y="{bottom + 16}">{tick:g}</text>')
    for tick in up[2]:
        top = _place(tick, up, bottom, TOP)
        parts.append(f'<path class="grid" d="M{LEFT} {top:.1f}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text class="side" x="{LEFT - 6}" y="{top + 4:.1f}">{tick:.6g}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(
        f'<text class="tick" x="{middle:.1f}" y="{HEIGHT - 8}">{html.escape(title)}</text>'
    )
    half = (TOP + bottom) / 2
    parts.append(
        f'<text class="tick" transform="translate(12 {half:.1f}) rotate(-90)">'
        f"{html.escape(metric)}</text>"
    )
    return parts


def _place(
    value: float,
    axis: tuple[float, float, list[float]],
    start: float,
    end: float,
    scale: Callable[[float], float] = float,
) -> float:
    low, high, _ = axis
    share = (scale(value) - scale(low)) / (scale(high) - scale(low))
    return start + share * (end - start)


def _log_axis(values: Sequence[float]) -> tuple[float, float, list[float]]:
    """The ends, with room at both, and ticks at 1, 2 and 5 times powers of ten."""
    low = min(values) / 1.3
    high = max(values) * 1.3
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [factor * 10.0**power for power in powers for factor in (1, 2, 5)]
    return low, high, [tick for tick in ticks if low <= tick <= high]


def _axis(values: Sequence[float]) -> tuple[float, float, list[float]]:
    """The ends, with room at both, and ticks at steps of 1, 2 or 5 times a power of ten."""
    span = max(values) - min(values)
    room = max(span * 0.15, abs(max(values)) * 0.02) or 1
    low = min(values) - room
    high = max(values) + room
    power = 10.0 ** math.floor(math.log10(high - low))
    step = next(power * part for part in (1, 0.5, 0.2) if (high - low) / (power * part) >= 4)
    first = math.ceil(low / step)
    last = math.floor(high / step)
    return low, high, [number * step for number in range(first, last + 1)]
