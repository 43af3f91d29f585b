"""Parts that several pictures share: grids of cells, number lines, braces, files, sheets."""

from collections.abc import Iterable, Sequence

from workbook.diagrams.picture import SMALL, Picture


def grid(
    picture: Picture,
    x: float,
    y: float,
    values: Iterable[Iterable[object]],
    looks: Iterable[Iterable[str]],
    width: float,
    height: float | None = None,
) -> None:
    """Cells of `width` x `height` units, rows below each other, each with its value and its look.

    Values are shown as they are; "" leaves a cell empty. Cells are squares without `height`.
    """
    tall = height or width
    for row, (texts, colours) in enumerate(zip(values, looks)):
        for column, (value, look) in enumerate(zip(texts, colours)):
            left = x + column * width
            top = y + row * tall
            picture.box(left, top, width, tall, look, corner=0)
            if value != "":
                picture.text(left + width / 2, top + tall / 2, str(value), size=SMALL)


def number_line(
    picture: Picture, x0: float, x1: float, y: float, marks: Sequence[float], tall: float = 8
) -> None:
    """A horizontal line with a mark at each position."""
    picture.line((x0, y), (x1, y))
    for mark in marks:
        picture.line((mark, y - tall), (mark, y + tall))


def brace(picture: Picture, x0: float, x1: float, y: float, depth: float = 10) -> None:
    """A bracket below the interval from x0 to x1, with a tip in its middle; y is its upper edge."""
    middle = (x0 + x1) / 2
    picture.line((x0, y), (x0, y + depth / 2), (x1, y + depth / 2), (x1, y))
    picture.line((middle, y + depth / 2), (middle, y + depth))


def file(
    picture: Picture, x: float, y: float, width: float, height: float, text: str, look: str
) -> None:
    """A sheet of paper with a folded corner and a name."""
    fold = 14
    right = x + width
    bottom = y + height
    outline = [(x, y), (right - fold, y), (right, y + fold), (right, bottom), (x, bottom), (x, y)]
    picture.path(outline, look)
    picture.path([(right - fold, y), (right - fold, y + fold), (right, y + fold)], look)
    picture.text(x + (width - fold / 2) / 2, y + height / 2, text, size=SMALL)


def sheets(picture: Picture, x: float, y: float, side: float, count: int, look: str) -> None:
    """`count` squares behind each other, for the feature maps of a layer; (x, y) is the middle."""
    step = 3
    spread = step * (count - 1)
    left = x - (side + spread) / 2
    top = y - (side + spread) / 2
    for number in range(count):
        back = step * number
        picture.box(left + back, top + back, side, side, look, corner=1)


def number(value: float, digits: int = 0) -> str:
    """A number as text, with commas and a proper minus sign.

    >>> number(-1234), number(-0.5, 2)
    ('−1,234', '−0.50')
    """
    return f"{value:,.{digits}f}".replace("-", "\N{MINUS SIGN}")
