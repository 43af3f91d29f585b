"""Notebook 09b: what it defines, and what it prints without photographs."""

import copy
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from notebook_code import definitions
from test_notebooks import QUICK, code_cells, printed

from helpers import convert, digit_detector, long_runs, metrics, vision
from helpers.digit_detector import DigitDetector
from helpers.paths import ROOT
from workbook import book

NAME = "09b_carry_a_detector"
notebook = definitions(
    NAME,
    {
        "shape_picture",
        "write_shapes",
        "as_scene",
        "varied",
        "learn",
        "with_new_classes",
        "onnx_size",
        "size_kb",
        "shares",
        "yolo_output",
        "nearest_mean",
    },
)
STORED = ROOT / "notebooks" / "figures" / "09_real_detectors.json"


def test_labels_of_shapes_fit_their_outlines():
    generator = np.random.default_rng(1)
    for _ in range(50):
        image, labels = notebook.shape_picture(generator)
        assert image.shape == (144, 192) and image.dtype == np.uint8 and 1 <= len(labels) <= 3
        for label in labels:
            x, y, width, height = label["bbox"]
            inside = image[int(y) : int(y + height), int(x) : int(x + width)].astype(int)
            for line in (inside[:3], inside[-3:], inside[:, :3], inside[:, -3:]):
                assert line.max() > image.mean() + 25, "an outline reaches every side of its box"
            assert min(x, y) >= 0 and x + width <= 192 and y + height <= 144


def test_a_folder_of_shapes_becomes_scenes(tmp_path):
    notebook.write_shapes(tmp_path / "shapes", 5)
    pictures, names = vision.read_own_pictures(tmp_path / "shapes")
    assert names == ["circle", "square", "triangle"] and len(pictures) == 5
    generator = np.random.default_rng(0)
    for picture in pictures:
        scene = notebook.as_scene(picture)
        assert scene.image.shape == (96, 96)
        assert (scene.image[:12] == 114).all() and (scene.image[-12:] == 114).all()
        assert np.allclose(scene.boxes, picture.boxes / 2 + [0, 12, 0, 12], atol=1e-4)
        for _ in range(4):
            other = notebook.varied(scene, generator)
            assert (other.boxes[:, 2:] > other.boxes[:, :2]).all()
            is_same = np.allclose(other.boxes, scene.boxes)
            assert is_same or np.allclose(96 - other.boxes[:, [2, 0]], scene.boxes[:, [0, 2]])


@pytest.fixture
def scene(tmp_path):
    """One drawn picture as the detector takes it."""
    notebook.write_shapes(tmp_path / "one", 1)
    pictures, _ = vision.read_own_pictures(tmp_path / "one")
    return notebook.as_scene(pictures[0])


def test_new_classes_start_from_nothing_and_the_rest_is_kept():
    torch.manual_seed(0)
    old = DigitDetector().eval()
    before = copy.deepcopy(old.state_dict())
    new = notebook.with_new_classes(old)
    image = torch.rand(1, 1, 96, 96)
    with torch.inference_mode():
        ours = new(image)
        theirs = old(image)
    np.testing.assert_allclose(ours[:, :5], theirs[:, :5], atol=1e-6)
    assert (ours[:, 5:] == 0).all()
    assert all(torch.equal(value, before[name]) for name, value in old.state_dict().items())


def test_learning_weights_the_three_losses_as_the_training_does(scene, monkeypatch):
    """With losses that are 1, 10 and 100 times the head's weights, the gradient shows the sum."""
    globals_of_learn = notebook.learn.__globals__
    model = DigitDetector()

    def losses(raw, classes, boxes):
        total = model[-1].weight.sum()
        return total, 10 * total, 100 * total

    monkeypatch.setitem(globals_of_learn, "losses", losses)
    monkeypatch.setitem(globals_of_learn, "recipe", replace(digit_detector.RECIPE, epochs=1))
    average = notebook.learn(model, [scene], 5)
    expected = 1 + 10 * digit_detector.BOX_WEIGHT + 100
    assert (model[-1].weight.grad == expected).all()
    assert not average.training


def test_too_few_steps_are_named(scene):
    with pytest.raises(ValueError, match="4 steps are too few"):
        notebook.learn(DigitDetector(), [scene], 4)


