"""Notebook 05b: the integers are those of the runtimes, bit for bit."""

import platform
import re
from fractions import Fraction
from itertools import combinations
from math import floor

import numpy as np
import pandas as pd
import pytest
import torch
from notebook_code import code_cells, definitions
from torch import nn

from helpers import convert, runtimes
from helpers.data import mnist, normalize
from helpers.device import describe
from helpers.models import fold_batch_norm
from modelfiles import integers
from modelfiles.errors import ModelFileError
from modelfiles.integers import Grid

NAME = "05b_integer_only_inference"
book = definitions(NAME)
on_x86 = platform.machine() in ("x86_64", "AMD64")


# rounding


def nearest(x: int, n: int, tie) -> int:
    """x / 2**n rounded to nearest in exact arithmetic; `tie`(lower neighbour) decides ties."""
    half = Fraction(1, 2)
    exact = Fraction(x, 2**n)
    below = floor(exact)
    rest = exact - below
    return tie(below) if rest == half else below + (rest > half)


TIES = {
    "half_up": lambda below: below + 1,
    "half_away": lambda below: below + (below >= 0),
    "half_even": lambda below: below + below % 2,
}


@pytest.mark.parametrize("name", TIES)
@pytest.mark.parametrize("n", [0, 1, 2, 5, 31, 40])
def test_rounding_is_exact(name, n):
    random = np.random.default_rng(n).integers(-(2**61), 2**61, 300)
    ties = (2 * np.arange(-20, 20) + 1) << max(n - 1, 0)
    x = np.concatenate([random, ties, np.arange(-40, 40)])
    expected = [nearest(int(v), n, TIES[name]) for v in x]
    np.testing.assert_array_equal(getattr(book, name)(x, n), expected)
    np.testing.assert_array_equal(getattr(book, name)(x, np.full(len(x), n)), expected)
    np.testing.assert_array_equal(book.truncate(x, n), [int(v) >> n for v in x])


# multipliers and rules


def test_a_multiplier_is_31_bits_and_a_shift():
    corners = [0.5, 1, 2.0**-20, 1 - 2.0**-40, np.nextafter(0.5, 0)]
    real = np.concatenate([np.logspace(-8, 3, 500), corners])
    m0, n = book.fixed_point(real, 31)
    assert m0.dtype == np.int64 and (m0 >= 2**30).all() and (m0 < 2**31).all()
    np.testing.assert_allclose(m0 / 2.0**n, real, rtol=2.0**-31)
    exact = real.astype(np.float32)
    m24, n24 = book.fixed_point(exact, 24)
    np.testing.assert_array_equal(m24 / 2.0**n24, exact)
    for bad in (0, -1, np.nan, np.inf):
        with pytest.raises(ValueError, match="positive finite"):
            book.fixed_point([1, bad], 31)


def multiplier(real: np.ndarray):
    """The multipliers whose float32 are these."""
    return book.Multiplier(real.astype(np.float64), real.astype(np.float32))


def layer_of(weight: np.ndarray, grid: Grid, **how):
    """A layer with these weights, one column per output, and this grid on both sides."""
    described = {"kernel": None, "bias": np.zeros(weight.shape[1], np.int32)} | how
    return book.Layer(
        operator="test",
        reads=("x",),
        writes="y",
        weight=weight,
        input=grid,
        weight_scale=np.float32([0.01]),
        output=grid,
        **described,
    )


def gemmlowp(accumulator: int, m0: int, n: int) -> int:
    """SaturatingRoundingDoublingHighMul and RoundingDivideByPOT, from their definitions in C++."""
    product = (accumulator << max(31 - n, 0)) * m0
    nudged = product + (2**30 if product >= 0 else 1 - 2**30)
    high = abs(nudged) // 2**31  # C++ divides towards zero
    if nudged < 0:
        high = -high
    shift = max(n - 31, 0)
    mask = 2**shift - 1
    return (high >> shift) + ((high & mask) > (mask >> 1) + (high < 0))


