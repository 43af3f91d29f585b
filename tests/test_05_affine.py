"""Notebook 05: grids and ranges do what they say, and the integers are those of the runtimes."""

import platform
import re
from fractions import Fraction
from itertools import combinations
from math import floor

import numpy as np
import pandas as pd
import pytest
import torch
from claims import check
from notebook_code import code_cells, definitions
from torch import nn

from helpers import convert, long_runs, runtimes
from helpers.data import mnist, normalize
from helpers.device import describe
from helpers.metrics import accuracy, mcnemar
from helpers.training import predict

book = definitions("05_affine_quantization")
on_x86 = platform.machine() in ("x86_64", "AMD64")


def values(n: int = 2000, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_t(4, n)


# grids


@pytest.mark.parametrize("bits", [2, 3, 4, 8, 16])
@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize(
    "low, high", [(-1.3, 2.9), (0, 5), (0.5, 5), (-4, -1), (-1e-30, 3e-30), (-1e20, 1)]
)
def test_a_grid_holds_its_range_and_zero(bits, symmetric, low, high):
    grid = book.affine_grid(low, high, bits, symmetric)
    assert grid.high - grid.low == 2**bits - (2 if symmetric else 1)
    assert grid.low <= grid.zero <= grid.high
    inside = np.linspace(min(low, 0), max(high, 0), 1001)
    error = np.abs(book.fake_quantize(inside, grid) - inside)
    # half a step, and another half where the zero point was rounded
    assert error.max() <= grid.scale * (1 + 1e-9)
    assert book.fake_quantize(np.zeros(1), grid) == 0
    q = book.quantize(inside, grid)
    assert q.dtype == np.int32
    assert grid.low <= q.min()
    assert q.max() <= grid.high
    assert (np.diff(q) >= 0).all()
    np.testing.assert_array_equal(book.quantize(book.dequantize(q, grid), grid), q)


@pytest.mark.parametrize("symmetric", [False, True])
def test_the_grid_is_that_of_pytorch_and_of_the_runtimes(symmetric):
    tensor = values().astype(np.float32) * 3
    grid = book.affine_grid(-4, 6, 8, symmetric)  # some values are clipped
    theirs = torch.fake_quantize_per_tensor_affine(
        torch.from_numpy(tensor), float(grid.scale), int(grid.zero), grid.low, grid.high
    ).numpy()
    np.testing.assert_allclose(book.fake_quantize(tensor, grid), theirs, atol=1e-6)
    stored = book.stored_grid(np.float32(0.037), np.int8(-14), np.int8)
    theirs = runtimes.quantize(tensor, np.int8, 0.037, -14)
    np.testing.assert_array_equal(book.quantize(tensor, stored), theirs)
    q = np.arange(-128, 128).astype(np.int8)
    ours = book.dequantize(q, stored).astype(np.float32)
    np.testing.assert_array_equal(ours, runtimes.dequantize(q, 0.037, -14))


def test_unsigned_integers_do_not_wrap_on_their_way_back():
    grid = book.stored_grid(np.float32(0.5), np.uint8(200), np.uint8)
    assert book.dequantize(np.array([0, 200, 255], np.uint8), grid).tolist() == [-100, 0, 27.5]


def test_each_row_has_a_grid_of_its_own():
    rows = values().reshape(20, 100) * np.logspace(-3, 3, 20)[:, None]
    together = book.fake_quantize(rows, book.affine_grid(*book.min_max_range(rows), 4, True))
    for row, moved in zip(rows, together):
        grid = book.affine_grid(row.min(), row.max(), 4, True)
        np.testing.assert_array_equal(moved, book.fake_quantize(row, grid))


@pytest.mark.parametrize("value", [0.0, 3.7, -3.7, 1e-40, -1e-300])
@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("name", book.RANGES)
def test_a_tensor_of_one_value_comes_back(value, symmetric, name):
    tensor = np.full((3, 5), value)
    low, high = book.RANGES[name](tensor.reshape(1, -1), 8, symmetric)
    back = book.fake_quantize(tensor, book.affine_grid(low, high, 8, symmetric))
    np.testing.assert_allclose(back, tensor, rtol=1e-2, atol=0)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_not_finite_is_refused_in_one_sentence(bad):
    tensor = np.array([[1.0, bad, 2.0]])
    with pytest.raises(ValueError, match="NaN or infinity"):
        book.affine_grid(*book.min_max_range(tensor), 8)
    with pytest.raises(ValueError, match="NaN or infinity"):
        book.quantize(tensor, book.affine_grid(0, 1, 8))
    with pytest.raises(ValueError, match="NaN or infinity"):
        book.mse_range(tensor, 8)
    assert book.attempt([1, bad], 8).startswith("refused: a range needs two finite ends")


@pytest.mark.parametrize("bits", [0, -1, 1, 17, 2.5, "8", None])
def test_bits_out_of_range_are_refused(bits):
    for symmetric in (False, True):
        with pytest.raises(ValueError, match="from 2 to 16"):
            book.affine_grid(-1, 1, bits, symmetric)


# what clipping and rounding cost


@pytest.mark.parametrize("bits", [3, 4, 8])
def test_the_two_errors_are_all_there_is(bits):
    tensor = values(50_000)
    for threshold in (0.5, 2, 5, np.abs(tensor).max()):
        clipped, rounded = book.split_error(tensor, threshold, bits)
        grid = book.affine_grid(-threshold, threshold, bits, True)
        error = ((book.fake_quantize(tensor, grid) - tensor) ** 2).mean()
        assert clipped + rounded == pytest.approx(error)
    assert clipped == 0
    uniform = np.random.default_rng(0).uniform(-1, 1, 100_000)
    step = book.affine_grid(-1, 1, bits, True).scale
    assert book.split_error(uniform, 1, bits)[1] == pytest.approx(step**2 / 12, rel=0.02)


def test_rounding_falls_below_the_formula_where_values_do_not_fill_a_step():
    bell = np.random.default_rng(0).normal(size=100_000)
    ratios = [book.rounding_ratio(bell, bits) for bits in (8, 4, 2)]
    assert ratios[0] == pytest.approx(1, abs=0.05) and ratios[1] == pytest.approx(1, abs=0.1)
    assert ratios[2] < 0.6  # one step reaches from 0 to the largest value


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


# rows and ranges


def test_finer_grids_are_better():
    of_channels = np.random.default_rng(1).uniform(0.1, 1, (64, 1, 1, 1))
    weights = values(64 * 48).reshape(64, 3, 4, 4) * of_channels
    rows = [book.as_rows(weights, granularity) for granularity in ("tensor", "channel", 16)]
    decibels = [book.signal_to_noise(row, 4) for row in rows]
    assert decibels == sorted(decibels) and decibels[2] - decibels[0] > 3
    assert book.as_rows(weights, "channel").shape == (64, 48)
    assert book.as_rows(weights, 16).shape == (192, 16)
    with pytest.raises(ValueError, match="do not divide into groups of 7"):
        book.as_rows(np.zeros((2, 5)), 7)


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_no_range_has_less_error_than_mse(bits, symmetric):
    rows = values(8000).reshape(4, 2000) ** 3

    def error(low, high):
        grid = book.affine_grid(low, high, bits, symmetric)
        return ((book.fake_quantize(rows, grid) - rows) ** 2).mean(axis=1)

    best = error(*book.mse_range(rows, bits, symmetric))
    assert (best <= error(*book.min_max_range(rows)) + 1e-12).all()
    low, high = book.min_max_range(rows)
    for factor in np.linspace(0.1, 1, 24):
        assert (best <= error(factor * low, factor * high) * 1.02).all()


def test_the_moving_average_moves():
    images = np.array([[0.0, 1.0], [-2.0, 3.0], [-1.0, 1.0]])
    low, high = book.moving_average_range(images, momentum=0.5)
    assert (low.item(), high.item()) == (-1.0, 1.5)


def test_an_average_over_tens_reaches_further_than_one_over_images():
    values_of_images = np.random.default_rng(0).exponential(size=(300, 20))

    def scale(name, count=300):
        return book.activation_grid(values_of_images[:count], name, 8).scale

    tens = scale("average over tens")
    assert scale("average over images") < 0.8 * tens < 0.8 * scale("min-max")
    assert scale("average over tens", count=3) > 0, "fewer than ten images"


def test_percentiles_and_divergence_leave_out_an_outlier():
    tensor = np.append(np.random.default_rng(0).normal(size=100_000), 30).reshape(1, -1)
    for estimate in (book.percentile_range, book.divergence_range):
        low, high = (end.item() for end in estimate(tensor, 6))
        assert -5 < low < -2 and 2 < high < 5
    assert book.min_max_range(tensor)[1].item() == 30


# networks on few bits


@pytest.fixture(scope="module")
def lenet(quick_networks):
    return quick_networks["lenet"]


@pytest.fixture(scope="module")
def calibration():
    return normalize(mnist("train").images[:100])


def test_many_bits_are_float_and_few_bits_need_care(lenet, calibration):
    test = mnist("test")
    before = {name: tensor.clone() for name, tensor in lenet.state_dict().items()}
    inputs = book.layer_inputs(lenet, calibration)
    assert [x.shape[1:] for x in inputs] == [(1, 28, 28), (6, 12, 12), (256,), (120,), (84,)]
    logits = predict(lenet, test.images)
    fine = predict(book.simulate(lenet, inputs, 16, "channel", input_bits=16), test.images)
    check("05: same answers with 16 bits", np.mean(fine.argmax(1) == logits.argmax(1)))

    def score(bits, scheme):
        quantized = book.simulate(lenet, inputs, bits, *book.SCHEMES[scheme])
        return accuracy(test.labels, predict(quantized, test.images).argmax(1)).value

    coarse, *_, best = book.SCHEMES
    check("05: accuracy that schemes differ by at 8 bits", abs(score(8, coarse) - score(8, best)))
    check("05: accuracy that the best scheme gains at 2 bits", score(2, best) - score(2, coarse))
    # it works on copies
    assert all(torch.equal(tensor, before[name]) for name, tensor in lenet.state_dict().items())


@pytest.fixture(scope="module")
def folded(quick_depthwise):
    """The depthwise network, its batch normalizations folded."""
    network = book.DepthwiseNet()
    network.load_state_dict(quick_depthwise.state_dict())
    network.eval()
    images = torch.from_numpy(normalize(mnist("train").images[:200]))
    result = book.fold_batch_norm(network)
    with torch.no_grad():
        torch.testing.assert_close(result(images), network(images), atol=1e-4, rtol=1e-4)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in result.modules())
    return result


