"""Converters that start from a float file, for int8 and float16.

The ranges of int8 activations do not depend on the order of the calibration images.
"""

import platform
from pathlib import Path

import numpy as np
import torch

from modelfiles.conversion import batch_norms, compare, inputs, onnx_source, tflite_int8
from modelfiles.conversion.lowering import lower_to_xnnpack
from modelfiles.conversion.mnn_process import convert as convert_to_mnn
from modelfiles.conversion.opener import opener
from modelfiles.conversion.writing import check, checked_path, naming_the_layer, writing
from modelfiles.errors import ConversionError, reason
from modelfiles.quiet import quiet

RANGES = ("MinMax", "Entropy", "Percentile")
CHECKED_IMAGES = 32
# bits of a weight: the converter's options, and how its file is judged
MNN_WEIGHTS = {
    8: (["--weightQuantBits", "8"], compare.int8_fault),
    16: (["--fp16"], compare.half_fault),
    32: ([], compare.float_fault),
}


def to_mnn(onnx_file: Path | str, path: Path | str, weight_bits: int = 32) -> Path:
    """MNN's file from the network's ONNX file. `weight_bits`: 32, 16 (float16) or 8 (int8)."""
    with writing(path, ".mnn") as (scratch, process):
        if weight_bits not in MNN_WEIGHTS:
            raise ConversionError(f"weight_bits must be 8, 16 or 32, not {weight_bits!r}.")
        shape = onnx_source.input_shape(onnx_file)
        images = inputs.random_images(tuple(size or 32 for size in shape))
        with opener(".onnx") as source:
            wanted = source.answers(Path(onnx_file), images)
        options, find_fault = MNN_WEIGHTS[weight_bits]
        convert_to_mnn(Path(onnx_file), scratch, *options)
        check(scratch, process, images, wanted, find_fault)
    return Path(path)


def to_onnx_int8(
    onnx_file: Path | str,
    path: Path | str,
    calibration: np.ndarray,
    *,
    per_channel: bool = True,
    qdq: bool = True,
    unsigned_activations: bool | None = None,
    ranges: str = "MinMax",
) -> Path:
    """Static int8 by ONNX Runtime: int8 weights, ranges from `calibration`, float32 in and out.

    `ranges` is the method that chooses them: "MinMax", "Entropy" or "Percentile" (ONNX Runtime's
    CalibrationMethod). With qdq=False the file contains integer operators (QLinearConv) instead of
    float operators between quantize and dequantize pairs. By default, activations are uint8 on x86,
    where that is faster, and int8 elsewhere.
    """
    if unsigned_activations is None:
        unsigned_activations = platform.machine() in ("x86_64", "AMD64")
    with writing(path, ".onnx") as (scratch, process):
        if ranges not in RANGES:
            raise ConversionError(f"ranges must be one of {', '.join(RANGES)}, not {ranges!r}.")
        onnx_source.check_is_float(onnx_file)
        shape = onnx_source.input_shape(onnx_file)
        inputs.check_calibration(calibration, shape)
        images = inputs.some_calls(calibration, shape[0] or 1, CHECKED_IMAGES)
        wanted = process.answers(Path(onnx_file), images)

        from onnxruntime.quantization import (
            CalibrationMethod,
            QuantFormat,
            QuantType,
            quantize_static,
        )

        with onnx_source.prepared(onnx_file) as (prepared, name):
            quantize_static(
                str(prepared),
                str(scratch),
                _CalibrationReader(name, calibration, shape[0] or 1),
                per_channel=per_channel,
                quant_format=QuantFormat.QDQ if qdq else QuantFormat.QOperator,
                calibrate_method=CalibrationMethod[ranges],
                weight_type=QuantType.QInt8,
                activation_type=QuantType.QUInt8 if unsigned_activations else QuantType.QInt8,
            )
        check(scratch, process, images, wanted, compare.int8_fault)
    return Path(path)


class _CalibrationReader:
    """Calibration images, call by call, for ONNX Runtime's quantizer."""

    def __init__(self, name: str, images: np.ndarray, batch: int) -> None:
        calls = (images[i : i + batch] for i in range(0, len(images), batch))
        self._calls = iter([{name: call} for call in calls])

    def get_next(self) -> dict | None:
        return next(self._calls, None)


