"""Pictures of notebooks 06 and 07: forms of int8 files, how they are made, which one to ship."""

from workbook.diagrams.parts import file
from workbook.diagrams.picture import SMALL, Picture


def qdq_qoperator() -> Picture:
    """A quantized convolution in ONNX, written in two ways."""
    picture = Picture(
        "QDQ and QOperator",
        "The same convolution twice. QDQ: quantize and dequantize operators around a float Conv, "
        "which a runtime fuses when it loads the file. QOperator: one QLinearConv on integers.",
        452,
    )
    picture.text(241, 28, "QDQ", "bold")
    names = ("Quantize", "Dequantize", "Conv", "Quantize", "Dequantize")
    for row, name in enumerate(names):
        y = 60 + 74 * row
        look = "green" if name == "Conv" else "plain"
        picture.block(166, y, 150, 46, name, look=look)
        picture.arrow((241, y + 46), (241, y + 74))
        kind = "int8" if name == "Quantize" else "float"
        picture.text(253, y + 59, kind, "quiet", SMALL, anchor="start")
    picture.block(10, 60, 130, 46, "weights", look="orange")
    picture.arrow((75, 106), (75, 134))
    picture.text(87, 119, "int8", "quiet", SMALL, anchor="start")
    picture.block(10, 134, 130, 46, "Dequantize")
    picture.arrow((75, 180), (75, 231), (166, 231))
    picture.text(87, 206, "float", "quiet", SMALL, anchor="start")

    picture.text(574, 28, "QOperator", "bold")
    rows = (  # top, height, where the arrow below ends
        (60, 46, 195, "plain", ("QuantizeLinear",), "int8"),
        (195, 72, 356, "blue", ("QLinearConv", "weights int8"), "int8"),
        (356, 46, 430, "plain", ("DequantizeLinear",), "float"),
    )
    for y, tall, end, look, texts, kind in rows:
        picture.block(478, y, 192, tall, *texts, look=look)
        picture.arrow((574, y + tall), (574, end))
        picture.text(586, (y + tall + end) / 2, kind, "quiet", SMALL, anchor="start")
    picture.arrow((330, 231), (470, 231), look="violet-line")
    picture.lines(398, 188, "fused when", "loaded", look="quiet")
    return picture


def export_observe_convert() -> Picture:
    """The three steps of post-training quantization in PyTorch, and the files at their end."""
    picture = Picture(
        "Export, observe, convert",
        "Export turns the network into a graph. Observers record the range of each tensor while "
        "calibration images pass. Convert replaces observers by quantize and dequantize "
        "operators, and from this graph the files are written.",
        452,
    )
    steps = (
        ("1 export", "", ("operators,", "no Python")),
        ("2 observe", "calibration images", ("observers", "record ranges")),
        ("3 convert", "", ("quantize,", "dequantize")),
    )
    for place, (title, source, captions) in enumerate(steps):
        x = 114 + 226 * place
        picture.text(x, 26, title, "bold")
        picture.text(x, 58, source, "quiet", SMALL)
        _two_operators(picture, x, 14 if place == 2 else 0)
        picture.lines(x, 336, *captions, look="quiet")
    for x in (227, 453):
        picture.arrow((x - 26, 190), (x + 26, 190), look="violet-line")
    for y in (92, 186, 284):
        picture.circle(340, y, 11, "violet")
        picture.circle(340, y, 4, "violet-dark")
        picture.box(522, y - 14, 88, 28, "violet", corner=14)
        picture.text(566, y, "Q  DQ", size=SMALL)
    for place, suffix in enumerate((".pte", ".onnx", ".tflite")):
        file(picture, 396 + 94 * place, 396, 84, 44, suffix, "plain")
    picture.arrow((566, 372), (566, 394))
    picture.text(376, 418, "one file for each runtime", "quiet", SMALL, anchor="end")
    return picture


def _two_operators(picture: Picture, x: float, gap: int) -> None:
    """A convolution and a ReLU below each other, with arrows before, between and after.

    `gap` is half of the space that a later part needs in the middle of each arrow.
    """
    for y0, y1 in ((72, 120), (164, 216), (260, 316)):
        middle = (y0 + y1) / 2 - 4
        picture.line((x, y0), (x, middle - gap))
        picture.arrow((x, middle + gap), (x, y1))
    picture.block(x - 52, 120, 104, 44, "conv", look="blue")
    picture.block(x - 52, 216, 104, 44, "ReLU", look="blue")


