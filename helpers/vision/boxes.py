"""Boxes: x1 y1 x2 y2 everywhere in the workbook, and conversions to and from other formats.

x1 y1 is the upper left corner, x2 y2 the lower right one, in pixels. COCO's files have x1, y1,
width, height. Networks often return the centre, width and height.
"""

import numpy as np
from numpy.typing import ArrayLike

from helpers.metrics import overlap


def as_boxes(boxes: ArrayLike) -> np.ndarray:
    """`boxes` as an array of floats, N x 4 (0 x 4 for an empty list). ValueError otherwise."""
    array = np.asarray(boxes)
    if array.dtype != np.float32:
        array = array.astype(np.float64)
    if array.size == 0:
        array = array.reshape(-1, 4)
    if array.ndim != 2 or array.shape[1] != 4:
        raise ValueError(f"boxes must be N x 4, not {array.shape}")
    return array


def xywh_to_xyxy(boxes: ArrayLike) -> np.ndarray:
    """COCO's x1, y1, width, height to x1, y1, x2, y2.

    >>> xywh_to_xyxy([[10, 20, 5, 6]])
    array([[10., 20., 15., 26.]])
    """
    boxes = as_boxes(boxes)
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)


def xyxy_to_xywh(boxes: ArrayLike) -> np.ndarray:
    """x1, y1, x2, y2 to COCO's x1, y1, width, height."""
    boxes = as_boxes(boxes)
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)


def cxcywh_to_xyxy(boxes: ArrayLike) -> np.ndarray:
    """Centre x, centre y, width, height to x1, y1, x2, y2.

    >>> cxcywh_to_xyxy([[10, 20, 4, 6]])
    array([[ 8., 17., 12., 23.]])
    """
    boxes = as_boxes(boxes)
    half = boxes[:, 2:] / 2
    return np.concatenate([boxes[:, :2] - half, boxes[:, :2] + half], axis=1)


def xyxy_to_cxcywh(boxes: ArrayLike) -> np.ndarray:
    """x1, y1, x2, y2 to centre x, centre y, width, height."""
    boxes = as_boxes(boxes)
    size = boxes[:, 2:] - boxes[:, :2]
    return np.concatenate([boxes[:, :2] + size / 2, size], axis=1)


def clip_boxes(boxes: ArrayLike, height: int, width: int) -> np.ndarray:
    """The part of each box inside a picture of height x width; outside of it the area is 0.

    >>> clip_boxes([[-5, 10, 20, 200]], height=100, width=50)
    array([[  0.,  10.,  20., 100.]])
    """
    boxes = as_boxes(boxes)
    return boxes.clip(0, np.array([width, height, width, height], boxes.dtype))


def box_area(boxes: ArrayLike) -> np.ndarray:
    """Width times height of each box."""
    return overlap.areas(as_boxes(boxes))