def blocks(network) -> list:
    return [module for module in network.modules() if isinstance(module, book.Block)]


def largest_filtered(block) -> torch.Tensor:
    """The largest weight of each channel of the depthwise convolution."""
    return block.depthwise[0].weight.abs().amax((1, 2, 3))


def test_twin_and_equalized_compute_the_same(folded):
    images = mnist("test").images[:50]
    logits = predict(folded, images)
    twin = book.unequalize_channels(folded)
    np.testing.assert_array_equal(predict(twin, images), logits)  # powers of two: not a bit changes
    for scaled, block in zip(blocks(twin), blocks(folded)):
        ratios = largest_filtered(scaled) / largest_filtered(block)
        assert sorted(set(ratios.tolist())) == [1 / 16, 16]
    even = book.equalized(twin)
    np.testing.assert_allclose(predict(even, images), logits, atol=1e-3)
    for block in blocks(even):
        made = block.expand[0].weight.abs().amax((1, 2, 3))
        used = block.project[0].weight.abs().amax((0, 2, 3))
        torch.testing.assert_close(made, largest_filtered(block), rtol=1e-2, atol=0)
        torch.testing.assert_close(made, used, rtol=1e-2, atol=0)


def test_one_grid_per_tensor_loses_the_twin_and_equalization_brings_it_back(folded, calibration):
    images = mnist("test").images[:200]
    answers = predict(folded, images).argmax(1)

    def agreement(network, granularity):
        inputs = book.layer_inputs(network, calibration)
        quantized = book.simulate(network, inputs, 8, granularity, input_bits=16)
        return np.mean(predict(quantized, images).argmax(1) == answers)

    twin = book.unequalize_channels(folded)
    check("05: same answers of the twin, a grid per tensor", agreement(twin, "tensor"))
    check("05: same answers of the twin, grids per channel", agreement(twin, "channel"))
    check("05: same answers of the twin, equalized", agreement(book.equalized(twin), "tensor"))


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


