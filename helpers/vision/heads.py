"""The detectors that are known by the shapes of their files: what they take, and their decoders.

A detector divides its picture into cells, in one grid or in three with strides of 8, 16 and 32
pixels. For each cell its raw output has numbers for a box and a score for each class. A decoder
turns them into boxes in pixels of the network's input.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from helpers.vision import digit_head
from helpers.vision.fitting import Fit, letterbox, stretch

STRIDES = (8, 16, 32)
LARGEST_LOG_SIZE = 10.0  # exp(10) cells are more than any picture has; exp overflows at 89

# boxes, float32 N x 4 (x1 y1 x2 y2); scores, float32 N; classes, int64 N
Decoded = tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Layout:
    """A kind of detector: the shapes by which it is recognised, and its first and last stage.

    `channels` and `size` are those of its input; `size` is used if the file leaves it free.
    `output` gives the shape of the raw output for an input of height x width, with None for the
    numbers of a cell. `prepare(image, height, width)` gives the input and the Fit.
    `decode(raw, height, width, confidence)` gives what scores at least `confidence`.
    """

    name: str
    channels: int
    size: int
    output: Callable[[int, int], tuple[int | None, ...]]
    prepare: Callable[[np.ndarray, int, int], tuple[np.ndarray, Fit]]
    decode: Callable[[np.ndarray, int, int, float], Decoded]

    def matches(self, output_shape: tuple[int, ...], height: int, width: int) -> bool:
        """Whether a file with this output for an input of height x width has this layout."""
        wanted = self.output(height, width)
        return len(wanted) == len(output_shape) and all(
            size == given or (size is None and given > 4)
            for size, given in zip(wanted, output_shape)
        )

    def __str__(self) -> str:
        numbers = self.output(self.size, self.size)
        shape = " x ".join(str(size or "numbers") for size in numbers)
        return f"{self.name} (1 x {self.channels} x {self.size} x {self.size} to {shape})"


def bgr_stretched(image: np.ndarray, height: int, width: int) -> tuple[np.ndarray, Fit]:
    """FastestDet's input: the stretched picture, blue first, from 0 to 1."""
    resized, fit = stretch(image, height, width)
    return _channels_first(resized[..., ::-1]) / np.float32(255), fit


def bgr_letterboxed(image: np.ndarray, height: int, width: int) -> tuple[np.ndarray, Fit]:
    """YOLOX's input: borders right and below, blue first, from 0 to 255."""
    boxed, fit = letterbox(image, height, width, centred=False)
    return _channels_first(boxed[..., ::-1]), fit


def rgb_letterboxed(image: np.ndarray, height: int, width: int) -> tuple[np.ndarray, Fit]:
    """The input of YOLOv5 and YOLOv8: borders on both sides, red first, from 0 to 1."""
    boxed, fit = letterbox(image, height, width)
    return _channels_first(boxed) / np.float32(255), fit


def grey_letterboxed(image: np.ndarray, height: int, width: int) -> tuple[np.ndarray, Fit]:
    """One channel from 0 to 1, borders on both sides."""
    boxed, fit = letterbox(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), height, width)
    return _channels_first(boxed[..., None]) / np.float32(255), fit


