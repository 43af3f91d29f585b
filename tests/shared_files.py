"""Model files of the trained networks that tests share: each is converted once per run."""

from pathlib import Path

import torch
from filelock import FileLock

from helpers import convert
from helpers.data import mnist, normalize

FLOAT = ("pt2", "torchscript", "onnx", "tflite", "ncnn.param", "mnn", "pte")
INT8 = ("onnx", "tflite", "mnn", "pte")
CALIBRATION_IMAGES = 100
EXAMPLE = torch.zeros(1, 1, 28, 28)
CONVERTERS = {
    "pt2": convert.to_pt2,
    "torchscript": convert.to_torchscript,
    "onnx": convert.to_onnx,
    "tflite": convert.to_tflite,
    "ncnn.param": convert.to_ncnn,
    "pte": convert.to_executorch,
}


class SharedFiles:
    """The files of `networks`, {name: module}, in `folder`: NAME.KIND and NAME_int8.KIND.

    Tests only read them: a test that changes a file makes a copy.
    """

    def __init__(self, networks: dict[str, torch.nn.Module], folder: Path) -> None:
        self.networks = networks
        self.folder = folder

    def path(self, name: str, kind: str, int8: bool = False) -> Path:
        """The file of network `name` in the format `kind`, converted if no test asked before."""
        path = self.folder / f"{name}{'_int8' * int8}.{kind}"
        with FileLock(f"{path}.lock"):
            if not path.exists():
                make = self._make_int8 if int8 else self._make
                make(name, kind, path)
        return path

    def _make(self, name: str, kind: str, path: Path) -> None:
        if kind == "mnn":
            convert.to_mnn(self.path(name, "onnx"), path)
        else:
            CONVERTERS[kind](self.networks[name], EXAMPLE, path)

    def _make_int8(self, name: str, kind: str, path: Path) -> None:
        calibration = normalize(mnist("train").images[:CALIBRATION_IMAGES])
        if kind == "onnx":
            convert.to_onnx_int8(self.path(name, "onnx"), path, calibration)
        elif kind == "tflite":
            convert.to_tflite_int8(self.path(name, "tflite"), path, calibration)
        elif kind == "mnn":
            convert.to_mnn(self.path(name, "onnx"), path, weight_bits=8)
        else:
            convert.to_executorch_int8(self.networks[name], path, calibration)
