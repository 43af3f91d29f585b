"""Notebook 10: int8 for any part of an ONNX network, ranges, the search, and what is stored.

A small network is made here: a convolution with ReLU, a depthwise one with SiLU, and a head.
"""

import json

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from notebook_code import code_cells, definitions
from onnx import TensorProto, helper, numpy_helper
from test_notebooks import QUICK, printed

from helpers import convert, vision
from helpers.convert import ConversionError, read_layers
from helpers.data import coco, fetch
from helpers.digit_detector import DigitDetector
from helpers.runtimes import open_model
from workbook import book as runner

NAME = "10_quantize_a_detector"
book = definitions(NAME)
SIDE = 8


def small_network(path, opset: int = 11, size: int | str = SIDE):
    """A file as old tools wrote it: its weights are among the inputs."""
    generator = np.random.default_rng(0)
    shapes = {"w1": (4, 3, 3, 3), "b1": (4,), "w2": (4, 1, 3, 3), "b2": (4,), "w3": (2, 4, 1, 1)}
    stored = [
        numpy_helper.from_array(generator.standard_normal(shape).astype(np.float32), name)
        for name, shape in shapes.items()
    ]
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["a"], "first", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"], "relu"),
        helper.make_node("Conv", ["b", "w2", "b2"], ["c"], "second", pads=[1, 1, 1, 1], group=4),
        helper.make_node("Sigmoid", ["c"], ["d"], "sigmoid"),
        helper.make_node("Mul", ["c", "d"], ["e"], "mul"),
        helper.make_node("Concat", ["e", "b"], ["f"], "concat", axis=2),
        helper.make_node("Conv", ["f", "w3"], ["y"], "head"),
    ]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, size, size])]
    listed = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in shapes.items()]
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "small", inputs + listed, [output], stored)
    imports = [helper.make_opsetid("", opset)]
    onnx.save(helper.make_model(graph, opset_imports=imports, ir_version=6), path)
    return path


@pytest.fixture
def network(tmp_path):
    return read_layers(small_network(tmp_path / "small.onnx"))


@pytest.fixture(scope="module")
def images():
    generator = np.random.default_rng(1)
    return [generator.standard_normal((1, 3, SIDE, SIDE)).astype(np.float32) for _ in range(4)]


def outputs(model, images) -> np.ndarray:
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return np.concatenate([session.run(None, {"x": image})[0] for image in images])


def min_max_ranges(network, images) -> dict:
    return book.ranges_of(book.watch(network, images), book.min_max)


# int8 for any part of a network


def test_a_layer_is_a_convolution_with_its_activation(network):
    assert network.layers == {
        "first": ["first", "relu"],
        "second": ["second", "sigmoid", "mul"],
        "concat": ["concat"],
        "head": ["head"],
    }
    pixels = SIDE * SIDE
    assert network.macs == {
        "first": 4 * 27 * pixels,
        "second": 4 * 9 * pixels,
        "concat": 0,
        "head": 8 * 2 * pixels,
    }
    assert network.tensors == ["x", "a", "b", "c", "d", "e", "f", "y"]
    assert [entry.name for entry in network.model.graph.input] == ["x"]


def test_activations_are_those_of_the_network(network, images):
    seen = list(network.activations(images))
    assert len(seen) == 4 and set(seen[0]) == set(network.tensors)
    np.testing.assert_allclose(
        np.concatenate([tensors["y"] for tensors in seen]), outputs(network.model, images)
    )
    np.testing.assert_array_equal(seen[2]["b"], np.maximum(seen[2]["a"], 0))


def test_with_all_layers_kept_nothing_changes_and_the_more_bits_the_less_noise(network, images):
    ranges = min_max_ranges(network, images)
    exact = outputs(network.model, images)
    kept = network.quantized(ranges, network.layers)
    np.testing.assert_array_equal(outputs(kept, images), exact)
    errors = []
    for bits in (2, 3, 4, 6, 8):
        onnx.checker.check_model(network.quantized(ranges, bits=bits))
        errors.append(np.abs(outputs(network.quantized(ranges, bits=bits), images) - exact).mean())
    assert errors == sorted(errors, reverse=True) and errors[-1] < 0.02 * np.abs(exact).mean()


