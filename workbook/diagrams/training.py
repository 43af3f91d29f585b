"""Pictures of notebooks 01 to 03: the training loop, the files of a network, fair comparisons."""

from collections.abc import Sequence

import numpy as np

from workbook.diagrams.parts import file
from workbook.diagrams.picture import SMALL, Picture

FORMATS = (  # suffix, runtime; .mnn is made from the .onnx above it
    (".pt2", "PyTorch"),
    (".tflite", "LiteRT"),
    (".ncnn", "ncnn"),
    (".pte", "ExecuTorch"),
    (".onnx", "ONNX Runtime"),
    (".mnn", "MNN"),
)
MS = {"A": 10, "B": 8}  # time per call of the two that are compared
SLOWDOWN = 1.6  # of every call while something else runs


def training_loop() -> Picture:
    """One step of training: forward, loss, backward, step."""
    picture = Picture(
        "The training loop",
        "A batch of images goes through the network, whose logits are compared with the labels: "
        "the loss. Backward, each weight gets a gradient. The optimizer changes the weights, and "
        "the next batch follows.",
        330,
    )
    picture.block(16, 78, 140, 76, "batch", "64 images", look="blue")
    picture.block(250, 78, 150, 76, "network", "forward", look="orange")
    picture.block(520, 78, 144, 76, "loss", "one number", look="violet")
    picture.arrow((156, 116), (250, 116))
    picture.text(203, 98, "images", "quiet", SMALL)
    picture.arrow((400, 116), (520, 116))
    picture.text(460, 98, "logits", "quiet", SMALL)
    picture.arrow((86, 78), (86, 36), (592, 36), (592, 78))
    picture.text(325, 18, "labels", "quiet", SMALL)

    picture.block(494, 214, 170, 76, "gradients", "backward", look="violet")
    picture.arrow((592, 154), (592, 214))
    picture.block(240, 214, 170, 76, "optimizer", "a small step", look="green")
    picture.arrow((494, 252), (410, 252))
    picture.arrow((325, 214), (325, 154))
    picture.text(340, 184, "new weights", "quiet", SMALL, anchor="start")
    picture.lines(110, 228, "next batch;", "all batches once:", "one epoch", look="quiet")
    return picture


def many_files() -> Picture:
    """One trained network, six files, six runtimes."""
    rows = len(FORMATS)
    picture = Picture(
        "One network, six files",
        "A network that PyTorch trained is converted to "
        + ", ".join(f"{suffix} for {runtime}" for suffix, runtime in FORMATS)
        + ". Each must give the same logits for the same images.",
        62 * rows + 76,
    )
    first = 46
    last_direct = first + 62 * (rows - 2)
    middle = (first + last_direct) / 2
    picture.block(12, middle - 44, 150, 88, "network", "trained", "in PyTorch", look="orange")
    picture.line((162, middle), (200, middle))
    picture.line((200, first), (200, last_direct))
    for row, (suffix, runtime) in enumerate(FORMATS):
        y = first + 62 * row
        file(picture, 240, y - 22, 112, 44, suffix, "plain")
        picture.arrow((352, y), (430, y))
        picture.block(430, y - 22, 180, 44, runtime, look="blue")
        picture.line((610, y), (640, y))
        if row < rows - 1:
            picture.arrow((200, y), (240, y))
    picture.arrow((296, last_direct + 22), (296, last_direct + 40))
    bottom = first + 62 * (rows - 1)
    picture.line((640, first), (640, bottom))
    picture.arrow((640, bottom), (640, bottom + 44), (586, bottom + 44))
    picture.text(576, bottom + 44, "same images in: same logits out?", "bold", SMALL, anchor="end")
    return picture


def interleaved() -> Picture:
    """Two orders of the same eight calls while the machine is disturbed."""
    blocks = call_times("AAAABBBB")
    rounds = call_times("ABBABAAB")
    first = median_ratio("AAAABBBB", blocks)
    second = median_ratio("ABBABAAB", rounds)
    picture = Picture(
        "One after the other, or in rounds",
        f"B takes {MS['B']} ms and A {MS['A']} ms. From the fifth call on the machine is busy, and "
        f"every call takes {SLOWDOWN} times as long. Measured one after the other, B / A is "
        f"{first:.2f}; measured in rounds it is {second:.2f}, the truth.",
        440,
    )
    _calls(picture, 30, "one after the other", "AAAABBBB", blocks, f"B / A = {first:.2f}")
    _calls(picture, 240, "in rounds, in random order", "ABBABAAB", rounds, f"B / A = {second:.2f}")
    return picture


def _calls(
    picture: Picture, top: int, title: str, order: str, times: Sequence[float], result: str
) -> None:
    """The calls as bars whose height is their time, with the disturbance behind the last four."""
    looks = {"A": "blue", "B": "orange"}
    picture.text(24, top, title, "bold", anchor="start")
    floor = top + 152
    picture.box(24 + 58 * 4, top + 22, 58 * 4 + 6, 130, "plain", corner=0)
    picture.text(24 + 58 * 6 + 3, top + 38, "machine busy", "quiet", SMALL)
    for number, (name, time) in enumerate(zip(order, times)):
        left = 30 + 58 * number
        tall = 5 * time
        picture.box(left, floor - tall, 46, tall, looks[name], corner=2)
        picture.text(left + 23, floor - tall / 2, name, "bold")
    picture.line((24, floor), (494, floor))
    picture.text(590, top + 76, "measured:", "quiet", SMALL)
    picture.text(590, top + 104, result, "bold")
    picture.text(590, top + 132, f"true: {MS['B'] / MS['A']:.2f}", "quiet", SMALL)


def call_times(order: str) -> list[float]:
    """The time of each call in ms: the second half of them is disturbed.

    >>> call_times("AABB")
    [10, 10, 12.8, 12.8]
    """
    half = len(order) // 2
    return [MS[name] for name in order[:half]] + [MS[name] * SLOWDOWN for name in order[half:]]


def median_ratio(order: str, times: Sequence[float]) -> float:
    """The median time of B over the median time of A.

    >>> median_ratio("ABAB", call_times("ABAB"))
    0.8
    """
    medians = {
        name: float(np.median([time for other, time in zip(order, times) if other == name]))
        for name in "AB"
    }
    return round(medians["B"] / medians["A"], 9)
