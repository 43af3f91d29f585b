"""Latencies that others have published, to show apart from what was measured here.

They were measured with other versions, other inputs and other ways of timing. They are never part
of a ranking.
"""

from collections.abc import Sequence
from dataclasses import dataclass

TOOL = "the benchmarking tool that this command grew out of, its own table"
GUIDE = "the measurement guide that this workbook grew out of, its own table"


@dataclass(frozen=True)
class Published:
    """A published latency in ms. `remark` is what its source does not make clear."""

    network: str
    machine: str
    runtime: str
    precision: str
    ms: float
    source: str
    remark: str = ""


NO_THREADS = "mean, threads not stated"
STUDENTS = "https://github.com/lbo462/starflit, its table of detectors"
WHICH_PI = "COCO AP {ap:g}; which Pi, input and threads are not stated"
ONE_RATE = "about 9 frames per second"


def _of_tool(machine: str, seconds: dict[tuple[str, str], float]) -> list[Published]:
    return [
        Published("mobilenet_v2", machine, runtime, precision, 1000 * value, TOOL, NO_THREADS)
        for (runtime, precision), value in seconds.items()
    ]


def _of_students(rows: dict[tuple[str, str], tuple[float, float]]) -> list[Published]:
    """{(network, precision): (seconds, AP)}"""
    return [
        Published(name, "a Pi", "TFLite", precision, 1000 * value, STUDENTS, WHICH_PI.format(ap=ap))
        for (name, precision), (value, ap) in rows.items()
    ]


FIGURES = [
    *_of_tool(
        "Raspberry Pi 4",
        {
            ("PyTorch", "float32"): 0.2638,
            ("ONNX Runtime", "float32"): 0.0919,
            ("TFLite", "float32"): 0.0851,
            ("TFLite + Arm NN", "float32"): 0.0512,
            ("TFLite", "int8"): 0.0547,
        },
    ),
    *_of_tool(
        "Raspberry Pi 5",
        {
            ("PyTorch", "float32"): 0.0962,
            ("ONNX Runtime", "float32"): 0.0281,
            ("TFLite", "float32"): 0.0255,
            ("TFLite + Arm NN", "float32"): 0.0170,
            ("TFLite", "int8"): 0.0108,
        },
    ),
    Published(
        "resnet18",
        "Raspberry Pi 5",
        "ncnn",
        "float32",
        20.0,
        GUIDE,
        "4 threads; its file holds float16 weights",
    ),
    Published("YOLOv8n", "Raspberry Pi 5", "not stated", "float32", 115.0, GUIDE, ONE_RATE),
    Published("YOLOv8n", "Raspberry Pi 5", "not stated", "int8", 115.0, GUIDE, ONE_RATE),
    *_of_students(
        {
            ("MobileNetV2 detector", "float32"): (0.08, 22.1),
            ("MobileNetV3-S detector", "float32"): (0.02, 16.1),
            ("MobileNetV3-L detector", "float32"): (0.055, 22),
            ("YOLOv5n", "float32"): (0.52, 28),
            ("YOLOv5s", "float32"): (3.4, 37.4),
            ("YOLOv8n", "float16"): (0.8, 37),
            ("YOLOv8n", "float32"): (0.97, 37),
            ("EfficientDet-lite0", "float32"): (0.19, 26),
        }
    ),
]


def of_network(name: str) -> list[Published]:
    """The published figures for a network; [] if there are none."""
    return [figure for figure in FIGURES if figure.network == name]


def as_table(figures: Sequence[Published]) -> str:
    """The figures as a table for people, with their sources below."""
    import pandas

    table = pandas.DataFrame(
        {
            "network": [figure.network for figure in figures],
            "machine": [figure.machine for figure in figures],
            "runtime": [figure.runtime for figure in figures],
            "precision": [figure.precision for figure in figures],
            "ms": [f"{figure.ms:.1f}" for figure in figures],
            "remark": [figure.remark for figure in figures],
        }
    )
    sources = sorted({figure.source for figure in figures})
    return "\n".join([table.to_string(index=False), *(f"Source: {one}" for one in sources)])


def as_text(figures: Sequence[Published]) -> str:
    """The figures of one network, as a table for people with a head."""
    return f"Published for {figures[0].network}, not measured here:\n{as_table(figures)}"
