"""Pictures of notebooks 10 and 10b: one outlier and the grid, the search for layers in float."""

from collections.abc import Sequence

from workbook.diagrams.parts import brace, number, number_line
from workbook.diagrams.picture import SMALL, Picture

NUMBERS = (0.1, 0.3, 0.5, 0.8, 1.1, 1.3, 1.7, 2.0, 2.4, 2.8, 14.0)  # the last is far away
CLIPPED = 2.8  # the end of the shorter grid
LEVELS = 8

MACS = {"a": 10, "b": 20, "c": 5, "d": 65}  # of the made-up network of notebook 10b, in per cent
TARGET = 0.95
# what was tried, the layers in float, the score; tests/test_10b compares it with the notebook
STEPS = (
    ("start", "", 0.4),
    ("grow", "a", 0.7),
    ("grow", "ab", 0.7),
    ("grow", "abc", 1.0),
    ("shrink", "ac", 1.0),
    ("shrink", "c", 0.7),
    ("shrink", "a", 0.7),
)


def used_marks(values: Sequence[float], end: float) -> int:
    """How many marks of a grid from 0 to `end` are the nearest to at least one of the values.

    >>> used_marks((0.1, 0.2, 7.0), 7.0), used_marks((0.1, 0.2, 7.0), 0.7)
    (2, 3)
    """
    step = end / (LEVELS - 1)
    return len({min(round(value / step), LEVELS - 1) for value in values})


def outlier() -> Picture:
    """The same numbers on a grid that reaches the outlier, and on one that clips it."""
    longest = max(NUMBERS)
    used = {end: used_marks(NUMBERS, end) for end in (longest, CLIPPED)}
    picture = Picture(
        "One outlier and the grid",
        f"Ten numbers below {CLIPPED:g} and one at {longest:g}. A grid of {LEVELS} marks up to "
        f"{longest:g} uses {used[longest]} of them. A grid up to {CLIPPED:g} uses "
        f"{used[CLIPPED]}, and clips the outlier.",
        372,
    )
    for top, title, end in ((30, "min-max", longest), (210, "clipped", CLIPPED)):
        _on_grid(picture, top, f"{title}: {used[end]} of {LEVELS} marks are used", end)
    return picture


def _on_grid(picture: Picture, top: int, title: str, end: float) -> None:
    """The numbers, a grid from 0 to `end` below them, and lines from each number to its mark."""
    unit = 620 / max(NUMBERS)
    step = end / (LEVELS - 1)
    picture.text(30, top, title, "bold", anchor="start")
    grid = top + 96
    for value in NUMBERS:
        nearest = min(round(value / step), LEVELS - 1) * step
        hue = "orange" if value > end else "blue"
        picture.line((30 + unit * value, top + 40), (30 + unit * nearest, grid), look=f"{hue}-line")
        picture.circle(30 + unit * value, top + 40, 6, f"{hue}-dark")
    marks = [30 + unit * step * level for level in range(LEVELS)]
    number_line(picture, marks[0], marks[-1], grid, marks, tall=10)
    brace(picture, marks[0], marks[1], grid + 18)
    picture.text(30, grid + 46, f"step {number(step, 1)}", size=SMALL, anchor="start")
    if end == max(NUMBERS):
        picture.text(marks[4], grid + 46, "not used", "quiet", SMALL)
    else:
        picture.text(marks[-1] + 20, grid + 46, "the outlier is clipped", "quiet", SMALL, "start")


def search() -> Picture:
    """Each candidate of the search: which layers are in float, their share, the score."""
    last = next(kept for _, kept, score in reversed(STEPS) if score >= TARGET)
    picture = Picture(
        "The search for the layers that stay in float",
        "Four layers, as wide as their share of the arithmetic. The search keeps one more layer in "
        "float at each step until the score is reached, and then gives back each one without "
        f"which it is still reached. It ends with {' and '.join(last)}.",
        70 + 42 * len(STEPS) + 52,
    )
    for x, text in ((250, "layers"), (468, "float"), (546, "score")):
        picture.text(x, 26, text, "bold")
    for row, (name, kept, score) in enumerate(STEPS):
        y = 66 + 42 * row
        picture.text(14, y, name, size=SMALL, anchor="start")
        _layers(picture, y, kept)
        picture.text(468, y, f"{sum(MACS[layer] for layer in kept)} %", size=SMALL)
        picture.text(546, y, number(score, 1), size=SMALL)
        if kept == last:
            picture.text(580, y, "chosen", "bold", SMALL, "start")
        else:
            picture.text(580, y, ("too low", "reached")[score >= TARGET], "quiet", SMALL, "start")
    y = 66 + 42 * len(STEPS)
    for x, look, text in ((80, "orange", "float"), (180, "blue", "int8")):
        picture.box(x, y - 10, 24, 20, look, corner=0)
        picture.text(x + 34, y, text, size=SMALL, anchor="start")
    picture.text(280, y, "as wide as their share of the MACs", "quiet", SMALL, "start")
    return picture


def _layers(picture: Picture, y: float, kept: str) -> None:
    """The layers in a row, float in one colour and int8 in another."""
    x = 80.0
    for layer, share in MACS.items():
        width = 3.4 * share
        picture.box(x, y - 15, width, 30, "orange" if layer in kept else "blue", corner=0)
        picture.text(x + width / 2, y, layer, size=SMALL)
        x += width
