"""The forms in which a network is stored, by name, such as "onnx" and "int8 onnx"."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from helpers import convert

FROM_PYTORCH = {
    "pt2": convert.to_pt2,
    "torchscript": convert.to_torchscript,
    "onnx": convert.to_onnx,
    "tflite": convert.to_tflite,
    "ncnn.param": convert.to_ncnn,
    "pte": convert.to_executorch,
}
FLOAT = (*FROM_PYTORCH, "mnn")
INT8 = ("int8 onnx", "int8 tflite", "int8 mnn", "int8 pte")


def convert_to(
    form: str,
    path: Path,
    network: torch.nn.Module,
    example: torch.Tensor,
    calibration: np.ndarray,
    source: Callable[[str], Path],
) -> Path:
    """Write `network` to `path` in `form`, and return the path.

    `source` gives the network's file in a float form, for forms that are converted from it.
    """
    match form:
        case "mnn":
            return convert.to_mnn(source("onnx"), path)
        case "int8 mnn":
            return convert.to_mnn(source("onnx"), path, weight_bits=8)
        case "int8 onnx":
            return convert.to_onnx_int8(source("onnx"), path, calibration)
        case "int8 tflite":
            return convert.to_tflite_int8(source("tflite"), path, calibration)
        case "int8 pte":
            return convert.to_executorch_int8(network, path, calibration)
    return FROM_PYTORCH[form](network, example, path)
