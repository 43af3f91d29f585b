"""The arrows of the conversion matrix: from which kind of file to which, and how."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from modelfiles.errors import ConversionError

if TYPE_CHECKING:
    import torch

SHAPE = (1, 1, 12, 12)
IMAGES = 16
OWN_ENVIRONMENT = (
    "needs an environment of its own, because onnx2tf's packages (TensorFlow 2.19, numpy 1.26) do "
    "not fit with ours: python -m venv onnx2tf && onnx2tf/bin/pip install onnx2tf"
)
NEEDS_NVIDIA = "needs a machine with an NVIDIA GPU, such as a Jetson, and TensorRT"
NEEDS_EDGE_TPU_COMPILER = (
    "needs Google's edgetpu_compiler (Debian on x86-64) and a Coral accelerator"
)


class Workshop:
    """The small network, and the files that were made of it so far."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        generator = np.random.default_rng(0)
        self.images = generator.standard_normal((IMAGES, *SHAPE[1:]), np.float32)
        self._network: torch.nn.Module | None = None

    @property
    def network(self) -> "torch.nn.Module":
        """A convolution, a pooling and a linear layer, always with the same weights."""
        import torch
        from torch import nn

        if self._network is None:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                layers = (nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten())
                self._network = nn.Sequential(*layers, nn.Linear(100, 3)).eval()
        return self._network

    def example(self) -> "torch.Tensor":
        """One input."""
        import torch

        return torch.zeros(SHAPE)

    def made(self, name: str, write: Callable[..., object]) -> Path:
        """The file `name`, written by write(network, example, path) if it is not there yet."""
        path = self.folder / name
        if not path.exists():
            write(self.network, self.example(), path)
        return path

    def onnx(self) -> Path:
        """The network as ONNX."""
        from helpers import convert

        return self.made("net.onnx", convert.to_onnx)

    def tflite(self) -> Path:
        """The network as TFLite."""
        from helpers import convert

        return self.made("net.tflite", convert.to_tflite)

    def difference(self, path: Path) -> float:
        """The largest difference of the answers of the file from the network's."""
        from helpers import metrics
        from helpers.runtimes import open_model
        from workbook.evaluate import verdicts

        answers = open_model(path).predict(self.images)
        return metrics.largest_difference(answers, verdicts.of_model(self.network, self.images))


@dataclass(frozen=True)
class Arrow:
    """One conversion. `write` makes the file and returns the largest difference of its answers.

    Without `write`, `remark` says what it needs. `packages` are those that convert and open it.
    """

    source: str
    target: str
    packages: tuple[str, ...] = ()
    write: Callable[[Workshop], float] | None = field(default=None, compare=False)
    remark: str = ""


def _direct(function: str, name: str) -> Callable[[Workshop], float]:
    """An arrow from PyTorch by a function of helpers.convert."""

    def write(workshop: Workshop) -> float:
        from helpers import convert

        return workshop.difference(workshop.made(name, getattr(convert, function)))

    return write


def _mnn(workshop: Workshop) -> float:
    from helpers import convert

    return workshop.difference(convert.to_mnn(workshop.onnx(), workshop.folder / "net.mnn"))


def _ncnn_from_onnx(workshop: Workshop) -> float:
    """pnnx reads ONNX, too; its program is the same as for PyTorch."""
    import pnnx

    from modelfiles.programs import ProgramFailed, run_program

    target = workshop.folder / "from_onnx.ncnn.param"
    size = ",".join(map(str, SHAPE))
    places = {"ncnnparam": target, "ncnnbin": target.with_suffix(".bin")}
    scratch = ("ncnnpy", "pnnxparam", "pnnxbin", "pnnxpy", "pnnxonnx")
    places |= {name: workshop.folder / f"scratch_{name}" for name in scratch}
    command = [pnnx.EXEC_PATH, str(workshop.onnx()), f"inputshape=[{size}]f32", "fp16=0"]
    try:
        run_program([*command, *(f"{name}={path}" for name, path in places.items())], "pnnx")
    except ProgramFailed as error:
        raise ConversionError(str(error)) from error
    if not target.exists():
        raise ConversionError("pnnx wrote no file")
    return workshop.difference(target)


def _int8(workshop: Workshop, source: Path, convert: Callable[..., Path], name: str) -> float:
    return workshop.difference(convert(source, workshop.folder / name, workshop.images))


