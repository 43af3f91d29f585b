"""The runtimes of `workbook evaluate`, by their names on the command line."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Runtime:
    """A runtime's name in tables, the suffix of its files, and whether it has an int8 form here."""

    title: str
    suffix: str
    has_int8: bool = True


RUNTIMES = {
    "torch": Runtime("PyTorch", ".pt2", has_int8=False),
    "onnx": Runtime("ONNX Runtime", ".onnx"),
    "tflite": Runtime("LiteRT", ".tflite"),
    "ncnn": Runtime("ncnn", ".ncnn.param", has_int8=False),
    "mnn": Runtime("MNN", ".mnn"),
    "executorch": Runtime("ExecuTorch", ".pte"),
}


def runtime_of(path: Path) -> str | None:
    """The name on the command line of the runtime for a model file; None if there is none."""
    for name, runtime in RUNTIMES.items():
        if path.name.lower().endswith(runtime.suffix):
            return name
    return None
