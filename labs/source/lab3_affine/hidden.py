"""Hidden checks of lab 3. Never part of a release, a handout or feedback."""

import numpy as np

from labs.grading.checks import expect
from labs.grading.checks.questions import Question, Student

# accumulator, m0, n: the exact product is so little below a tie that float64, with its 53 bits,
# takes it for one
NEAR_TIES = (
    (312790990, 1079858381, 53),
    (-312790990, 1079858381, 53),
    (87350424, 1108493669, 52),
    (1472639887, 1107061597, 54),
)


def _rounded(accumulators: np.ndarray, m0, n) -> np.ndarray:
    """accumulators * m0 / 2**n, rounded to the nearest integer, ties away from 0; int64."""
    products = accumulators.astype(np.int64) * m0
    half = np.int64(1) << (np.int64(n) - 1)
    return np.sign(products) * ((np.abs(products) + half) >> n)


def _int8(values: np.ndarray) -> np.ndarray:
    return np.clip(values, -128, 127).astype(np.int8)


def _no_ties(generator, shape: tuple, scale: float) -> np.ndarray:
    """float32 numbers at most 0.4 steps from a mark, where all rules of rounding agree."""
    marks = generator.integers(-90, 90, shape)
    offsets = generator.uniform(-0.4, 0.4, shape)
    return ((marks + offsets) * scale).astype(np.float32)


def scale_values(student: Student) -> None:
    what = "scale_and_zero_point"
    for low, high, bits, scale, zero in (
        (-1.3, 2.6, 8, 3.9 / 255, -43),
        (-0.9, 0.2, 4, 1.1 / 15, 4),
        (0.7, 3.1, 8, 3.1 / 255, -128),
        (-5.2, -1.1, 8, 5.2 / 255, 127),
        (-0.011, 0.05, 3, 0.061 / 7, -3),
        (0.0, 0.0, 8, 1.0, 0),
    ):
        found_scale, found_zero = expect.parts(student.call(what, low, high, bits), 2, what)
        kind = _kind(low, high)
        assert abs(expect.number(found_scale, what) - scale) <= 1e-5 * scale, (
            f"{what}: the scale is wrong for {kind}"
        )
        assert expect.whole(found_zero, what) == zero, f"{what}: the zero point is wrong for {kind}"


def _kind(low: float, high: float) -> str:
    if low > 0 or high < 0:
        return "a range without 0"
    if low == high:
        return "an empty range"
    return "a range around 0"


def _quantized(student: Student, x: np.ndarray, *args) -> np.ndarray:
    """The student's quantize(x, scale, zero_point, bits), int64."""
    found = student.call("quantize", x, *args)
    return expect.array(found, x.shape, "quantize", integers=True).astype(np.int64)


def quantize_round(student: Student) -> None:
    generator = np.random.default_rng(1)
    for shape, scale, zero, bits in (
        ((400,), 0.03, 0, 8),
        ((6, 9), 0.7, -20, 8),
        ((3, 2, 5, 5), 0.002, 30, 8),
        ((50,), 1.5, 900, 12),
    ):
        x = _no_ties(generator, shape, scale)
        found = _quantized(student, x, scale, zero, bits)
        expected = np.rint(x.astype(np.float64) / scale) + zero
        # the ends have a question of their own
        inside = (expected >= -(2 ** (bits - 1))) & (expected < 2 ** (bits - 1))
        expect.equal(found[inside], expected[inside], "quantize")


def quantize_clip(student: Student) -> None:
    for zero, bits in ((0, 8), (-50, 8), (100, 8), (3, 4), (-700, 12)):
        lowest = -(2 ** (bits - 1))
        highest = 2 ** (bits - 1) - 1
        x = np.float32([-1e6, -3e4, 3e4, 1e6])
        found = _quantized(student, x, 0.05, zero, bits)
        expected = np.array([lowest, lowest, highest, highest])
        expect.equal(found, expected, "quantize, beyond the ends of the grid")
    # between the ends nothing is clipped; to one mark, as rounding has a question of its own
    for bits in (8, 4, 12):
        marks = np.array([-(2 ** (bits - 2)), -1, 0, 2, 2 ** (bits - 2)])
        x = np.float32([-1e6, *(0.05 * marks), 1e6])
        found = _quantized(student, x, 0.05, 0, bits)
        assert (np.abs(found[1:-1] - marks) <= 1).all(), (
            "quantize: values between the ends of the grid are wrong"
        )


def dequantize_values(student: Student) -> None:
    generator = np.random.default_rng(2)
    for dtype, shape, scale, zero in (
        (np.int32, (60,), 0.02, -5),
        (np.int8, (8, 9), 0.31, -100),
        (np.int8, (3, 2, 4, 4), 1e-4, 120),
        (np.uint8, (50,), 0.5, 200),
    ):
        limits = np.iinfo(np.int8 if dtype == np.int32 else dtype)
        q = generator.integers(limits.min, limits.max + 1, shape).astype(dtype)
        found = expect.array(student.call("dequantize", q, scale, zero), shape, "dequantize")
        expect.close(found, scale * (q.astype(np.int64) - zero), "dequantize", relative=1e-6)


