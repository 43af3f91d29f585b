"""Pictures of notebook 08: the roofline."""

import math

from workbook.diagrams.picture import SMALL, Picture

RIDGE = 8.0  # MACs per byte; every machine has its own
FLOAT_BYTES = 4


def intensity(macs: int, values: int) -> float:
    """MACs per byte: `values` floats are read or written once.

    >>> intensity(4000, 1000)
    1.0
    """
    return macs / (FLOAT_BYTES * values)


def layers() -> dict[str, float]:
    """{layer: MACs per byte} of two layers of MnistNet and a depthwise layer, in float32."""
    from torch import nn

    from helpers.models import MnistNet

    network = MnistNet()
    conv = network.conv2
    fc = network.fc1
    assert isinstance(conv, nn.Conv2d) and isinstance(fc, nn.Linear)
    side = 24  # of the output of conv2; its input has 26
    conv_weights = conv.weight.numel()
    conv_values = conv_weights + 26 * 26 * conv.in_channels + side * side * conv.out_channels
    fc_weights = fc.weight.numel()
    depthwise = 9 * side * side  # per channel, with padding
    return {
        "dense (fc1)": intensity(fc_weights, fc_weights + fc.in_features + fc.out_features),
        "depthwise": intensity(depthwise, 2 * side * side + 9),
        "convolution (conv2)": intensity(conv_weights * side * side, conv_values),
    }


def roof() -> Picture:
    """Two ceilings: the memory's, which rises, and the processor's, which is flat."""
    found = layers()
    described = ", ".join(f"{name} has {value:.2g}" for name, value in found.items())
    picture = Picture(
        "The roofline",
        f"MACs per second against MACs per byte, both logarithmic. On the left the memory is the "
        f"limit, on the right the processor. In MACs per byte, {described}.",
        420,
    )

    def x(value: float) -> float:
        return 90 + 58 * (math.log2(value) + 3)

    def y(value: float) -> float:
        return 120 + 38 * (math.log2(RIDGE) - math.log2(min(value, RIDGE)))

    floor = 358
    picture.path(
        [
            (x(1 / 8), y(1 / 8)),
            (x(RIDGE), y(RIDGE)),
            (640, y(RIDGE)),
            (640, floor),
            (x(1 / 8), floor),
        ],
        "plain",
    )
    picture.arrow((90, floor), (668, floor))
    picture.arrow((90, floor), (90, 44))
    picture.line((x(1 / 8), y(1 / 8)), (x(RIDGE), y(RIDGE)), look="orange-line thick")
    picture.line((x(RIDGE), y(RIDGE)), (640, y(RIDGE)), look="blue-line thick")
    for tick in (1 / 4, 1, 4, 16, 64):
        picture.line((x(tick), floor), (x(tick), floor + 7))
        picture.text(
            x(tick), floor + 22, f"1/{round(1 / tick)}" if tick < 1 else f"{tick}", size=SMALL
        )
    picture.text(380, floor + 48, "MACs per byte", size=SMALL)
    picture.text(20, 24, "MACs per second", size=SMALL, anchor="start")
    picture.text(300, 130, "memory limits", "bold", SMALL, anchor="end")
    picture.text(540, 96, "processor limits", "bold", SMALL)
    for name, value in found.items():
        picture.circle(x(value), y(value), 8, "green-dark")
        if value < RIDGE:
            picture.text(x(value) + 14, y(value) + 22, name, "", SMALL, anchor="start")
        else:
            picture.lines(x(value) + 4, y(value) + 32, *name.split())
    return picture
