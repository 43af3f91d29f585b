"""Notebook 10: int8 for any part of an ONNX network, ranges, noise, and what is stored.

A small network is made here: a convolution with ReLU, a depthwise one with SiLU, and a head.
"""

import json
import types

import matplotlib.pyplot as plt
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from notebook_code import cell_with, code_cells, definitions
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


def one_session(model):
    """Stands in for a detector: a file that is not written."""
    return types.SimpleNamespace(network=lambda x: outputs(model, [x]))


def test_the_harm_of_a_layer_is_that_of_this_layer_alone(network, images, monkeypatch):
    names = book.harm_of_layers.__globals__
    monkeypatch.setitem(names, "opened", one_session)
    monkeypatch.setitem(names, "noise", lambda case, exact, raw: {"y": ((exact - raw) ** 2).sum()})
    pictures = types.SimpleNamespace(inputs=images)
    case = types.SimpleNamespace(
        network=network, detector=one_session(network.model), calibration=pictures
    )
    ranges = min_max_ranges(network, images)
    harm = book.harm_of_layers(case, ranges, bits=4)
    exact = outputs(network.model, images)
    for layer in ("first", "head"):
        others = [other for other in ("first", "second", "concat", "head") if other != layer]
        alone = outputs(network.quantized(ranges, others, bits=4), images)
        assert harm[layer]["y"] == pytest.approx(((alone - exact) ** 2).sum(), rel=1e-5)


def test_the_stem_is_described_by_channel_and_by_picture(network, images, monkeypatch):
    pictures = types.SimpleNamespace(inputs=images[:3])
    case = types.SimpleNamespace(network=network, calibration=pictures)
    monkeypatch.setitem(book.channel_row.__globals__, "cases", {"YOLOX-nano": case})
    row = book.channel_row()
    stem = np.stack([tensors["b"][0] for tensors in network.activations(images[:3])])
    np.testing.assert_allclose(row["largest"], stem.max(axis=(0, 2, 3)))
    np.testing.assert_allclose(row["by picture"], stem.max(axis=(1, 2, 3)))
    np.testing.assert_allclose(
        row["weights"], np.abs(network.weights()["w2"]).reshape(4, -1).max(1)
    )


def test_the_most_harmful_layer_comes_first(monkeypatch):
    row = {"layers": ["a", "b", "c"], "noise": [0.01, 1, 0.1], "share": [0.5, 0.3, 0.2]}
    monkeypatch.setitem(book.most_harmful.__globals__, "harms", {"x": row})
    assert book.most_harmful("x", count=2).to_dict("list") == {
        "layer": ["b", "c"],
        "position": ["2 of 3", "3 of 3"],
        "SQNR, dB": [0, 10],
        "share of the MACs, %": [30, 20],
    }


# damage


def test_only_one_part_of_the_output_comes_from_int8(monkeypatch):
    mixed = []

    def postprocess(raw, fit):
        mixed.append(raw)
        return types.SimpleNamespace(as_coco=lambda number: [])

    def made(value):
        return types.SimpleNamespace(
            network=lambda x: np.full((1, 15, 2, 2), value, np.float32),
            postprocess=postprocess,
            layout=types.SimpleNamespace(name="digit detector"),
        )

    pictures = types.SimpleNamespace(inputs=[None], fits=[None], ids=[1], truth=[])
    case = types.SimpleNamespace(detector=made(0), test=pictures)
    monkeypatch.setitem(book.ap.__globals__, "coco_map", lambda truth, found: {"AP": 0.5})
    for part in ("objectness", "boxes", "classes"):
        assert book.only_from_int8(case, made(1), part) == 0.5
        for name, values in book.columns(case, mixed.pop()).items():
            assert (values == int(name == part)).all(), (name, part)


