"""Notebook 10b: the search for layers in float, few bits, half precision, the choice of a file."""

import ast
import json
import types

import numpy as np
import pytest
import torch
from notebook_code import code_cells, definitions

from helpers import convert
from helpers.data import coco, fetch
from helpers.digit_detector import DigitDetector
from helpers.runtimes import open_model
from helpers.vision import Detections
from workbook.diagrams import float_layers

NAME = "10b_keep_layers_in_float"
LESSON = "10_quantize_a_detector"
book = definitions(NAME)
lesson = definitions(LESSON)


# the search


def made_up(bad: set[str], cost: float = 0.2):
    return lambda kept: 1 - cost * len(bad - set(kept))


HARM = {f"layer {i}": 10.0 - i for i in range(10)}
MACS = {f"layer {i}": 10 + i for i in range(10)}


@pytest.mark.parametrize(
    "bad", [set(), {"layer 0"}, {"layer 2"}, {"layer 1", "layer 4"}, {"layer 0", "layer 3"}]
)
def test_the_search_keeps_only_what_does_damage(bad):
    best, points = book.search(HARM, MACS, made_up(bad), target=0.95, most_share=0.5)
    assert best.score >= 0.95 and (set(best.kept) == bad or len(best.kept) <= max(1, len(bad)))
    assert best in points and points[0].kept == ()
    assert all(point.share <= 0.5 for point in points)


def test_the_search_skips_what_is_too_large_and_says_if_it_fails():
    macs = MACS | {"layer 0": 1000}
    best, points = book.search(HARM, macs, made_up({"layer 0"}), target=0.95, most_share=0.2)
    assert best.score < 0.95 and not any("layer 0" in point.kept for point in points)
    best, _ = book.search(HARM, MACS, made_up({"layer 9"}), 0.95, 0.9, most_layers=3)
    assert best.score < 0.95 and len(best.kept) == 3


def test_the_diagram_shows_the_search_of_the_notebook():
    harm = {"a": 5.0, "b": 4.0, "c": 3.0, "d": 2.0}
    _, points = book.search(harm, float_layers.MACS, book.toy_score, float_layers.TARGET, 0.4)
    shown = [(set(kept), score) for _, kept, score in float_layers.STEPS]
    assert shown == [(set(point.kept), pytest.approx(point.score)) for point in points]
    assert sum(float_layers.MACS.values()) == 100


# training with the grid in place


def test_a_learned_grid_has_its_marks_and_gradients():
    values = torch.linspace(-2, 2, 41)[None].repeat(3, 1) * torch.tensor([[1.0], [3.0], [0.1]])
    grid = book.LearnedGrid(values, -3, 3, per_row=True)
    on_grid = grid(values)
    assert all(len(row.unique()) <= 7 for row in on_grid)
    assert (on_grid - values).abs().max() < 3 and grid.step.shape == (3, 1)
    on_grid.sum().backward()
    assert grid.step.grad is not None and torch.isfinite(grid.step.grad).all()


# half precision


def test_files_in_half_precision_are_half_as_large_and_compute_the_same(tmp_path):
    torch.manual_seed(0)
    network = DigitDetector().eval()
    example = torch.zeros(1, 1, 96, 96)
    x = np.random.default_rng(0).random((2, 1, 96, 96), np.float32)
    whole = {
        "onnx": convert.to_onnx(network, example, tmp_path / "a.onnx"),
        "ncnn": convert.to_ncnn(network, example, tmp_path / "a.ncnn.param"),
        "tflite": convert.to_tflite(network, example, tmp_path / "a.tflite"),
    }
    whole["mnn"] = convert.to_mnn(whole["onnx"], tmp_path / "a.mnn")
    half = {
        "ncnn": convert.to_ncnn(network, example, tmp_path / "b.ncnn.param", half=True),
        "tflite": convert.to_tflite_half(whole["tflite"], tmp_path / "b.tflite"),
        "mnn": convert.to_mnn(whole["onnx"], tmp_path / "b.mnn", weight_bits=16),
    }
    exact = open_model(whole["onnx"]).predict(x)
    for name, file in half.items():
        sizes = [
            sum(part.stat().st_size for part in (path, path.with_suffix(".bin")) if part.exists())
            for path in (file, whole[name])
        ]
        assert 0.45 < sizes[0] / sizes[1] < 0.6, name
        model = open_model(file)
        assert model.precision == "float16"
        assert np.abs(model.predict(x) - exact).max() < 0.02 * np.abs(exact).max(), name


# what is compared


def found(*boxes: tuple, number: int = 3) -> Detections:
    """Detections of one class with sure scores."""
    of_class = np.full(len(boxes), number)
    return Detections(np.array(boxes, float).reshape(-1, 4), np.ones(len(boxes)), of_class)


