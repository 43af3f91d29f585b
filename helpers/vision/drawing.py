"""Draw boxes with labels on a picture."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import ArrayLike

from helpers.vision.boxes import as_boxes
from helpers.vision.images import Source, read_image

BLACK = (0, 0, 0)
WHITE = (255, 255, 255)
FONT = cv2.FONT_HERSHEY_SIMPLEX
LETTER_HEIGHT = 22  # pixels of a capital letter at scale 1
DASH = 4  # length of a dash, in line widths


def draw_boxes(
    image: Source,
    boxes: ArrayLike,
    labels: Sequence[str] = (),
    colour: tuple[int, int, int] = WHITE,
    dashed: bool = False,
    enlarge: int = 1,
) -> np.ndarray:
    """A copy of `image` as RGB uint8, with `boxes` (x1 y1 x2 y2) and a label above each.

    A label that would leave the picture, or cover that of an earlier box, moves down. Lines have
    a black edge, so that they are visible on any ground and without colours. Use `dashed` to tell
    two kinds of boxes apart, and `enlarge` for small pictures. Boxes are clipped to the picture.
    ValueError if there are labels, and another number of boxes.
    """
    picture = read_image(image)
    boxes = as_boxes(boxes)
    if len(labels) not in (0, len(boxes)):
        raise ValueError(f"{len(boxes)} boxes need as many labels, not {len(labels)}")
    if not np.isfinite(boxes).all():
        raise ValueError("some boxes contain NaN or infinity")
    picture = cv2.resize(picture, None, fx=enlarge, fy=enlarge, interpolation=cv2.INTER_NEAREST)
    rows, columns = picture.shape[:2]
    width = max(1, round(max(rows, columns) / 400))
    corners = (boxes * enlarge).round().clip(0, [columns - 1, rows - 1] * 2).astype(int)
    for x1, y1, x2, y2 in corners.tolist():
        sides = [(x1, y1, x2, y1), (x2, y1, x2, y2), (x2, y2, x1, y2), (x1, y2, x1, y1)]
        for side in sides:
            cv2.line(picture, side[:2], side[2:], BLACK, 3 * width)
        for side in sides:
            for start, end in _dashes(side, DASH * width, dashed):
                cv2.line(picture, start, end, colour, width)
    taken = np.zeros((rows, columns), bool)  # by labels
    for box, label in zip(corners.tolist(), labels):
        _draw_label(picture, label, box, width, taken)
    return picture


def _dashes(
    side: tuple[int, int, int, int], length: int, dashed: bool
) -> list[tuple[list[int], list[int]]]:
    """The pieces of a line: itself, or dashes with gaps of the same length."""
    start = np.array(side[:2])
    way = np.array(side[2:]) - start
    pieces = max(1, dashed * (round(np.abs(way).max() / length) | 1))  # odd: corners are drawn
    points = (start + way * np.linspace(0, 1, pieces + 1)[:, None]).round().astype(int).tolist()
    return list(zip(points[::2], points[1::2]))


def _draw_label(
    picture: np.ndarray, label: str, box: list[int], width: int, taken: np.ndarray
) -> None:
    """White on black, above the box, or at the next free place below that along its left side.

    `taken` is True where labels are; this one is added.
    """
    scale = (8 + 4 * width) / LETTER_HEIGHT
    (wide, high), below = cv2.getTextSize(label, FONT, scale, width)
    tall = high + below
    left = max(0, min(box[0], picture.shape[1] - wide))
    first = max(0, box[1] - tall)
    tops = range(first, max(first, min(box[3], len(picture) - tall)) + 1, tall)
    top = next((y for y in tops if not taken[y : y + tall, left : left + wide].any()), first)
    taken[top : top + tall, left : left + wide] = True
    picture[top : top + tall, left : left + wide] = BLACK
    cv2.putText(picture, label, (left, top + high), FONT, scale, WHITE, width, cv2.LINE_AA)
