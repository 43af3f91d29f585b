"""ONNX files in ONNX Runtime."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from modelfiles.formats import protobuf
from modelfiles.runtimes import options as process_options
from modelfiles.runtimes.model import (
    Model,
    Unsupported,
    check_float_input,
    check_one_input,
    quantize,
    sizes,
)
from modelfiles.runtimes.onnx_grid import input_grid

if TYPE_CHECKING:
    import onnxruntime

# Field numbers of onnx.proto. ModelProto:
GRAPH = 7
FUNCTIONS = 25
# GraphProto:
NODES = 1
WEIGHTS = 5
# FunctionProto:
FUNCTION_NODES = 7
# NodeProto:
OPERATOR = 4
ATTRIBUTES = 5
DOMAIN = 7
# AttributeProto:
TENSOR = 5
INNER_GRAPH = 6
# TensorProto:
SIZES = 1
TYPE = 2

INPUT_TYPES = {"tensor(float)": "float32", "tensor(uint8)": "uint8", "tensor(int8)": "int8"}
HALF_TYPES = (10, 16)  # float16, bfloat16
FLOAT_TYPES = (1, 11, *HALF_TYPES)  # float32, float64
DOMAINS = ("", "ai.onnx", "com.microsoft")  # operators of other domains may have any name
INTEGER_OPERATORS = re.compile(
    "QLinear.*|(Dynamic)?(Quantize|Dequantize)Linear|(MatMul|Conv)Integer.*|QGemm|QAttention"
)


def open_onnx(path: Path, threads: int) -> Model:
    """A model with the file's first output; weights among the listed inputs are not inputs."""
    import onnxruntime

    session = open_session(path, threads)
    check_one_input([entry.name for entry in session.get_inputs()])
    entry = session.get_inputs()[0]
    answer = session.get_outputs()[0]
    check_float_input(entry.type, entry.type in INPUT_TYPES)
    if not answer.type.startswith("tensor("):
        raise Unsupported(
            f"has an output of type {answer.type}; only arrays of numbers are supported"
        )
    name = entry.name
    wanted = [answer.name]
    kind = INPUT_TYPES[entry.type]
    types: tuple[str, ...] = (kind,)
    content = path.read_bytes()
    grid = None if kind == "float32" else _grid(content, name)
    if grid:
        types = ("float32", kind)

    def fed(x: np.ndarray) -> dict[str, np.ndarray]:
        if grid and x.dtype == np.float32:
            x = quantize(x, np.dtype(kind).type, *grid)
        return {name: x}

    def run(x: np.ndarray) -> np.ndarray:
        return session.run(wanted, fed(x))[0]

    def run_all(x: np.ndarray) -> list[np.ndarray]:
        return session.run(None, fed(x))

    return Model(
        path,
        "ONNX Runtime",
        onnxruntime.__version__,
        precision_of(content),
        threads,
        sizes(entry.shape),
        run,
        run_all,
        types,
    )


def _grid(content: bytes, name: str) -> tuple[float, int] | None:
    """The scale and zero point of the input; None if the file does not show one."""
    graph = protobuf.messages(content, GRAPH)[0]
    return input_grid(protobuf.messages(graph, NODES), protobuf.messages(graph, WEIGHTS), name)


def open_session(
    path: Path | str, threads: int, profile_prefix: str | None = None
) -> "onnxruntime.InferenceSession":
    """A session whose int8 sums are exact on every processor.

    With `profile_prefix`, ONNX Runtime writes a profile to a file whose name begins with it.

    On x86 without VNNI the default kernels multiply uint8 by int8 and saturate at 16 bits, which
    changes outputs. The option below selects exact kernels. ONNX Runtime cannot apply it to every
    file. For the others, operators are not fused: this is slower, and does not saturate either.
    """
    import onnxruntime
    from onnxruntime.capi.onnxruntime_pybind11_state import Fail
    from onnxruntime.capi.onnxruntime_pybind11_state import NotImplemented as NoKernel

    def options() -> onnxruntime.SessionOptions:
        made = onnxruntime.SessionOptions()
        made.intra_op_num_threads = threads
        made.log_severity_level = 3
        _apply_process_options(made)
        if profile_prefix:
            made.enable_profiling = True
            made.profile_file_prefix = profile_prefix
        return made

    exact = options()
    exact.add_session_config_entry("session.x64quantprecision", "1")
    unfused = options()
    unfused.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    providers = ["CPUExecutionProvider"]
    try:
        return onnxruntime.InferenceSession(path, exact, providers=providers)
    except (Fail, NoKernel):
        return onnxruntime.InferenceSession(path, unfused, providers=providers)


def _apply_process_options(made: "onnxruntime.SessionOptions") -> None:
    chosen = process_options.chosen()
    made.enable_cpu_mem_arena = chosen.get("memory_arena", True)
    made.enable_mem_pattern = chosen.get("memory_pattern", True)
    if not chosen.get("spinning", True):
        made.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if chosen.get("denormals_as_zero"):
        made.add_session_config_entry("session.set_denormal_as_zero", "1")


def precision_of(model: bytes) -> str:
    """int8 if there are quantized operators, else the type of most weights: float16 or float32."""
    graphs = protobuf.messages(model, GRAPH)
    functions = protobuf.messages(model, FUNCTIONS)
    nodes = [node for graph in graphs for node in protobuf.messages(graph, NODES)]
    for function in functions:
        nodes += protobuf.messages(function, FUNCTION_NODES)
    weights = [weight for graph in graphs for weight in protobuf.messages(graph, WEIGHTS)]
    while nodes:
        node = nodes.pop()
        if _text(node, DOMAIN) in DOMAINS and INTEGER_OPERATORS.fullmatch(_text(node, OPERATOR)):
            return "int8"
        for attribute in protobuf.messages(node, ATTRIBUTES):
            weights += protobuf.messages(attribute, TENSOR)
            for inner in protobuf.messages(attribute, INNER_GRAPH):
                nodes += protobuf.messages(inner, NODES)
                weights += protobuf.messages(inner, WEIGHTS)
    half = sum(_count(weight) for weight in weights if _type(weight) in HALF_TYPES)
    every = sum(_count(weight) for weight in weights if _type(weight) in FLOAT_TYPES)
    return "float16" if 2 * half > every else "float32"


def _text(message: protobuf.Message, number: int) -> str:
    return b"".join(protobuf.messages(message, number)).decode(errors="replace")


def _type(weight: protobuf.Message) -> int:
    return next(iter(protobuf.numbers(weight, TYPE)), 0)


def _count(weight: protobuf.Message) -> int:
    return int(np.prod(protobuf.numbers(weight, SIZES), dtype=np.int64))
