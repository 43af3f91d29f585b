"""Scenes of handwritten digits, with a box and a mask of each: detection without a download."""

from dataclasses import dataclass
from functools import cache

import numpy as np

from helpers.data.digits import Images, mnist

SCENE_SIZE = 96  # height and width in pixels
HEIGHTS = (14, 44)  # of a digit, in pixels: the lowest and the highest
MOST_DIGITS = 5
MOST_LINES = 4
MOST_OVERLAP = 0.15  # the IoU of two boxes in one scene
TRIES = 20  # to find a place for a digit; without success the scene has one digit less
INK = 0.25  # from this brightness on, of 1, a pixel belongs to the digit
STEPS = np.linspace(0, 1, 2 * SCENE_SIZE)[:, None]  # enough for lines without gaps

Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Scene:
    """A grey picture of N digits and what is in it.

    `image` is uint8, 96 x 96. `boxes` is float32 N x 4, in pixels: x1, y1, x2, y2, where the last
    two are the first column and the first row after the digit. `classes` is int64 N: the digits.
    `masks` is bool N x 96 x 96: the pixels of each digit; its box fits them exactly.
    """

    image: np.ndarray
    boxes: np.ndarray
    classes: np.ndarray
    masks: np.ndarray


def scenes(count: int, seed: int, split: str) -> list[Scene]:
    """`count` scenes of 1 to 5 MNIST digits of `split`, "train" or "test".

    The digits are about 14 to 44 pixels high. They are lighter than the ground, which is noisy and
    has stray lines. Boxes overlap by an IoU of 0.15 at most. The same seed and split give the same
    scenes, and a larger `count` continues a smaller one. ValueError for another split, a count
    below 1 and a negative seed.

    >>> [scene] = scenes(1, seed=0, split="test")
    >>> scene.image.shape, scene.boxes.shape[1], scene.masks.shape[1:]
    ((96, 96), 4, (96, 96))
    """
    _check_whole("count", count, least=1)
    _check_whole("seed", seed, least=0)
    digits = mnist(split)
    drawn = np.flatnonzero(digits.images.max(axis=(1, 2)) >= 255 * INK)  # a blank image has no box
    generator = np.random.default_rng([seed, split == "test"])
    return [_scene(digits, drawn, generator) for _ in range(count)]


def _check_whole(name: str, value: int, least: int) -> None:
    is_whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not is_whole or value < least:
        raise ValueError(f"{name} must be a whole number, {least} or more, not {value!r}")


def _scene(digits: Images, drawn: np.ndarray, generator: np.random.Generator) -> Scene:
    picture = _ground(generator)
    boxes: list[Box] = []
    classes = []
    masks = []
    for _ in range(generator.integers(1, MOST_DIGITS + 1)):
        chosen = drawn[generator.integers(len(drawn))]
        height = int(generator.integers(HEIGHTS[0], HEIGHTS[1] + 1))
        ink = _enlarged(digits.images[chosen], height)
        box = _free_place(ink.shape, boxes, generator)
        if box is None:
            continue
        x1, y1, x2, y2 = box
        spot = np.s_[y1:y2, x1:x2]
        brightness = generator.uniform(150, 255)
        picture[spot] += ink * (brightness - picture[spot])  # alpha blending: ink is 0 to 1
        mask = np.zeros((SCENE_SIZE, SCENE_SIZE), bool)
        mask[spot] = ink >= INK
        boxes.append(box)
        classes.append(digits.labels[chosen])
        masks.append(mask)
    image = picture.clip(0, 255).astype(np.uint8)
    return Scene(image, np.array(boxes, np.float32), np.array(classes), np.array(masks))


def _ground(generator: np.random.Generator) -> np.ndarray:
    """A dark, noisy ground with stray lines, float32 96 x 96."""
    noise = generator.integers(0, 256, (SCENE_SIZE, SCENE_SIZE), np.uint8) / np.float32(255)
    ground = generator.uniform(20, 60) + generator.uniform(20, 60) * noise
    for _ in range(generator.integers(0, MOST_LINES + 1)):
        start, end = generator.integers(0, SCENE_SIZE, (2, 2))
        x, y = (start + STEPS * (end - start)).round().astype(int).T
        ground[y, x] = generator.uniform(80, 200)
    return ground


def _enlarged(image: np.ndarray, height: int) -> np.ndarray:
    """The digit of `image`, uint8 28 x 28, cut out and `height` pixels high: float32, 0 to 1."""
    digit = _cut_out(image / np.float32(255))
    width = min(SCENE_SIZE, max(3, round(height * digit.shape[1] / digit.shape[0])))
    return _cut_out(_stretch(digit.shape[0], height) @ digit @ _stretch(digit.shape[1], width).T)


def _cut_out(image: np.ndarray) -> np.ndarray:
    """The part of `image` that has ink."""
    is_ink = image >= INK
    rows = np.flatnonzero(is_ink.any(axis=1))
    columns = np.flatnonzero(is_ink.any(axis=0))
    return image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


@cache
def _stretch(pixels: int, onto: int) -> np.ndarray:
    """The matrix, onto x pixels, that stretches a row of pixels by linear interpolation."""
    centres = (np.arange(onto) + 0.5) * pixels / onto - 0.5
    one_pixel_each = np.eye(pixels)
    columns = [np.interp(centres, np.arange(pixels), row) for row in one_pixel_each]
    return np.stack(columns, axis=1).astype(np.float32)


def _free_place(
    shape: tuple[int, ...], boxes: list[Box], generator: np.random.Generator
) -> Box | None:
    """A box of `shape` (rows, columns) that overlaps little with `boxes`; None after 20 tries."""
    height, width = shape
    for _ in range(TRIES):
        x = int(generator.integers(SCENE_SIZE - width + 1))
        y = int(generator.integers(SCENE_SIZE - height + 1))
        box = (x, y, x + width, y + height)
        if all(_iou(box, other) <= MOST_OVERLAP for other in boxes):
            return box
    return None


def _iou(a: Box, b: Box) -> float:
    """helpers.metrics.box_iou for two boxes; here its arrays would take most of the time."""
    width = max(0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0, min(a[3], b[3]) - max(a[1], b[1]))
    areas = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return width * height / (areas - width * height)