def test_every_tensor_of_an_int8_layer_has_as_many_values_as_its_grid(network, images, tmp_path):
    """The tensor between a convolution and its ReLU has no grid: both are one kernel."""
    for bits in (3, 8):
        model = network.quantized(min_max_ranges(network, images), bits=bits)
        kinds = [node.op_type for node in model.graph.node]
        assert kinds.count("QuantizeLinear") == len(network.tensors) - 1
        assert np.unique(outputs(model, images)).size <= 2**bits


def test_a_float_layer_reads_exact_numbers_of_a_float_layer(network, images):
    model = network.quantized(min_max_ranges(network, images), keep=("first", "second"))
    readers = {name: node.input[0] for node in model.graph.node for name in [node.name] if name}
    assert readers["second"] == "b", "the ReLU of `first` is float, too"
    assert next(n for n in model.graph.node if n.name == "concat").input[1] == "b_on_grid"
    assert not any("first_weights" in item.name for item in model.graph.initializer)


def test_one_grid_for_all_channels_is_worse(network, images):
    ranges = min_max_ranges(network, images)
    exact = outputs(network.model, images)
    error = {
        each: np.square(
            outputs(network.quantized(ranges, bits=4, per_channel=each), images) - exact
        )
        for each in (True, False)
    }
    assert error[True].mean() < error[False].mean()


def test_what_cannot_be_quantized_is_said(network, images, tmp_path):
    ranges = min_max_ranges(network, images)
    with pytest.raises(ValueError, match=r"unknown layers \['stem'\]"):
        network.quantized(ranges, keep=["stem"])
    with pytest.raises(ValueError, match=r"without a range \['y'\]"):
        network.quantized({name: ends for name, ends in ranges.items() if name != "y"})
    with pytest.raises(ValueError, match="bits outside 2 to 8"):
        network.quantized(ranges, bits=16)
    with pytest.raises(ConversionError, match="free input size"):
        read_layers(small_network(tmp_path / "free.onnx", size="side"))
    onnx.save(network.quantized(ranges), tmp_path / "int8.onnx")
    with pytest.raises(ConversionError, match="int8 already"):
        read_layers(tmp_path / "int8.onnx")


# ranges


def histogram(values: np.ndarray) -> "book.Watched":
    counts, edges = np.histogram(values, book.BINS, (min(values.min(), 0), values.max()))
    return book.Watched(values.min()[None], values.max()[None], counts[None], edges)


@pytest.fixture(scope="module")
def with_outlier():
    """Numbers of a bell, and one far away."""
    bell = np.random.default_rng(0).standard_normal(100_000)
    return histogram(np.append(bell, 40.0))


def test_each_method_stays_inside_the_extremes_and_three_of_them_clip(with_outlier):
    low, high = book.min_max(with_outlier)
    assert high == 40 and low < -3.5
    for name, method in book.METHODS.items():
        start, end = method(with_outlier)
        assert low <= start <= 0 <= end <= high
        if name != "min-max":
            assert 3 < end < 40, name


def test_the_chosen_range_has_less_square_error_than_min_max(with_outlier):
    middles = (with_outlier.edges[1:] + with_outlier.edges[:-1]) / 2
    counts = with_outlier.counts.sum(axis=0)
    chosen = book.best_range(with_outlier, book.square_error)
    error = [
        book.square_error(middles, counts, *ends) for ends in (chosen, book.min_max(with_outlier))
    ]
    assert error[0] < error[1]


