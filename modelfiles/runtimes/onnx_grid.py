"""The scale and zero point of an ONNX file's integer input, read from the layer that takes it.

ONNX does not store them with the input. The operators that read integers have them as their second
and third inputs: DequantizeLinear and all whose names begin with QLinear.
"""

import numpy as np

from modelfiles.formats import protobuf

# Field numbers of onnx.proto. NodeProto:
INPUTS = 1
OPERATOR = 4
# TensorProto:
TYPE = 2
FLOATS = 4
INTEGERS = 5
NAME = 8
RAW = 9
TYPES = {1: "<f4", 2: "u1", 3: "i1"}


def input_grid(
    nodes: list[memoryview], weights: list[memoryview], name: str
) -> tuple[float, int] | None:
    """(scale, zero point) of the input `name`; None if no operator gives a single scale.

    `nodes` and `weights` are those of the graph, as messages.
    """
    for node in nodes:
        operator = _text(node, OPERATOR)
        given = [bytes(part).decode(errors="replace") for part in protobuf.messages(node, INPUTS)]
        reads = operator == "DequantizeLinear" or operator.startswith("QLinear")
        if not reads or len(given) < 2 or given[0] != name:
            continue
        scale = _constant(weights, given[1])
        zero_point = np.zeros(1)
        if len(given) > 2 and given[2]:
            zero_point = _constant(weights, given[2])
        if scale.size == 1 and zero_point.size == 1 and scale[0] > 0:
            return float(scale[0]), int(zero_point[0])
    return None


def _constant(weights: list[memoryview], name: str) -> np.ndarray:
    """The numbers of the weight `name`; none if it does not exist or has another type."""
    for weight in weights:
        if _text(weight, NAME) != name:
            continue
        kind = next(iter(protobuf.numbers(weight, TYPE)), 0)
        raw = protobuf.messages(weight, RAW)
        if kind in TYPES and raw:
            return np.frombuffer(raw[0], TYPES[kind])
        if kind == 1:
            return _floats(weight)
        if kind in TYPES:  # a negative number is stored as 64 bits
            found = np.array(protobuf.numbers(weight, INTEGERS), np.uint64).astype(np.int64)
            return found if found.size else np.zeros(1)
    return np.empty(0)


def _floats(weight: memoryview) -> np.ndarray:
    """float_data, packed as every writer of today stores it, or number by number."""
    packed = protobuf.messages(weight, FLOATS)
    if packed:
        return np.frombuffer(packed[0], "<f4")
    return np.array(protobuf.numbers(weight, FLOATS), "<u4").view("<f4")


def _text(message: memoryview, number: int) -> str:
    return b"".join(protobuf.messages(message, number)).decode(errors="replace")
