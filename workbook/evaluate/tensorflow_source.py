"""What TensorFlow's models can become here: LiteRT's files; for other runtimes, what to do."""

from pathlib import Path

import numpy as np

from modelfiles.errors import ConversionError
from modelfiles.limits import Limits

ADVICE = {
    "onnx": "convert it with tf2onnx, in an environment of its own, and give the .onnx file",
    "mnn": "convert it to ONNX with tf2onnx, in an environment of its own, and give the .onnx file",
    "ncnn": "ncnn is reached from PyTorch only: write the network as a torch.nn.Module",
    "executorch": "ExecuTorch is reached from PyTorch only: write the network as a torch.nn.Module",
    "torch": "write the network as a torch.nn.Module, and copy the weights",
    "torchscript": "write the network as a torch.nn.Module, and copy the weights",
}


def write(
    source: Path, runtime: str, path: Path, calibration: np.ndarray | None, limits: Limits
) -> None:
    """Write the file for `runtime`; with `calibration` in int8.

    ConversionError for a runtime that TensorFlow's models cannot be converted to here, ImportError
    without TensorFlow.
    """
    if runtime != "tflite":
        raise ConversionError(
            f"TensorFlow's models are converted to LiteRT only; {ADVICE[runtime]}"
        )
    from modelfiles.conversion import tensorflow_form

    tensorflow_form.to_tflite(source, path, calibration, limits)
