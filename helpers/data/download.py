"""Files with a known SHA-256, listed in files.csv: from WORKBOOK_DATA, the cache, the Internet."""

import csv
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from helpers.paths import build_path, display_path
from helpers.quiet import quiet
from modelfiles.errors import WorkbookError

CONNECT_TIMEOUT_S = 5


@dataclass(frozen=True)
class RemoteFile:
    """A file to download: its mirrors in order, size in bytes, SHA-256 and licence.

    A second SHA-256, after a space, is that of a version which is accepted too, but not downloaded.
    `credit` names the author, `folder` the file's place in WORKBOOK_DATA.
    """

    urls: tuple[str, ...]
    size: int
    sha256: str
    licence: str
    credit: str = ""
    folder: str = ""


class ChecksumError(WorkbookError, ValueError):
    """A download is not the expected file."""


with open(Path(__file__).with_name("files.csv"), encoding="utf-8", newline="") as _table:
    FILES = {
        row["name"]: RemoteFile(
            tuple(row["urls"].split()),
            int(row["bytes"]),
            row["sha256"],
            row["licence"],
            row["credit"],
            row["folder"],
        )
        for row in csv.DictReader(_table)
    }


def fetch(name: str) -> Path:
    """The local path of the file `name`, one of FILES, after a check of its content.

    It is found in the folder that WORKBOOK_DATA names or in the cache, build/data. Otherwise it is
    downloaded into the cache. With the layers of an ncnn model come its weights.

    Raises ConnectionError if no mirror responds, ChecksumError if one sends another file (which is
    deleted) or WORKBOOK_DATA contains another file, ValueError for an unknown name.
    """
    if name not in FILES:
        raise ValueError(f"{name!r} is not a known file; helpers.data.FILES lists the known ones")
    if name.endswith(".ncnn.param"):
        fetch(name.replace(".ncnn.param", ".ncnn.bin"))
    known = FILES[name]
    given = _in_own_data(name, known)
    if given:
        return given
    path = build_path("data", name)
    if path.exists() and _matches(path, known):
        return path
    if not known.urls:
        raise ConnectionError(
            f"{name} has no download address: put it into the folder {known.folder} of the folder "
            "that WORKBOOK_DATA names"
        )
    if os.environ.get("WORKBOOK_OFFLINE"):
        raise ConnectionError(f"WORKBOOK_OFFLINE is set, so {name} is not downloaded")
    problem: ChecksumError | None = None
    for url in known.urls:
        try:
            _retrieve(url, path, known.sha256.split()[0])
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


def credit(name: str) -> str:
    """The author and the licence of the file `name`: a line to show under a picture.

    >>> credit("000000184324.jpg")
    'photo 3364389746 on Flickr; from COCO (CC BY 2.0)'
    """
    return f"{FILES[name].credit} ({FILES[name].licence})"


def _in_own_data(name: str, known: RemoteFile) -> Path | None:
    """The file in WORKBOOK_DATA, or None. MNIST's files have no folder; idx_files finds them."""
    root = os.environ.get("WORKBOOK_DATA")
    if not root or not known.folder:
        return None
    path = Path(root, known.folder, name)
    if not path.exists():
        return None
    if not _matches(path, known):
        raise ChecksumError(
            f"{known.folder}/{name} in the folder that WORKBOOK_DATA names is another file than "
            "the one that the workbook knows (another SHA-256): replace, rename or remove it"
        )
    return path


def _matches(path: Path, known: RemoteFile) -> bool:
    return hashlib.sha256(path.read_bytes()).hexdigest() in known.sha256.split()


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
