"""Non-maximum suppression: of the boxes that overlap, the best one stays."""

import numpy as np
from numpy.typing import ArrayLike

from helpers.metrics import overlap
from helpers.vision.boxes import as_boxes

STRIP = 128  # boxes that are compared with all others at once
# The numbers of the quick test are int16, up to 32,767
STEPS = 32_000
MOST_CLASSES = 32_767


def nms(boxes: ArrayLike, scores: ArrayLike, iou: float) -> np.ndarray:
    """The indices of the boxes that are kept, best first, int64.

    From the best score down, a box is kept unless its IoU with a kept one is above `iou`. Equal
    scores keep their order. ValueError for other shapes, numbers that are not finite, x2 < x1 or
    y2 < y1, and for an `iou` outside 0 to 1.

    >>> nms([[0, 0, 10, 10], [1, 0, 11, 10], [50, 0, 60, 10]], [0.8, 0.9, 0.7], iou=0.5)
    array([1, 2])
    """
    return class_wise_nms(boxes, scores, np.zeros(np.shape(scores), np.int64), iou)


def class_wise_nms(
    boxes: ArrayLike,
    scores: ArrayLike,
    classes: ArrayLike,
    iou: float,
    limit: int | None = None,
) -> np.ndarray:
    """Like nms, but a box removes only boxes of its own class. At most `limit` are returned.

    >>> class_wise_nms([[0, 0, 10, 10], [1, 0, 11, 10]], [0.8, 0.9], [3, 7], iou=0.5)
    array([1, 0])
    """
    boxes, scores, classes = _checked(boxes, scores, classes, iou)
    order = np.argsort(-scores, kind="stable")
    if limit is None:
        limit = len(order)
    return order[_greedy(boxes[order], classes[order], iou, limit)[:limit]]


def _greedy(boxes: np.ndarray, classes: np.ndarray, threshold: float, limit: int) -> np.ndarray:
    """The numbers of kept boxes, `limit` or some more. The boxes are in order, best first."""
    pairs = _Pairs(boxes, classes, threshold)
    waiting = np.arange(len(boxes))
    kept = np.empty(0, np.int64)
    while len(waiting) and len(kept) < limit:
        is_kept = _survivors(*pairs.above(waiting, STRIP), len(waiting))
        kept = np.append(kept, waiting[:STRIP][is_kept[:STRIP]])
        waiting = waiting[STRIP:][is_kept[STRIP:]]
    return kept


def _survivors(rows: np.ndarray, others: np.ndarray, count: int) -> np.ndarray:
    """Which of `count` boxes, best first, are kept: bool. A kept box in `rows` removes its other.

    `rows` is sorted.
    """
    is_kept = np.ones(count, bool)
    starts = np.flatnonzero(np.diff(rows, prepend=-1))  # of the pairs of each row
    ends = [*starts[1:].tolist(), len(rows)]
    for row, start, end in zip(rows[starts].tolist(), starts.tolist(), ends):
        if is_kept[row]:
            is_kept[others[start:end]] = False
    return is_kept


class _Pairs:
    """Finds pairs of boxes of one class with an IoU above the threshold.

    An IoU takes a dozen operations on float64. Few pairs need it, because an IoU above t is
    possible only where the intersection, w x h, is wider than t times the width W of either box:

        IoU <= (w * h) / (W * H) <= w / W        since h <= H

    So the other box starts before x2 - t * W and ends after x1 + t * W; in y likewise. This quick
    test is done with int16, which is several times faster. Rounding loses no pair: starts and the
    limits of ends are rounded down, ends and the limits of starts up.
    """

    def __init__(self, boxes: np.ndarray, classes: np.ndarray, threshold: float):
        self.columns = np.ascontiguousarray(boxes.T)
        self.threshold = threshold
        first = self.columns[:2]
        last = self.columns[2:]
        low = self.columns.min(initial=0)
        step = (self.columns.max(initial=1) - low) / STEPS
        needed = threshold * (1 - 1e-9) * (last - first)
        starts = np.floor((first - low) / step)
        ends = np.ceil((last - low) / step)
        last_starts = np.ceil((last - needed - low) / step)
        first_ends = np.floor((first + needed - low) / step)
        self.numbers = np.vstack([starts, ends, classes]).astype(np.int16)
        self.limits = np.vstack([last_starts, first_ends, classes]).astype(np.int16)

    def above(self, waiting: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
        """Pairs of one of the first `size` waiting boxes and a later one: their positions."""
        x1, y1, x2, y2, classes = self.numbers.take(waiting, axis=1)
        limits = self.limits.take(waiting[:size], axis=1)
        x1_most, y1_most, x2_least, y2_least, own_class = limits[..., None]
        passed = classes == own_class  # size x waiting
        passed &= x1 <= x1_most
        passed &= y1 <= y1_most
        passed &= x2 >= x2_least
        passed &= y2 >= y2_least
        flat = np.flatnonzero(passed)
        rows = flat // len(waiting)
        others = flat - rows * len(waiting)
        is_later = np.flatnonzero(others > rows)
        rows = rows[is_later]
        others = others[is_later]
        first = self.columns.take(waiting[rows], axis=1).T
        second = self.columns.take(waiting[others], axis=1).T
        above = np.flatnonzero(overlap.iou(first, second) > self.threshold)
        return rows[above], others[above]


def _checked(
    boxes: ArrayLike, scores: ArrayLike, classes: ArrayLike, threshold: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    boxes = as_boxes(boxes).astype(np.float64)
    scores = np.asarray(scores, np.float64)
    classes = np.asarray(classes)
    if scores.shape != (len(boxes),) or classes.shape != scores.shape:
        raise ValueError(
            f"{len(boxes)} boxes need as many scores and classes, not {scores.shape} and "
            f"{classes.shape}"
        )
    if classes.min(initial=0) < 0 or classes.max(initial=0) > MOST_CLASSES:
        raise ValueError(f"class numbers must be from 0 to {MOST_CLASSES}")
    if not np.isfinite(scores).all():
        raise ValueError("some scores are NaN or infinite, so the boxes have no order")
    overlap.check_boxes(boxes)
    if not 0 <= threshold <= 1:
        raise ValueError(f"iou must be from 0 to 1, not {threshold!r}")
    return boxes, scores, classes