def layer_with(multipliers: np.ndarray):
    """A layer whose multipliers, as float32, are these."""
    one = book.stored_grid(np.float32(1), np.int8(0), np.int8)
    weights = np.ones((1, len(multipliers)), np.int8)
    bias = np.zeros(len(multipliers), np.int32)
    return book.Weighted("test", weights, bias, None, one, multipliers.astype(np.float32), one)


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
    layer = layer_with(multipliers)
    accumulators = rng.integers(-(2**20), 2**20, (500, len(multipliers))).astype(np.int32)
    columns = list(zip(layer.m0.tolist(), layer.n.tolist()))

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
        found = rule(accumulators, layer)
        np.testing.assert_array_equal(found, by_hand(function), err_msg=rule.__name__)
    results = [rule(accumulators, layer) for rule in book.RULES.values()]
    for one, other in combinations(results, 2):
        assert (one != other).any()
        assert np.abs(one - other).max() == 1


def test_float32_in_integers_is_float32():
    rng = np.random.default_rng(0)
    layer = layer_with(np.concatenate([rng.uniform(1e-5, 1, 60), 2.0 ** -np.arange(1, 12)]))
    for limit in (2**8, 2**20, 2**26, 2**31):
        drawn = rng.integers(-limit, limit, (2000, len(layer.m24)), dtype=np.int64)
        accumulators = drawn.astype(np.int32)
        expected = book.float32_half_even(accumulators, layer)
        np.testing.assert_array_equal(book.float32_in_integers(accumulators, layer), expected)
    lengths = book.bit_length(np.array([0, 1, 2, 3, 255, 256, 2**54]))
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
    grid = book.stored_grid(np.float32(1), np.uint8(3), np.uint8)
    shape = (2, 8, 8, 1) if kernel else (20, count)

    def layer(largest):
        weight = rng.integers(-largest, largest + 1, (count, 4)).astype(np.int8)
        bias = np.zeros(4, np.int32)
        return book.Weighted("test", weight, bias, kernel, grid, np.float32([0.01]), grid)

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
    cells = code_cells("05_affine_quantization")
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
        (0, 7, "add exactly"),
        (7, 0, "saturate on this machine"),
        (7, 7, "neither exact nor"),
        (0, 0, "add exactly"),
    ],
)
def test_the_page_says_what_the_sums_were(exact, saturating, said):
    table = pd.DataFrame(
        {"differ from exact sums": [0, exact], "differ from saturating sums": [saturating, 0]}
    )
    assert said in book.kernels_found(table)


