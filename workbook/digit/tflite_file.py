"""The int8 LeNet in a .tflite file, as modelfiles converts it from PyTorch."""

import struct
from pathlib import Path

import numpy as np

from modelfiles.errors import ModelFileError
from modelfiles.integers.tflite_chain import array_of, grid_of, name_of, open_tflite
from workbook.digit.parameters import ADVICE, Network, Weighted, check, lenet

OPERATORS = (
    "RESHAPE",
    "DEPTHWISE_CONV_2D",
    "MAX_POOL_2D",
    "CONV_2D",
    "MAX_POOL_2D",
    "TRANSPOSE",
    "RESHAPE",
    *3 * ("FULLY_CONNECTED",),
)
WEIGHTED = ("DEPTHWISE_CONV_2D", "CONV_2D", "FULLY_CONNECTED")
# how each set of LiteRT's kernels rounds: in convolutions, and in dense layers
RULES = {"XNNPACK": ("float32", "float32"), "reference": ("twice", "once")}


def read_tflite(path: Path, kernels: str = "XNNPACK") -> Network:
    """The network in the file, to be computed as LiteRT's `kernels` do: "XNNPACK" or "reference".

    XNNPACK's are those that LiteRT uses by default. ModelFileError if the file is not an int8
    LeNet.
    """
    model = _open(path)
    graph = model.subgraphs[0]
    check(path, "its operators are", ", ".join(_operators(model)), ", ".join(OPERATORS))
    before = graph.inputs[0]
    _check_type(path, graph.tensors[before])
    layers = []
    for name, step in zip(OPERATORS, graph.operators):
        check(path, f"{name} reads tensor", int(step.inputs[0]), int(before))
        before = step.outputs[0]
        _check_options(path, name, model, step)
        if name in WEIGHTED:
            weights = graph.tensors[step.inputs[1]]
            _check_type(path, weights)
            largest = int(np.abs(weights.quantization.zeroPoint).max())
            check(path, f"a zero point of {name} is", largest, 0)
            layers.append(_weighted(name, model, step, RULES[kernels]))
    return lenet(path, grid_of(model, graph.inputs[0]), layers)


def _open(path: Path):
    """The file as an object of TFLite's schema; ModelFileError if it is none."""
    if path.read_bytes()[4:8] != b"TFL3":
        raise ModelFileError(f"{path.name} is not a TFLite file. {ADVICE}")
    try:
        return open_tflite(path)
    except (struct.error, IndexError) as error:
        raise ModelFileError(f"{path.name} is damaged. {ADVICE}") from error


def _check_type(path: Path, tensor) -> None:
    """ModelFileError if a tensor is not int8."""
    from ai_edge_litert import schema_py_generated as schema

    found = name_of(schema.TensorType, tensor.type)
    check(path, f"the type of {tensor.name.decode()} is", found, "INT8")


def _operators(model) -> tuple[str, ...]:
    from ai_edge_litert import schema_py_generated as schema

    codes = [model.operatorCodes[step.opcodeIndex] for step in model.subgraphs[0].operators]
    return tuple(name_of(schema.BuiltinOperator, code.builtinCode) for code in codes)


def _check_options(path: Path, name: str, model, step) -> None:
    """ModelFileError if the options of an operator are not those of LeNet."""
    from ai_edge_litert import schema_py_generated as schema

    options = step.builtinOptions
    if name == "TRANSPOSE":
        order = tuple(array_of(model, step.inputs[1], np.int32).tolist())
        check(path, "the order of TRANSPOSE is", order, (0, 3, 1, 2))
    padding = getattr(options, "padding", schema.Padding.VALID)
    check(path, f"the padding of {name} is", name_of(schema.Padding, padding), "VALID")
    stride = 2 if name == "MAX_POOL_2D" else 1
    expected = {"strideW": stride, "strideH": stride, "filterWidth": 2, "filterHeight": 2}
    expected |= {"dilationWFactor": 1, "dilationHFactor": 1}
    for key, value in expected.items():
        check(path, f"{key} of {name} is", getattr(options, key, value), value)
    known = schema.ActivationFunctionType
    activation = getattr(options, "fusedActivationFunction", known.NONE)
    if activation not in (known.NONE, known.RELU):
        found = name_of(known, activation)
        check(path, f"the activation of {name} is", found, "NONE or RELU")


def _weighted(name: str, model, step, rules: tuple[str, str]) -> Weighted:
    from ai_edge_litert import schema_py_generated as schema

    weight = array_of(model, step.inputs[1], np.int8)
    if name == "DEPTHWISE_CONV_2D":
        weight = weight.transpose(3, 0, 1, 2)  # from 1 x height x width x outputs
    elif name == "CONV_2D":
        weight = weight.transpose(0, 3, 1, 2)  # from outputs x height x width x inputs
    has_bias = len(step.inputs) > 2 and step.inputs[2] >= 0
    relu = step.builtinOptions.fusedActivationFunction == schema.ActivationFunctionType.RELU
    return Weighted(
        weight=weight,
        bias=array_of(model, step.inputs[2], np.int32) if has_bias else None,
        weight_scale=model.subgraphs[0].tensors[step.inputs[1]].quantization.scale,
        input=grid_of(model, step.inputs[0]),
        output=grid_of(model, step.outputs[0], relu),
        rule=rules[weight.ndim == 2],
    )
