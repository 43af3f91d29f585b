"""The variants of a network's file: the converter and the source of each."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from modelfiles.conversion.converters import to_ncnn, to_onnx, to_tflite
from modelfiles.conversion.int8_forms import to_mnn, to_onnx_int8, to_tflite_int8


@dataclass(frozen=True)
class Writer:
    """A converter, and the suffix of the float32 file that it reads (None: the network)."""

    convert: Callable[..., Path]
    source: str | None = None
    is_calibrated: bool = False


# suffix after the network's name: its converter
WRITERS = {
    ".onnx": Writer(to_onnx),
    "_int8_u8.onnx": Writer(partial(to_onnx_int8, unsigned_activations=True), ".onnx", True),
    "_int8_s8.onnx": Writer(partial(to_onnx_int8, unsigned_activations=False), ".onnx", True),
    "_int8_s8_qoperator.onnx": Writer(
        partial(to_onnx_int8, qdq=False, unsigned_activations=False), ".onnx", True
    ),
    ".tflite": Writer(to_tflite),
    "_int8.tflite": Writer(to_tflite_int8, ".tflite", True),
    ".ncnn.param": Writer(to_ncnn),
    ".mnn": Writer(to_mnn, ".onnx"),
    "_int8.mnn": Writer(partial(to_mnn, weight_bits=8), ".onnx"),
}


def write(
    stem: Path,
    suffix: str,
    network: torch.nn.Module,
    example: torch.Tensor,
    calibration: Callable[[], np.ndarray],
) -> Path:
    """Write the variant `suffix`, a key of WRITERS, of `network` to `stem` + suffix; its path.

    `example` is float32, N x channels x height x width. `calibration` returns the images that
    calibrate int8 ranges. FileNotFoundError if the source file is missing.
    """
    writer = WRITERS[suffix]
    path = stem.with_name(stem.name + suffix)
    if writer.source is None:
        return writer.convert(network, example, path)
    source = stem.with_name(stem.name + writer.source)
    if not source.exists():
        raise FileNotFoundError(f"its source {source.name} is missing")
    if writer.is_calibrated:
        return writer.convert(source, path, calibration())
    return writer.convert(source, path)