def test_the_rules_are_what_their_names_say():
    rng = np.random.default_rng(0)
    powers = 2.0 ** -np.arange(1, 12)
    multipliers = np.concatenate([rng.uniform(1e-4, 1, 40), powers, [1.5]]).astype(np.float32)
    m = multiplier(multipliers)
    accumulators = rng.integers(-(2**20), 2**20, (500, len(multipliers))).astype(np.int32)
    columns = list(zip(m.m0.tolist(), m.n.tolist()))

    def by_hand(function):
        return [
            [function(int(a), m0, n) for a, (m0, n) in zip(row, columns)] for row in accumulators
        ]

    up = TIES["half_up"]
    away = TIES["half_away"]

    def twice_half_up(a, m, n):
        once = nearest((a << max(31 - n, 0)) * m, 31, up)
        return nearest(once, max(n - 31, 0), up)

    expected = {
        book.once_half_up: lambda a, m, n: nearest(a * m, n, up),
        book.once_half_away: lambda a, m, n: nearest(a * m, n, away),
        book.twice_half_up: twice_half_up,
        book.twice_half_away: gemmlowp,
        book.cut_off: lambda a, m, n: a * m >> n,
    }
    for rule, function in expected.items():
        found = rule(accumulators, m)
        np.testing.assert_array_equal(found, by_hand(function), err_msg=rule.__name__)
    results = [rule(accumulators, m) for rule in book.RULES.values()]
    for one, other in combinations(results, 2):
        assert (one != other).any()
        assert np.abs(one - other).max() == 1


@pytest.fixture(scope="module")
def solutions():
    """The functions of the exercises' solutions."""
    return definitions(f"solutions/{NAME}")


def test_float32_in_integers_is_float32(solutions):
    rng = np.random.default_rng(0)
    m = multiplier(np.concatenate([rng.uniform(1e-5, 1, 60), 2.0 ** -np.arange(1, 12)]))
    for limit in (2**8, 2**20, 2**26, 2**31):
        drawn = rng.integers(-limit, limit, (2000, len(m.m24)), dtype=np.int64)
        accumulators = drawn.astype(np.int32)
        expected = book.float32_half_even(accumulators, m)
        np.testing.assert_array_equal(solutions.float32_in_integers(accumulators, m), expected)
        watched = accumulators.view(book.IntegerOnly)
        assert isinstance(solutions.float32_in_integers(watched, m), book.IntegerOnly)
    lengths = solutions.bit_length(np.array([0, 1, 2, 3, 255, 256, 2**54]))
    assert lengths.tolist() == [0, 1, 2, 2, 8, 9, 55]


# sums in 16 bits


def test_pairs_saturate_as_the_instruction_says():
    rng = np.random.default_rng(0)
    a = rng.integers(0, 256, (50, 8)).astype(np.uint8)
    w = rng.integers(-128, 128, (50, 8)).astype(np.int8)

    def pair_sum(inputs, weights):
        exact = sum(int(x) * int(y) for x, y in zip(inputs, weights))
        return max(-32768, min(32767, exact))

    by_hand = [
        [pair_sum(row_a[k : k + 2], row_w[k : k + 2]) for k in range(0, 8, 2)]
        for row_a, row_w in zip(a, w)
    ]
    assert book.saturated(book.pair_sums(a, w)).tolist() == by_hand
    largest = book.pair_sums(np.full((1, 2), 255), np.array([[127, 127]]))
    assert largest.tolist() == [[64770]] and book.saturated(largest).tolist() == [[32767]]


def test_seven_bits_never_saturate_and_eight_do():
    inputs = np.full((1, 2), 255, np.uint8)
    for low, high, safe in ((-64, 63, True), (-128, 127, False)):
        for weight in (low, high):
            sums = book.pair_sums(inputs, np.full((1, 2), weight, np.int8))
            assert (book.saturated(sums) == sums).all() == safe


@pytest.mark.parametrize("kernel, count", [((5, 5), 25), (None, 30)])
def test_a_saturating_sum_is_the_exact_one_where_everything_fits(kernel, count):
    rng = np.random.default_rng(0)
    grid = Grid.stored(1, 3, np.uint8)
    shape = (2, 8, 8, 1) if kernel else (20, count)

    def layer(largest):
        weight = rng.integers(-largest, largest + 1, (count, 4)).astype(np.int8)
        return layer_of(weight, grid, kernel=kernel)

    q = rng.integers(0, 256, shape).astype(np.uint8)
    small = layer(63)
    large = layer(127)
    np.testing.assert_array_equal(book.saturating_accumulate(q, small), book.accumulate(q, small))
    assert (book.saturating_accumulate(q, large) != book.accumulate(q, large)).any()


