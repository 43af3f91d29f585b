"""DATA: what a model is evaluated on. Nothing is unpickled."""

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from modelfiles.errors import WorkbookError

ARRAYS = ("x_data", "y_data")


class DataError(WorkbookError):
    """DATA cannot be used."""


@dataclass(frozen=True)
class Examples:
    """N inputs `x`, float32 with N as the first axis (NCHW for images), and their answers `y`.

    `y` has N class numbers for a classifier, or N numbers (or rows of numbers) for a regression.
    """

    x: np.ndarray
    y: np.ndarray


def read(path: Path | str, layout: str = "nchw") -> Examples:
    """The examples in an .npz file with the arrays x_data and y_data, or in a folder.

    In a folder, each subfolder is a class and holds its images; classes are numbered in the order
    of their names. All images must have one size. They become RGB, float32, from 0 to 1. `layout`
    is that of x_data, "nchw" or "nhwc". DataError for what cannot be used.
    """
    path = Path(path)
    if not path.exists():
        raise DataError(f"{path} does not exist")
    if path.is_dir():
        return _read_folder(path)
    if path.suffix != ".npz":
        raise DataError(
            f"{path.name} is neither an .npz file nor a folder of images; numpy.savez writes "
            f"one with {' and '.join(ARRAYS)}"
        )
    return _read_npz(path, layout)


def _read_npz(path: Path, layout: str) -> Examples:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            missing = [name for name in ARRAYS if name not in arrays]
            if missing:
                found = ", ".join(arrays.files) or "nothing"
                raise DataError(f"{path.name} has no {' and no '.join(missing)}; it has {found}")
            x, y = (arrays[name] for name in ARRAYS)
    except (OSError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path.name} is damaged or no .npz file ({error})") from error
    except ValueError as error:
        raise DataError(
            f"{path.name} holds Python objects, which are not loaded from files: save x_data and "
            "y_data as arrays of numbers"
        ) from error
    return _checked(x, y, path.name, layout)


def _checked(x: np.ndarray, y: np.ndarray, name: str, layout: str) -> Examples:
    for label, array in zip(ARRAYS, (x, y)):
        if array.dtype.kind not in "iufb":
            raise DataError(f"{label} of {name} holds {array.dtype}, not numbers")
        if not np.isfinite(array).all():
            raise DataError(f"{label} of {name} contains NaN or infinity")
    if x.ndim < 2:
        raise DataError(f"x_data of {name} has the shape {x.shape}: the first axis counts examples")
    if len(x) == 0 or len(x) != len(y):
        raise DataError(
            f"{name} has {len(x)} inputs and {len(y)} answers; it needs as many of both, at least 1"
        )
    x = np.ascontiguousarray(x, np.float32)
    if layout == "nhwc" and x.ndim == 4:
        x = np.ascontiguousarray(x.transpose(0, 3, 1, 2))
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    return Examples(x, y)


def _read_folder(path: Path) -> Examples:
    from helpers.vision import list_images, read_image

    classes = sorted(folder for folder in path.iterdir() if folder.is_dir())
    if not classes:
        raise DataError(f"{path.name} has no subfolders; it needs one for each class")
    images = []
    labels = []
    for number, folder in enumerate(classes):
        for file in list_images(folder):
            images.append(read_image(file))
            labels.append(number)
    sizes = {image.shape for image in images}
    if len(sizes) != 1:
        found = ", ".join(f"{columns} x {rows}" for rows, columns, _ in sorted(sizes)[:3])
        raise DataError(
            f"the images in {path.name} have several sizes ({found} ...): resize them to that of "
            "the network's input"
        )
    x = np.stack(images).transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)
    return Examples(np.ascontiguousarray(x), np.array(labels))
