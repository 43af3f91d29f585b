"""The runtimes of `workbook evaluate`, by their names on the command line."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Runtime:
    """A runtime's name in tables, and the suffix of its files.

    `has_int8` and `has_half` are whether it has such a form here. `extra` is the name of the
    packages that it needs, `pip install '.[EXTRA]'`. `delegate` is that of open_model. A runtime
    that is not `usual` is used only if it is named.
    """

    title: str
    suffix: str
    has_int8: bool = True
    has_half: bool = True
    extra: str = ""
    delegate: str | None = None
    usual: bool = True


RUNTIMES = {
    "torch": Runtime("PyTorch", ".pt2", has_int8=False, has_half=False, extra="torch"),
    "onnx": Runtime("ONNX Runtime", ".onnx", extra="onnx"),
    "tflite": Runtime("LiteRT", ".tflite", extra="tflite"),
    "ncnn": Runtime("ncnn", ".ncnn.param", has_int8=False, extra="ncnn"),
    "mnn": Runtime("MNN", ".mnn", extra="mnn"),
    "executorch": Runtime("ExecuTorch", ".pte", has_half=False, extra="executorch"),
    "torchscript": Runtime(
        "TorchScript", ".torchscript", has_int8=False, has_half=False, extra="torch", usual=False
    ),
    "armnn": Runtime("LiteRT + Arm NN", ".tflite", extra="tflite", delegate="armnn", usual=False),
}


def runtime_of(path: Path) -> str | None:
    """The name on the command line of the runtime for a model file; None if there is none."""
    for name, runtime in RUNTIMES.items():
        if path.name.lower().endswith(runtime.suffix):
            return name
    return None