def _channels_first(picture: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(picture.transpose(2, 0, 1)[None], np.float32)


def decode_fastestdet(raw: np.ndarray, height: int, width: int, confidence: float) -> Decoded:
    """FastestDet's output, 1 x (1 + 4 + classes) x rows x columns.

    Its numbers are objectness, the shift of the centre from the cell's corner, the size, and the
    classes. Objectness and classes are probabilities already.
    """
    columns = raw.shape[3]
    rows = raw.shape[2]
    values = raw[0].reshape(raw.shape[1], -1)
    classes = values[5:].argmax(axis=0)
    best = values[5:].max(axis=0)
    scores = np.maximum(values[0], 0) ** 0.6 * np.maximum(best, 0) ** 0.4
    kept = np.flatnonzero(scores >= confidence)
    shift_x, shift_y = np.tanh(values[1:3, kept])
    wide, high = (1 + np.tanh(values[3:5, kept] / 2)) / 2  # the sigmoid, without overflow
    x = (kept % columns + shift_x) / columns
    y = (kept // columns + shift_y) / rows
    boxes = (x * width, y * height, wide * width, high * height)
    return _decoded(boxes, scores[kept], classes[kept])


def decode_yolox(raw: np.ndarray, height: int, width: int, confidence: float) -> Decoded:
    """YOLOX's output, 1 x cells x (4 + 1 + classes): three grids, the finest first.

    Its numbers are the centre from the cell's corner and the logarithm of the size, both in cells,
    then objectness and classes, which are probabilities already.
    """
    values = raw[0].T
    scores = values[4] * values[5:].max(axis=0)
    kept = np.flatnonzero(scores >= confidence)
    corner_x, corner_y, stride = _cells(height, width)[:, kept]
    x = (values[0, kept] + corner_x) * stride
    y = (values[1, kept] + corner_y) * stride
    wide, high = np.exp(values[2:4, kept].clip(max=LARGEST_LOG_SIZE)) * stride
    classes = values[5:, kept].argmax(axis=0)
    return _decoded((x, y, wide, high), scores[kept], classes)


def decode_v5(raw: np.ndarray, height: int, width: int, confidence: float) -> Decoded:
    """The output of a YOLOv5 export, 1 x (3 boxes per cell) x (4 + 1 + classes).

    Its boxes are decoded already: centre, width and height in pixels. See _in_pixels.
    """
    values = raw[0].T
    scores = values[4] * values[5:].max(axis=0)
    kept = np.flatnonzero(scores >= confidence)
    boxes = _in_pixels(values[:4], height, width)[:, kept]
    return _decoded(boxes, scores[kept], values[5:, kept].argmax(axis=0))


def decode_v8(raw: np.ndarray, height: int, width: int, confidence: float) -> Decoded:
    """The output of a YOLOv8 export, 1 x (4 + classes) x cells: no objectness.

    Its boxes are decoded already: centre, width and height in pixels. See _in_pixels.
    """
    values = raw[0]
    scores = values[4:].max(axis=0)
    kept = np.flatnonzero(scores >= confidence)
    boxes = _in_pixels(values[:4], height, width)[:, kept]
    return _decoded(boxes, scores[kept], values[4:, kept].argmax(axis=0))


def decode_digits(raw: np.ndarray, height: int, width: int, confidence: float) -> Decoded:
    """The output of the book's digit detector, 1 x 15 x rows x columns: see digit_head.decode."""
    boxes, scores, classes = digit_head.decode(raw[0])
    kept = np.flatnonzero(scores >= confidence)
    return boxes[kept], scores[kept], classes[kept]


def _cells(height: int, width: int) -> np.ndarray:
    """Column, row and stride of each cell of the three grids, 3 x cells."""
    grids = []
    for stride in STRIDES:
        rows, columns = np.indices((height // stride, width // stride)).reshape(2, -1)
        grids.append(np.stack([columns, rows, np.full_like(rows, stride)]))
    return np.concatenate(grids, axis=1)


def _in_pixels(boxes: np.ndarray, height: int, width: int) -> np.ndarray:
    """4 x N boxes in pixels. TFLite exports have them as parts of the picture.

    The centres are all over the picture, so one is beyond 2 if the unit is the pixel.
    """
    if boxes[:2].max() > 2:
        return boxes
    return boxes * np.array([[width], [height], [width], [height]], np.float32)


def _decoded(
    boxes: Sequence[np.ndarray] | np.ndarray, scores: np.ndarray, classes: np.ndarray
) -> Decoded:
    """`boxes` is x and y of the centres, widths and heights."""
    x, y, wide, high = boxes
    corners = np.stack([x - wide / 2, y - high / 2, x + wide / 2, y + high / 2], axis=1)
    return corners.astype(np.float32), scores.astype(np.float32), classes


def _all_cells(height: int, width: int) -> int:
    return sum((height // stride) * (width // stride) for stride in STRIDES)


# Recognised in this order. A YOLOX file that decodes its boxes itself, and networks for poses or
# masks, have the shapes of a detector with other numbers: these shapes do not show it.
LAYOUTS = [
    Layout(
        "FastestDet",
        channels=3,
        size=352,
        output=lambda height, width: (1, None, height // 16, width // 16),
        prepare=bgr_stretched,
        decode=decode_fastestdet,
    ),
    Layout(
        "YOLOX",
        channels=3,
        size=416,
        output=lambda height, width: (1, _all_cells(height, width), None),
        prepare=bgr_letterboxed,
        decode=decode_yolox,
    ),
    Layout(
        "YOLOv5",
        channels=3,
        size=640,
        output=lambda height, width: (1, 3 * _all_cells(height, width), None),
        prepare=rgb_letterboxed,
        decode=decode_v5,
    ),
    Layout(
        "YOLOv8",
        channels=3,
        size=640,
        output=lambda height, width: (1, None, _all_cells(height, width)),
        prepare=rgb_letterboxed,
        decode=decode_v8,
    ),
    Layout(
        "digit detector",
        channels=1,
        size=96,
        output=lambda height, width: (
            1,
            digit_head.OUTPUTS,
            height // digit_head.STRIDE,
            width // digit_head.STRIDE,
        ),
        prepare=grey_letterboxed,
        decode=decode_digits,
    ),
]
