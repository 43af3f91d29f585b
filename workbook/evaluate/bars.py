"""One chart for a network: a bar per file, and published figures in a chart of their own."""

import html
from collections.abc import Sequence

from workbook.evaluate.published import Published
from workbook.evaluate.rows import Row

WIDTH = 680
NAMES = 290  # the width of the names on the left
VALUES = 70  # of the numbers on the right
STEP = 24  # from one bar to the next
HEAD = 30


def measured(rows: Sequence[Row]) -> str:
    """An SVG with p50 of each measured row, in milliseconds; "" without any."""
    entries = [(f"{row.runtime}, {row.precision}", row.p50_ms) for row in rows if row.p50_ms]
    return _chart(entries, "p50 in ms, measured here", "here")


def published(figures: Sequence[Published]) -> str:
    """An SVG of what others have published, on an axis of its own; "" without figures."""
    entries = [(f"{one.machine}, {one.runtime}, {one.precision}", one.ms) for one in figures]
    return _chart(entries, "ms, published by others, not measured here", "theirs")


def section(figures: Sequence[Published]) -> list[str]:
    """The part of a page with published figures, and what their sources do not say."""
    if not figures:
        return []
    remarks = sorted({f"{one.source}: {one.remark}" for one in figures})
    return [
        "<h2>Published by others, not measured here</h2>",
        published(figures),
        *(f'<p class="void">{html.escape(remark)}</p>' for remark in remarks),
    ]


def _chart(entries: Sequence[tuple[str, float]], title: str, kind: str) -> str:
    if not entries:
        return ""
    longest = max(value for _, value in entries)
    height = HEAD + STEP * len(entries)
    parts = [
        f'<svg class="bars" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'aria-label="{html.escape(title)}">',
        f'<text x="{WIDTH / 2:.0f}" y="16">{html.escape(title)}</text>',
    ]
    for number, (name, value) in enumerate(entries):
        top = HEAD + STEP * number
        length = (WIDTH - NAMES - VALUES) * value / longest
        parts += [
            f'<text class="side" x="{NAMES - 8}" y="{top + 14}">{html.escape(name)}</text>',
            f'<rect class="{kind}" x="{NAMES}" y="{top}" width="{length:.1f}" height="18"/>',
            f'<text class="value" x="{NAMES + length + 6:.1f}" y="{top + 14}">{value:.3g}</text>',
        ]
    return "\n".join([*parts, "</svg>"])
