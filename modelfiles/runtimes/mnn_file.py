"""MNN's files in MNN."""

import threading
from pathlib import Path

import numpy as np

from modelfiles.formats.flatbuffer import Table
from modelfiles.runtimes import options
from modelfiles.runtimes.model import (
    TO_FIRST,
    TO_LAST,
    Model,
    Unsupported,
    check_float_input,
    check_one_input,
    sizes,
)

# Numbers from MNN's schema. Fields of Net:
OPERATORS = 3
OUTPUT_NAMES = 4
# Fields of Op, whose content is a union, and a type of content:
CONTENT_TYPE = 1
CONTENT = 2
CONVOLUTION = 9  # also for linear layers
# A field of Convolution2D:
QUANTIZED_WEIGHTS = 3
# A field of IDSTQuan, and one of its types; the others have at most 8 bits:
WEIGHT_TYPE = 2
HALF = 3


def open_mnn(path: Path, threads: int) -> Model:
    """High precision: float32, even if the processor can compute with float16."""
    import MNN

    numbers = {MNN.Halide_Type_Float: np.float32, MNN.Halide_Type_Int: np.int32}
    interpreter = MNN.Interpreter(str(path))
    settings = {"backend": "CPU", "numThread": threads, "precision": "high"} | options.chosen()
    session = interpreter.createSession(settings)
    check_one_input(list(interpreter.getSessionInputAll(session)))
    entry = interpreter.getSessionInput(session)
    check_float_input("integers", entry.getDataType() is MNN.Halide_Type_Float)
    net = Table.root(path.read_bytes())
    # in the order of the network; MNN lists them alphabetically
    names = net.texts(OUTPUT_NAMES) or list(interpreter.getSessionOutputAll(session))
    nchw = MNN.Tensor_DimensionType_Caffe  # MNN transposes it for a TensorFlow network
    fed: tuple[int, ...] | None = None
    received: dict[str, tuple] = {}
    lock = threading.Lock()  # a session has one input buffer and one output buffer

    def prepare(shape: tuple[int, ...]) -> None:
        """Buffers for an input of this shape."""
        nonlocal fed
        if fed is not None or None in file_shape:
            order = TO_LAST if channels_last else range(len(shape))
            interpreter.resizeTensor(entry, tuple(shape[axis] for axis in order))
            interpreter.resizeSession(session)
        received.clear()
        fed = shape
        receive(names[0])

    def receive(name: str) -> tuple:
        """The output, and memory here that it is copied to."""
        if name not in received:
            result = interpreter.getSessionOutput(session, name)
            kind = result.getDataType()
            if kind not in numbers:
                raise Unsupported("has an output that is neither float32 nor int32")
            empty = np.empty(result.getShape(), numbers[kind])
            received[name] = (result, MNN.Tensor(empty.shape, kind, empty, nchw), empty)
        return received[name]

    def compute(x: np.ndarray, wanted: list[str]) -> list[np.ndarray]:
        answers = []
        with lock:
            if x.shape != fed:
                prepare(x.shape)
            entry.copyFrom(MNN.Tensor(x.shape, MNN.Halide_Type_Float, x, nchw))
            interpreter.runSession(session)
            for name in wanted:
                result, host, empty = receive(name)
                result.copyToHostTensor(host)
                answers.append(np.array(host.getNumpyData(), empty.dtype).reshape(empty.shape))
        return answers

    def run(x: np.ndarray) -> np.ndarray:
        return compute(x, names[:1])[0]

    def run_all(x: np.ndarray) -> list[np.ndarray]:
        return compute(x, names)

    file_shape = sizes(entry.getShape())
    channels_last = len(file_shape) == 4 and entry.getDimensionType() != nchw
    if channels_last:
        file_shape = tuple(file_shape[axis] for axis in TO_FIRST)
    if None not in file_shape:
        prepare(tuple(size for size in file_shape if size is not None))
    precision = _precision(net)
    return Model(path, "MNN", MNN.version(), precision, threads, file_shape, run, run_all)


def _precision(net: Table) -> str:
    """int8 if any layer has int8 weights, else the type of most layers."""
    found = [
        _weight_precision(content)
        for operator in net.tables(OPERATORS)
        if operator.number(CONTENT_TYPE, "<B") == CONVOLUTION
        and (content := operator.table(CONTENT))
    ]
    if "int8" in found:
        return "int8"
    if found.count("float16") > len(found) / 2:
        return "float16"
    return "float32"


def _weight_precision(convolution: Table) -> str:
    weights = convolution.table(QUANTIZED_WEIGHTS)
    if weights is None:
        return "float32"
    if weights.number(WEIGHT_TYPE) == HALF:
        return "float16"
    return "int8"
