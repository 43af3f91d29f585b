"""The int8 LeNet in an .onnx file with integer operators (QOperator form)."""

from pathlib import Path

import numpy as np

from modelfiles.errors import ModelFileError
from modelfiles.integers.onnx_chain import INPUTS
from modelfiles.integers.operations import Grid
from workbook.digit.parameters import ADVICE, Network, Weighted, check, lenet

OPERATORS = (
    "QuantizeLinear",
    "QLinearConv",
    "MaxPool",
    "QLinearConv",
    "MaxPool",
    "Reshape",
    *3 * ("QGemm",),
    "DequantizeLinear",
)
# the attributes of LeNet's operators
ATTRIBUTES = {
    "QLinearConv": {"pads": 0, "strides": 1, "dilations": 1, "group": 1},
    "MaxPool": {"pads": 0, "strides": 2, "dilations": 1, "kernel_shape": 2, "ceil_mode": 0},
    "QGemm": {"transA": 0, "transB": 1, "alpha": 1},
}


def read_onnx(path: Path) -> Network:
    """The network in the file. ModelFileError if the file is not an int8 LeNet with QLinearConv."""
    import onnx
    from google.protobuf.message import DecodeError

    try:
        graph = onnx.load(path).graph
    except DecodeError as error:
        raise ModelFileError(f"{path.name} is not an ONNX file. {ADVICE}") from error
    operators = ", ".join(node.op_type for node in graph.node)
    check(path, "its operators are", operators, ", ".join(OPERATORS))
    stored = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    first, *middle, _ = graph.node
    before = first
    layers = []
    for node in middle:
        _check_node(path, node, before)
        if node.op_type in INPUTS:
            layers.append(_weighted(path, node, stored))
        before = node
    image = _stored_inputs(path, first, ["x", "x_scale", "x_zero"], stored)
    return lenet(path, _grid(image["x_scale"], image["x_zero"]), layers)


def _check_node(path: Path, node, before) -> None:
    """ModelFileError if an operator does not follow `before` or has attributes unlike LeNet's."""
    import onnx

    check(path, f"{node.name} reads", node.input[0], before.output[0])
    for attribute in node.attribute:
        expected = ATTRIBUTES.get(node.op_type, {}).get(attribute.name)
        if expected is not None:
            for value in np.ravel(onnx.helper.get_attribute_value(attribute)).tolist():
                check(path, f"{attribute.name} of {node.name} is", value, expected)


def _stored_inputs(
    path: Path, node, roles: list[str], stored: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """The stored inputs of an operator by their roles: all but its first, x, and a missing bias."""
    found = {role: name for role, name in zip(roles, node.input) if name and role != "x"}
    missing = sorted(set(found.values()) - set(stored))
    check(path, f"the inputs of {node.name} that are not stored:", missing, [])
    return {role: stored[name] for role, name in found.items()}


def _weighted(path: Path, node, stored: dict[str, np.ndarray]) -> Weighted:
    value = _stored_inputs(path, node, INPUTS[node.op_type], stored)
    check(path, f"a zero point of {node.input[3]} is", int(np.abs(value["w_zero"]).max()), 0)
    return Weighted(
        weight=value["w"],
        bias=value.get("bias"),
        weight_scale=value["w_scale"],
        input=_grid(value["x_scale"], value["x_zero"]),
        output=_grid(value["y_scale"], value["y_zero"]),
        rule="float32",
    )


def _grid(scale: np.ndarray, zero: np.ndarray) -> Grid:
    return Grid.stored(scale, zero, zero.dtype)
