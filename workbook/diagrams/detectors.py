"""Pictures of notebooks 09 and 09b: a cell and its box, overlaps, suppression, letterboxing."""

import math
from collections.abc import Iterable

from workbook.diagrams.parts import brace
from workbook.diagrams.picture import SMALL, Picture

STRIDE = 8  # pixels per cell
CELLS = 12  # along each side
BOX = (7, 5, 0.5, 0.0, math.log(2), math.log(4))  # column, row, and the four box numbers
CANDIDATES = (  # of two objects: a score and a box each, best first
    (0.9, (12, 30, 84, 132)),
    (0.8, (20, 38, 94, 142)),
    (0.7, (118, 40, 190, 138)),
    (0.6, (4, 44, 74, 140)),
    (0.5, (128, 30, 198, 128)),
)
NMS_LIMIT = 0.5
SQUARE = (1, 1, 5, 5)
OTHERS = {"moved by half": (3, 1, 7, 5), "inside": (2, 2, 4, 4), "diagonal": (3, 3, 7, 7)}


def decoded(column: int, row: int, *numbers: float) -> tuple[float, float, float, float]:
    """The box, x1, y1, x2, y2 in pixels, of a cell's four numbers.

    >>> [round(side) for side in decoded(7, 5, 0.5, 0, math.log(2), math.log(4))]
    [56, 28, 72, 60]
    """
    x = STRIDE * (column + 0.5 + numbers[0])
    y = STRIDE * (row + 0.5 + numbers[1])
    width = STRIDE * math.exp(numbers[2])
    height = STRIDE * math.exp(numbers[3])
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


def shared_cells(a: tuple, b: tuple) -> tuple[int, int]:
    """The unit squares that both boxes cover, and those that at least one covers.

    >>> [shared_cells(SQUARE, other) for other in OTHERS.values()]
    [(8, 24), (4, 16), (4, 28)]
    """
    covered = [_cells(a), _cells(b)]
    return len(covered[0] & covered[1]), len(covered[0] | covered[1])


def _cells(box: tuple) -> set[tuple[int, int]]:
    x1, y1, x2, y2 = box
    return {(x, y) for x in range(x1, x2) for y in range(y1, y2)}


def grid_cell() -> Picture:
    """A grid over a picture, one cell, the box that its numbers stand for, and the numbers."""
    column, row, *numbers = BOX
    x1, y1, x2, y2 = decoded(column, row, *numbers)
    picture = Picture(
        "A cell, its box and its fifteen numbers",
        f"A grid of {CELLS} x {CELLS} cells. The cell in row {row}, column {column} moves the "
        f"centre half a cell to the right and stands for a box from {x1:g}, {y1:g} to {x2:g}, "
        f"{y2:g}. Each cell has one number for objectness, four for the box and ten for the digit.",
        356,
    )
    left = 24
    top = 46
    scale = 3.0
    side = scale * STRIDE
    picture.text(left + 6 * side, 24, "96 x 96 pixels, 12 x 12 cells", size=SMALL)
    picture.box(left, top, CELLS * side, CELLS * side, "plain", corner=0)
    for line in range(1, CELLS):
        at = line * side
        picture.line((left + at, top), (left + at, top + CELLS * side), look="thin")
        picture.line((left, top + at), (left + CELLS * side, top + at), look="thin")
    picture.box(left + column * side, top + row * side, side, side, "blue", corner=0)
    wide = scale * (x2 - x1)
    picture.box(left + scale * x1, top + scale * y1, wide, scale * (y2 - y1), "orange-line", 0)
    centre = (left + scale * (x1 + x2) / 2, top + scale * (y1 + y2) / 2)
    picture.circle(left + (column + 0.5) * side, centre[1], 3.5, "blue-dark")
    picture.circle(*centre, 4.5, "orange-dark")
    _fifteen_numbers(picture, 344, 52)
    x = 344
    picture.text(x, 188, f"cell: row {row}, column {column}", "bold", SMALL, anchor="start")
    computed = (
        f"x = 8 ({column}.5 + {numbers[0]:g}) = {(x1 + x2) / 2:g}",
        f"y = 8 ({row}.5 + {numbers[1]:g}) = {(y1 + y2) / 2:g}",
        f"width = 8 x {math.exp(numbers[2]):g} = {x2 - x1:g}",
        f"height = 8 x {math.exp(numbers[3]):g} = {y2 - y1:g}",
    )
    picture.lines(x, 218, *computed, anchor="start")
    corners = f"box: {x1:g}, {y1:g}, {x2:g}, {y2:g}"
    picture.text(x, 322, corners, "bold", SMALL, anchor="start")
    return picture


def _fifteen_numbers(picture: Picture, x: float, y: float) -> None:
    """The numbers of one cell as small squares, with what they are for."""
    wide = 20
    groups = (("object?", 1, "green"), ("box", 4, "blue"), ("ten digits", 10, "orange"))
    picture.text(x, 24, "15 numbers per cell", "bold", SMALL, anchor="start")
    for name, count, look in groups:
        for place in range(count):
            picture.box(x + wide * place, y, wide - 3, 26, look, corner=2)
        end = x + wide * count - 3
        brace(picture, x, end, y + 32)
        align = "start" if count == 1 else "middle"
        middle = x if count == 1 else (x + end) / 2
        drop = 92 if count == 1 else 64
        picture.text(middle, y + drop, name, "quiet", SMALL, anchor=align)
        x = end + 11


