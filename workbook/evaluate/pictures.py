"""Folders of images: a subfolder for each class, or MNIST's IDX files."""

import re
from pathlib import Path

import numpy as np

from helpers.data import PIXEL_MEAN, PIXEL_STD, read_idx
from workbook.evaluate.examples import DataError, Examples

# what images become: mean and standard deviation of a pixel that is 0 for black and 1 for white
PIXELS: dict[str, tuple] = {
    "unit": (0.0, 1.0),  # from 0 to 1
    "signed": (0.5, 0.5),  # from -1 to 1
    "raw": (0.0, 1 / 255),  # from 0 to 255
    "mnist": (PIXEL_MEAN, PIXEL_STD),  # as the networks of this book take them
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),  # torchvision's networks
}
IMAGES = re.compile(r"(.*)images([-_.])idx3([-_.]ubyte)?(\.gz)?", re.IGNORECASE)
SPLITS = {"train": ("train",), "test": ("t10k", "test")}


def read(path: Path, pixels: str | None, split: str) -> Examples:
    """The examples in the folder `path`, float32 NCHW.

    IDX files become grey images, by default as helpers.data.normalize makes them ("mnist"). A
    folder with both splits gives `split`. Otherwise each subfolder is a class and holds its images;
    classes are numbered in the order of their names. All images must have one size. They become
    RGB, by default from 0 to 1 ("unit").
    """
    found = _idx_pair(path, split)
    if found:
        return _read_idx(*found, pixels or "mnist")
    return _read_classes(path, pixels or "unit")


def scaled(images: np.ndarray, pixels: str) -> np.ndarray:
    """uint8 N x channels x height x width as float32; `pixels` is a key of PIXELS."""
    mean, deviation = (np.array(value, np.float32).reshape(-1, 1, 1) for value in PIXELS[pixels])
    if mean.size == 3 and images.shape[1] != 3:
        raise DataError(
            f"--pixels {pixels} is for images of 3 channels, not {images.shape[1]}: use another"
        )
    if pixels == "raw":
        return np.ascontiguousarray(images, np.float32)
    fractions = np.ascontiguousarray(images, np.float32) / np.float32(255)
    return ((fractions - mean) / deviation).astype(np.float32)


def _idx_pair(folder: Path, split: str) -> tuple[Path, Path] | None:
    """(images, labels) of `split`, or of the only split in the folder; None without IDX files."""
    pairs: dict[str, tuple[Path, Path]] = {}
    for place in (folder, folder / "raw", folder / "MNIST" / "raw"):
        files = sorted(path for path in place.iterdir()) if place.is_dir() else []
        for path in files:
            named = IMAGES.fullmatch(path.name)
            if named and path.is_file():
                pairs.setdefault(named[1].lower(), (path, _labels_of(path)))
    if not pairs:
        return None
    wanted = [name for name in pairs if name.startswith(SPLITS[split])]
    return pairs[(wanted or list(pairs))[0]]


def _labels_of(images: Path) -> Path:
    name = images.name.removesuffix(".gz")
    name = re.sub("idx3", "idx1", re.sub("images", "labels", name, flags=re.I), flags=re.I)
    found = [images.with_name(name + suffix) for suffix in ("", ".gz")]
    existing = [path for path in found if path.is_file()]
    if not existing:
        raise DataError(f"{images.name} has no labels next to it: put {name} into the same folder")
    return existing[0]


def _read_idx(images: Path, labels: Path, pixels: str) -> Examples:
    try:
        grey = read_idx(images)
        y = read_idx(labels)
    except ValueError as error:
        raise DataError(str(error)) from error
    if grey.ndim != 3 or y.ndim != 1 or len(grey) != len(y) or not len(y):
        raise DataError(
            f"{images.name} and {labels.name} hold arrays of {grey.shape} and {y.shape}: they need "
            "N images, N x height x width, and N labels"
        )
    return Examples(scaled(grey[:, None], pixels), y.astype(np.int64))


def _read_classes(path: Path, pixels: str) -> Examples:
    from helpers.vision import list_images, read_image

    classes = sorted(folder for folder in path.iterdir() if folder.is_dir())
    if not classes:
        raise DataError(
            f"{path.name} has no subfolders; it needs one for each class, or MNIST's IDX files, or "
            "for --task detection labels in COCO's format"
        )
    images = []
    labels = []
    for number, folder in enumerate(classes):
        try:
            for file in list_images(folder):
                images.append(read_image(file))
                labels.append(number)
        except ValueError as error:
            raise DataError(f"{path.name}/{folder.name}: {error}") from error
    sizes = {image.shape for image in images}
    if len(sizes) != 1:
        found = ", ".join(f"{columns} x {rows}" for rows, columns, _ in sorted(sizes)[:3])
        raise DataError(
            f"the images in {path.name} have several sizes ({found} ...): resize them to that of "
            "the network's input"
        )
    stacked = np.stack(images).transpose(0, 3, 1, 2)
    return Examples(scaled(stacked, pixels), np.array(labels))
