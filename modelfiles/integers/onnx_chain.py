"""Read an ONNX file in the QOperator form, where each operator lists its scales and zero points."""

from pathlib import Path
from typing import Any

import numpy as np

from modelfiles.integers.operations import (
    Addition,
    AveragePool,
    Grid,
    MaxPool,
    Network,
    Operation,
    Rearrange,
    StoredLayer,
    require,
)

COMMON = ["x", "x_scale", "x_zero", "w", "w_scale", "w_zero"]
# what each operator lists: https://onnx.ai/onnx/operators/onnx__QLinearConv.html, and for the
# others https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md
INPUTS = {
    "QLinearConv": [*COMMON, "y_scale", "y_zero", "bias"],
    "QGemm": [*COMMON, "bias", "y_scale", "y_zero"],
    "QLinearAdd": [
        *("x", "x_scale", "x_zero", "other", "other_scale", "other_zero"),
        *("y_scale", "y_zero"),
    ],
    "QLinearGlobalAveragePool": ["x", "x_scale", "x_zero", "y_scale", "y_zero"],
}
LAYERS = ("QLinearConv", "QGemm")
ACTIVATIONS = ("x", "other")  # other operators compute them


def read_onnx(path: Path, layer: type[StoredLayer] = StoredLayer) -> Network:
    """The network in the file; ModelFileError if an operator is unknown."""
    import onnx

    graph = onnx.load(path).graph
    stored = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    first, *middle, last = graph.node
    ends = (first.op_type, last.op_type)
    require(ends == ("QuantizeLinear", "DequantizeLinear"), "a file not in the QOperator form")
    # images arrive as N x channels x height x width
    operations: list[Operation] = [
        Rearrange(first.op_type, (first.input[0],), first.output[0], (0, 2, 3, 1))
    ]
    known = {first.output[0]}
    for node in middle:
        operation = _operation(node, stored, layer)
        require(known.issuperset(operation.reads), f"an input of {node.name or node.op_type}")
        known.add(operation.writes)
        operations.append(operation)
    require(last.input[0] == operations[-1].writes, "a file with several outputs")
    dtype = stored[first.input[2]].dtype
    return Network(
        operations,
        first.input[0],
        Grid.stored(stored[first.input[1]], stored[first.input[2]], dtype),
        Grid.stored(stored[last.input[1]], stored[last.input[2]], dtype),
        dtype.type,
    )


def _operation(node, stored: dict[str, np.ndarray], layer: type[StoredLayer]) -> Operation:
    if node.op_type in LAYERS:
        return _layer(node, stored, layer)
    reads = (node.input[0],)
    writes = node.output[0]
    how = _attributes(node)
    if node.op_type == "MaxPool":
        size = how["kernel_shape"][0]
        is_square = how["strides"] == how["kernel_shape"] == [size, size]
        is_plain = (
            is_square and not any(how.get("pads", [])) and set(how.get("dilations", [1])) == {1}
        )
        require(is_plain, "pools that overlap, are not square, or have padding or dilations")
        return MaxPool(node.op_type, reads, writes, size)
    if node.op_type in ("Reshape", "Flatten"):
        # the file has channels before height and width, our activations have them last
        return Rearrange(node.op_type, reads, writes, (0, 3, 1, 2), (-1,))
    require(node.op_type in INPUTS, f"the ONNX operator {node.op_type}")
    given = _given(node, stored)
    y = _grid(given, "y")
    if node.op_type == "QLinearAdd":
        inputs = (_grid(given, "x"), _grid(given, "other"))
        return Addition(node.op_type, (node.input[0], node.input[3]), writes, inputs, y)
    require(not how.get("channels_last"), "an average pool with channels last")
    return AveragePool(node.op_type, reads, writes, _grid(given, "x"), y)


def _layer(node, stored: dict[str, np.ndarray], layer: type[StoredLayer]) -> StoredLayer:
    given = _given(node, stored)
    how: dict[str, Any] = {
        "transB": 1,
        "pads": (0, 0, 0, 0),
        "strides": (1, 1),
        "dilations": (),
        "group": 1,
    }
    how |= _attributes(node)
    require(not np.any(given["w_zero"]), "weights with a zero point")
    require(set(how["dilations"]) <= {1}, "dilations")
    require(how["transB"] == 1, "a QGemm with weights as inputs x outputs")
    is_plain = how.get("alpha", 1) == 1 and not how.get("transA")
    require(is_plain, "a QGemm that scales or transposes its input")
    require(how.get("auto_pad", b"NOTSET") == b"NOTSET", "automatic padding")
    w = given["w"]  # outputs x inputs (x height x width)
    is_depthwise = how["group"] > 1
    require(not is_depthwise or (how["group"] == len(w) and w.shape[1] == 1), "groups of channels")
    kernel = w.shape[2:] or None
    if kernel:
        w = w.transpose(0, 2, 3, 1)  # outputs x height x width x inputs
    bias = given.get("bias")
    return layer(
        operator=node.op_type,
        reads=(node.input[0],),
        writes=node.output[0],
        weight=w.reshape(len(w), -1).T,
        bias=np.zeros(len(w), np.int32) if bias is None else bias,
        kernel=kernel,
        input=_grid(given, "x"),
        weight_scale=given["w_scale"],
        output=_grid(given, "y"),
        strides=tuple(how["strides"]),
        padding=tuple(how["pads"]),
        is_depthwise=is_depthwise,
    )


def _given(node, stored: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The stored inputs of an operator, by what they are: all but `x` and `other`."""
    named = {role: name for role, name in zip(INPUTS[node.op_type], node.input) if name}
    missing = [
        name for role, name in named.items() if name not in stored and role not in ACTIVATIONS
    ]
    require(not missing, f"inputs that are not stored: {', '.join(missing)}")
    return {role: stored[name] for role, name in named.items() if role not in ACTIVATIONS}


def _grid(given: dict[str, np.ndarray], role: str) -> Grid:
    zero = given[f"{role}_zero"]
    return Grid.stored(given[f"{role}_scale"], zero, zero.dtype)


def _attributes(node) -> dict[str, Any]:
    import onnx

    return {part.name: onnx.helper.get_attribute_value(part) for part in node.attribute}
