"""Bring a picture to the size that a network takes, and its boxes back."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import ArrayLike

from helpers.vision.boxes import as_boxes, clip_boxes

GREY = 114  # the usual colour of a letterbox's borders


@dataclass(frozen=True)
class Fit:
    """How a picture of `height` x `width` was resized and moved.

    A point (x, y) of the picture is at (x * scale_x + left, y * scale_y + top) in the result.
    """

    height: int
    width: int
    scale_x: float
    scale_y: float
    left: int = 0
    top: int = 0

    def to_network(self, boxes: ArrayLike) -> np.ndarray:
        """Boxes of the picture in pixels of the result."""
        return as_boxes(boxes) * self._scales() + self._offsets()

    def to_picture(self, boxes: ArrayLike) -> np.ndarray:
        """Boxes of the result in pixels of the picture, clipped to it."""
        boxes = (as_boxes(boxes) - self._offsets()) / self._scales()
        return clip_boxes(boxes, self.height, self.width)

    def _scales(self) -> np.ndarray:
        return np.array([self.scale_x, self.scale_y] * 2, np.float32)

    def _offsets(self) -> np.ndarray:
        return np.array([self.left, self.top] * 2, np.float32)


def stretch(image: np.ndarray, height: int, width: int) -> tuple[np.ndarray, Fit]:
    """`image` resized to height x width; objects change their shape."""
    rows, columns = image.shape[:2]
    resized = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    return resized, Fit(rows, columns, width / columns, height / rows)


def letterbox(
    image: np.ndarray, height: int, width: int, centred: bool = True
) -> tuple[np.ndarray, Fit]:
    """`image` resized into height x width without a change of shape; grey borders fill the rest.

    With `centred` there are borders on both sides, otherwise right or below only.

    >>> picture = np.zeros((100, 200, 3), np.uint8)
    >>> boxed, fit = letterbox(picture, 416, 416)
    >>> boxed.shape, (fit.scale_x, fit.left, fit.top)
    ((416, 416, 3), (2.08, 0, 104))
    >>> fit.to_picture(fit.to_network([[50, 50, 100, 75]]))
    array([[ 50.,  50., 100.,  75.]])
    """
    rows, columns = image.shape[:2]
    scale = min(height / rows, width / columns)
    # a picture of 10,000 x 1 keeps one row
    inner_height = max(1, round(rows * scale))
    inner_width = max(1, round(columns * scale))
    resized, fit = stretch(image, inner_height, inner_width)
    top = 0
    left = 0
    if centred:
        top = (height - inner_height) // 2
        left = (width - inner_width) // 2
    boxed = np.full((height, width, *image.shape[2:]), GREY, image.dtype)
    boxed[top : top + inner_height, left : left + inner_width] = resized
    return boxed, Fit(rows, columns, fit.scale_x, fit.scale_y, left, top)