def iou() -> Picture:
    """Two squares in three places: the cells of one, of the other and of both."""
    counts = {name: shared_cells(SQUARE, other) for name, other in OTHERS.items()}
    described = "; ".join(
        f"{name}: {both} of {either} squares" for name, (both, either) in counts.items()
    )
    picture = Picture(
        "Intersection over union, counted",
        f"Two boxes on squared paper in three places. Squares in both boxes, of squares in at "
        f"least one: {described}.",
        292,
    )
    side = 25
    for place, (name, other) in enumerate(OTHERS.items()):
        left = 10 + 224 * place
        picture.text(left + 4 * side, 24, name, "bold")
        first = _cells(SQUARE)
        second = _cells(other)
        for x, y in sorted(first | second):
            look = "blue" if (x, y) in first else "orange"
            if (x, y) in first & second:
                look = "violet"
            picture.box(left + side * x, 28 + side * y, side, side, look, corner=0)
        for (x1, y1, x2, y2), look in ((SQUARE, "blue-line"), (other, "orange-line")):
            width = side * (x2 - x1)
            picture.box(left + side * x1, 28 + side * y1, width, side * (y2 - y1), look, 0)
        both, either = counts[name]
        picture.text(left + 4 * side, 232, f"IoU = {both} / {either} = {both / either:.2f}")
    picture.text(340, 270, "squares in both / squares in at least one", "quiet", SMALL)
    return picture


def suppressed(limit: float = NMS_LIMIT) -> list[tuple[int, list[int]]]:
    """The steps of NMS on CANDIDATES: the box that is kept, and those that it removes.

    >>> suppressed()
    [(0, [1, 3]), (2, [4])]
    """
    waiting = list(range(len(CANDIDATES)))
    steps = []
    while waiting:
        best = waiting.pop(0)
        removed = [i for i in waiting if _overlap(CANDIDATES[best][1], CANDIDATES[i][1]) > limit]
        waiting = [i for i in waiting if i not in removed]
        steps.append((best, removed))
    return steps


def _overlap(a: tuple, b: tuple) -> float:
    both, either = shared_cells(a, b)
    return both / either


def nms() -> Picture:
    """The candidates of two objects, and the two steps that leave one box for each."""
    steps = suppressed()
    scores = [score for score, _ in CANDIDATES]
    described = ". ".join(
        f"Step {number}: {scores[best]:g} is kept and removes {_listed(removed)}"
        for number, (best, removed) in enumerate(steps, 1)
    )
    picture = Picture(
        "Non-maximum suppression, step by step",
        f"Five boxes around two objects, with scores {_listed(range(5))}. {described}.",
        272,
    )
    kept: list[int] = []
    waiting = list(range(len(CANDIDATES)))
    _panel(picture, 10, "five candidates", waiting, kept, [])
    picture.text(115, 214, "their scores:", size=SMALL)
    picture.text(115, 240, _listed(waiting), "quiet", SMALL)
    for number, (best, removed) in enumerate(steps, 1):
        left = 10 + 224 * number
        kept.append(best)
        waiting = [i for i in waiting if i != best and i not in removed]
        _panel(picture, left, f"step {number}", waiting, kept, removed)
        picture.text(left + 105, 214, f"keep {scores[best]:g}", "bold", SMALL)
        picture.text(left + 105, 240, f"remove {_listed(removed)}", "quiet", SMALL)
    return picture


def _listed(chosen: Iterable[int]) -> str:
    """The scores of candidates, with commas."""
    return ", ".join(f"{CANDIDATES[i][0]:g}" for i in chosen)


def _panel(
    picture: Picture,
    left: float,
    title: str,
    waiting: list[int],
    kept: list[int],
    removed: list[int],
) -> None:
    """Boxes at one step: waiting ones in grey, kept ones in green, removed ones dashed."""
    picture.text(left + 105, 24, title, "bold")
    picture.box(left, 44, 210, 146, "plain", corner=4)
    looks = (("orange-line dashed", removed), ("line", waiting), ("green-line thick", kept))
    for look, chosen in looks:
        for i in chosen:
            x1, y1, x2, y2 = CANDIDATES[i][1]
            picture.box(left + 4 + x1, 28 + y1, x2 - x1, y2 - y1, look, corner=0)


def letterbox() -> Picture:
    """A wide picture, the square input that it is fitted into, and the way back of a box."""
    picture = Picture(
        "Letterboxing, and the way back",
        "A picture of 640 x 480 pixels becomes 416 x 312, with grey borders of 52 rows above and "
        "below, in an input of 416 x 416. A box takes the way back: subtract the border, divide "
        "by the scale.",
        276,
    )
    scale = 416 / 640
    border = (416 - 480 * scale) / 2
    unit = 0.42
    picture.text(144, 24, "picture, 640 x 480", "bold")
    picture.box(10, 52, 640 * unit, 480 * unit, "blue", corner=0)
    picture.box(10 + 260 * unit, 52 + 150 * unit, 160 * unit, 240 * unit, "orange-line", 0)
    left = 480
    side = 416 * unit
    picture.text(left + side / 2, 24, "input, 416 x 416", "bold")
    picture.box(left, 66, side, side, "plain", corner=0)
    picture.box(left, 66 + border * unit, side, 480 * scale * unit, "blue", corner=0)
    picture.box(
        left + 260 * scale * unit,
        66 + (border + 150 * scale) * unit,
        160 * scale * unit,
        240 * scale * unit,
        "orange-line",
        0,
    )
    picture.arrow((296, 120), (464, 120), look="blue-line")
    picture.text(380, 96, f"x {scale:g}, + {border:g} rows", size=SMALL)
    picture.arrow((464, 190), (296, 190), look="orange-line")
    picture.text(380, 214, f"- {border:g} rows, / {scale:g}", size=SMALL)
    return picture
