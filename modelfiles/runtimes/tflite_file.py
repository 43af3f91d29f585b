"""TFLite files in LiteRT."""

import threading
from pathlib import Path

import numpy as np

from modelfiles.runtimes import armnn, options
from modelfiles.runtimes.model import (
    TO_FIRST,
    TO_LAST,
    Model,
    Unsupported,
    check_float_input,
    check_one_input,
    dequantize,
    quantize,
    sizes,
)

IMAGE_OPERATORS = (
    "CONV_2D",
    "DEPTHWISE_CONV_2D",
    "TRANSPOSE_CONV",
    "MAX_POOL_2D",
    "AVERAGE_POOL_2D",
    "RESIZE_BILINEAR",
    "RESIZE_NEAREST_NEIGHBOR",
    "SPACE_TO_DEPTH",
    "DEPTH_TO_SPACE",
)


def open_tflite(path: Path, threads: int, delegate: str | None = None) -> Model:
    """A model that takes images as NCHW; they are transposed if the file takes NHWC."""
    import ai_edge_litert
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    delegates = [armnn.load_delegate(threads)] if delegate else None
    kernels = OpResolverType.AUTO
    if not options.chosen().get("xnnpack", True):
        kernels = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = Interpreter(
        str(path),
        num_threads=threads,
        experimental_delegates=delegates,
        experimental_op_resolver_type=kernels,
    )
    check_one_input([entry["name"] for entry in interpreter.get_input_details()])
    entry = interpreter.get_input_details()[0]
    types = _input_types(entry)
    check_float_input(np.dtype(entry["dtype"]), bool(types))
    shape = sizes(entry["shape_signature"])
    if None not in shape[1:]:  # else the first image decides
        interpreter.allocate_tensors()
    fed = tuple(int(n) for n in entry["shape"])
    channels_last = len(shape) == 4 and _takes_channels_last(interpreter, entry)
    lock = threading.Lock()  # an interpreter has one input buffer and one output buffer

    def compute(x: np.ndarray, wanted: list[dict]) -> list[np.ndarray]:
        nonlocal fed
        if channels_last:
            x = np.ascontiguousarray(x.transpose(TO_LAST))
        with lock:
            if x.shape != fed:
                interpreter.resize_tensor_input(entry["index"], x.shape)
                interpreter.allocate_tensors()
                fed = x.shape
            if x.dtype != entry["dtype"]:
                x = quantize(x, entry["dtype"], *entry["quantization"])
            interpreter.set_tensor(entry["index"], x)
            interpreter.invoke()
            answers = [interpreter.get_tensor(result["index"]) for result in wanted]
        return [_dequantized(*pair) for pair in zip(answers, wanted)]

    def run(x: np.ndarray) -> np.ndarray:
        return compute(x, results[:1])[0]

    def run_all(x: np.ndarray) -> list[np.ndarray]:
        return compute(x, results)

    results = interpreter.get_output_details()
    if any(len(result["quantization_parameters"]["scales"]) > 1 for result in results):
        raise Unsupported("has an output with several quantization scales")
    if channels_last:
        shape = tuple(shape[axis] for axis in TO_FIRST)
    runtime = "LiteRT + Arm NN" if delegate else "LiteRT"
    version = ai_edge_litert.__version__
    precision = _precision(interpreter)
    return Model(path, runtime, version, precision, threads, shape, run, run_all, types)


def _input_types(entry: dict) -> tuple[str, ...]:
    """What can be passed for an input: for a quantized one, float32 or its own integers."""
    kind = np.dtype(entry["dtype"]).name
    if kind in ("int8", "uint8", "int16") and entry["quantization"][0] != 0:
        return ("float32", kind)
    return (kind,) if kind in ("float32", "uint8") else ()


def _dequantized(answer: np.ndarray, result: dict) -> np.ndarray:
    scale, zero_point = result["quantization"]
    return dequantize(answer, scale, zero_point) if scale else answer


def _precision(interpreter) -> str:
    """int8 if there are quantized tensors, else the type of most weights, which are constants."""
    counts = {"float16": 0, "float32": 0}
    computed = {entry["index"] for entry in interpreter.get_input_details()}
    for operator in interpreter._get_ops_details():
        computed |= {int(tensor) for tensor in operator["outputs"]}
    for tensor in interpreter.get_tensor_details():
        scales = tensor["quantization_parameters"]["scales"]
        if tensor["dtype"] in (np.int8, np.uint8) and len(scales):
            return "int8"
        name = np.dtype(tensor["dtype"]).name
        if name in counts and tensor["index"] not in computed:
            counts[name] += int(np.prod(tensor["shape"]))
    return "float16" if counts["float16"] > counts["float32"] else "float32"


def _takes_channels_last(interpreter, entry: dict) -> bool:
    """Whether the input is NHWC, read from the first operator that depends on the order.

    TFLite's image operators take NHWC. A network converted from PyTorch as NCHW transposes its
    input first.
    """
    tensor = entry["index"]
    for operator in interpreter._get_ops_details():  # in the order in which they run
        if tensor not in operator["inputs"][:1]:
            continue
        name = operator["op_name"]
        if name in IMAGE_OPERATORS:
            return True
        order = _order_of(interpreter, operator)
        if order is not None:
            return order
        tensor = operator["outputs"][0]
        if len(_shape(interpreter, tensor)) != 4:
            break
    # no operator depends on the order: the network flattens first
    signatures = interpreter.get_signature_list().values()
    if any(name.startswith("args_") for names in signatures for name in names["inputs"]):
        return False  # litert-torch's names: from PyTorch
    # TensorFlow's order, channels last, unless only the other fits 1 or 3 channels
    return entry["shape"][1] not in (1, 3) or entry["shape"][3] in (1, 3)


def _order_of(interpreter, operator: dict) -> bool | None:
    """True if an operator shows that its input is NHWC, False for NCHW, else None."""
    name = operator["op_name"]
    before, after = (_shape(interpreter, operator[side][0]) for side in ("inputs", "outputs"))
    if name == "TRANSPOSE":
        permutation = tuple(interpreter.get_tensor(operator["inputs"][1]).tolist())
        return {TO_LAST: False, TO_FIRST: True}.get(permutation)
    # with one channel, a transposition is stored as a new shape
    if name == "RESHAPE" and len(after) == 4 and before != after:
        if after == tuple(before[axis] for axis in TO_LAST) and before[1] == 1:
            return False
        if after == tuple(before[axis] for axis in TO_FIRST) and before[3] == 1:
            return True
    if name == "MEAN":
        axes = np.ravel(interpreter.get_tensor(operator["inputs"][1])) % 4
        return {(1, 2): True, (2, 3): False}.get(tuple(sorted(axes.tolist())))
    return None


def _shape(interpreter, tensor: int) -> tuple[int, ...]:
    return tuple(int(n) for n in interpreter._get_tensor_details(tensor, 0)["shape"])
