"""What the digit detector takes and what its outputs mean: pixels in, boxes out, numpy only.

Every runtime gives the same raw outputs, so this one module serves all of them, also on a Pi.
"""

import numpy as np

DIGITS = 10
OUTPUTS = 1 + 4 + DIGITS  # per cell: objectness, box, classes
STRIDE = 8  # pixels per cell of the grid


def as_input(images: np.ndarray) -> np.ndarray:
    """uint8 N x height x width to float32 N x 1 x height x width, from 0 to 1.

    ValueError for other types or shapes, and for sizes that are not multiples of 8.

    >>> as_input(np.zeros((2, 96, 96), np.uint8)).shape
    (2, 1, 96, 96)
    """
    images = np.asarray(images)
    if images.dtype != np.uint8 or images.ndim != 3:
        raise ValueError(
            f"as_input takes grey uint8 images, N x height x width, not {images.dtype} "
            f"{images.shape}"
        )
    if images.shape[1] % STRIDE or images.shape[2] % STRIDE:
        raise ValueError(
            f"height and width must be multiples of {STRIDE}, not {images.shape[1]} x "
            f"{images.shape[2]}: fit the image into 96 x 96 first"
        )
    return images[:, None] / np.float32(255)


def decode(raw: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The boxes, scores and classes that the detector's output for one image stands for.

    `raw` is float 15 x rows x columns: per cell the logit of the objectness, four numbers for the
    box and ten logits for the digits. Each cell gives one candidate, so there are rows * columns:
    `boxes` is float32 N x 4 (x1, y1, x2, y2 in pixels), `scores` float32 N from 0 to 1, `classes`
    int64 N. They are in the order of the cells; most scores are near 0. ValueError for other shapes
    and for numbers that are not finite.

    >>> boxes, scores, classes = decode(np.zeros((15, 12, 12), np.float32))
    >>> boxes[0].tolist()  # nothing is moved or scaled: the first cell itself
    [0.0, 0.0, 8.0, 8.0]
    >>> round(float(scores[0]), 3)  # an object or not, and one of ten digits
    0.05
    """
    raw = np.asarray(raw, np.float32)
    if raw.ndim != 3 or len(raw) != OUTPUTS:
        raise ValueError(
            f"decode takes the output for one image, {OUTPUTS} x rows x columns, not {raw.shape}"
        )
    if not np.isfinite(raw).all():
        raise ValueError("the output has numbers that are not finite: was the input finite?")
    cells = raw.reshape(OUTPUTS, -1)  # 15 x N
    objectness = (1 + np.tanh(cells[0] / 2)) / 2  # the sigmoid, without overflow
    digits = np.exp(cells[5:] - cells[5:].max(axis=0))
    probability = digits / digits.sum(axis=0)  # the softmax, 10 x N
    scores = objectness * probability.max(axis=0)
    return _boxes(cells[1:5], raw.shape[1:]), scores, probability.argmax(axis=0)


def _boxes(cells: np.ndarray, grid: tuple[int, ...]) -> np.ndarray:
    """Boxes, N x 4, from the four numbers of each cell, 4 x N.

    The first two move the centre, in cells, from the centre of the cell; the others are the
    logarithms of width and height in cells.
    """
    row, column = np.indices(grid).reshape(2, -1)
    home = np.stack([column, row]) + 0.5  # the centre of each cell, 2 x N
    centre = (home + cells[:2]) * STRIDE
    half = np.exp(cells[2:].clip(max=8)) * STRIDE / 2  # the limit keeps exp finite
    return np.concatenate([centre - half, centre + half]).T.astype(np.float32)