def test_a_part_of_the_notebook_does_without_its_packages():
    part = definitions("05_affine_quantization", only={"run_tflite"})
    assert {"KERNELS", "exposed", "np", "quiet"} <= set(vars(part))
    assert not {"torch", "onnx", "onnxruntime", "forward"} & set(vars(part))


# layers


@pytest.mark.parametrize("zero", [-128, -3, 0, 127])
def test_accumulators_are_those_of_a_convolution(zero):
    rng = np.random.default_rng(0)
    weight = rng.integers(-127, 128, (8, 5, 3, 2)).astype(np.int8)
    bias = rng.integers(-9999, 9999, 8).astype(np.int32)
    q = rng.integers(-128, 128, (4, 9, 7, 5)).astype(np.int8)
    grid = book.stored_grid(np.float32(1), np.int8(zero), np.int8)
    columns = weight.transpose(2, 3, 1, 0).reshape(-1, 8)
    layer = book.Weighted("CONV_2D", columns, bias, (3, 2), grid, np.float32([0.01]), grid)
    inputs = q.transpose(0, 3, 1, 2).astype(np.float64) - zero
    tensors = [torch.from_numpy(part.astype(np.float64)) for part in (inputs, weight, bias)]
    theirs = nn.functional.conv2d(*tensors)
    ours = book.accumulate(q, layer)
    assert ours.dtype == np.int32 and layer.constant.dtype == np.int32
    np.testing.assert_array_equal(ours, theirs.numpy().transpose(0, 2, 3, 1))


