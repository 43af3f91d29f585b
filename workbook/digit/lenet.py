"""The int8 LeNet in an .onnx file (QOperator form) or in a .tflite file."""

import struct
from itertools import pairwise
from pathlib import Path

from modelfiles import integers
from modelfiles.errors import ModelFileError
from workbook.digit.parameters import ADVICE, Network, Weighted, check, lenet

# as modelfiles converts LeNet from PyTorch; what is after the last layer needs no integers
OPERATORS = {
    ".onnx": (
        *("QuantizeLinear", "QLinearConv", "MaxPool", "QLinearConv", "MaxPool", "Reshape"),
        *3 * ("QGemm",),
    ),
    ".tflite": (
        *("RESHAPE", "DEPTHWISE_CONV_2D", "MAX_POOL_2D", "CONV_2D", "MAX_POOL_2D"),
        *("TRANSPOSE", "RESHAPE"),
        *3 * ("FULLY_CONNECTED",),
    ),
}
CHANNELS_FIRST = (0, 3, 1, 2)  # LeNet's dense layers read the channels one after the other
DAMAGED = (struct.error, IndexError, KeyError, ValueError, TypeError, AttributeError)
# how each set of kernels rounds: in convolutions, and in dense layers
RULES = {
    "ONNX Runtime": ("float32", "float32"),
    "XNNPACK": ("float32", "float32"),
    "reference": ("twice", "once"),
}


def read_network(path: Path, kernels: str = "XNNPACK") -> Network:
    """The int8 LeNet in a file; a .tflite file is to be computed as LiteRT's `kernels` do.

    `kernels` are "XNNPACK", which LiteRT uses by default, or "reference". ModelFileError if the
    file is not an int8 LeNet.
    """
    if path.suffix not in OPERATORS:
        raise ModelFileError(f"{path.name} is not an .onnx or .tflite file.")
    found = _read(path)
    operators = ", ".join(operation.operator for operation in found.operations)
    check(path, "its operators are", operators, ", ".join(OPERATORS[path.suffix]))
    for before, operation in pairwise(found.operations):
        check(path, f"{operation.operator} reads", ", ".join(operation.reads), before.writes)
        _check_operation(path, operation)
    rules = RULES["ONNX Runtime" if path.suffix == ".onnx" else kernels]
    layers = [part for part in found.operations if isinstance(part, integers.StoredLayer)]
    return lenet(path, found.input, [_weighted(layer, rules) for layer in layers])


def _read(path: Path) -> integers.Network:
    """The operators of the file; a ModelFileError with the file's name if they cannot be read."""
    from google.protobuf.message import DecodeError

    if path.suffix == ".tflite" and path.read_bytes()[4:8] != b"TFL3":
        raise ModelFileError(f"{path.name} is not a TFLite file. {ADVICE}")
    try:
        return integers.read_network(path)
    except ModelFileError as error:
        raise ModelFileError(f"{path.name} is not the int8 LeNet: {error}. {ADVICE}") from error
    except (DecodeError, *DAMAGED) as error:
        raise ModelFileError(f"{path.name} is damaged, or not a model file. {ADVICE}") from error


def _check_operation(path: Path, operation) -> None:
    """ModelFileError if an operator does something else than LeNet's."""
    name = operation.operator
    if isinstance(operation, integers.StoredLayer):
        check(path, f"the strides of {name} are", operation.strides, (1, 1))
        check(path, f"the padding of {name} is", operation.padding, (0, 0, 0, 0))
    elif isinstance(operation, integers.MaxPool):
        check(path, f"the size of {name} is", operation.size, 2)
    elif isinstance(operation, integers.Rearrange) and name in ("Reshape", "TRANSPOSE"):
        check(path, f"the order of {name} is", operation.axes, CHANNELS_FIRST)


def _weighted(layer: integers.StoredLayer, rules: tuple[str, str]) -> Weighted:
    weight = layer.weight.T
    if layer.kernel:
        # from height x width x inputs to inputs x height x width
        weight = weight.reshape(len(weight), *layer.kernel, -1).transpose(0, 3, 1, 2)
    return Weighted(
        weight=weight,
        bias=layer.bias,
        weight_scale=layer.weight_scale,
        input=layer.input,
        output=layer.output,
        rule=rules[weight.ndim == 2],
    )