def test_shares_add_up_and_follow_the_times(monkeypatch):
    class Taken:
        def __init__(self, ns):
            self.samples_ns = np.full(20, ns, float)

    times = {("a", "network"): Taken(300), ("a", "resize"): Taken(100), ("b", "network"): Taken(7)}
    monkeypatch.setitem(notebook.shares.__globals__, "stage_taken", times)
    found = notebook.shares("a")
    assert {stage: share.value for stage, share in found.items()} == {
        "network": 0.75,
        "resize": 0.25,
    }
    assert all(share.low <= share.value <= share.high for share in found.values())


@pytest.mark.parametrize("name", ["YOLOv5", "YOLOv8"])
def test_outputs_that_are_made_have_the_boxes_that_were_put_in(name, monkeypatch):
    known = np.array([[48, 240, 195, 371], [320, 60, 352, 498]], np.float32)
    monkeypatch.setitem(notebook.yolo_output.__globals__, "known", known)
    monkeypatch.setitem(notebook.yolo_output.__globals__, "known_classes", np.array([17, 0]))
    raw = notebook.yolo_output(name, count=20)
    boxes, scores, classes = notebook.LAYOUTS[name].decode(raw, 640, 640, 0.25)
    assert boxes.tolist() == known.tolist()
    assert classes.tolist() == [17, 0]
    assert np.allclose(scores, 0.9)


def test_the_size_of_an_onnx_file_is_that_of_the_network(tmp_path):
    network = DigitDetector().eval()
    path = convert.to_onnx(network, torch.zeros(1, 1, 96, 96), tmp_path / "digits.onnx")
    parameters, macs = notebook.onnx_size(path)
    assert macs == metrics.count_macs(network, (1, 1, 96, 96))
    stored = sum(onnx.numpy_helper.to_array(t).size for t in onnx.load(path).graph.initializer)
    assert 0 <= stored - parameters < 50, "all but the shapes of reshapes"


def test_the_size_of_an_ncnn_model_is_that_of_both_files(tmp_path):
    for name, count in {"a.ncnn.param": 1000, "a.ncnn.bin": 5000, "a.onnx": 700}.items():
        (tmp_path / name).write_bytes(bytes(count))
    assert notebook.size_kb(tmp_path / "a.ncnn.param") == 6
    assert notebook.size_kb(tmp_path / "a.onnx") == 0.7


def test_nearest_mean_never_uses_the_own_photograph():
    labels = np.tile(np.arange(5), 3)
    photographs = np.repeat([1, 2, 3], 5)
    features = np.eye(5)[labels] + 0.01
    assert notebook.nearest_mean(features, labels, photographs).tolist() == labels.tolist()
    features[0] = features[1]  # as its own example, it would be nearest to itself
    assert notebook.nearest_mean(features, labels, photographs)[0] == 1


def test_the_stored_table_has_what_the_page_shows():
    rows, about = long_runs.load_rows(STORED)
    assert [row["detector"] for row in rows] == ["FastestDet", "FastestDet, ncnn", "YOLOX-nano"]
    assert about["photographs"] == "22"
    first, twin, larger = rows
    assert first["AP"][0] == pytest.approx(0.179, abs=0.01)
    assert first["AP50"][0] == pytest.approx(0.309, abs=0.01)
    assert twin["AP"][0] == pytest.approx(first["AP"][0], abs=0.003)
    assert larger["AP"][0] > first["AP"][0] and larger["MACs"] > first["MACs"]
    for row in rows:
        for name in ("AP", "AP50", "AP75", "times as long"):
            value, low, high = row[name]
            assert low <= value <= high


@pytest.mark.slow
@pytest.mark.parametrize("given", [True, False])
def test_the_page_with_and_without_photographs(given, quick_networks, monkeypatch, tmp_path):
    if not given:
        monkeypatch.setenv("WORKBOOK_DATA", "")
        monkeypatch.setenv("WORKBOOK_BUILD", str(tmp_path))
    executed = book.execute(NAME, QUICK[NAME])
    shown = "\n".join(printed(cell) for cell in code_cells(executed))
    missing = shown.count("No photographs here")
    assert missing == (0 if "photographs, " in shown else 1)
    assert "photographs" in shown and "YOLOX-nano" in shown
