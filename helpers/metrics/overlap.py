"""Intersection over union of boxes."""

import numpy as np
from numpy.typing import ArrayLike

TINY = np.finfo(np.float64).tiny


def box_iou(a: ArrayLike, b: ArrayLike) -> np.ndarray:
    """Intersection over union of each box of `a` (N x 4) with each box of `b` (M x 4).

    The result is float64 N x M. A box is x1, y1, x2, y2: its upper left and its lower right corner.
    Boxes that only touch, or have no area, get 0. ValueError for other shapes, for x2 < x1 or
    y2 < y1, and for numbers that are not finite.

    >>> box_iou([[0, 0, 2, 2]], [[0, 0, 2, 2], [1, 0, 3, 2], [5, 5, 6, 6]]).round(3)
    array([[1.   , 0.333, 0.   ]])
    """
    a = np.asarray(a, np.float64)
    b = np.asarray(b, np.float64)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != 4 or b.shape[1] != 4:
        raise ValueError(f"boxes must be N x 4 (x1, y1, x2, y2), not {a.shape} and {b.shape}")
    check_boxes(a)
    check_boxes(b)
    return iou(a[:, None], b[None])


def check_boxes(boxes: np.ndarray) -> None:
    """ValueError if a row of `boxes`, N x 4, is not finite or has a negative size."""
    if np.isfinite(boxes).all() and (boxes[:, 2:] >= boxes[:, :2]).all():
        return
    wrong = np.flatnonzero(is_no_box(boxes))
    if len(wrong):
        raise ValueError(
            f"box {wrong[0]} has a negative size or a number that is not finite: "
            f"{boxes[wrong[0]].tolist()}"
        )


def is_no_box(boxes: np.ndarray) -> np.ndarray:
    """Which rows of `boxes`, N x 4 or more, are not finite or have a negative size."""
    return ~np.isfinite(boxes).all(axis=1) | (boxes[:, 2:4] < boxes[:, :2]).any(axis=1)


def areas(boxes: np.ndarray) -> np.ndarray:
    """Width times height of boxes x1 y1 x2 y2, which are on the last axis."""
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def intersections(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The common area of the boxes in `a` and `b`, whose shapes are broadcast; no checks."""
    width = np.minimum(a[..., 2], b[..., 2]) - np.maximum(a[..., 0], b[..., 0])
    height = np.minimum(a[..., 3], b[..., 3]) - np.maximum(a[..., 1], b[..., 1])
    return width.clip(0) * height.clip(0)


def iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union of the boxes in `a` and `b`, float64 and broadcast; no checks."""
    common = intersections(a, b)
    # boxes without an area have no union: 0 / TINY is 0
    return common / np.maximum(areas(a) + areas(b) - common, TINY)
