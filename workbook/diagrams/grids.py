"""Pictures of notebook 05: the affine ruler, how many grids a tensor has, and where they end."""

import numpy as np

from workbook.diagrams.parts import brace, number, number_line
from workbook.diagrams.picture import HUES, SMALL, Picture

LOW = -1.0  # the range of the ruler
HIGH = 2.5
Q_MIN = -4  # three bits
Q_MAX = 3
REALS = (-0.7, 0.0, 0.8, 2.8)
LEVELS = 8  # of the two grids in `least_error`


def affine_parameters(low: float, high: float) -> tuple[float, int]:
    """Scale and zero point of a grid of three bits from `low` to `high`.

    >>> affine_parameters(-1.0, 2.5)
    (0.5, -2)
    """
    scale = (high - low) / (Q_MAX - Q_MIN)
    return scale, round(Q_MIN - low / scale)


def quantize(r: float, scale: float, zero_point: int) -> int:
    """The mark of a real number: q = clip(round(r / s) + z).

    >>> [quantize(r, 0.5, -2) for r in (-0.7, 0.0, 0.8, 2.8)]
    [-3, -2, 0, 3]
    """
    return min(max(round(r / scale) + zero_point, Q_MIN), Q_MAX)


def ruler() -> Picture:
    """Real numbers above, the marks of a 3-bit grid below, an arrow from each to its mark."""
    scale, zero_point = affine_parameters(LOW, HIGH)
    marks = range(Q_MIN, Q_MAX + 1)
    described = ", ".join(
        f"{number(r, 1)} becomes {number(quantize(r, scale, zero_point))}" for r in REALS
    )
    picture = Picture(
        "The affine ruler",
        f"A grid of eight marks with scale {scale:g} and zero point {number(zero_point)}: "
        f"{described}, because values above {HIGH:g} are clipped.",
        344,
    )

    def position(r: float) -> float:
        return 258 + 138 * r

    picture.text(8, 42, "r", "bold", anchor="start")
    picture.box(40, 76, position(LOW) - 40, 104, "plain", corner=0)
    picture.box(position(HIGH), 76, 668 - position(HIGH), 104, "plain", corner=0)
    picture.arrow((40, 76), (676, 76))
    number_line(
        picture,
        position(LOW),
        position(HIGH),
        180,
        [position(scale * (q - zero_point)) for q in marks],
    )
    for r in REALS:
        q = quantize(r, scale, zero_point)
        x = position(r)
        end = position(scale * (q - zero_point))
        picture.text(x, 42, number(r, 1))
        picture.arrow((x, 76), (end, 170), look="orange-line" if r > HIGH else "blue-line")
        picture.circle(x, 76, 6, "orange-dark" if r > HIGH else "blue-dark")
    picture.text(position(0.9) + 18, 126, "rounded", "quiet", SMALL, anchor="start")
    picture.text(position(HIGH) - 4, 126, "clipped", "quiet", SMALL, anchor="end")

    picture.text(8, 212, "q", "bold", anchor="start")
    picture.text(8, 244, "s(q − z)", "quiet", SMALL, anchor="start")
    for q in marks:
        x = position(scale * (q - zero_point))
        picture.text(x, 212, number(q), "bold")
        picture.text(x, 244, number(scale * (q - zero_point), 1), "quiet", SMALL)
    zero = position(0)
    picture.box(zero - 28, 196, 56, 64, "orange-line")
    picture.text(zero, 286, f"zero point z = {number(zero_point)}")
    brace(picture, position(1), position(1 + scale), 260)
    picture.text(position(1 + scale / 2), 286, f"scale s = {scale:g}")
    picture.text(340, 326, "q = clip(round(r / s) + z)", "bold")
    return picture