@pytest.mark.parametrize(
    "features, name, exact",
    [
        (["avx2", "avx512f", "avx512_vnni"], "VNNI", True),
        (["avx2", "avx_vnni"], "VNNI", True),
        (["asimd", "asimddp"], "dot product", True),
        (["avx2", "fma"], "neither", False),
        (["asimd"], "neither", False),
        ([], "neither", False),
        (None, None, False),
    ],
)
def test_each_kind_of_processor_is_told_what_to_expect(features, name, exact):
    assert book.int8_instructions(features) == name
    assert ("should be exact" in book.EXPECTED[name]) == (exact or name == "neither")
    assert ("saturate" in book.EXPECTED[name]) == (name == "neither")


def test_the_cells_about_the_processor_run_with_every_answer(monkeypatch, capsys):
    cells = code_cells(NAME)
    (cell,) = [cell for cell in cells if cell.source.startswith("EXPECTED")]
    for features in (["avx512_vnni"], ["asimddp"], ["avx2"], None):
        namespace = {
            "platform": platform,
            "describe": lambda features=features: {"features": features},
        }
        exec(cell.source, namespace)
        assert book.EXPECTED[book.int8_instructions(features)] in capsys.readouterr().out


@pytest.mark.parametrize(
    "exact, saturating, said",
    [
        (0, 7, "exact sums"),
        (7, 0, "saturating sums"),
        (7, 7, "neither"),
        (0, 0, "exact sums"),
    ],
)
def test_the_page_says_what_the_sums_were(exact, saturating, said):
    table = pd.DataFrame(
        {"differ from exact sums": [0, exact], "differ from saturating sums": [saturating, 0]}
    )
    assert book.sums_found(table) == said


def test_a_part_of_a_notebook_does_without_its_packages():
    part = definitions(NAME, only={"requantize"})
    assert {"Grid", "Multiplier", "fixed_point", "np"} <= set(part.as_dict())
    assert not {"torch", "onnx", "pd", "forward"} & set(part.as_dict())


# layers


@pytest.mark.parametrize("zero", [-128, -3, 0, 127])
@pytest.mark.parametrize("strides, padding", [((1, 1), 0), ((1, 1), 1), ((2, 1), 1), ((2, 2), 2)])
@pytest.mark.parametrize("is_depthwise", [False, True])
def test_accumulators_are_those_of_a_convolution(zero, strides, padding, is_depthwise):
    rng = np.random.default_rng(0)
    outputs = 5 if is_depthwise else 8
    weight = rng.integers(-127, 128, (outputs, 1 if is_depthwise else 5, 3, 2)).astype(np.int8)
    bias = rng.integers(-9999, 9999, outputs).astype(np.int32)
    q = rng.integers(-128, 128, (4, 9, 7, 5)).astype(np.int8)
    layer = layer_of(
        weight.transpose(2, 3, 1, 0).reshape(-1, outputs),
        Grid.stored(1, zero, np.int8),
        kernel=(3, 2),
        bias=bias,
        strides=strides,
        padding=4 * (padding,),
        is_depthwise=is_depthwise,
    )
    inputs = q.transpose(0, 3, 1, 2).astype(np.float64) - zero
    tensors = [torch.from_numpy(part.astype(np.float64)) for part in (inputs, weight, bias)]
    groups = 5 if is_depthwise else 1
    theirs = nn.functional.conv2d(*tensors, stride=strides, padding=padding, groups=groups)
    ours = book.accumulate(q, layer)
    assert ours.dtype == np.int32 and layer.constant.dtype == np.int32
    np.testing.assert_array_equal(ours, theirs.numpy().transpose(0, 2, 3, 1))


def test_a_relu_is_a_clip_at_the_zero_point():
    grid = Grid.stored(1, -20, np.int8, relu=True)
    assert (grid.low, grid.high) == (-20, 127)
    accumulators = np.array([[-50], [-1], [0], [5], [1000]], np.int32)
    m = multiplier(np.array([0.5]))
    out = book.requantize(accumulators, m, grid, book.once_half_up, np.int8)
    assert out.ravel().tolist() == [-20, -20, -20, -17, 127] and out.dtype == np.int8