def per_channel_values(student: Student) -> None:
    what = "quantize_per_channel"
    generator = np.random.default_rng(3)
    for shape, bits in (((7, 20), 8), ((5, 3, 4, 2), 8), ((6, 6), 4)):
        highest = 2 ** (bits - 1) - 1
        q = generator.integers(-highest, highest + 1, shape)
        # a view: the first entry of each row sets its scale, and its sign differs
        rows = q.reshape(len(q), -1)
        rows[:, 0] = highest * (-1) ** np.arange(len(q))
        scales = 3.0 ** -np.arange(len(q))
        offset = generator.uniform(-0.4, 0.4, shape)
        offset.reshape(len(q), -1)[np.abs(rows) == highest] = 0
        if bits == 8:  # a channel of zeros
            rows[2] = 0
            offset[2] = 0
            scales[2] = 1
        weights = ((q + offset) * scales.reshape(-1, *[1] * (q.ndim - 1))).astype(np.float32)
        found_q, found_scales = expect.parts(student.call(what, weights, bits), 2, what)
        found_scales = expect.array(found_scales, (len(q),), f"{what}, scales")
        assert (np.abs(found_scales - scales) <= 1e-5 * scales).all(), (
            f"{what}: some scales are wrong"
        )
        found_q = expect.array(found_q, shape, f"{what}, integers", integers=True)
        expect.equal(found_q.astype(np.int64), q, what)


def multiplier_values(student: Student) -> None:
    what = "multiplier_and_shift"
    for real in (0.0123456789, 0.5, 1.0, 0.9999999999, 3.7e-6, 1.5, 700.3, 2.0**-20, 1 / 3):
        fraction, exponent = np.frexp(real)
        m0 = int(np.floor(fraction * 2.0**31 + 0.5))
        n = 31 - int(exponent)
        if m0 == 2**31:
            m0 //= 2
            n -= 1
        found = expect.parts(student.call(what, real), 2, what)
        found = tuple(expect.whole(value, what) for value in found)
        assert 2**30 <= found[0] < 2**31, f"{what}: m0 has not exactly 31 bits"
        assert found == (m0, n), f"{what}: m0 * 2**-n is not the nearest to the number"


def _requantized(student: Student, accumulators: np.ndarray, *args) -> np.ndarray:
    """The student's requantize(accumulators, m0, n, zero_point), int64."""
    found = student.call("requantize", accumulators, *args)
    return expect.array(found, accumulators.shape, "requantize", integers=True).astype(np.int64)


def requantize_round(student: Student) -> None:
    generator = np.random.default_rng(4)
    any_case = generator.integers(-20_000, 20_000, 500).astype(np.int32)
    with_ties = generator.integers(-4000, 4000, (20, 9)).astype(np.int32)  # every 64th is one
    per_channel = generator.integers(-2_000_000, 2_000_000, (30, 4)).astype(np.int32)
    m0_per_channel = np.array([2**30, 2**30 + 1, 2**31 - 1, 1_700_000_000])
    for accumulators, m0, n in (
        (any_case, 1_518_500_250, 38),
        (with_ties, 2**30, 36),
        (per_channel, m0_per_channel, np.array([45, 45, 46, 46])),
        *((np.array([[a]], np.int32), m0, n) for a, m0, n in NEAR_TIES),
    ):
        exact = _rounded(accumulators, m0, n)
        found = _requantized(student, accumulators, m0, n, 0)
        inside = np.abs(exact) < 127  # the ends have a question of their own
        expect.equal(found[inside], exact[inside], "requantize")


def requantize_clip(student: Student) -> None:
    what = "requantize, with a zero point and values beyond the ends"
    sixteenths = np.array([[-1000, -140, -97, -33, 0, 33, 97, 140, 1000, 100_000]])
    accumulators = (sixteenths * 16 + 3).astype(np.int32)  # no tie
    for zero in (0, 30, -30, 127, -128):
        found = _requantized(student, accumulators, 2**30, 34, zero)
        exact = _int8(_rounded(accumulators, 2**30, 34) + zero)
        expect.equal(found, exact.astype(np.int64), what)


def _linear(x, x_zero, weights, bias, m0, n, y_zero) -> np.ndarray:
    accumulators = (x.astype(np.int32) - x_zero) @ weights.astype(np.int32).T + bias
    return _int8(_rounded(accumulators, m0, n) + y_zero)


