"""MNN's files in MNN."""

import threading
from pathlib import Path

import numpy as np

from helpers.flatbuffer import Table
from helpers.runtimes.model import (
    TO_FIRST,
    TO_LAST,
    Model,
    Unsupported,
    check_float_input,
    check_one_input,
    sizes,
)

# fields of MNN's schema
OPERATORS, OUTPUT_NAMES = 3, 4  # of Net
CONTENT_TYPE, CONTENT = 1, 2  # of Op, a union
CONVOLUTION = 9  # in that union; linear layers are stored as convolutions
QUANTIZED_WEIGHTS = 3  # of Convolution2D
WEIGHT_TYPE, HALF = 2, 3  # of IDSTQuan; its other types have at most 8 bits


def open_mnn(path: Path, threads: int) -> Model:
    """High precision: float32 also where the processor could do with half."""
    import MNN

    numbers = {MNN.Halide_Type_Float: np.float32, MNN.Halide_Type_Int: np.int32}
    interpreter = MNN.Interpreter(str(path))
    settings = {"backend": "CPU", "numThread": threads, "precision": "high"}
    session = interpreter.createSession(settings)
    check_one_input(list(interpreter.getSessionInputAll(session)))
    entry = interpreter.getSessionInput(session)
    check_float_input("integers", entry.getDataType() is MNN.Halide_Type_Float)
    net = Table.root(path.read_bytes())
    # in the order of the network; MNN itself lists them by the alphabet
    names = net.texts(OUTPUT_NAMES) or list(interpreter.getSessionOutputAll(session))
    nchw = MNN.Tensor_DimensionType_Caffe  # MNN itself transposes it for a network from TensorFlow
    fed = received = None
    lock = threading.Lock()  # a session has one place for its input and one for its answer

    def prepare(shape: tuple[int, ...]) -> None:
        """Buffers for an input of this shape."""
        nonlocal fed, received
        if fed is not None or None in file_shape:
            order = TO_LAST if channels_last else range(len(shape))
            interpreter.resizeTensor(entry, tuple(shape[axis] for axis in order))
            interpreter.resizeSession(session)
        result = interpreter.getSessionOutput(session, names[0])
        kind = result.getDataType()
        if kind not in numbers:
            raise Unsupported("answers with another type than float32 and int32")
        empty = np.empty(result.getShape(), numbers[kind])
        fed, received = shape, (result, MNN.Tensor(empty.shape, kind, empty, nchw), empty)

    def run(x: np.ndarray) -> np.ndarray:
        with lock:
            if x.shape != fed:
                prepare(x.shape)
            entry.copyFrom(MNN.Tensor(x.shape, MNN.Halide_Type_Float, x, nchw))
            interpreter.runSession(session)
            result, host, empty = received
            result.copyToHostTensor(host)
            return np.array(host.getNumpyData(), empty.dtype).reshape(empty.shape)

    file_shape = sizes(entry.getShape())
    channels_last = len(file_shape) == 4 and entry.getDimensionType() != nchw
    if channels_last:
        file_shape = tuple(file_shape[axis] for axis in TO_FIRST)
    if None not in file_shape:
        prepare(file_shape)
    return Model(path, "MNN", MNN.version(), _precision(net), threads, file_shape, run)


def _precision(net: Table) -> str:
    found = []
    for operator in net.tables(OPERATORS):
        if operator.number(CONTENT_TYPE, "<B") == CONVOLUTION:
            weights = operator.table(CONTENT).table(QUANTIZED_WEIGHTS)
            if weights is None:
                found.append("float32")
            else:
                found.append("float16" if weights.number(WEIGHT_TYPE) == HALF else "int8")
    if "int8" in found:
        return "int8"
    return "float16" if found.count("float16") > len(found) / 2 else "float32"