def test_a_relu_is_a_clip_at_the_zero_point():
    grid = book.stored_grid(np.float32(1), np.int8(-20), np.int8, relu=True)
    assert (grid.low, grid.high) == (-20, 127)
    one = np.ones((1, 1), np.int8)
    none = np.zeros(1, np.int32)
    layer = book.Weighted("CONV_2D", one, none, None, grid, np.float32([0.5]), grid)
    accumulators = np.array([[-50], [-1], [0], [5], [1000]], np.int32)
    out = book.requantize(accumulators, layer, book.once_half_up, np.int8)
    assert out.ravel().tolist() == [-20, -20, -20, -17, 127] and out.dtype == np.int8


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
def files(quick_networks, calibration):
    return {name: book.quantized_files(name, calibration) for name in quick_networks}


@pytest.fixture(scope="module")
def counts(files):
    """The experiment with provoked ties."""
    tie_files = {}
    for name, path in files["lenet"].items():
        provoke = book.provoke_onnx if name.startswith("ONNX") else book.provoke_tflite
        tie_files[name] = provoke(path, path.with_stem(f"ties_{path.stem}"))
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
    table = book.compare(inspected, rules, test.labels[:count])
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
    network = book.read_onnx(path)
    images = mnist("test").images[:100]
    q = book.integer_images(network, images)
    ours = book.forward(network, q, rules["ONNX Runtime, per channel"])
    assert network.dtype == ours[-1].dtype == np.int8
    # there are no exact kernels for int8 alone, and none are needed
    theirs = book.run_onnx(path, images, exact_sums="0")
    found = [book.differences(a, b) for a, b in zip(ours, theirs, strict=True)]
    assert sum(count for count, _ in found) == 0 or not on_x86


def test_the_default_sums_are_exact_or_saturate_pair_by_pair(files):
    path = files["lenet"]["ONNX, per channel"]
    images = mnist("test").images[:60]
    network = book.read_onnx(path)
    q = book.integer_images(network, images)
    theirs = book.run_onnx(path, images, exact_sums="0")
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
        network = book.read_onnx(path) if kind.startswith("ONNX") else book.read_tflite(path)
        last = book.forward(network, book.integer_images(network, images), rules[runtime])[-1]
        ours = book.dequantize(last, network.output).astype(np.float32)
        theirs = runtimes.open_model(path).predict(normalize(images))
        if on_x86:
            np.testing.assert_array_equal(ours, theirs)
        assert np.abs(ours - theirs).max() <= network.output.scale * 1.01


def test_a_wrong_rule_is_off_by_one_at_most(files):
    inspected = book.inspect_runtimes(files["lenet"], mnist("test").images[:50])
    for runtime, (network, q, theirs) in inspected.items():
        table = book.rule_table(network, q, theirs, {"cut off": book.cut_off})
        assert all(count > 0 and largest == 1 for count, largest in table["cut off"]), runtime


def test_no_float_between_the_first_and_the_last_integer(files, rules):
    inspected = book.inspect_runtimes(files["mnist_cnn"], mnist("test").images[:5])
    for runtime, (network, q, theirs) in inspected.items():
        tensor = q.view(book.IntegerOnly)
        for operation, expected in zip(network.operations, theirs, strict=True):
            rule = rules[runtime][book.layer_kind(operation)]
            if rule is book.float32_half_even:
                rule = book.float32_in_integers
            tensor = book.apply(operation, tensor, rule)
            assert isinstance(tensor, book.IntegerOnly) and tensor.dtype == network.dtype
            assert np.array_equal(np.asarray(tensor), expected) or not on_x86
        layer = next(part for part in network.operations if isinstance(part, book.Weighted))
        zeros = np.zeros((2, len(layer.bias)), np.int32).view(book.IntegerOnly)
        with pytest.raises(TypeError, match="not integers only"):
            book.float32_half_even(zeros, layer)


