"""Files that the book downloads from several mirrors, checked by size and SHA-256."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from helpers.paths import build_path, display_path
from helpers.quiet import quiet
from modelfiles.errors import WorkbookError


@dataclass(frozen=True)
class RemoteFile:
    """A file to download: its mirrors in order, size in bytes, SHA-256 and licence."""

    urls: tuple[str, ...]
    size: int
    sha256: str
    licence: str


class ChecksumError(WorkbookError, ValueError):
    """A download is not the expected file."""


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
CONNECT_TIMEOUT_S = 5


def fetch(name: str) -> Path:
    """The local path of the file `name`: cached in build/data, or else downloaded and checked.

    Raises ConnectionError if no mirror responds, ChecksumError if one sends another file (which is
    deleted), KeyError if FILES does not have `name`.
    """
    known = FILES[name]
    path = build_path("data", name)
    if path.exists() and _matches(path, known):
        return path
    if os.environ.get("WORKBOOK_OFFLINE"):
        raise ConnectionError(f"WORKBOOK_OFFLINE is set, so {name} is not downloaded")
    problem: ChecksumError | None = None
    for url in known.urls:
        try:
            _retrieve(url, path, known.sha256)
            return path
        except ConnectionError:
            continue  # try the next mirror
        except ChecksumError as error:
            problem = problem or error
    if problem:
        raise problem
    raise ConnectionError(
        f"no mirror of {name} responds; connect to the Internet once, "
        f"or put it into {display_path(path.parent)}"
    )


def _matches(path: Path, known: RemoteFile) -> bool:
    if path.stat().st_size != known.size:
        return False
    return hashlib.sha256(path.read_bytes()).hexdigest() == known.sha256


def _retrieve(url: str, path: Path, sha256: str) -> None:
    """Download `url` to `path`, or leave no file. Raises ConnectionError or ChecksumError."""
    with quiet():  # tqdm, which pooch loads, warns inside a notebook
        import pooch
    import requests

    pooch.get_logger().setLevel("WARNING")
    downloader = pooch.HTTPDownloader(timeout=CONNECT_TIMEOUT_S)
    broke_off = (
        requests.exceptions.ChunkedEncodingError,
        requests.exceptions.ContentDecodingError,
    )
    try:
        pooch.retrieve(url, f"sha256:{sha256}", path.name, path.parent, downloader=downloader)
    except broke_off as error:
        raise ChecksumError(_wrong_content(url, path.name, sha256)) from error
    except requests.exceptions.RequestException as error:
        raise ConnectionError(f"{url}: {error}") from error
    except ValueError as error:  # another hash; pooch has deleted the file
        raise ChecksumError(_wrong_content(url, path.name, sha256)) from error


def _wrong_content(url: str, name: str, sha256: str) -> str:
    return (
        f"{url} sent something other than {name} (SHA-256 {sha256[:12]}...). Nothing was kept. "
        "Does the Wi-Fi have a login page? Log in and try again, or set WORKBOOK_OFFLINE=1 "
        "to use the images that come with the environment."
    )
