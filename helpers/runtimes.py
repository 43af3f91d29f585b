"""One way to open and run a model file, whatever runtime reads it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from helpers import armnn
from helpers.paths import show
from helpers.quiet import quiet


@dataclass
class Model:
    """A model that is loaded and ready. `input_shape` is what one call of the file takes, NCHW.

    None in it stands for a size that the file leaves free, None instead of it where the file does not tell.
    """

    path: Path
    runtime: str
    version: str
    precision: str
    threads: int
    input_shape: tuple[int | None, ...] | None
    run: Callable[[np.ndarray], np.ndarray] = field(repr=False)

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Run the images `x`, float32 N x channels x height x width, and return float32 N x outputs.

        The file's own batch size decides how many go in at once (most of the book's files take one image).
        """
        if x.dtype != np.float32:
            raise ValueError(f"{self.path.name} takes float32, not {x.dtype}; helpers.data.normalize makes it")
        if x.ndim != 4 or not len(x):
            raise ValueError(f"{self.path.name} takes images as N x channels x height x width, not {x.shape}")
        x = np.ascontiguousarray(x)  # a transposed or flipped view would be read in the wrong order, or refused
        batch = 1
        if self.input_shape:
            batch = self.input_shape[0] or len(x)
            fits = all(wanted in (None, given) for wanted, given in zip(self.input_shape[1:], x.shape[1:]))
            if not fits or len(x) % batch:
                wanted = " x ".join(str(n or "any") for n in self.input_shape[1:])
                raise ValueError(f"{self.path.name} takes images of {wanted} in batches of {batch}; these are {x.shape}")
        if len(x) == batch:
            return self.run(x)
        return np.concatenate([self.run(x[i:i + batch]) for i in range(0, len(x), batch)])


def open_model(path: Path | str, threads: int = 1, delegate: str | None = None) -> Model:
    """Load the model file at `path` into the runtime that its ending names: OPENERS has the list.

    `precision` is read from the file where the format tells, else from its name (NAME_int8). delegate="armnn" lets
    Arm NN compute what it can of a .tflite file; helpers.armnn says where its library is looked for.
    Raises FileNotFoundError, ValueError for a file that is not what its ending says, ImportError (with the line
    that installs it) for a missing runtime or delegate.
    """
    path = Path(path)
    ending = next((e for e in OPENERS if path.name.endswith(e)), None)
    if ending is None:
        raise ValueError(f"{path.name}: no runtime reads this ending; known are {', '.join(OPENERS)}")
    if delegate not in (None, "armnn"):
        raise ValueError(f'no delegate is called "{delegate}"; there is "armnn"')
    if delegate and ending != ".tflite":
        raise ValueError(f"{path.name}: Arm NN's delegate computes .tflite files only; leave `delegate` out")
    if not path.exists():
        raise FileNotFoundError(f"{show(path)} does not exist; notebook 02 makes the book's model files")
    opener, package = OPENERS[ending]
    try:
        with quiet():
            return opener(path, threads, delegate) if delegate else opener(path, threads)
    except ModuleNotFoundError as error:
        raise ImportError(f"{path.name} needs {package}, which is not installed here: pip install {package}") from error
    except armnn.NotLoaded:
        raise
    except ImportError as error:
        raise ImportError(f"{path.name} needs {package}, which is installed and does not load: {error}") from error
    except Exception as error:
        doubt = "does Arm NN refuse it" if delegate else "another kind of file"
        raise ValueError(f"{show(path)} cannot be loaded as a {ending} model: is it damaged, or {doubt}? "
                         f"({type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''})") from error


def _precision_by_name(path: Path) -> str:
    return "int8" if path.name.split(".")[0].endswith("_int8") else "float32"