def test_what_a_reader_does_not_know_it_refuses(files, calibration, tmp_path):
    int8_file = files["lenet"]["TFLite"]
    with pytest.raises(ValueError, match="not in the QOperator form"):
        book.read_onnx(int8_file.with_name("lenet.onnx"))
    with pytest.raises(ValueError, match="does not take int8"):
        book.read_tflite(int8_file.with_name("lenet.tflite"))
    odd = {
        "padding": (nn.Conv2d(1, 4, 3, padding=1), nn.Linear(3136, 10)),
        "strides": (nn.Conv2d(1, 4, 4, stride=2), nn.Linear(676, 10)),
    }
    for what, (convolution, linear) in odd.items():
        network = nn.Sequential(convolution, nn.ReLU(), nn.Flatten(), linear)
        path = convert.to_onnx(network, torch.zeros(1, 1, 28, 28), tmp_path / "odd.onnx")
        int8_path = tmp_path / "odd_int8.onnx"
        quantized = convert.to_onnx_int8(path, int8_path, calibration[:20], qdq=False)
        with pytest.raises(ValueError, match=f"cannot read .*{what}"):
            book.read_onnx(quantized)


# what the page says


def shown(pattern: str) -> list[float]:
    """The figures in the summary of the notebook as it is committed."""
    outputs = [o for cell in code_cells("05_affine_quantization") for o in cell.outputs]
    text = " ".join(o.get("data", {}).get("text/markdown", "") for o in outputs)
    found = re.search(pattern, " ".join(text.split()))
    assert found, f"{pattern!r} is not in {text}"
    return [float(number.replace(",", "")) for number in found.groups()]


def test_the_stored_grid_carries_what_the_page_claims():
    labels, runs, about = long_runs.load(book.STORED)
    assert len(labels) == 1000 and len(runs) >= 4 and {"data", "torch", "machine"} <= set(about)
    names = {f"{bits} bits, {scheme}" for bits in (3, 2) for scheme in book.SCHEMES}
    for name, run in runs.items():
        assert set(run) == {"float"} | names, name
        assert np.mean(run["float"] == labels) > 0.98

    def paired_at(bits):
        for run in runs.values():
            yield book.paired(labels, {s: run[f"{bits} bits, {s}"] for s in book.SCHEMES})

    at_3 = list(paired_at(3))
    ranges = [row["MSE for both, per tensor"] for row in at_3]
    channels = [row["channels, MSE for both"] for row in at_3]
    assert all(p.gained > p.lost for p in ranges)
    assert sum(p.p < 0.05 for p in ranges) >= len(runs) - 1
    # the cures overlap
    assert max(abs(p.value) for p in channels) < 0.2 * max(p.value for p in ranges)
    verdicts = {book.verdict(row["channels, MSE for both"])[0] for row in paired_at(2)}
    assert verdicts >= {"+", "-"}  # nothing to claim


def test_paired_answers_each_question_with_mcnemar():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, 200)
    answers = {scheme: np.where(rng.random(200) < 0.8, labels, 0) for scheme in book.SCHEMES}
    found = book.paired(labels, answers)
    for question, (a, b) in book.QUESTIONS.items():
        assert found[question] == mcnemar(labels, answers[a], answers[b])
        granularities = {a.split(",")[0], b.split(",")[0]}
        ranges = {a.split(", ")[1], b.split(", ")[1]}
        assert len(granularities) + len(ranges) == 3, "they differ in one respect"
        assert book.verdict(found[question])[0] == "=" or found[question].p < 0.05
    assert book.verdict(mcnemar(labels, labels, (labels + 1) % 10)) == "- (-100.0)"
    assert book.verdict(mcnemar(labels, (labels + 1) % 10, labels)) == "+ (+100.0)"


def test_the_grid_on_the_page():
    flat, coarse, clipped, fine = shown(
        r"At 3 bits LeNet \(([\d.]+) % in float\) has ([\d.]+) % per tensor with min-max, "
        r"([\d.]+) % with MSE ranges, and ([\d.]+) % with channels on top"
    )
    assert coarse <= flat - 15 and clipped >= flat - 6 and fine >= flat - 4


def test_the_twin_on_the_page():
    per_tensor, per_channel, even = shown(
        r"planted spread, has ([\d.]+) % per tensor, ([\d.]+) % per channel, "
        r"and ([\d.]+) % per tensor after"
    )
    assert per_tensor < 30 and per_channel > 95 and even > 97


def test_bit_for_bit_on_the_page():
    differ, numbers, second_differ, second_numbers = shown(
        r"(\d+) of ([\d,]+) numbers differ on LeNet, (\d+) of ([\d,]+) numbers differ on MnistNet"
    )
    assert differ == second_differ == 0 and numbers > 30e6 and second_numbers > 80e6
