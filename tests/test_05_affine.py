"""Notebook 05: grids and ranges do what they say, and schemes cost what the page says."""

import re

import numpy as np
import pytest
import torch
from claims import check
from notebook_code import code_cells, definitions

from helpers import long_runs, models, runtimes
from helpers.data import mnist, normalize
from helpers.metrics import accuracy, mcnemar
from helpers.training import predict
from modelfiles.integers import Grid, quantized_by_operator

book = definitions("05_affine_quantization")


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
    stored = Grid.stored(0.037, -14, np.int8)
    theirs = runtimes.quantize(tensor, np.int8, 0.037, -14)
    np.testing.assert_array_equal(book.quantize(tensor, stored), theirs)
    q = np.arange(-128, 128).astype(np.int8)
    ours = book.dequantize(q, stored).astype(np.float32)
    np.testing.assert_array_equal(ours, runtimes.dequantize(q, 0.037, -14))


def test_integers_are_those_of_the_standard_operator():
    tensor = values().astype(np.float32) * 3
    stored = Grid.stored(0.037, 100, np.uint8)
    theirs = quantized_by_operator(tensor, stored.scale, stored.zero)
    np.testing.assert_array_equal(book.quantize(tensor, stored), theirs)
    other = quantized_by_operator(tensor, stored.scale, stored.zero + 1)
    assert (book.quantize(tensor, stored) != other).any()


def test_unsigned_integers_do_not_wrap_on_their_way_back():
    grid = Grid.stored(0.5, 200, np.uint8)
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


def test_a_bit_is_worth_six_decibels():
    rows = np.random.default_rng(0).uniform(-1, 1, (5, 20_000))
    decibels = [book.signal_to_noise(rows, bits) for bits in (6, 7, 8, 9)]
    np.testing.assert_allclose(np.diff(decibels), 20 * np.log10(2), atol=0.2)
    # noise s**2 / 12 on values of mean square 1 / 3
    assert decibels[2] == pytest.approx(10 * np.log10(4 / (2 / 254) ** 2), abs=0.1)


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


def test_percentiles_leave_out_an_outlier():
    tensor = np.append(np.random.default_rng(0).normal(size=100_000), 30).reshape(1, -1)
    low, high = (end.item() for end in book.percentile_range(tensor, 6))
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


def test_each_careless_calibration_gives_other_images(lenet):
    pixels = mnist("train").images[:40]
    prepared = {name: make(pixels) for name, make in book.CALIBRATIONS.items()}
    assert {images.dtype for images in prepared.values()} == {np.dtype(np.float32)}
    assert {images.shape[1:] for images in prepared.values()} == {(1, 28, 28)}
    as_trained, to_1, to_255, blank, single = prepared.values()
    np.testing.assert_array_equal(as_trained, normalize(pixels))
    assert (to_1.min(), to_1.max()) == (0, 1) and (to_255.min(), to_255.max()) == (0, 255)
    assert np.ptp(blank) == 0 and blank.max() == as_trained.min()
    np.testing.assert_array_equal(single, as_trained[:1])


@pytest.fixture(scope="module")
def folded(quick_depthwise):
    """The depthwise network, its batch normalizations folded."""
    return models.fold_batch_norm(quick_depthwise)


def blocks(network) -> list:
    return [part for part in network.modules() if isinstance(part, models.InvertedResidual)]


def largest_filtered(block) -> torch.Tensor:
    """The largest weight of each channel of the depthwise convolution."""
    return block.depthwise[0].weight.abs().amax((1, 2, 3))


def test_twin_and_equalized_compute_the_same(folded):
    images = mnist("test").images[:50]
    logits = predict(folded, images)
    twin = models.unequalize_channels(folded)
    np.testing.assert_array_equal(predict(twin, images), logits)  # powers of two: not a bit changes
    for scaled, block in zip(blocks(twin), blocks(folded)):
        ratios = largest_filtered(scaled) / largest_filtered(block)
        assert sorted(set(ratios.tolist())) == [1 / 16, 16]
    even = models.equalized(twin)
    np.testing.assert_allclose(predict(even, images), logits, atol=1e-3)
    for block in blocks(even):
        made = block.expand[0].weight.abs().amax((1, 2, 3))
        used = block.project[0].weight.abs().amax((0, 2, 3))
        torch.testing.assert_close(made, largest_filtered(block), rtol=1e-2, atol=0)
        torch.testing.assert_close(made, used, rtol=1e-2, atol=0)


def test_the_page_equalizes_a_pair_as_helpers_does(folded):
    images = mnist("test").images[:50]
    network = models.unequalize_channels(folded)
    logits = predict(network, images)
    block = blocks(network)[0]
    book.equalize_pair(block.expand[0], block.depthwise[0])
    np.testing.assert_allclose(predict(network, images), logits, atol=1e-3)
    made = block.expand[0].weight.abs().amax((1, 2, 3))
    torch.testing.assert_close(made, largest_filtered(block), rtol=1e-5, atol=0)
    book.equalize_pair(block.depthwise[0], block.project[0])
    np.testing.assert_allclose(predict(network, images), logits, atol=1e-3)
    used = block.project[0].weight.abs().amax((0, 2, 3))
    torch.testing.assert_close(used, largest_filtered(block), rtol=1e-5, atol=0)