def test_a_mean_is_the_mean_of_the_real_numbers():
    rng = np.random.default_rng(0)
    q = rng.integers(0, 256, (30, 4, 4, 6)).astype(np.uint8)
    pool = integers.AveragePool(
        "test", ("x",), "y", Grid.stored(0.03, 70, np.uint8), Grid.stored(0.02, 90, np.uint8)
    )
    real = book.dequantize(q, pool.input).mean(axis=(1, 2), keepdims=True)
    for rule in (book.float32_half_even, book.once_half_up):
        ours = book.averaged(pool, [q], book.everywhere(rule))
        assert ours.shape == (30, 1, 1, 6) and ours.dtype == np.uint8
        inside = (ours > 0) & (ours < 255)
        error = np.abs(book.dequantize(ours, pool.output) - real)[inside]
        assert inside.sum() > 50 and error.max() <= 0.5001 * pool.output.scale


GRIDS = [
    ((0.0446, 104), (0.04825, 110), (0.0681, 126)),
    ((0.01, 0), (0.3, 255), (0.11, 3)),
    ((0.125, 128), (0.0625, 128), (0.25, 128)),
]


def grids(numbers) -> tuple[tuple[Grid, Grid], Grid]:
    a, b, output = (Grid.stored(scale, zero, np.uint8) for scale, zero in numbers)
    return (a, b), output


