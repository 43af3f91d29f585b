"""Read pictures of any kind, and write JPEG: always RGB, uint8, height x width x 3."""

import warnings
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
JPEG_QUALITY = 80  # of 100: no visible blocks, and a quarter of the bytes of 95
Source = Path | str | np.ndarray


def read_image(source: Source) -> np.ndarray:
    """The picture in a file or an array, as RGB uint8, height x width x 3.

    Files are rotated as their EXIF data says. Transparent pixels are blended with white. Grey
    pictures get three equal channels, and pictures with 16 bits per channel are reduced to 8 bits.
    An array is grey (H x W or H x W x 1), RGB or RGBA, and uint8 or uint16.

    FileNotFoundError for a missing file; ValueError for a file that is no picture, is damaged or
    has more than 89 million pixels, and for other arrays.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source)
    path = Path(source)
    if not path.exists():
        raise FileNotFoundError(f"{path.name} does not exist")
    if path.is_dir():
        raise ValueError(f"{path.name} is a folder; list_images lists the pictures in it")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as picture:
                upright = ImageOps.exif_transpose(picture)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise ValueError(f"{path.name} has too many pixels: make it smaller ({error})") from error
    except UnidentifiedImageError as error:
        raise ValueError(
            f"{path.name} is not a picture that can be read: convert it to JPEG or PNG"
        ) from error
    except (OSError, SyntaxError, ValueError) as error:  # Pillow raises all of them
        raise ValueError(
            f"{path.name} is damaged or incomplete ({error}): copy it again"
        ) from error
    if upright.mode.startswith("I;16"):
        return _from_array(np.asarray(upright).astype(np.uint16))
    if upright.mode in ("I", "F"):
        raise ValueError(
            f"{path.name} has 32 bits per pixel: its range is unknown, so convert it to 8 bits"
        )
    if upright.mode in ("LA", "PA", "RGBA") or "transparency" in upright.info:
        return _from_array(np.asarray(upright.convert("RGBA")))
    return np.array(upright.convert("RGB"))


def as_jpeg(picture: np.ndarray) -> bytes:
    """A picture, uint8 H x W x 3 (RGB), as JPEG for a browser.

    >>> as_jpeg(np.zeros((8, 8, 3), np.uint8))[:2]
    b'\\xff\\xd8'
    """
    bgr = np.ascontiguousarray(picture[..., ::-1])  # as OpenCV expects it
    return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes()


def list_images(folder: Path | str) -> list[Path]:
    """The pictures in `folder` and its folders, sorted. ValueError if there are none."""
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"{folder.name} is not a folder")
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not found:
        raise ValueError(f"the folder {folder.name} contains no pictures ({', '.join(SUFFIXES)})")
    return found


def _from_array(array: np.ndarray) -> np.ndarray:
    channels = 1
    if array.ndim == 3:
        channels = array.shape[2]
    if array.ndim not in (2, 3) or channels not in (1, 3, 4) or 0 in array.shape:
        raise ValueError(
            f"a picture is an array of height x width, or height x width x 1, 3 or 4, not "
            f"{array.shape}; one of channels x height x width needs .transpose(1, 2, 0)"
        )
    if array.dtype == np.uint16:
        array = ((array.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if array.dtype != np.uint8:
        raise ValueError(
            f"a picture is an array of uint8 (0 to 255) or uint16, not {array.dtype}; "
            "for floats from 0 to 1 use (255 * array).round().astype(np.uint8)"
        )
    if channels == 4:
        opacity = array[..., 3:].astype(np.uint32)
        blended = array[..., :3] * opacity + 255 * (255 - opacity)
        return ((blended + 127) // 255).astype(np.uint8)
    pixels = array.reshape(*array.shape[:2], channels)
    return np.ascontiguousarray(np.broadcast_to(pixels, (*array.shape[:2], 3)))