def as_detector(detections: Detections):
    """A detector that finds the same in every picture."""
    return types.SimpleNamespace(
        network=lambda x: x, postprocess=lambda raw, fit, confidence: detections
    )


BOX = (0, 0, 10, 10)
SHIFTED = (2, 0, 12, 10)  # an IoU of 2 / 3


@pytest.mark.parametrize(
    ("now", "changed"),
    [
        (found(BOX, SHIFTED), 0),
        (found(BOX), 1),
        (found(), 2),
        (found(BOX, SHIFTED, number=4), 2),
        (found((0, 0, 10, 10.5), SHIFTED), 0),
    ],
)
def test_a_box_is_unchanged_if_one_of_its_class_covers_nine_tenths(now, changed):
    test = types.SimpleNamespace(inputs=[0, 0], fits=[0, 0])
    case = types.SimpleNamespace(detector=as_detector(found(BOX, SHIFTED)), test=test)
    assert book.changed_boxes(case, as_detector(now)) == {"boxes": 4, "changed": 2 * changed}


def test_the_fastest_file_that_keeps_the_ap_ships():
    names = book.decisions.__globals__
    ap = {
        "float32, ONNX": 0.4,
        "float16, ONNX": 0.4,
        "float16, ncnn": 0.39,
        "int8, ONNX": 0.1,
        "int8 and float, ONNX": 0.385,
    }
    times_as_fast = dict(zip(ap, (1, 1.1, 0.9, 4, 2)))
    names |= {
        "wanted": 0.95,
        "files": {("x", kind): None for kind in ap},
        "scores": {("x", kind): {"test": [value, 0, 1]} for kind, value in ap.items()},
        "speed": {("x", kind): types.SimpleNamespace(value=times_as_fast[kind]) for kind in ap},
    }
    assert book.allowed("x") == [
        "int8 and float, ONNX", "float16, ONNX", "float32, ONNX", "float16, ncnn",
    ]  # fmt: skip
    assert book.decisions("x") == {
        "laptop": "int8 and float, ONNX",
        "Pi 5": "float16, ncnn",
        "Pi 4": "int8 and float, ONNX",
        "does not ship": "int8, ONNX",
    }


# what is stored


@pytest.fixture(scope="module")
def stored():
    return {row["name"]: row["figures"] for row in json.loads(book.STORED.read_text())["rows"]}


@pytest.mark.parametrize("name", book.NAMES)
def test_a_search_reaches_the_accuracy_with_a_third_of_the_macs_at_most(stored, name):
    rows = {start: stored[f"search, {start}"] for start in book.STARTS if start[0] == name}
    exact = stored[f"{name}, float"]["test"][0]
    assert all(row["share"] <= 1 / 3 for row in rows.values())
    reached = [row for row in rows.values() if row["reached"]]
    assert any(row["test"][0] >= 0.95 * exact for row in reached)
    for row in rows.values():
        assert len(row["points"]) >= 1 and all(len(point) == 4 for point in row["points"])


def test_few_bits_need_training(stored):
    exact = stored["digits, float"]["test"][0]
    two = stored["digits, QAT, 2 bits"]
    assert two["before"][0] < 0.5 * exact < two["after"][0]


# the page


@pytest.mark.parametrize("name", [NAME, f"solutions/{LESSON}", f"solutions/{NAME}"])
def test_what_it_takes_from_notebook_10_is_there(name):
    nodes = [node for cell in code_cells(name) for node in ast.walk(ast.parse(cell.source))]
    used = {
        node.attr
        for node in nodes
        if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "lesson"
    }
    assert len(used) > 5
    assert used - set(vars(lesson)) <= {"cases"}, "the page itself sets these"


def test_the_page_measures_before_it_says():
    """The search that prose describes is the one that runs; no figure of it is typed."""
    source = "\n".join(cell.source for cell in code_cells(NAME))
    for name in ("search_row", "qat_row"):
        assert f"partial({name}" in source


@pytest.mark.data
def test_two_layers_in_float_cure_yolox_nano():
    val = coco("val")
    train = coco("train")
    parts = [({p.id: p.path for p in s.photos}, s.ground_truth) for s in (train, val)]
    case = lesson.case_of("YOLOX-nano", fetch("yolox_nano.onnx"), *parts)
    watched = lesson.watch(case.network, case.calibration.inputs[::4])
    ranges = lesson.ranges_of(watched, lesson.min_max)
    convolutions = [layer for layer, macs in case.network.macs.items() if macs]
    exact = lesson.ap(case.detector, case.test)
    all_int8 = lesson.ap(lesson.opened(case.network.quantized(ranges)), case.test)
    cured = lesson.ap(lesson.opened(case.network.quantized(ranges, convolutions[:2])), case.test)
    assert 0.28 < exact < 0.32
    assert all_int8 < 0.8 * exact and cured > 0.9 * exact
