"""One float network in the forms of int8 that ONNX Runtime's quantizer offers, unchecked.

helpers.convert.to_onnx_int8 is the way to make a file to use: it runs the file before it keeps it.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from modelfiles.quiet import quiet


def other_forms(float_file: Path, calibration: np.ndarray) -> dict[str, Path]:
    """Write int8 files with other types of activations x weights, and return them by their names.

    They are in the QOperator form, next to the float ONNX file. `calibration` are images, float32
    N x C x H x W. U8 x S8 per channel is what helpers.convert writes on x86.
    """
    from onnxruntime.quantization import QuantType

    unsigned = {"weight_type": QuantType.QUInt8}
    forms: dict[str, dict] = {
        "U8 x S8, per channel": {},
        "U8 x S8, 7-bit weights": {"reduce_range": True},
        "S8 x S8": {"activation_type": QuantType.QInt8},
        "U8 x U8, per tensor": {"per_channel": False, **unsigned},
        "U8 x U8, per channel": unsigned,
    }
    found = {}
    for number, (name, options) in enumerate(forms.items()):
        found[name] = float_file.with_stem(f"{float_file.stem}_form{number}")
        quantize_onnx(float_file, found[name], calibration, **options)
    return found


def quantize_onnx(float_file: Path, result: Path, calibration: np.ndarray, **options: Any) -> Path:
    """Write the int8 file that ONNX Runtime's quantizer makes from `calibration`, whatever that is.

    `options` are those of onnxruntime.quantization.quantize_static. By default weights are int8 per
    channel and activations uint8, in the QOperator form. Returns `result`.
    """
    import onnx
    from onnxruntime.quantization import (
        CalibrationDataReader,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    class Reader(CalibrationDataReader):
        """Images, one by one, as ONNX Runtime's quantizer asks for them."""

        def __init__(self, name: str) -> None:
            self.calls: Iterator[dict] = iter([{name: image[None]} for image in calibration])

        def get_next(self) -> dict | None:
            return next(self.calls, None)

    how = {
        "weight_type": QuantType.QInt8,
        "activation_type": QuantType.QUInt8,
        "per_channel": True,
        "quant_format": QuantFormat.QOperator,
    }
    name = onnx.load(float_file).graph.input[0].name
    with quiet():
        quantize_static(str(float_file), str(result), Reader(name), **how | options)
    return result