def granularity() -> Picture:
    """The same weight matrix with one grid, one per row, and two per row."""
    kinds = (("per tensor", 4, 8), ("per channel", 1, 8), ("per group", 1, 4))
    counts = [4 // rows * 8 // columns for _, rows, columns in kinds]
    described = ", ".join(
        f"{name}: {count} scale{'s' * (count > 1)}" for (name, _, _), count in zip(kinds, counts)
    )
    picture = Picture(
        "How many grids per tensor?",
        f"A matrix of four channels and eight weights each. Weights of one colour share a scale. "
        f"{described}.",
        240,
    )
    for place, ((name, rows, columns), count) in enumerate(zip(kinds, counts)):
        left = 16 + 224 * place
        picture.text(left + 100, 28, name, "bold")
        _coloured_matrix(picture, left, 54, rows, columns)
        picture.text(left + 100, 188, f"{count} scale{'s' * (count > 1)}")
    picture.text(340, 220, "one row is one output channel", "quiet", SMALL)
    return picture


def _coloured_matrix(picture: Picture, left: int, top: int, rows: int, columns: int) -> None:
    """4 x 8 cells in groups of `rows` x `columns`; each group has its colour and its outline."""
    side = 25
    for number_of_group in range(4 // rows * 8 // columns):
        row, column = divmod(number_of_group, 8 // columns)
        hue = HUES[row % 4]
        x = left + side * columns * column
        y = top + side * rows * row
        for cell in range(rows * columns):
            down, right = divmod(cell, columns)
            look = hue if column == 0 else f"{hue}-dark"
            picture.box(x + 3 + side * right, y + 3 + side * down, side - 6, side - 6, look, 3)
        picture.box(x, y, side * columns, side * rows, "empty", corner=4)


def least_error_end(values: np.ndarray) -> float:
    """The end of a grid from 0 with LEVELS marks that has the least mean square error."""
    ends = np.linspace(values.max() / 20, values.max(), 200)
    errors = []
    for end in ends:
        step = end / (LEVELS - 1)
        marks = np.clip(np.round(values / step), 0, LEVELS - 1) * step
        errors.append(np.mean((marks - values) ** 2))
    return float(ends[int(np.argmin(errors))])


def least_error() -> Picture:
    """The values of an activation with a grid over all of them, and with a shorter grid."""
    n = 2000
    values = -np.log1p(-(np.arange(n) + 0.5) / n)  # an exponential distribution, evenly sampled
    longest = float(values.max())
    best = least_error_end(values)
    picture = Picture(
        "A grid up to the maximum, and the grid with the least error",
        f"Most values are small, a few are large. A grid up to the maximum, {longest:.1f}, has "
        f"steps of {longest / (LEVELS - 1):.2f}. The grid with the least error ends at {best:.1f}, "
        f"has steps of {best / (LEVELS - 1):.2f} and clips what is above.",
        480,
    )
    ends = (("up to the maximum", longest), ("the least error", best))
    for place, (title, end) in enumerate(ends):
        _density(picture, 30 + 234 * place, title, end, longest)
    return picture


def _density(picture: Picture, top: int, title: str, end: float, longest: float) -> None:
    """A density with the marks of a grid from 0 to `end`; the axis goes to `longest`."""
    unit = 620 / longest
    floor = top + 140
    steps = np.linspace(0, longest, 60)
    curve = [(30 + unit * x, floor - 128 * float(np.exp(-x))) for x in steps]
    right = 30 + unit * longest
    marks = [30 + unit * end * level / (LEVELS - 1) for level in range(LEVELS)]
    picture.text(right, top, title, "bold", anchor="end")
    picture.path([(30, floor), *curve, (right, floor)], "blue")
    for mark in marks:
        picture.line((mark, top + 34), (mark, floor + 12), look="line")
    picture.line((30, floor), (right, floor))
    brace(picture, marks[0], marks[1], floor + 18)
    step = f"step {end / (LEVELS - 1):.2f}"
    picture.text(30, floor + 42, step, size=SMALL, anchor="start")
    if end < longest:
        picture.arrow((right, floor + 14), (marks[-1] + 4, floor + 14), look="orange-line")
        picture.text((marks[-1] + right) / 2, floor + 42, "clipped", "quiet", SMALL)


def ranges() -> Picture:
    """The values of a normalized image, and three grids from three ways to prepare images."""
    from helpers.data import normalize

    extremes = normalize(np.array([[[0, 255]]], np.uint8)).ravel()
    low = float(extremes[0])
    high = float(extremes[1])
    grids = (
        ("normalized images", low, high, "nothing is clipped"),
        ("pixels from 0 to 1", 0.0, 1.0, "most is clipped"),
        ("pixels from 0 to 255", 0.0, 255.0, "four marks are left"),
    )
    coarse = (255.0 - 0.0) / 255
    picture = Picture(
        "The range of the image, and what a wrong calibration does to it",
        f"Normalized pixels lie between {low:.2f} and {high:.2f}. Calibrated with normalized "
        "images, the 8-bit grid has that range. With pixels from 0 to 1 it ends at 1, and all "
        f"above is clipped. With pixels from 0 to 255 the step is {coarse:.0f}, and only four "
        "marks are near.",
        452,
    )
    left = _place(low)
    right = _place(high)
    picture.text(left, 24, "what the network gets: normalized pixels", "bold", anchor="start")
    _bar(picture, 58, low, high, "blue")
    picture.text(left, 106, "its 8-bit grid, calibrated with", "bold", anchor="start")
    for row, (title, start, end, note) in enumerate(grids):
        y = 146 + 100 * row
        picture.text(left, y, title, size=SMALL, anchor="start")
        picture.text(right, y, note, "quiet", SMALL, anchor="end")
        if _place(end) <= right:
            _bar(picture, y + 34, start, end, "green")
        else:
            _few_marks(picture, y + 34, (end - start) / 255)
        for outside, edge in ((left, _place(start)), (right, _place(end))):
            if left < edge < right:
                picture.arrow((outside, y + 34), (edge, y + 34), look="orange-line")
    return picture


def _place(value: float) -> float:
    return 24 + 182 * (value + 0.43)


def _bar(picture: Picture, y: float, low: float, high: float, look: str) -> None:
    """A range of values as a bar with its ends written inside."""
    picture.box(_place(low), y - 16, _place(high) - _place(low), 32, look, corner=0)
    digits = 0 if low == 0 else 2
    picture.text(_place(low) + 8, y, number(low, digits), size=SMALL, anchor="start")
    picture.text(_place(high) - 8, y, number(high, digits), size=SMALL, anchor="end")


def _few_marks(picture: Picture, y: float, step: float) -> None:
    """The marks from 0 that are in the picture."""
    for mark in range(4):
        x = _place(step * mark)
        picture.line((x, y - 16), (x, y + 16), look="green-line")
        picture.text(x, y + 32, number(step * mark), size=SMALL)