def test_histograms_of_some_pictures_give_the_ranges_of_these_pictures(network, images):
    everything = book.watch(network, images)
    alone = book.watch(network, images[1:3])
    some = book.ranges_of(everything, book.min_max, [1, 2])
    for name, ends in book.ranges_of(alone, book.min_max).items():
        assert some[name] == pytest.approx(ends)
    total = sum(int(image.size) for image in images)
    assert everything["x"].counts.sum() == total


# equalization


def test_equalization_changes_weights_and_not_the_function(network, images):
    (pair,) = book.pairs_of(small_without_skip(network))
    assert [node.name for node in pair] == ["first", "second"]
    even = book.equalized(small_without_skip(network))
    before = network.weights()
    after = even.weights()
    spread = [np.ptp(np.log(np.abs(w["w2"]).max(axis=(1, 2, 3)))) for w in (before, after)]
    assert not np.allclose(before["w1"], after["w1"]) and spread[0] != spread[1]
    np.testing.assert_allclose(
        outputs(even.model, images), outputs(small_without_skip(network).model, images), atol=1e-4
    )


def small_without_skip(network):
    """The same without the concatenation, so that only one layer reads the first."""
    model = onnx.ModelProto()
    model.CopyFrom(network.model)
    nodes = [node for node in model.graph.node if node.name != "concat"]
    nodes[-1].input[0] = "e"
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    del model.graph.output[0].type.tensor_type.shape.dim[:]
    return book.replace(network, model=model)


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


# what is stored


@pytest.fixture(scope="module")
def stored():
    return {row["name"]: row["figures"] for row in json.loads(book.STORED.read_text())["rows"]}


def test_int8_destroys_one_detector_and_spares_the_others(stored):
    left = {
        name: stored[f"{name}, min-max"]["test"][0] / stored[f"{name}, float"]["test"][0]
        for name in book.NAMES
    }
    assert left["YOLOX-nano"] < 0.75 < 0.8 < left["FastestDet"] and left["digits"] > 0.95


def test_other_ranges_bring_much_of_it_back(stored):
    exact = stored["YOLOX-nano, float"]["test"][0]
    best = max(stored[f"YOLOX-nano, {method}"]["test"][0] for method in book.METHODS)
    assert best > 0.7 * exact > stored["YOLOX-nano, min-max"]["test"][0]


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


def test_without_photographs_the_page_runs_and_says_what_is_missing(monkeypatch):
    monkeypatch.delenv("WORKBOOK_DATA", raising=False)
    monkeypatch.setenv("WORKBOOK_OFFLINE", "1")
    notebook = runner.execute(NAME, QUICK[NAME])
    shown = "\n".join(printed(cell) for cell in notebook.cells if cell.cell_type == "code")
    assert shown.count("COCO's photographs are missing") == 1
    assert "YOLOX-nano" in shown, "its stored figures"


def test_the_page_measures_before_it_says():
    """The search that prose describes is the one that runs; no figure of it is typed."""
    source = "\n".join(cell.source for cell in code_cells(NAME))
    for name in ("search_row", "symptoms", "draw_row", "qat_row"):
        assert f"partial({name}" in source


@pytest.mark.data
def test_two_layers_in_float_cure_yolox_nano():
    val = coco("val")
    train = coco("train")
    parts = [({p.id: p.path for p in s.photos}, s.ground_truth) for s in (train, val)]
    case = book.case_of("YOLOX-nano", fetch("yolox_nano.onnx"), *parts)
    ranges = min_max_ranges(case.network, case.calibration.inputs[::4])
    convolutions = [layer for layer, macs in case.network.macs.items() if macs]
    exact = book.ap(case.detector, case.test)
    all_int8 = book.ap(book.opened(case.network.quantized(ranges)), case.test)
    cured = book.ap(book.opened(case.network.quantized(ranges, convolutions[:2])), case.test)
    assert isinstance(case.detector, vision.Detector) and 0.28 < exact < 0.32
    assert all_int8 < 0.8 * exact and cured > 0.9 * exact