@pytest.mark.parametrize("numbers", GRIDS)
@pytest.mark.parametrize("name", book.ADDITIONS)
def test_a_sum_is_that_of_the_real_numbers(name, numbers):
    inputs, output = grids(numbers)
    pairs = np.arange(65536)
    a = (pairs % 256).astype(np.uint8)
    b = (pairs // 256).astype(np.uint8)
    op = integers.Addition("test", ("a", "b"), "c", inputs, output)
    ours = book.added(book.ADDITIONS[name], a, b, op)
    real = book.dequantize(a, inputs[0]) + book.dequantize(b, inputs[1])
    exact = real.astype(np.float64) / output.scale + output.zero
    assert ours.dtype == np.uint8
    assert np.abs(ours - exact.clip(0, 255)).max() <= 0.5 + 1e-4


def test_ties_tell_the_two_additions_apart():
    inputs, output = grids(GRIDS[-1])
    a = np.array([129, 127, 131], np.uint8)  # 1/8, -1/8, 3/8 with steps of 1/4: ties
    b = np.full(3, 128, np.uint8)
    moved = {name: rule(a, b, inputs, output).tolist() for name, rule in book.ADDITIONS.items()}
    assert moved == {"integers, half away": [1, -1, 2], "float32, half even": [0, 0, 2]}


@pytest.mark.parametrize("numbers", GRIDS)
def test_one_addition_is_the_runtimes_for_every_pair(numbers):
    inputs, output = grids(numbers)
    a, b, c = integers.exhaustive_sums(inputs, output)
    assert len(np.unique(a.astype(int) * 256 + b)) == 65536
    op = integers.Addition("test", ("a", "b"), "c", inputs, output)
    found = [book.differences(book.added(rule, a, b, op), c)[0] for rule in book.ADDITIONS.values()]
    assert min(found) == 0, found


def test_the_witness_refuses_floats_and_counts():
    q = np.arange(6, dtype=np.int32).view(book.IntegerOnly)
    for operation in (
        lambda: q * 0.5,
        lambda: q / 2,
        lambda: np.sqrt(q),
        lambda: q + np.float32(1),
        lambda: q.astype(float) + 1,
        lambda: q.reshape(2, 3) @ np.ones((3, 1)),
        lambda: q.mean(),
    ):
        with pytest.raises(TypeError, match="not integers only"):
            operation()
    book.IntegerOnly.census.clear()
    result = np.clip((q.reshape(2, 3) @ np.ones((3, 2), np.int32)) << 2, 0, 20).max(axis=0)
    assert isinstance(result, book.IntegerOnly) and result.tolist() == [20, 20]
    # three products in each result
    assert book.IntegerOnly.census["matmul", "int32", "int32"] == 4 * 3


def test_differences_count_and_refuse():
    assert book.differences(np.int8([[1, -128, 3]]), np.int8([[1, 127, 2]])) == (2, 255)
    with pytest.raises(ValueError, match="cannot be compared"):
        book.differences(np.zeros(3, np.int8), np.zeros(3, np.uint8))
    with pytest.raises(ValueError, match="cannot be compared"):
        book.differences(np.zeros((3, 1), np.int8), np.zeros(3, np.int8))


# against the runtimes


@pytest.fixture(scope="module")
def calibration():
    return normalize(mnist("train").images[:100])


@pytest.fixture(scope="module")
def files(quick_networks, calibration):
    return {name: book.quantized_files(name, calibration) for name in quick_networks}


@pytest.fixture(scope="module")
def counts(files):
    """The experiment with provoked ties."""
    tie_files = {name: integers.with_ties(path) for name, path in files["lenet"].items()}
    inspected = book.inspect_runtimes(tie_files, mnist("test").images[:200])
    return book.count_by_rule(inspected, book.RULES)


@pytest.fixture(scope="module")
def rules(counts):
    found = {}
    for (runtime, layer), rule in counts[list(book.RULES)].idxmin(axis=1).items():
        found.setdefault(runtime, book.everywhere(book.once_half_up))[layer] = book.RULES[rule]
    return found


@pytest.mark.skipif(not on_x86, reason="the rules are known for x86-64")
def test_provoked_ties_tell_the_rule_of_every_runtime(counts):
    assert len(counts) == 13 and ((counts[list(book.RULES)] == 0).sum(axis=1) == 1).all()
    found = counts[list(book.RULES)].idxmin(axis=1)
    assert set(found.drop(["LiteRT, optimized", "LiteRT, reference"])) == {"float32, half even"}
    assert found["LiteRT, optimized"].to_dict() == {
        "depthwise": "twice, half away",
        "convolution": "twice, half up",
        "dense": "twice, half up",
    }
    assert found["LiteRT, reference"].to_dict() == {
        "depthwise": "twice, half away",
        "convolution": "twice, half away",
        "dense": "once, half away",
    }


@pytest.mark.parametrize("name, count", [("lenet", 300), ("mnist_cnn", 40)])
def test_every_number_is_that_of_the_runtime(files, rules, name, count):
    test = mnist("test")
    inspected = book.inspect_runtimes(files[name], test.images[:count])
    table = book.compare(inspected, rules)
    assert list(table.index) == [
        "ONNX Runtime, per channel",
        "ONNX Runtime, per tensor",
        "LiteRT, XNNPACK",
        "LiteRT, optimized",
        "LiteRT, reference",
    ]
    assert table["8-bit numbers"].min() > 1_000 * count
    limit = 0 if on_x86 else table["8-bit numbers"].sum() / 1000
    assert table["differ"].sum() <= limit, table


def test_int8_activations_too(files, rules, calibration, tmp_path):
    path = convert.to_onnx_int8(
        files["lenet"]["TFLite"].with_name("lenet.onnx"),
        tmp_path / "s8.onnx",
        calibration,
        qdq=False,
        unsigned_activations=False,
    )
    network = integers.read_network(path, book.Layer)
    images = mnist("test").images[:100]
    q = book.integer_images(network, images)
    ours = book.forward(network, q, rules["ONNX Runtime, per channel"])
    assert network.dtype == ours[-1].dtype == np.int8
    # there are no exact kernels for int8 alone, and none are needed
    theirs = integers.run_onnx(path, normalize(images), exact_sums="0")
    found = [book.differences(a, b) for a, b in zip(ours, theirs, strict=True)]
    assert sum(count for count, _ in found) == 0 or not on_x86


def test_the_default_sums_are_exact_or_saturate_pair_by_pair(files):
    path = files["lenet"]["ONNX, per channel"]
    images = mnist("test").images[:60]
    network = integers.read_network(path, book.Layer)
    q = book.integer_images(network, images)
    theirs = integers.run_onnx(path, normalize(images), exact_sums="0")
    table = book.against_both(network, q, theirs, book.float32_half_even)
    exact = table["differ from exact sums"].sum()
    saturating = table["differ from saturating sums"].sum()
    instructions = book.int8_instructions(describe()["features"])
    if not on_x86 or instructions == "VNNI":
        assert saturating > 0 and (exact == 0 or not on_x86)
    elif instructions == "neither":
        assert exact > 0 and saturating == 0
    else:  # the system does not report it
        assert (exact == 0) != (saturating == 0)


def test_the_logits_are_those_of_the_untouched_file(files, rules):
    images = mnist("test").images[:100]
    for kind, runtime in (
        ("ONNX, per tensor", "ONNX Runtime, per tensor"),
        ("TFLite", "LiteRT, XNNPACK"),
    ):
        path = files["mnist_cnn"][kind]
        network = integers.read_network(path, book.Layer)
        last = book.forward(network, book.integer_images(network, images), rules[runtime])[-1]
        ours = book.dequantize(last, network.output).astype(np.float32)
        theirs = runtimes.open_model(path).predict(normalize(images))
        if on_x86:
            np.testing.assert_array_equal(ours, theirs)
        assert np.abs(ours - theirs).max() <= network.output.scale * 1.01


def test_a_wrong_rule_is_off_by_one_at_most(files):
    inspected = book.inspect_runtimes(files["lenet"], mnist("test").images[:50])
    for runtime, observed in inspected.items():
        found = [book.differences(a, b) for _, a, b in book.with_rule(*observed, book.cut_off)]
        assert len(found) == 5 and all(count > 0 and most == 1 for count, most in found), runtime


def test_no_float_between_the_first_and_the_last_integer(files, rules, solutions):
    inspected = book.inspect_runtimes(files["mnist_cnn"], mnist("test").images[:5])
    for runtime, (network, q, theirs) in inspected.items():
        without_floats = {
            kind: solutions.float32_in_integers if rule is book.float32_half_even else rule
            for kind, rule in rules[runtime].items()
        }
        for operation, given, expected in book.steps(network, q, theirs):
            watched = [tensor.view(book.IntegerOnly) for tensor in given]
            tensor = book.COMPUTE[type(operation)](operation, watched, without_floats)
            assert isinstance(tensor, book.IntegerOnly) and tensor.dtype == network.dtype
            assert np.array_equal(np.asarray(tensor), expected) or not on_x86
        layer = next(part for part in network.operations if isinstance(part, book.Layer))
        zeros = np.zeros((2, len(layer.bias)), np.int32).view(book.IntegerOnly)
        with pytest.raises(TypeError, match="not integers only"):
            book.float32_half_even(zeros, layer.multiplier)


@pytest.fixture(scope="module")
def depthwise_file(quick_depthwise, calibration, tmp_path_factory):
    """The depthwise network in the QOperator form, with no operator in float."""
    path = tmp_path_factory.mktemp("depthwise") / "depthwise.onnx"
    convert.to_onnx(fold_batch_norm(quick_depthwise), torch.zeros(1, 1, 28, 28), path)
    form = {"qdq": False, "unsigned_activations": True}
    with_mean = convert.to_onnx_int8(path, path.with_stem("mean"), calibration, **form)
    assert "ReduceMean" in integers.operators(with_mean)
    with pytest.raises(ModelFileError, match="does not know the ONNX operator"):
        integers.read_network(with_mean)
    pool = integers.with_average_pool(path, path.with_stem("pool"))
    return convert.to_onnx_int8(pool, path.with_stem("int8"), calibration, **form)


@pytest.mark.parametrize("ties", [False, True])
def test_padding_strides_and_additions_are_the_runtimes(depthwise_file, ties):
    path = integers.with_ties(depthwise_file) if ties else depthwise_file
    network = integers.read_network(path, book.Layer)
    found = [type(operation) for operation in network.operations]
    assert (found.count(book.Layer), found.count(integers.Addition)) == (15, 2)
    layers = [op for op in network.operations if isinstance(op, book.Layer)]
    assert {op.strides for op in layers} == {(1, 1), (2, 2)}
    assert {op.padding for op in layers} == {(0, 0, 0, 0), (1, 1, 1, 1)}
    assert sum(op.is_depthwise for op in layers) == 4
    additions = [op for op in network.operations if isinstance(op, integers.Addition)]
    fits = {
        name: all(fits_all_pairs(rule, op) for op in additions)
        for name, rule in book.ADDITIONS.items()
    }
    assert any(fits.values()), fits
    add = next(book.ADDITIONS[name] for name, is_fit in fits.items() if is_fit)
    rules = book.everywhere(book.float32_half_even) | {"addition": add}
    observed = book.inspect_runtimes({"ONNX": path}, mnist("test").images[:60])
    table = book.compare(observed, {"ONNX Runtime": rules})
    assert table["differ"].sum() <= (0 if on_x86 else table["8-bit numbers"].sum() / 1000)
    wrong = rules | {"convolution": book.cut_off}
    assert book.compare(observed, {"ONNX Runtime": wrong})["differ"].sum() > 1000


def fits_all_pairs(rule, addition) -> bool:
    a, b, c = integers.exhaustive_sums(addition.inputs, addition.output)
    return book.differences(book.added(rule, a, b, addition), c)[0] == 0


def test_what_a_reader_does_not_know_it_refuses(files, calibration, tmp_path):
    int8_file = files["lenet"]["TFLite"]
    with pytest.raises(ModelFileError, match="a file not in the QOperator form"):
        integers.read_network(int8_file.with_name("lenet.onnx"))
    with pytest.raises(ModelFileError, match="does not take int8"):
        integers.read_network(int8_file.with_name("lenet.tflite"))
    with pytest.raises(ModelFileError, match="x.pte is not an .onnx or .tflite file"):
        integers.read_network(tmp_path / "x.pte")
    odd = {
        "groups of channels": (nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3, groups=2), 2304),
        "dilations": (nn.Conv2d(1, 4, 3, dilation=2), nn.Identity(), 2304),
    }
    for what, (first, second, count) in odd.items():
        network = nn.Sequential(first, nn.ReLU(), second, nn.Flatten(), nn.Linear(count, 10))
        path = convert.to_onnx(network, torch.zeros(1, 1, 28, 28), tmp_path / "odd.onnx")
        int8_path = tmp_path / "odd_int8.onnx"
        quantized = convert.to_onnx_int8(path, int8_path, calibration[:20], qdq=False)
        with pytest.raises(ModelFileError, match=f"does not know {what}"):
            integers.read_network(quantized)


