"""Notebook 11: late pictures by arithmetic, rendered photographs, and the mending of light."""

import shutil

import numpy as np
import pytest
from notebook_code import definitions
from test_notebooks import QUICK, code_cells, printed

from helpers import model_files
from helpers.data import mnist
from workbook import book
from workbook.pi import setup

NAME = "11_live_camera"
notebook = definitions(NAME, {"simulate", "photographed", "inverted", "evened"})


@pytest.mark.parametrize("network_ms, shown", [(10, 300), (33, 300), (100, 100)])
def test_a_queue_and_the_newest_frame_are_as_late_as_arithmetic_says(network_ms, shown):
    seconds = 10
    network_s = network_ms / 1000
    queue = notebook.simulate(network_s, 30, seconds, newest_only=False)
    newest = notebook.simulate(network_s, 30, seconds, newest_only=True)
    assert len(queue) == 30 * seconds, "a queue drops nothing"
    assert len(newest) == pytest.approx(shown, rel=0.1)
    # frame n is exposed at n / 30 and shown at (n + 1) * network_s, if that is later
    late = max(network_s, len(queue) * network_s - (len(queue) - 1) / 30)
    assert queue[-1, 1] == pytest.approx(late, rel=0.01)
    assert newest[:, 1].max() <= network_s + 1 / 30 + 1e-9
    assert (np.diff(newest[:, 0]) >= network_s - 1e-9).all(), "one network, one frame at a time"


def photos(count: int = 40) -> list:
    generator = np.random.default_rng(3)
    return [notebook.photographed(mnist("test"), generator) for _ in range(count)]


def test_a_rendered_photograph_has_its_digits_in_dark_ink_inside_their_boxes():
    darker = []
    for photo in photos():
        assert photo.image.shape == (96, 96) and photo.image.dtype == np.uint8
        assert 1 <= len(photo.boxes) == len(photo.classes) <= 4
        assert (photo.boxes[:, 2:] > photo.boxes[:, :2]).all()
        assert photo.boxes.min() >= 0 and photo.boxes.max() <= 96
        for box in photo.boxes:
            x1, y1, x2, y2 = box.round().astype(int)
            inside = photo.image[y1:y2, x1:x2]
            darker.append(np.percentile(inside, 90) - np.percentile(inside, 10))
    assert np.median(darker) > 20
    same = [a.image.tobytes() == b.image.tobytes() for a, b in zip(photos(3), photos(3))]
    assert all(same), "a seed gives the same photographs"


def test_evened_ink_is_light_and_a_shadow_disappears():
    page = np.full((96, 96), 220, np.float32)
    page[40:56, 20:23] = 60  # a stroke in the light
    page[40:56, 70:73] = 60  # and the same in the shadow
    shadow = np.where(np.arange(96) < 48, 1, 0.4)
    image = (page * shadow).astype(np.uint8)
    even = notebook.evened(image).astype(int)
    light, dark = even[48, 21], even[48, 71]
    assert abs(light - dark) < 20 and min(light, dark) > 180
    assert even[10, 10] < 60 and even[10, 85] < 60, "the paper is dark on both sides"
    plain = notebook.inverted(image).astype(int)
    assert plain[10, 85] > plain[48, 21] - 60, "inverting alone leaves the shadow as bright as ink"


def test_an_empty_page_stays_empty():
    noise = np.random.default_rng(0).normal(200, 3, (96, 96)).clip(0, 255).astype(np.uint8)
    assert np.percentile(notebook.evened(noise), 99) < 140


@pytest.mark.slow
def test_it_runs_without_pytorch_from_the_files_that_a_pi_gets(monkeypatch, tmp_path):
    model_files.build_missing(["mobilenet_v2"], batches=())
    copied = [path for name, path in setup.bundle().items() if name.startswith("build/models/")]
    (tmp_path / "build/models").mkdir(parents=True)
    for path in copied:
        shutil.copy(path, tmp_path / "build/models")
    absent = ["torch", "torchvision", "tensorflow", "executorch", "litert_torch", "torchao", "onnx"]
    (tmp_path / "sitecustomize.py").write_text(
        f"import sys\nsys.modules.update(dict.fromkeys({absent}))\n"
    )
    monkeypatch.setenv("WORKBOOK_BUILD", str(tmp_path / "build"))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    cells = code_cells(book.execute(NAME, QUICK[NAME]))
    shown = "\n".join(map(printed, cells))
    assert "PyTorch, training mode" not in shown and "The camera is the limit at" in shown
    assert not any(o.get("name") == "stderr" for cell in cells for o in cell.outputs)


@pytest.mark.slow
def test_the_page_without_data_says_what_is_missing(quick_networks, monkeypatch, tmp_path):
    monkeypatch.setenv("WORKBOOK_DATA", "")
    monkeypatch.setenv("WORKBOOK_BUILD", str(tmp_path))
    shown = "\n".join(map(printed, code_cells(book.execute(NAME, QUICK[NAME]))))
    for sentence in ("No camera is used here", "No weights here", "No photographs here"):
        assert shown.count(sentence) == 1