def _onnx_int8(workshop: Workshop) -> float:
    from helpers import convert

    return _int8(workshop, workshop.onnx(), convert.to_onnx_int8, "net_int8.onnx")


def _tflite_int8(workshop: Workshop) -> float:
    from helpers import convert

    return _int8(workshop, workshop.tflite(), convert.to_tflite_int8, "net_int8.tflite")


def _onnx_half(workshop: Workshop) -> float:
    from modelfiles.conversion.half_form import to_onnx_half

    return workshop.difference(to_onnx_half(workshop.onnx(), workshop.folder / "net_half.onnx"))


def _tflite_half(workshop: Workshop) -> float:
    from helpers import convert

    target = workshop.folder / "net_half.tflite"
    return workshop.difference(convert.to_tflite_half(workshop.tflite(), target))


def _keras_to_tflite(workshop: Workshop) -> float:
    """A small Keras network of its own: its inputs are NHWC, as TensorFlow's are."""
    from helpers import metrics
    from helpers.runtimes import open_model
    from modelfiles.quiet import quiet

    with quiet():
        import tensorflow

        keras: Any = tensorflow.keras
        keras.utils.set_random_seed(0)
        layers = keras.layers
        network = keras.Sequential(
            [
                layers.Input((12, 12, 1), batch_size=1),
                layers.Conv2D(4, 3, activation="relu"),
                layers.MaxPooling2D(),
                layers.Flatten(),
                layers.Dense(3),
            ]
        )
        path = workshop.folder / "keras.tflite"
        path.write_bytes(tensorflow.lite.TFLiteConverter.from_keras_model(network).convert())
        images = workshop.images.transpose(0, 2, 3, 1)
        wanted = np.concatenate([network(image[None]).numpy() for image in images])
    return metrics.largest_difference(open_model(path).predict(workshop.images), wanted)


EXPORT = ("torch", "onnxscript", "onnx", "onnxruntime")
ARROWS = (
    Arrow("PyTorch", "PyTorch, exported (.pt2)", ("torch",), _direct("to_pt2", "net.pt2")),
    Arrow(
        "PyTorch",
        "TorchScript",
        ("torch",),
        _direct("to_torchscript", "net.torchscript"),
        "PyTorch has deprecated it",
    ),
    Arrow("PyTorch", "ONNX", EXPORT, _direct("to_onnx", "net.onnx")),
    Arrow(
        "PyTorch", "TFLite", ("litert-torch", "ai-edge-litert"), _direct("to_tflite", "net.tflite")
    ),
    Arrow("PyTorch", "ncnn", ("pnnx", "ncnn"), _direct("to_ncnn", "net.ncnn.param")),
    Arrow("PyTorch", "MNN", (*EXPORT, "MNN"), _mnn, "through ONNX"),
    Arrow("PyTorch", "ExecuTorch", ("executorch",), _direct("to_executorch", "net.pte")),
    Arrow("PyTorch", "TensorFlow", remark=f"through ONNX; {OWN_ENVIRONMENT}"),
    Arrow("PyTorch", "TensorRT", remark=NEEDS_NVIDIA),
    Arrow("ONNX", "MNN", ("MNN",), _mnn),
    Arrow("ONNX", "ncnn", ("pnnx", "ncnn"), _ncnn_from_onnx, "by pnnx; onnx2ncnn is deprecated"),
    Arrow("ONNX", "ONNX, int8", ("onnxruntime",), _onnx_int8),
    Arrow("ONNX", "ONNX, float16", ("onnxruntime",), _onnx_half),
    Arrow("ONNX", "TensorFlow", remark=OWN_ENVIRONMENT),
    Arrow("ONNX", "TFLite", remark=OWN_ENVIRONMENT),
    Arrow("ONNX", "TensorRT", remark=NEEDS_NVIDIA),
    Arrow("TFLite", "TFLite, int8", ("ai-edge-quantizer",), _tflite_int8),
    Arrow("TFLite", "TFLite, float16", ("ai-edge-quantizer",), _tflite_half),
    Arrow("TFLite, int8", "Edge TPU", remark=NEEDS_EDGE_TPU_COMPILER),
    Arrow("TensorFlow", "TFLite", ("tensorflow-cpu", "ai-edge-litert"), _keras_to_tflite),
    Arrow("TensorFlow", "ONNX", remark="needs tf2onnx, which is not installed here"),
)