def _pt2(path: Path, threads: int) -> Model:
    import torch

    torch.set_num_threads(threads)
    program = torch.export.load(path)
    module = program.module()
    shape = next(node.meta["val"].shape for node in program.graph.nodes if node.name in program.graph_signature.user_inputs)

    def run(x: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return module(torch.from_numpy(x)).numpy()

    return Model(path, "PyTorch", torch.__version__.split("+")[0], _precision_by_name(path), threads, tuple(shape), run)


def _torchscript(path: Path, threads: int) -> Model:
    import torch

    torch.set_num_threads(threads)
    extra = {"input_shape": ""}
    module = torch.jit.load(path, map_location="cpu", _extra_files=extra)

    def run(x: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return module(torch.from_numpy(x)).numpy()

    shape = tuple(int(n) for n in extra["input_shape"].split()) or None
    return Model(path, "TorchScript", torch.__version__.split("+")[0], _precision_by_name(path), threads, shape, run)


def _onnx(path: Path, threads: int) -> Model:
    import onnxruntime
    from onnxruntime.capi.onnxruntime_pybind11_state import NotImplemented as NoKernel

    def session_of(exact_sums: bool):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        options.add_session_config_entry("session.x64quantprecision", str(int(exact_sums)))
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    # On x86 without VNNI the default kernels multiply uint8 by int8 and saturate at 16 bits: other
    # answers than everywhere else. Operators on int8 alone have no exact kernels and need none.
    try:
        session = session_of(exact_sums=True)
    except NoKernel:
        session = session_of(exact_sums=False)
    entry, raw = session.get_inputs()[0], path.read_bytes()
    precision = "int8" if b"QuantizeLinear" in raw or b"QLinear" in raw else "float32"
    shape = tuple(n if isinstance(n, int) else None for n in entry.shape)  # a free size has a name instead
    return Model(path, "ONNX Runtime", onnxruntime.__version__, precision, threads, shape,
                 lambda x: session.run(None, {entry.name: x})[0])


def _tflite(path: Path, threads: int, delegate: str | None = None) -> Model:
    import ai_edge_litert
    from ai_edge_litert.interpreter import Interpreter

    delegates = [armnn.load_delegate(threads)] if delegate else None
    interpreter = Interpreter(str(path), num_threads=threads, experimental_delegates=delegates)
    interpreter.allocate_tensors()
    entry, result = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    shape = tuple(int(n) for n in entry["shape"])
    channels_last = len(shape) == 4 and shape[3] in (1, 3) and shape[1] not in (1, 3)
    if channels_last:
        shape = (shape[0], shape[3], shape[1], shape[2])

    def run(x: np.ndarray) -> np.ndarray:
        if channels_last:
            x = np.ascontiguousarray(x.transpose(0, 2, 3, 1))
        interpreter.set_tensor(entry["index"], quantize(x, entry["dtype"], *entry["quantization"]))
        interpreter.invoke()
        return dequantize(interpreter.get_tensor(result["index"]), *result["quantization"])

    types = {tensor["dtype"] for tensor in interpreter.get_tensor_details()}
    runtime = "LiteRT + Arm NN" if delegate else "LiteRT"
    return Model(path, runtime, ai_edge_litert.__version__, "int8" if np.int8 in types else "float32", threads, shape, run)


def quantize(x: np.ndarray, dtype: type, scale: float, zero_point: int) -> np.ndarray:
    """x / scale + zero point, rounded half to even and clipped to what `dtype` holds; float32 passes through.

    A plain cast would cut off the fraction and wrap 200 round to -56: both mistakes cost accuracy silently.
    """
    if dtype == np.float32:
        return x
    limits = np.iinfo(dtype)
    return np.clip(np.rint(x / np.float32(scale)) + zero_point, limits.min, limits.max).astype(dtype)


def dequantize(q: np.ndarray, scale: float, zero_point: int) -> np.ndarray:
    """scale * (q - zero point) as float32; float32 passes through."""
    if q.dtype == np.float32:
        return q
    return (q.astype(np.float32) - np.float32(zero_point)) * np.float32(scale)


def _ncnn(path: Path, threads: int) -> Model:
    import ncnn

    net = ncnn.Net()
    net.opt.num_threads = threads
    # ncnn computes in half precision where the CPU can (a Pi 5, not a Pi 4); float32 keeps machines comparable
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
    net.opt.use_bf16_storage = False
    weights = path.with_name(path.name[: -len("param")] + "bin")
    if not weights.exists():
        raise ValueError(f"{weights.name}, the weights, must lie beside it")
    if net.load_param(str(path)) or net.load_model(str(weights)):
        raise ValueError("ncnn refuses it")
    first, last = net.input_names()[0], net.output_names()[0]
    fields = dict(f.split("=") for line in path.read_text().splitlines() if line.startswith("Input ")
                  for f in line.split() if "=" in f)
    shape = (1, int(fields["2"]), int(fields["1"]), int(fields["0"])) if len(fields) >= 3 else None

    def run(x: np.ndarray) -> np.ndarray:
        with net.create_extractor() as extractor:
            extractor.input(first, ncnn.Mat(x[0]))
            return np.array(extractor.extract(last)[1])[None]

    return Model(path, "ncnn", ncnn.__version__, _precision_by_name(path), threads, shape, run)


def _mnn(path: Path, threads: int) -> Model:
    import MNN

    interpreter = MNN.Interpreter(str(path))
    session = interpreter.createSession({"backend": "CPU", "numThread": threads, "precision": "high"})
    entry, result = interpreter.getSessionInput(session), interpreter.getSessionOutput(session)
    shape, out_shape = tuple(entry.getShape()), tuple(result.getShape())
    received = MNN.Tensor(out_shape, MNN.Halide_Type_Float, np.empty(out_shape, np.float32), MNN.Tensor_DimensionType_Caffe)

    def run(x: np.ndarray) -> np.ndarray:
        entry.copyFrom(MNN.Tensor(shape, MNN.Halide_Type_Float, x, MNN.Tensor_DimensionType_Caffe))
        interpreter.runSession(session)
        result.copyToHostTensor(received)
        return np.array(received.getNumpyData(), np.float32).reshape(out_shape)

    return Model(path, "MNN", MNN.version(), _precision_by_name(path), threads, shape, run)


def _pte(path: Path, threads: int) -> Model:
    from importlib.metadata import version

    import torch
    from executorch.extension.pybindings import portable_lib
    from executorch.runtime import Runtime

    portable_lib._unsafe_reset_threadpool(threads)
    method = Runtime.get().load_program(path).load_method("forward")
    shape = tuple(method.metadata.input_tensor_meta(0).sizes())
    # the program writes its answer into memory of its own: copy, or the next call changes the last answer
    return Model(path, "ExecuTorch", version("executorch"), _precision_by_name(path), threads, shape,
                 lambda x: method.execute([torch.from_numpy(x)])[0].numpy().copy())


# file ending: who opens it, and the package that must be installed
OPENERS = {
    ".pt2": (_pt2, "torch"),
    ".torchscript": (_torchscript, "torch"),
    ".onnx": (_onnx, "onnxruntime"),
    ".tflite": (_tflite, "ai-edge-litert"),
    ".ncnn.param": (_ncnn, "ncnn"),
    ".mnn": (_mnn, "MNN"),
    ".pte": (_pte, "executorch"),
}