def test_cells_with_an_object_are_compared_with_those_of_float(monkeypatch):
    monkeypatch.setitem(book.cell_report.__globals__, "cells", lambda case, cells, x: cells)
    box = [0, 0, 10, 10]
    exact = ([box, box, box], [0.8, 0.4, 0.1], [1, 2, 3])
    int8 = ([box, [0, 0, 10, 5], [20, 20, 30, 30]], [0.4, 0.4, 0.9], [1, 3, 4])
    exact, int8 = (tuple(np.array(part, float) for part in cells) for cells in (exact, int8))
    case = types.SimpleNamespace(detector=exact, test=types.SimpleNamespace(inputs=[None]))
    assert book.cell_report(case, int8) == {
        "cells": 2,
        "same class": 0.5,
        "median IoU": pytest.approx(0.75),
        "IoU below 0.75": 0.5,
        "median score ratio": pytest.approx(0.75),
    }


def test_a_change_is_negative_if_int8_is_worse(monkeypatch):
    objects = [
        {"id": i, "image_id": i, "category_id": 1, "bbox": [5, 5, 40, 40], "area": 1600}
        | {"iscrowd": 0}
        for i in (1, 2)
    ]
    keys = ("image_id", "category_id", "bbox")
    found = [{key: entry[key] for key in keys} | {"score": 0.9} for entry in objects]
    names = book.judged.__globals__
    monkeypatch.setitem(names, "detections", lambda detector, on: detector)
    monkeypatch.setitem(names, "ap", lambda detector, on: on.name)
    monkeypatch.setitem(names, "resamples", 5)
    pictures = types.SimpleNamespace(truth=objects, ids=[1, 2])
    calibration = types.SimpleNamespace(name="calibration pictures")
    case = types.SimpleNamespace(detector=found, test=pictures, calibration=calibration)
    row = book.judged(case, found[:1])
    assert row["search"] == "calibration pictures"
    assert row["test"][0] == pytest.approx(51 / 101)  # recall ends at a half
    assert row["change"][0] == pytest.approx(51 / 101 - 1)


def test_draws_are_of_the_size_that_they_are_listed_under(monkeypatch):
    names = book.draw_row.__globals__
    case = types.SimpleNamespace(
        network=types.SimpleNamespace(quantized=lambda ranges: ranges),
        calibration=types.SimpleNamespace(ids=range(45)),
        test=None,
    )
    for name, value in {
        "cases": {"x": case},
        "METHODS": {"any": None},
        "draws": 3,
        "watched_case": lambda name: None,
        "ranges_of": lambda watched, method, chosen: tuple(chosen),
        "opened": lambda model: model,
        "ap": lambda chosen, on: chosen,
    }.items():
        monkeypatch.setitem(names, name, value)
    row = book.draw_row("x", "any")
    for size in book.SIZES:
        assert [len(set(chosen)) for chosen in row[str(size)]] == [size] * 3
        assert len(set(row[str(size)])) == 3, "other pictures in each draw"


def test_a_network_is_described_in_millions_of_macs(network):
    macs = {"first": 4_000_000, "second": 2_600_000, "concat": 0, "head": 0}
    case = types.SimpleNamespace(
        network=types.SimpleNamespace(layers=network.layers, macs=macs),
        calibration=types.SimpleNamespace(ids=[1, 2, 3]),
        test=types.SimpleNamespace(ids=[4, 5], truth=[{}] * 6),
    )
    assert list(book.network_row(case).values()) == [2, 2, 7, 3, 2, 6]


# equalization


def test_silu_is_pytorchs():
    x = torch.linspace(-4, 4, 17, dtype=torch.float64)
    np.testing.assert_allclose(book.silu(x.numpy()), torch.nn.functional.silu(x))


def test_equalized_or_not_with_one_grid_or_many(monkeypatch):
    def made(state):
        return types.SimpleNamespace(
            quantized=lambda ranges, per_channel: (state, ranges, per_channel)
        )

    case = types.SimpleNamespace(
        network=made("raw"), calibration=types.SimpleNamespace(inputs=[]), test=None
    )
    for name, value in {
        "cases": {"x": case},
        "pairs_of": lambda network: [1, 2],
        "equalized": lambda network: made("even"),
        "watch": lambda network, inputs: network.quantized(None, None)[0],
        "ranges_of": lambda watched, method: watched,
        "opened": lambda model: model,
        "ap": lambda model, on: model,
    }.items():
        monkeypatch.setitem(book.equalized_row.__globals__, name, value)
    assert book.equalized_row("x") == {
        "pairs": 2,
        "as trained, a grid per tensor": ("raw", "raw", False),
        "as trained, grids per channel": ("raw", "raw", True),
        "equalized, a grid per tensor": ("even", "even", False),
        "equalized, grids per channel": ("even", "even", True),
    }


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