def decision() -> Picture:
    """From a budget to the form of the file."""
    picture = Picture(
        "From the budget to the file",
        "Does the float file keep the budget? Ship it. Is only its size too large? float16, or "
        "int8 for the weights alone. Is it too slow? Static int8, and if it loses few answers it "
        "ships. If not: check the preprocessing, use grids per channel, leave a layer in float. "
        "If it still loses too many: quantization-aware training.",
        548,
    )
    questions = (
        (20, "float keeps the budget?", "ship float", "no"),
        (104, "only the size too large?", "float16, or int8 weights", "no: too slow"),
        (284, "few answers lost?", "ship int8", "no"),
    )
    for y, question, answer, otherwise in questions:
        picture.block(16, y, 290, 48, question, look="blue")
        picture.arrow((306, y + 24), (390, y + 24))
        picture.text(346, y + 10, "yes", "quiet", SMALL)
        picture.block(390, y, 274, 48, answer, look="green")
        picture.arrow((161, y + 48), (161, y + 84))
        picture.text(174, y + 64, otherwise, "quiet", SMALL, anchor="start")
    picture.block(16, 188, 290, 60, "static int8", "in the fastest runtime", look="orange")
    picture.arrow((161, 248), (161, 284))
    picture.block(
        16, 368, 290, 84, "mend", "preprocessing, per channel,", "a layer in float", look="orange"
    )
    picture.arrow((306, 410), (340, 410), (340, 340), (240, 340), (240, 332))
    picture.arrow((161, 452), (161, 486))
    picture.text(174, 468, "still too many", "quiet", SMALL, anchor="start")
    picture.block(16, 486, 290, 48, "train: QAT", look="orange")
    return picture


def fake_quantization() -> Picture:
    """Forward a weight is rounded and clipped; backward the gradient passes straight through."""
    picture = Picture(
        "Fake quantization, forward and backward",
        "Forward, a weight is rounded to the grid and clipped before the layer uses it. Backward, "
        "rounding counts as a straight line: slope 1 inside the grid, slope 0 where it clips.",
        430,
    )
    picture.block(16, 50, 110, 66, "w", "float", look="orange")
    picture.block(196, 50, 150, 66, "round, clip", "to the grid", look="violet")
    picture.block(416, 50, 100, 66, "layer", look="blue")
    picture.block(576, 50, 90, 66, "loss", look="plain")
    for x0, x1 in ((126, 196), (346, 416), (516, 576)):
        picture.arrow((x0, 70), (x1, 70), look="blue-line")
    for x0, x1 in ((576, 516), (416, 346), (196, 126)):
        picture.arrow((x0, 98), (x1, 98), look="orange-line dashed")
    picture.text(16, 24, "forward: rounded", "bold", SMALL, anchor="start")
    picture.arrow((214, 24), (268, 24), look="blue-line")
    picture.text(664, 142, "backward: straight through", "bold", SMALL, anchor="end")
    picture.arrow((364, 142), (310, 142), look="orange-line dashed")
    _staircase(picture, 60, 380)
    _straight(picture, 400, 380)
    return picture


def _staircase(picture: Picture, left: int, floor: int) -> None:
    """What the forward pass computes: steps, and flat ends."""
    picture.text(left + 110, floor - 192, "forward", "bold", SMALL)
    points: list[tuple[float, float]] = [(left, floor - 10)]
    for step in range(5):
        x = left + 40 + 36 * step
        points += [(x, floor - 10 - 30 * step), (x, floor - 40 - 30 * step)]
    points.append((left + 240, floor - 160))
    picture.line(*points, look="blue-line")
    picture.arrow((left, floor), (left + 250, floor))
    picture.text(left + 125, floor + 24, "w", size=SMALL)


def _straight(picture: Picture, left: int, floor: int) -> None:
    """What the backward pass works with: a straight line inside the grid, flat outside."""
    picture.text(left + 110, floor - 192, "backward: as if", "bold", SMALL)
    points = [(left, floor - 10), (left + 22, floor - 10)]
    points += [(left + 202, floor - 160), (left + 240, floor - 160)]
    picture.line(*points, look="orange-line")
    picture.arrow((left, floor), (left + 250, floor))
    picture.text(left + 125, floor + 24, "w", size=SMALL)
    picture.text(left + 130, floor - 66, "slope 1", "quiet", SMALL, anchor="start")
    picture.text(left + 200, floor - 132, "slope 0", "quiet", SMALL, anchor="start")
