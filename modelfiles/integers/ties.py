"""Copies of int8 files whose scales are powers of two.

Every multiplier is then 2**-k, so that every 2**k-th accumulator is a tie. Zero points are in the
middle and there is no ReLU, so that ties have both signs. Such a network classifies badly.
"""

from pathlib import Path

import numpy as np

from modelfiles.integers.tflite_chain import open_tflite, packed


def power_of_two(scale: np.ndarray) -> np.ndarray:
    """The nearest powers of two, float32."""
    return np.exp2(np.rint(np.log2(scale))).astype(np.float32)


def provoke_onnx(path: Path, result: Path) -> Path:
    """Write the copy of an ONNX file in the QOperator form to `result`, and return that."""
    import onnx

    model = onnx.load(path)
    for tensor in model.graph.initializer:
        value = onnx.numpy_helper.to_array(tensor)
        if tensor.name.endswith("_scale"):
            tensor.CopyFrom(onnx.numpy_helper.from_array(power_of_two(value), tensor.name))
        elif tensor.name.endswith("_zero_point") and value.dtype in (np.uint8, np.int8):
            limits = np.iinfo(value.dtype)
            middle = np.full_like(value, (limits.min + limits.max + 1) // 2)
            tensor.CopyFrom(onnx.numpy_helper.from_array(middle, tensor.name))
    onnx.save(model, result)
    return result


def provoke_tflite(path: Path, result: Path) -> Path:
    """Write the copy of an int8 .tflite file to `result`, and return that."""
    from ai_edge_litert import schema_py_generated as schema

    model = open_tflite(path)
    for tensor in model.subgraphs[0].tensors:
        stored = tensor.quantization
        if stored is not None and stored.scale is not None:
            stored.scale = power_of_two(stored.scale)
            stored.zeroPoint = np.zeros_like(stored.zeroPoint)
    for step in model.subgraphs[0].operators:
        if hasattr(step.builtinOptions, "fusedActivationFunction"):
            step.builtinOptions.fusedActivationFunction = schema.ActivationFunctionType.NONE
    result.write_bytes(packed(model))
    return result