STORED_CELLS = (
    "in_float = {",
    "worst = {",
    "damage = pd.DataFrame",
    "_, low, high = worst",
    "seen_symptoms = {",
    "thresholds = np.arange",
    "harms = {",
    "largest = max(harms",
    "spread = {",
    'first = [f"{low:.1f}',
    "step = (row",
    "METHODS = {",
    'check(answer, ends["min-max"]',
    "by_method = {",
    "best_method = ",
    "drawn = {",
    "8 / s = 0.5 * s",
)


@pytest.fixture(scope="module")
def page(stored):
    """What the cells that read the stored run make of it: variables, truths, right answers."""
    plt.switch_backend("agg")
    names = definitions(NAME).result.__globals__
    truths = {}
    right = []
    names |= {"rows": stored, "train_everything": False, "wanted": 0.95, "answer": None}
    names["score"] = lambda guess, truth, **_: truths.update({guess: truth})
    names["check"] = lambda answer, expected, *_, **__: right.append(expected)
    for part in STORED_CELLS:
        exec(compile(cell_with(NAME, part), f"{NAME}: {part}", "exec"), names)
    plt.close("all")
    return types.SimpleNamespace(names=names, truths=truths, right=right)


def test_the_truths_of_the_guesses_are_those_of_the_stored_run(page, stored):
    left = {
        name: 100 * stored[f"{name}, min-max"]["test"][0] / stored[f"{name}, float"]["test"][0]
        for name in book.NAMES
    }
    assert page.names["damage"]["left, %"].to_dict() == {
        name: pytest.approx(share, abs=0.5) for name, share in left.items()
    }
    symptoms = stored["YOLOX-nano, symptoms"]
    part = page.truths["10-part"]
    assert symptoms[f"AP, only {part} int8"] == min(
        symptoms[f"AP, only {part} int8"] for part in ("boxes", "objectness", "classes")
    )
    noise = stored["YOLOX-nano, harm, min-max"]["noise"]
    assert page.names["lowest"] == noise.index(max(noise))
    thirds = ("near the image", "in the middle", "near the output")
    means = [np.mean(stored["YOLOX-nano, draws, min-max"][size]) for size in ("4", "32")]
    assert page.truths == {
        "10-left": round(min(left["FastestDet"], left["YOLOX-nano"])),
        "10-part": part,
        "10-where": thirds[int(3 * noise.index(max(noise)) / len(noise))],
        "10-outliers": "entropy",
        "10-more": "yes" if means[1] > means[0] else "no",
    }
    best = stored[f"YOLOX-nano, {page.names['best_method']}"]["test"][0]
    assert best == max(stored[f"YOLOX-nano, {method}"]["test"][0] for method in book.METHODS)
    exact = stored["YOLOX-nano, float"]["test"][0]
    assert page.names["there"] == pytest.approx(best / exact)
    entropy = [
        round(100 * stored[f"{name}, entropy"]["test"][0] / stored[f"{name}, float"]["test"][0])
        for name in book.NAMES
    ]
    assert [int(text.split()[0]) for text in page.names["by_entropy"]] == entropy


def test_the_right_answers_are_those_of_the_stored_run(page, stored):
    _, low, high = stored["FastestDet, min-max"]["change"]
    iou = stored["YOLOX-nano, symptoms"]["median IoU"]
    spread = stored["YOLOX-nano, spread"]
    ends = page.names["ends"]
    assert ends["min-max"] == 100 and 3 < ends["entropy"] < 50
    assert page.right == [
        "no" if low > 0 or high < 0 else "yes",
        sum(percent <= 100 * iou for percent in range(50, 100, 5)),
        max(stored["YOLOX-nano, harm, min-max"]["noise"]),
        pytest.approx((spread["high"][0] - spread["low"][0]) / 255),
        pytest.approx(100 / ends["entropy"]),
        4,
    ]


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
