"""Pictures of integer inference: the four terms of a product, an int8 layer, and SDOT."""

import math

import numpy as np

from workbook.diagrams.parts import brace, grid, number
from workbook.diagrams.picture import SMALL, Picture

Q_X = np.array([12, -35, 64, 7])  # the example of four terms, and its zero points
Q_W = np.array([-20, 41, 18, -3])
Z_X = -10
Z_W = 5

LAYER_X = np.array([90, 47, 121])  # the example of an int8 layer
LAYER_W = np.array([77, -30, 52])
LAYER_BIAS = 210
MULTIPLIER = 0.0127  # s_x s_w / s_y
LAYER_Z_Y = -10

LANES_X = np.array([3, -1, 0, 2, 5, 1, -2, 4, 7, 7, 1, -4, 2, 6, 2, 1])
LANES_W = np.array([1, 4, -2, 3, 2, -3, 1, 6, -1, 1, 5, 2, 8, 1, -2, 3])
LANES_BEFORE = np.array([10, 0, -7, 21])


def four_terms() -> Picture:
    """The product of (q_w - z_w)(q_x - z_x) as four sums, with an example."""
    values = terms(Q_X, Q_W, Z_X, Z_W)
    total = int(((Q_X - Z_X) * (Q_W - Z_W)).sum())
    assert sum(values) == total
    picture = Picture(
        "The four terms of a product",
        f"For {len(Q_X)} products with z_w = {Z_W} and z_x = {Z_X}, the sum is {total}: the "
        f"products of the integers, {values[0]}, and three corrections, {values[1]}, {values[2]} "
        f"and {values[3]}. The first correction is known before the first image and becomes a "
        "part of the bias. The other two are zero if the weights are symmetric.",
        330,
    )
    product = "Σ (q_{w} − z_{w}) (q_{x} − z_{x})"
    picture.text(340, 30, f"{product} = {number(total)}", "bold")
    blocks = (
        ("Σ q_{w} q_{x}", "violet"),
        ("− z_{x} Σ q_{w}", "orange"),
        ("− z_{w} Σ q_{x}", "blue"),
        ("+ N z_{w} z_{x}", "plain"),
    )
    for place, ((term, look), value) in enumerate(zip(blocks, values)):
        x = 12 + 168 * place
        picture.line((340, 50), (340, 72), (x + 76, 72), (x + 76, 92), look="thin")
        picture.block(x, 92, 152, 60, term, look=look)
        picture.text(x + 76, 176, number(value))
    picture.lines(88, 220, "int8 times int8,", "every image", look="quiet")
    picture.lines(256, 220, "known before:", "part of the bias", look="quiet")
    brace(picture, 348, 668, 200)
    picture.lines(508, 226, "0 if weights are symmetric:", "z_{w} = 0", look="quiet")
    for x, name, values_of, zero in ((190, "w", Q_W, Z_W), (490, "x", Q_X, Z_X)):
        picture.text(x, 286, f"q_{{{name}}} = {_list(values_of)}", "quiet", SMALL)
        picture.text(x, 312, f"z_{{{name}}} = {number(zero)}", "quiet", SMALL)
    return picture


def terms(q_x: np.ndarray, q_w: np.ndarray, z_x: int, z_w: int) -> list[int]:
    """The four terms of the sum of (q_w - z_w)(q_x - z_x).

    >>> terms(np.array([2]), np.array([3]), 1, 1)
    [6, -3, -2, 1]
    """
    products = int((q_w * q_x).sum())
    weights = int(-z_x * q_w.sum())
    inputs = int(-z_w * q_x.sum())
    return [products, weights, inputs, len(q_x) * z_w * z_x]