def _ask_linear(student: Student, what: str, *args) -> None:
    expected = _linear(*args)
    found = expect.array(student.call("integer_linear", *args), expected.shape, what, integers=True)
    expect.equal(found.astype(np.int64), expected.astype(np.int64), what)


def linear_accumulate(student: Student) -> None:
    """No ties, and small products: any rounding to the nearest will do, in integers or not."""
    what = "integer_linear"
    generator = np.random.default_rng(5)
    for images, inputs, outputs, x_zero, y_zero in (
        (9, 6, 4, 0, 0),
        (5, 5, 5, -77, 20),
        (30, 64, 3, 128 - 1, -40),
    ):
        x = generator.integers(-128, 128, (images, inputs)).astype(np.int8)
        weights = generator.integers(-127, 128, (outputs, inputs)).astype(np.int8)
        bias = generator.integers(-3000, 3000, outputs).astype(np.int32)
        m0 = 1_100_000_001 + 200_000_000 * np.arange(outputs)  # odd: no product is a tie
        n = np.full(outputs, 40)
        _ask_linear(student, what, x, x_zero, weights, bias, m0, n, y_zero)


def linear_bits(student: Student) -> None:
    generator = np.random.default_rng(6)
    x = generator.integers(-10, 11, (60, 16)).astype(np.int8)
    weights = generator.integers(-127, 128, (8, 16)).astype(np.int8)
    bias = generator.integers(-300, 300, 8).astype(np.int32)
    m0 = np.full(8, 2**30)
    n = np.array([34, 35, 35, 35, 36, 36, 36, 37])  # many ties
    what = "integer_linear, where many accumulators are ties"
    _ask_linear(student, what, x, 3, weights, bias, m0, n, -7)
    # the second four: one below a tie, where a float32, with its 24 bits, sees the tie
    large = [*NEAR_TIES, *(((2 * j + 1) * 2**22 - 1, 2**30, 53) for j in (40, 77, 101, 120))]
    bias, m0, n = (np.array(column) for column in zip(*large))
    x = np.zeros((2, 3), np.int8)
    weights = np.ones((8, 3), np.int8)
    what = "integer_linear, with large accumulators"
    _ask_linear(student, what, x, 0, weights, bias.astype(np.int32), m0, n, 0)


def _own_layer(seed: int) -> dict:
    """The student's layer, as own_layer in the notebook draws it; the order of drawing matters."""
    generator = np.random.default_rng(seed)
    layer = {}
    layer["x"] = generator.integers(-128, 128, (200, 32)).astype(np.int8)
    layer["weights"] = (16 * generator.integers(-7, 8, (10, 32))).astype(np.int8)
    layer["bias"] = (16 * generator.integers(-1000, 1000, 10)).astype(np.int32)
    layer["x_scale"] = np.float32(2.0**-7)
    layer["y_scale"] = np.float32(2.0**-5)
    layer["w_scales"] = (2.0 ** -generator.integers(5, 8, 10)).astype(np.float32)
    layer["x_zero"] = int(generator.integers(-20, 20))
    layer["y_zero"] = int(generator.integers(-20, 20))
    return layer


def own_layer_file(student: Student) -> None:
    outputs = expect.arrays_of(student.file("my_layer.npz"), "outputs")["outputs"]
    layer = _own_layer(student.seed)
    reals = layer["w_scales"].astype(np.float64) * layer["x_scale"] / layer["y_scale"]
    fractions, exponents = np.frexp(reals)
    m0 = (fractions * 2.0**31).astype(np.int64)
    n = 31 - exponents.astype(np.int64)
    expected = _linear(
        layer["x"], layer["x_zero"], layer["weights"], layer["bias"], m0, n, layer["y_zero"]
    )
    found = expect.array(outputs, expected.shape, "outputs in my_layer.npz", integers=True)
    what = "my_layer.npz, against LiteRT on your layer"
    expect.equal(found.astype(np.int64), expected.astype(np.int64), what)


QUESTIONS = {
    "scale_values": Question(2, scale_values, needs="function scale_and_zero_point"),
    "quantize_round": Question(1, quantize_round, needs="function quantize"),
    "quantize_clip": Question(1, quantize_clip, needs="function quantize"),
    "dequantize_values": Question(1, dequantize_values, needs="function dequantize"),
    "per_channel_values": Question(2, per_channel_values, needs="function quantize_per_channel"),
    "multiplier_values": Question(2, multiplier_values, needs="function multiplier_and_shift"),
    "requantize_round": Question(1, requantize_round, needs="function requantize"),
    "requantize_clip": Question(1, requantize_clip, needs="function requantize"),
    "linear_accumulate": Question(1, linear_accumulate, needs="function integer_linear"),
    "linear_bits": Question(1, linear_bits, needs="function integer_linear"),
    "own_layer_file": Question(1, own_layer_file, needs="file my_layer.npz"),
}
