"""The weights of a quantized .tflite file as floats: convolutions in the order in which they run.

Field numbers are those of TensorFlow's schema.fbs:
https://github.com/tensorflow/tensorflow/blob/master/tensorflow/compiler/mlir/lite/schema/schema.fbs
"""

import struct
from pathlib import Path

import numpy as np

from modelfiles.errors import ModelFileError
from modelfiles.formats.flatbuffer import Table

CONV_2D = 3
DEPTHWISE_CONV_2D = 4
TYPES = {0: np.float32, 2: np.int32, 3: np.uint8, 9: np.int8}  # of tensors, by their number


def convolutions(path: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """The weights and the bias of each convolution, float32, in PyTorch's order of axes.

    Weights are outputs x inputs x height x width; a depthwise layer has one input per output. The
    numbers are scale * (q - zero point): what the integers stand for, no more exact than they are.
    ModelFileError for a damaged file and for weights with a scale per channel.
    """
    try:
        model = Table.root(path.read_bytes())
        return _convolutions(model)
    except (struct.error, IndexError, KeyError, ValueError) as error:
        raise ModelFileError(f"the weights of {path.name} cannot be read ({error})") from error


def _convolutions(model: Table) -> list[tuple[np.ndarray, np.ndarray]]:
    kinds = [max(code.number(0, "<b"), code.number(3)) for code in model.tables(1)]
    graph = model.tables(2)[0]
    tensors = graph.tables(0)
    buffers = model.tables(4)
    found = []
    for operator in graph.tables(3):
        kind = kinds[operator.number(0, "<I")]
        if kind not in (CONV_2D, DEPTHWISE_CONV_2D):
            continue
        _, weights, bias = (tensors[number] for number in operator.numbers(1, "<i4"))
        # stored as outputs x height x width x inputs; depthwise as 1 x height x width x outputs
        axes = (0, 3, 1, 2)
        if kind == DEPTHWISE_CONV_2D:
            axes = (3, 0, 1, 2)
        found.append((_floats(weights, buffers).transpose(axes), _floats(bias, buffers)))
    return found


def _floats(tensor: Table, buffers: list[Table]) -> np.ndarray:
    """A constant tensor, dequantized if it has a scale."""
    stored = np.frombuffer(buffers[tensor.number(2, "<I")].data(0), TYPES[tensor.number(1, "<b")])
    values = stored.reshape(tensor.numbers(0, "<i4")).astype(np.float32)
    quantization = tensor.table(4)
    if quantization is None:
        return values
    scales = quantization.numbers(2, "<f4")
    if len(scales) > 1:
        raise ValueError("a scale per channel is not supported")
    for scale, zero_point in zip(scales, quantization.numbers(3, "<i8")):
        values = scale * (values - np.float32(zero_point))
    return values