def test_the_other_forms_of_a_file(files, calibration):
    forms = integers.other_forms(files["lenet"]["TFLite"].with_name("lenet.onnx"), calibration[:20])
    networks = {
        name: integers.read_network(path, book.Layer)
        for name, path in forms.items()
        if not name.startswith("U8 x U8")
    }
    types = {name: np.dtype(network.dtype).name for name, network in networks.items()}
    assert types == {
        "U8 x S8, per channel": "uint8",
        "U8 x S8, 7-bit weights": "uint8",
        "S8 x S8": "int8",
    }
    first = {name: network.operations[1] for name, network in networks.items()}
    largest = {name: np.abs(layer.weight.astype(int)).max() for name, layer in first.items()}
    assert largest["U8 x S8, 7-bit weights"] <= 64 < largest["U8 x S8, per channel"]
    assert all(len(layer.weight_scale) == 6 for layer in first.values())


# what the page says


def shown(pattern: str) -> list[float]:
    """The figures in the outputs of the notebook as it is committed."""
    outputs = [o for cell in code_cells(NAME) for o in cell.outputs]
    text = " ".join(o.get("text", "") for o in outputs)
    found = re.search(pattern, " ".join(text.split()))
    assert found, f"{pattern!r} is not in {text}"
    return [float(number.replace(",", "")) for number in found.groups()]


def test_bit_for_bit_on_the_page():
    counts = shown(
        r"against five runtimes: (\d+) of ([\d,]+) numbers differ on LeNet, (\d+) of ([\d,]+) "
        r"numbers differ on MnistNet, (\d+) of ([\d,]+) numbers differ on the depthwise network"
    )
    assert counts[::2] == [0, 0, 0]
    assert counts[1] > 30e6 and counts[3] > 15e6 and counts[5] > 3e6


def test_the_digit_on_the_page():
    equal, count = shown(r"logits equal to ONNX Runtime's: (\d+) of (\d+)")
    assert equal == count == 10