def to_tflite_int8(tflite_file: Path | str, path: Path | str, calibration: np.ndarray) -> Path:
    """Static int8 by Google's quantizer of .tflite files: weights (per channel) and activations."""
    with writing(path, ".tflite") as (scratch, process):
        shape = process.input_shape(Path(tflite_file)) or (None, None, None, None)
        inputs.check_calibration(calibration, shape)
        images = inputs.some_calls(calibration, shape[0] or 1, CHECKED_IMAGES)
        wanted = process.answers(Path(tflite_file), images)
        tflite_int8.quantize(Path(tflite_file), scratch, calibration, shape[0] or 1)
        check(scratch, process, images, wanted, compare.int8_fault)
    return Path(path)


def to_tflite_half(tflite_file: Path | str, path: Path | str) -> Path:
    """A float32 .tflite file with its weights as float16. LiteRT computes in float32 with them."""
    with writing(path, ".tflite") as (scratch, process):
        shape = process.input_shape(Path(tflite_file)) or (1, 1, 28, 28)
        images = inputs.random_images(tuple(size or 32 for size in shape))
        wanted = process.answers(Path(tflite_file), images)
        tflite_int8.halve(Path(tflite_file), scratch)
        check(scratch, process, images, wanted, compare.half_fault)
    return Path(path)


def quantize_pt2e(
    model: torch.nn.Module, calibration: np.ndarray, *, per_channel: bool = True
) -> torch.nn.Module:
    """`model` quantized by PyTorch for XNNPACK: static int8, weights and activations.

    It takes one image per call. Observers in the exported graph record ranges on `calibration`.
    Then torchao's PT2E converts the graph: int8 weights, with quantize and dequantize operators
    around every layer. The result computes the same as the file, but slowly, in float. Use it for
    its logits; for timing, convert it with to_executorch or to_onnx.

    Raises ConversionError if the model or the images cannot be used.
    """
    with quiet():
        inputs.check_calibration(calibration, inputs.one_call(calibration))
        wanted = inputs.reference(model, torch.from_numpy(calibration[:1].copy()))
        try:
            return _quantized(wanted.network, calibration, per_channel)
        except ImportError:
            raise
        except Exception as error:
            raise ConversionError(f"Cannot quantize the network: {reason(error)}") from error


def xnnpack_quantizer(config):
    """XNNPACKQuantizer with `config` for every layer, to be used with prepare_pt2e.

    It does not search for batch normalizations, because prepare_pt2e has already folded them. The
    search would export twelve small networks, which takes three seconds each time.
    """
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import XNNPACKQuantizer

    quantizer = XNNPACKQuantizer().set_global(config)
    patterns = XNNPACKQuantizer.SUPPORTED_PATTERNS
    quantizer.SUPPORTED_PATTERNS = [item for item in patterns if "_bn" not in item.name]
    return quantizer


def _quantized(
    network: torch.nn.Module, calibration: np.ndarray, per_channel: bool
) -> torch.nn.Module:
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
        get_symmetric_quantization_config,
    )
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    images = torch.from_numpy(calibration.copy())
    graph = torch.export.export(network, (images[:1],)).module()
    config = get_symmetric_quantization_config(is_per_channel=per_channel)
    observed = prepare_pt2e(graph, xnnpack_quantizer(config))
    batch_norms.write_out(observed)
    with torch.no_grad():
        for image in images.split(1):
            observed(image)
    return convert_pt2e(observed)


def to_executorch_int8(model: torch.nn.Module, path: Path | str, calibration: np.ndarray) -> Path:
    """Static int8 by PyTorch, lowered to XNNPACK: quantize_pt2e, then to_executorch."""

    def convert(layer: torch.nn.Module, image: torch.Tensor, file: Path) -> None:
        _write_executorch_int8(layer, file, image.numpy())

    path = checked_path(path, ".pte")
    inputs.check_calibration(calibration, inputs.one_call(calibration))
    example = torch.from_numpy(calibration[:1].copy())
    with naming_the_layer(model, example, ".pte", convert):
        _write_executorch_int8(model, path, calibration)
    return path


def _write_executorch_int8(model: torch.nn.Module, path: Path, calibration: np.ndarray) -> None:
    with writing(path, ".pte") as (scratch, process):
        example = torch.from_numpy(calibration[:1].copy())
        network = inputs.reference(model, example).network
        images = inputs.some_calls(calibration, 1, CHECKED_IMAGES)
        calls = torch.from_numpy(images.copy()).split(1)
        wanted = np.concatenate([inputs.run(network, image) for image in calls])
        lower_to_xnnpack(_quantized(network, calibration, per_channel=True), example, scratch)
        check(scratch, process, images, wanted, compare.int8_fault)
