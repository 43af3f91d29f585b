"""DATA: what a model is evaluated on. Nothing is unpickled."""

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from helpers.workers import Worker
from modelfiles.errors import WorkbookError

ARRAYS = ("x_data", "y_data")
TO_LAST = (0, 2, 3, 1)  # transposes NCHW to NHWC
TO_FIRST = (0, 3, 1, 2)  # and back


class DataError(WorkbookError):
    """DATA cannot be used."""


@dataclass(frozen=True)
class Examples:
    """N inputs `x`, float32 with N as the first axis (NCHW for images), and their answers `y`.

    `y` has N class numbers for a classifier, or N numbers (or rows of numbers) for a regression;
    for a detector it is a detection.Truth. Random inputs have no right answers: it is None.
    """

    x: np.ndarray
    y: Any

    def inputs_for(self, worker: Worker) -> np.ndarray:
        """The inputs as the file of `worker` takes them: NHWC for some that came from TensorFlow.

        DataError for fractions if the file rounds them, because all answers would be wrong.
        """
        shape = worker.input_shape
        if worker.rounds and self.x.max() <= 1 and (self.x != np.rint(self.x)).any():
            raise DataError(
                f"{worker.path.name} takes whole numbers, and x_data has fractions up to "
                f"{self.x.max():.3g}: pass pixels from 0 to 255 (for images: --pixels raw)"
            )
        turned = tuple(self.x.shape[axis] for axis in TO_LAST) if self.x.ndim == 4 else ()
        if self.x.shape[1:] != shape[1:] and turned[1:] == shape[1:]:
            return np.ascontiguousarray(self.x.transpose(TO_LAST))
        return self.x


def read(
    path: Path | str, layout: str = "nchw", pixels: str | None = None, split: str = "test"
) -> Examples:
    """The examples in an .npz file with the arrays x_data and y_data, or in a folder of images.

    A folder holds MNIST's IDX files (those of `split`, if it has both), or a subfolder of images
    for each class: see the module pictures. `layout` is that of x_data, "nchw" or "nhwc". `pixels`
    is what images become, a key of pictures.PIXELS. DataError for what cannot be used.
    """
    from workbook.evaluate import coco_folder, pictures

    path = Path(path)
    if not path.exists():
        raise DataError(f"{path} does not exist")
    if coco_folder.is_coco(path):
        raise DataError(
            f"{path.name} has labels in COCO's format, boxes instead of classes: add "
            "--task detection"
        )
    if path.is_dir():
        return pictures.read(path, pixels, split)
    if path.suffix.lower() != ".npz":
        raise DataError(
            f"{path.name} is neither an .npz file nor a folder of images; numpy.savez writes "
            f"one with {' and '.join(ARRAYS)}"
        )
    return _read_npz(path, layout)


def _read_npz(path: Path, layout: str) -> Examples:
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
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
    except (AttributeError, TypeError) as error:  # an .npy file under another name: no archive
        raise DataError(f"{path.name} holds one array: numpy.savez writes both by name") from error
    return _checked(x, y, path.name, layout)


def _checked(x: np.ndarray, y: np.ndarray, name: str, layout: str) -> Examples:
    for label, array in zip(ARRAYS, (x, y)):
        if array.dtype.kind not in "iufb":
            raise DataError(f"{label} of {name} holds {array.dtype}, not numbers")
        if not np.isfinite(array).all():
            raise DataError(f"{label} of {name} contains NaN or infinity")
    if x.ndim < 2:
        raise DataError(f"x_data of {name} has the shape {x.shape}: the first axis counts examples")
    if x.size == 0 or y.ndim == 0 or len(x) != len(y):
        raise DataError(
            f"{name} has {len(x)} inputs and {y.shape[0] if y.ndim else 1} answers; it needs as "
            "many of both, at least 1"
        )
    with np.errstate(over="ignore"):
        x = np.ascontiguousarray(x, np.float32)
    if not np.isfinite(x).all():
        raise DataError(f"x_data of {name} has numbers that float32 cannot hold")
    if layout == "nhwc":
        x = _channels_first(x, name)
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    return Examples(x, y)


def _channels_first(x: np.ndarray, name: str) -> np.ndarray:
    if x.ndim != 4:
        raise DataError(
            f"--layout nhwc is for images, N x height x width x channels; x_data of {name} has the "
            f"shape {x.shape}"
        )
    return np.ascontiguousarray(x.transpose(TO_FIRST))
