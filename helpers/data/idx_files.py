"""Find MNIST's files in the folder that WORKBOOK_DATA names, and read them.

An IDX file has a header (type, number of axes, sizes) and the bytes of an array.
"""

import gzip
import math
import os
import re
import zlib
from pathlib import Path

import numpy as np

from helpers.paths import display_path

IDX_PREFIX = {"train": "train", "test": "t10k"}
# torchvision uses MNIST/raw; a search of all folders could find FashionMNIST, with the same names
IDX_FOLDERS = ("", "MNIST/raw", "mnist", "MNIST", "raw")
OTHER_DATA = ("coco", "images", "models")  # other folders that WORKBOOK_DATA may contain
GZIP_MAGIC = b"\x1f\x8b"  # the first bytes of every gzip file


def idx_paths(split: str) -> list[Path]:
    """The IDX files of `split` in the folder that WORKBOOK_DATA names: [images, labels] or [].

    ValueError if the folder is missing, or contains nothing that the workbook uses.
    """
    root = os.environ.get("WORKBOOK_DATA")
    if not root:
        return []
    if not os.path.isdir(root):
        raise ValueError(
            f"WORKBOOK_DATA names {root}, which is not a folder: correct it, or unset it"
        )
    found = {name: _find_pair(Path(root), prefix) for name, prefix in IDX_PREFIX.items()}
    if not any(found.values()) and not any(Path(root, name).is_dir() for name in OTHER_DATA):
        raise ValueError(
            f"WORKBOOK_DATA names {root}, which holds no MNIST images and labels "
            "(files such as t10k-images-idx3-ubyte.gz and t10k-labels-idx1-ubyte.gz, in it or in "
            "MNIST/raw): put them there, or unset it"
        )
    return found[split]


def _find_pair(root: Path, prefix: str) -> list[Path]:
    """[images, labels] in the first folder that has both, else []."""
    for place in IDX_FOLDERS:
        found = [_find_idx(root / place, prefix, part) for part in ("images", "labels")]
        pair = [path for path in found if path]
        if len(pair) == 2:
            return pair
    return []


def _find_idx(folder: Path, prefix: str, part: str) -> Path | None:
    """The file of `part`, "images" or "labels", under any name that sites and browsers give it.

    Examples: train-images-idx3-ubyte.gz, train-images.idx3-ubyte, or a folder of that name that
    contains the file. An unpacked file is preferred to a gzipped one.
    """
    name = re.compile(rf"{prefix}[-_.]{part}[-_.]idx[13][-_.]ubyte(\.gz)?", re.IGNORECASE)
    if not folder.is_dir():
        return None
    named = sorted(path for path in folder.iterdir() if name.fullmatch(path.name))
    inside = [
        inner
        for path in named
        if path.is_dir()
        for inner in path.iterdir()
        if name.fullmatch(inner.name)
    ]
    files = [path for path in [*named, *sorted(inside)] if path.is_file()]
    return min(files, key=lambda path: path.suffix.lower() == ".gz", default=None)


def read_idx(path: Path) -> np.ndarray:
    """The uint8 array in an IDX file, gzipped or not. ValueError for other files."""
    raw = path.read_bytes()
    if raw.startswith(GZIP_MAGIC):  # some browsers unpack a file and keep the name .gz
        try:
            raw = gzip.decompress(raw)
        except (EOFError, OSError, zlib.error) as error:
            raise ValueError(
                f"{display_path(path)} is cut off or damaged ({error}); download it again"
            ) from error
    axes = raw[3] if len(raw) > 3 else 0
    header = 4 + 4 * axes
    if raw[:3] != b"\x00\x00\x08" or not axes or len(raw) < header:
        raise ValueError(
            f"{display_path(path)} is not an IDX file of unsigned bytes; download it again"
        )
    shape = [int(n) for n in np.frombuffer(raw, ">u4", count=axes, offset=4)]
    if len(raw) != header + math.prod(shape):
        raise ValueError(
            f"{display_path(path)} has {len(raw):,} bytes, but its header requires another size; "
            "download it again"
        )
    return np.frombuffer(raw, np.uint8, offset=header).reshape(shape)