def int8_layer() -> Picture:
    """The way of three inputs through an int8 layer, with an example that is clipped."""
    steps = layer_steps()
    mantissa, shift = fixed_point(MULTIPLIER)
    picture = Picture(
        "The data path of an int8 layer",
        f"int8 inputs and weights are multiplied and summed in int32, the bias is added, the sum "
        f"is multiplied by an int32 ({mantissa}) and shifted right by {shift}, the zero point is "
        f"added, and the result is clipped to int8. The example: {', '.join(map(str, steps))}.",
        390,
    )
    rows = (
        (
            ("input", "int8", "blue", _list(LAYER_X)),
            ("× weights", "int8", "orange", _list(LAYER_W)),
            ("sum", "int32", "violet", number(steps[0])),
            ("+ bias", "int32", "violet", number(steps[1])),
        ),
        (
            ("× M", "int32, shift", "violet", number(steps[2])),
            ("+ z_{y}", "int32", "violet", number(steps[3])),
            ("clip", "−128 … 127", "plain", number(steps[4])),
            ("output", "int8", "blue", number(steps[4])),
        ),
    )
    for down, row in enumerate(rows):
        y = 30 + 176 * down
        for place, (name, kind, look, example) in enumerate(row):
            x = 12 + 172 * place
            picture.block(x, y, 140, 76, name, kind, look=look)
            picture.text(x + 70, y + 98, example, "quiet", SMALL)
            if place:
                picture.arrow((x - 32, y + 38), (x, y + 38))
    picture.arrow((668, 68), (674, 68), (674, 168), (82, 168), (82, 206))
    rule = f"M = s_{{x}} s_{{w}} / s_{{y}} = {MULTIPLIER}, kept as an integer and a shift"
    picture.text(340, 358, rule, size=SMALL)
    return picture


def fixed_point(multiplier: float) -> tuple[int, int]:
    """The multiplier as an int32 and a shift: multiplier = mantissa / 2**shift.

    >>> fixed_point(0.25)
    (1073741824, 32)
    """
    fraction, exponent = math.frexp(multiplier)
    return round(fraction * 2**31), 31 - exponent


def layer_steps() -> list[int]:
    """The sum, with bias, requantized, with zero point, clipped."""
    mantissa, shift = fixed_point(MULTIPLIER)
    total = int((LAYER_X * LAYER_W).sum())
    with_bias = total + LAYER_BIAS
    requantized = (with_bias * mantissa + (1 << (shift - 1))) >> shift
    moved = requantized + LAYER_Z_Y
    return [total, with_bias, requantized, moved, min(max(moved, -128), 127)]


def sdot() -> Picture:
    """One SDOT instruction: sixteen products of int8, four to each int32."""
    sums = (LANES_X * LANES_W).reshape(4, 4).sum(1)
    after = LANES_BEFORE + sums
    picture = Picture(
        "One SDOT instruction",
        "Two registers with sixteen int8 each. In each of four lanes, four products are added to "
        f"an int32: {', '.join(map(str, LANES_BEFORE))} become {', '.join(map(str, after))}.",
        356,
    )
    picture.text(12, 54, "x", "bold", anchor="start")
    picture.text(12, 100, "w", "bold", anchor="start")
    for lane in range(4):
        x = 42 + 160 * lane
        part = slice(4 * lane, 4 * lane + 4)
        _registers(picture, x, LANES_X[part], LANES_W[part])
        brace(picture, x, x + 148, 126)
        picture.text(x + 74, 158, f"Σ = {number(sums[lane])}")
        picture.arrow((x + 74, 174), (x + 74, 204))
        picture.block(x, 204, 148, 46, number(after[lane]), look="violet")
        picture.text(x + 74, 268, f"was {number(LANES_BEFORE[lane])}", "quiet", SMALL)
    picture.text(12, 227, "y", "bold", anchor="start")
    picture.text(350, 22, "16 × int8", "quiet", SMALL)
    picture.text(350, 300, "4 × int32", "quiet", SMALL)
    picture.text(340, 332, "one instruction: 16 products, 4 sums", "bold")
    return picture


def _registers(picture: Picture, x: float, inputs: np.ndarray, weights: np.ndarray) -> None:
    grid(picture, x, 36, [[number(value) for value in inputs]], [["blue"] * 4], 37)
    grid(picture, x, 82, [[number(value) for value in weights]], [["orange"] * 4], 37)


def _list(values: np.ndarray) -> str:
    return ", ".join(number(value) for value in values)
