"""ONNX Runtime's own QuantizeLinear and QLinearAdd, each as a file with one operator."""

from collections.abc import Mapping

import numpy as np

ONNX = 17  # versions of the operators: https://onnx.ai/onnx/operators/
MICROSOFT = 1
FILE_FORMAT = 9


def quantized_by_operator(
    values: np.ndarray, scale: float, zero: int, dtype: type = np.uint8
) -> np.ndarray:
    """float32 values through QuantizeLinear, which the ONNX standard defines."""
    constants = {"scale": np.float32(scale), "zero": dtype(zero)}
    order = ["x", "scale", "zero"]
    model = _one_operator("QuantizeLinear", {"x": values}, constants, order, dtype)
    return _run(model, {"x": values})


def exhaustive_sums(inputs, output) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All pairs of uint8, and their sums by QLinearAdd: a, b and c, 65,536 each.

    `inputs` are the grids of a and b, `output` that of c: objects with a scale and a zero point.
    """
    return run_addition(addition_file(inputs, output))


def addition_file(inputs, output) -> bytes:
    """The ONNX file with the QLinearAdd of `exhaustive_sums`."""
    constants: dict[str, np.generic] = {}
    for name, grid in zip("abc", (*inputs, output)):
        constants[f"{name}_scale"] = np.float32(grid.scale)
        constants[f"{name}_zero"] = np.uint8(grid.zero)
    order = ["a", "a_scale", "a_zero", "b", "b_scale", "b_zero", "c_scale", "c_zero"]
    return _one_operator("QLinearAdd", _all_pairs(), constants, order, np.uint8, "com.microsoft")


def run_addition(model: bytes) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The result of `exhaustive_sums` from its file; needs ONNX Runtime, but not onnx."""
    pairs = _all_pairs()
    return pairs["a"], pairs["b"], _run(model, pairs)


def _all_pairs() -> dict[str, np.ndarray]:
    a, b = np.meshgrid(np.arange(256, dtype=np.uint8), np.arange(256, dtype=np.uint8))
    return {"a": a.ravel(), "b": b.ravel()}


def _one_operator(
    operator: str,
    given: dict[str, np.ndarray],
    constants: Mapping[str, np.generic],
    order: list[str],
    dtype: type,
    domain: str = "",
) -> bytes:
    """A network that is this operator, with its inputs in `order`; its output is of `dtype`."""
    from onnx import ValueInfoProto, helper, numpy_helper

    def described(name: str, value: np.ndarray, kind: type) -> ValueInfoProto:
        element = helper.np_dtype_to_tensor_dtype(np.dtype(kind))
        return helper.make_tensor_value_info(name, element, value.shape)

    first = next(iter(given.values()))
    graph = helper.make_graph(
        [helper.make_node(operator, order, ["result"], domain=domain)],
        operator,
        [described(name, value, value.dtype.type) for name, value in given.items()],
        [described("result", first, dtype)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    versions = [helper.make_opsetid("", ONNX), helper.make_opsetid("com.microsoft", MICROSOFT)]
    model = helper.make_model(graph, opset_imports=versions, ir_version=FILE_FORMAT)
    return model.SerializeToString()


def _run(model: bytes, given: dict[str, np.ndarray]) -> np.ndarray:
    import onnxruntime

    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return session.run(None, given)[0]