def test_one_grid_per_tensor_loses_the_twin_and_equalization_brings_it_back(folded, calibration):
    images = mnist("test").images[:200]
    answers = predict(folded, images).argmax(1)

    def agreement(network, granularity):
        inputs = book.layer_inputs(network, calibration)
        quantized = book.simulate(network, inputs, 8, granularity, input_bits=16)
        return np.mean(predict(quantized, images).argmax(1) == answers)

    twin = models.unequalize_channels(folded)
    check("05: same answers of the twin, a grid per tensor", agreement(twin, "tensor"))
    check("05: same answers of the twin, grids per channel", agreement(twin, "channel"))
    check("05: same answers of the twin, equalized", agreement(models.equalized(twin), "tensor"))


# what the page says


def shown(pattern: str) -> list[float]:
    """The figures in the outputs of the notebook as it is committed."""
    outputs = [o for cell in code_cells("05_affine_quantization") for o in cell.outputs]
    text = " ".join(o.get("text", "") for o in outputs)
    found = re.search(pattern, " ".join(text.split()))
    assert found, f"{pattern!r} is not in {text}"
    return [float(number.replace(",", "")) for number in found.groups()]


def in_tables(pattern: str) -> list[float]:
    """The figures in a row of a table of the notebook as it is committed."""
    outputs = [o for cell in code_cells("05_affine_quantization") for o in cell.outputs]
    text = "\n".join(o.get("data", {}).get("text/plain", "") for o in outputs)
    found = re.search(pattern, text)
    assert found, f"{pattern!r} is not in {text}"
    return [float(number) for number in found.groups()]


def test_the_stored_grid_carries_what_the_page_claims():
    labels, runs, about = long_runs.load(book.STORED)
    assert len(labels) == 1000 and len(runs) >= 4 and {"data", "torch", "machine"} <= set(about)
    names = {f"{bits} bits, {scheme}" for bits in (3, 2) for scheme in book.SCHEMES}
    for name, run in runs.items():
        assert set(run) == {"float", *book.CALIBRATIONS} | names, name
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
    # alone, ranges and channels are worth about the same at 3 bits; at 2 only ranges help
    at_2 = list(paired_at(2))
    for found, least, most in ((at_3, -5, 5), (at_2, 50, 100)):
        gains = [
            100 * np.mean([row[question].value for row in found])
            for question in ("MSE for both, per tensor", "channels, min-max")
        ]
        assert least < gains[0] - gains[1] < most
    verdicts = {book.verdict(row["channels, MSE for both"])[0] for row in paired_at(2)}
    assert verdicts >= {"+", "-"}  # nothing to claim


def test_careless_calibration_breaks_every_stored_lenet():
    labels, runs, _ = long_runs.load(book.STORED)
    decided = 0
    for name, run in runs.items():
        as_trained, to_1, to_255, blank, single = (
            mcnemar(labels, run["float"], run[what]) for what in book.CALIBRATIONS
        )
        assert abs(as_trained.value) < 0.01 and abs(single.value) < 0.01, name
        assert to_255.value < to_1.value < 0 and blank.value < -0.3, name
        decided += to_1.p < 0.05
    assert decided >= len(runs) - 1


def test_lost_and_gained_are_counted_against_float():
    names = book.against_float.__globals__
    names["labels"] = np.arange(10)
    names["float_logits"] = np.eye(10)
    names["float_logits"][:3] = names["float_logits"][9]  # float has three wrong
    answers = np.arange(10)
    answers[4:6] = 0  # and this network two others
    assert book.against_float(answers) == "80.0 (-2 +3)"


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
    (flat,) = shown(r"LeNet in float ([\d.]+) %")
    coarse, clipped, fine = shown(
        r"3 bits: ([\d.]+) % per tensor with min-max, ([\d.]+) % with MSE ranges, "
        r"([\d.]+) % with channels on top"
    )
    assert coarse <= flat - 15 and clipped >= flat - 6 and fine >= flat - 4


def test_the_calibrations_on_the_page():
    right, to_1, blank, single = shown(
        r"as in training: ([\d.]+) % pixels from 0 to 1: ([\d.]+) % .*blank paper: ([\d.]+) % "
        r"a single image: ([\d.]+) %"
    )
    assert to_1 < right - 5 and blank < 30 and single > right - 2


def test_the_price_of_grids_on_the_page():
    for name, grids, size in (("channel", 120, 256), ("group of 64", 480, 64)):
        found_grids, bits = in_tables(rf"{name} +(\d+) +[\d.]+ +[\d.]+ +([\d.]+)")
        assert (found_grids, bits) == (grids, 32 / size)


def test_the_twin_on_the_page():
    per_tensor, per_channel, even = shown(
        r"rescaled twin: ([\d.]+) % per tensor, ([\d.]+) % per channel, "
        r"and ([\d.]+) % per tensor after"
    )
    assert per_tensor < 30 and per_channel > 95 and even > 97
