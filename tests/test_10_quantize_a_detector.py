"""Notebook 10: int8 for any part of an ONNX network, ranges, noise, and what is stored.

A small network is made here: a convolution with ReLU, a depthwise one with SiLU, and a head.
"""

import json
import types

import numpy as np
import onnx
import onnxruntime
import pytest
from notebook_code import code_cells, definitions
from onnx import TensorProto, helper, numpy_helper
from test_notebooks import QUICK, printed

from helpers.convert import ConversionError, read_layers
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


def test_a_percentile_drops_both_ends():
    """Of 100,000 numbers of a bell, one in a thousand is beyond 3.1 on each side."""
    bell = histogram(np.random.default_rng(0).standard_normal(100_000))
    low, high = book.percentile(bell, 0.999)
    assert -3.4 < low < -2.8 and 2.8 < high < 3.4
    assert book.percentile(bell, 1 - 1e-9) == pytest.approx(book.min_max(bell), abs=0.01)


@pytest.mark.parametrize(
    ("cost", "values", "counts", "ends", "levels", "expected"),
    [
        # 0.2 becomes 0, 0.6 becomes 0.5 and 2 becomes 1
        (book.square_error, [0.2, 0.6, 2.0], [1, 2, 1], (0, 1), 2, 0.04 + 2 * 0.01 + 1),
        (book.square_error, [0.0, 0.5, 1.0], [3, 3, 3], (0, 1), 2, 0.0),
        # what is clipped is at the end: p = (4, 2 + 2) / 8; on the grid q = (4, 2) / 6
        (
            book.divergence,
            [0.5, 1.5, 2.5, 3.5],
            [4, 2, 1, 1],
            (0, 2),
            1,
            0.5 * np.log(0.5 / (4 / 6)) + 0.5 * np.log(0.5 / (2 / 6)),
        ),
    ],
)
def test_costs_by_hand(cost, values, counts, ends, levels, expected):
    found = cost(np.array(values), np.array(counts, float), *ends, levels=levels)
    assert found == pytest.approx(expected, abs=1e-9)


def test_min_max_ends_at_the_extremes_of_all_pictures(network, images):
    watched = book.watch(network, images)
    seen = list(network.activations(images))
    for name, (low, high) in book.ranges_of(watched, book.min_max).items():
        values = np.stack([tensors[name] for tensors in seen])
        assert low == pytest.approx(min(values.min(), 0))
        assert high == pytest.approx(max(values.max(), 1e-6))


# noise


@pytest.mark.parametrize(("noise", "decibels"), [(1, 0), (0.01, 20), (10, -10), (0, 80)])
def test_decibels_of_noise(noise, decibels):
    assert book.decibels(noise) == pytest.approx(decibels)


def test_evenly_spread_numbers_use_half_of_the_steps():
    edges = np.linspace(0, 1, book.BINS + 1)
    even = book.Watched(np.zeros(1), np.ones(1), np.ones((1, book.BINS)), edges)
    assert book.middle_steps(even) == pytest.approx(127.5, abs=1)


@pytest.mark.parametrize(
    ("layout", "shape", "classes"),
    [
        ("digit detector", (1, 15, 12, 12), 10),
        ("FastestDet", (1, 85, 22, 22), 80),
        ("YOLOX", (1, 3549, 85), 80),
    ],
)
def test_the_raw_output_is_cut_into_objectness_boxes_and_classes(layout, shape, classes):
    case = types.SimpleNamespace(
        detector=types.SimpleNamespace(layout=types.SimpleNamespace(name=layout))
    )
    raw = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    parts = book.columns(case, raw)
    widths = {name: part.shape[-1] for name, part in parts.items()}
    assert widths == {"objectness": 1, "boxes": 4, "classes": classes}
    assert sum(part.size for part in parts.values()) == raw.size
    changed = raw.copy()
    book.columns(case, changed)["boxes"][...] *= 1.1
    noise = book.noise(case, raw, changed)
    assert noise["objectness"] == noise["classes"] == 0
    assert noise["boxes"] == pytest.approx(0.01, rel=1e-3)


def test_the_harm_of_a_layer_comes_with_its_share_of_the_arithmetic(network):
    parts = {"objectness": 0.1, "boxes": 0.2, "classes": 0.3}
    names = book.harm_row.__globals__
    names |= {
        "cases": {"small": types.SimpleNamespace(network=network)},
        "watched_case": lambda name: {},
        "harm_of_layers": lambda case, ranges: dict.fromkeys(case.network.layers, parts),
    }
    row = book.harm_row("small", book.min_max)
    assert row["layers"] == list(network.layers)
    assert row["noise"] == pytest.approx([0.6] * 4)
    assert sum(row["share"]) == pytest.approx(1)
    assert row["share"] == pytest.approx([108 / 160, 36 / 160, 0, 16 / 160])


# equalization


def test_equalization_changes_weights_and_not_the_function(network, images):
    (pair,) = book.pairs_of(small_without_skip(network))
    assert [node.name for node in pair] == ["first", "second"]
    even = book.equalized(small_without_skip(network))
    before = network.weights()
    after = even.weights()
    one, two = (np.abs(after[name]).max(axis=(1, 2, 3)) for name in ("w1", "w2"))
    assert not np.allclose(before["w1"], after["w1"])
    np.testing.assert_allclose(one, two, rtol=1e-4, err_msg="equal ranges on both sides")
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


# the page


PAGES = [NAME, pytest.param("10b_keep_layers_in_float", marks=pytest.mark.slow)]


@pytest.mark.parametrize("name", PAGES)
def test_without_photographs_the_page_runs_and_says_what_is_missing(name, monkeypatch):
    monkeypatch.delenv("WORKBOOK_DATA", raising=False)
    monkeypatch.setenv("WORKBOOK_OFFLINE", "1")
    notebook = runner.execute(name, QUICK[name])
    shown = "\n".join(printed(cell) for cell in notebook.cells if cell.cell_type == "code")
    assert shown.count("COCO's photographs are missing") == 1
    assert "YOLOX-nano" in shown, "its stored figures"


def test_the_page_measures_before_it_says():
    """The experiments that prose describes are those that run; no figure of them is typed."""
    source = "\n".join(cell.source for cell in code_cells(NAME))
    for name in ("judge_method", "symptoms", "harm_row", "spread_row", "draw_row"):
        assert f"partial({name}" in source
