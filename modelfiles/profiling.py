"""Time per operator of a model file, on one thread, for runtimes that report it.

Profiling itself takes time, so compare only operators of the same file. Each `profile_*` function
takes the path and the number of calls. It returns a DataFrame with a row per operator, in the order
of execution: "operator" and "time (µs)", the median over the calls.
"""

import json
import os
import tempfile
import time
from pathlib import Path

import numpy as np

from modelfiles.quiet import quiet
from modelfiles.runtimes import open_model
from modelfiles.runtimes.model import sizes
from modelfiles.runtimes.ncnn_file import float32_net
from modelfiles.runtimes.onnx_file import open_session

# the kind of an operator of an int8 .onnx file, by the beginning of its name
KINDS = {
    "integer": ("QLinear", "QGemm", "NhwcMaxPool", "MatMulInteger", "ConvInteger"),
    "to and from int8": ("QuantizeLinear", "DequantizeLinear"),
    "moving": ("Transpose", "Reorder", "Reshape"),
}


def profile_onnxruntime(path: Path | str, calls: int):
    """The operators of an .onnx file, by ONNX Runtime's own profiler.

    Further columns: "kind" (one of KINDS, or "float32"), "layer" (3 x 3, depthwise, linear ...) and
    "output" (its shape). Operators that multiply also have "MACs" and "bytes", the size of their
    float32 inputs, outputs and weights. Both follow from the operator's actual shapes, whose
    channels may be padded to a multiple of 8 or 16. ValueError if the input has a free size.
    """
    import pandas

    with tempfile.TemporaryDirectory() as folder:
        session = open_session(path, threads=1, profile_prefix=os.path.join(folder, "profile"))
        entry = session.get_inputs()[0]
        image = np.random.default_rng(0).standard_normal(_fixed(entry.shape, path), np.float32)
        for _ in range(calls):
            session.run(None, {entry.name: image})
        events = json.loads(Path(session.end_profiling()).read_text())
    ran = [event for event in events if event["name"].endswith("_kernel_time")]
    taken = np.array([event["dur"] for event in ran]).reshape(calls, -1)
    rows = []
    for event, time_us in zip(ran, np.median(taken, axis=0)):
        about = event["args"]
        outputs = _shapes(about["output_type_shape"])
        layer, macs, moved = layer_cost(_shapes(about["input_type_shape"]), outputs)
        rows.append(
            {
                "operator": about["op_name"],
                "kind": _kind(about["op_name"]),
                "layer": layer,
                "time (µs)": time_us,
                "output": " x ".join(map(str, outputs[0])),
                "MACs": macs,
                "bytes": moved,
            }
        )
    return pandas.DataFrame(rows)


def _shapes(typed: list[dict]) -> list[list[int]]:
    """The shapes in a profile's list of {type: shape}."""
    return [next(iter(entry.values())) for entry in typed]


def _kind(operator: str) -> str:
    for kind, starts in KINDS.items():
        if operator.startswith(starts):
            return kind
    return "float32"


def time_by_kind(layers) -> dict[str, str]:
    """How many operators of each kind ran, and their share of the time; then the slowest operator.

    `layers` is the result of profile_onnxruntime. The keys are "float32" and those of KINDS.
    """
    by_kind = layers.groupby("kind")["time (µs)"]
    number = by_kind.size()
    share = by_kind.sum() / layers["time (µs)"].sum()
    shown = {
        kind: f"{number.get(kind, 0)} ({share.get(kind, 0):.0%})" for kind in (*KINDS, "float32")
    }
    slowest = layers.loc[layers["time (µs)"].idxmax()]
    return shown | {
        "all (µs)": f"{layers['time (µs)'].sum():,.0f}",
        "slowest": f"{slowest['operator']}, {slowest['layer']}".removesuffix(", -"),
    }


def without_conversions(layers) -> float:
    """How many times as fast a file would be if to and from int8 took no time."""
    share = layers.groupby("kind")["time (µs)"].sum() / layers["time (µs)"].sum()
    return 1 / (1 - share.get("to and from int8", 0.0))


def layer_gains(whole, small):
    """The float layers that multiply, with "gain", how many times as fast they are in int8.

    `whole` and `small` are profile_onnxruntime of a float32 and an int8 file of one chain of
    layers. They are matched in the order in which they run. "kind" is "layer", except that the
    first layer reads the image. The result is empty if some layers stayed float.
    """
    multiply = whole[whole["MACs"].notna()].reset_index(drop=True)
    integer = small[small["operator"].isin(["QLinearConv", "QGemm"])].reset_index(drop=True)
    if len(multiply) != len(integer):
        return multiply.iloc[:0].assign(gain=[], kind=[])
    gain = multiply["time (µs)"].clip(lower=1) / integer["time (µs)"].clip(lower=1)
    return multiply.assign(gain=gain, kind=["reads the image", *multiply["layer"][1:]])


def _fixed(shape: list, path: Path | str) -> tuple[int, ...]:
    """`shape` if all of it is known; a free batch size becomes 1."""
    batch, *others = sizes(shape)
    rest = [size for size in others if size is not None]
    if len(rest) < len(others):
        raise ValueError(
            f"{Path(path).name} has free sizes ({shape}): export it with the size to profile"
        )
    return (batch or 1, *rest)


def layer_cost(inputs: list[list[int]], outputs: list[list[int]]) -> tuple[str, float, float]:
    """A float layer's kind, its MACs, and the bytes of its inputs, outputs and weights.

    They are computed from the shapes of its inputs (the second is the weights) and outputs. The
    result is ("-", nan, nan) if the layer does not multiply.
    """
    source = int(np.prod(inputs[0]))
    result = int(np.prod(outputs[0]))
    # a convolution's weights: outputs x (inputs / groups) x height x width
    if len(inputs) > 1 and len(inputs[1]) == 4:
        channels_out, channels_in, height, width = inputs[1]
        layer = f"{height} x {width}"
        if channels_in == 1 and inputs[0][1] > 1:
            layer = "depthwise"
        weights = int(np.prod(inputs[1]))
        return layer, result * weights // channels_out, 4 * (source + weights + result)
    # the weights of a linear layer are packed and not listed
    if len(inputs[0]) == len(outputs[0]) == 2:
        return "linear", source * result, 4 * (source + source * result + result)
    return "-", float("nan"), float("nan")


def profile_mnn(path: Path | str, calls: int):
    """The operators of an .mnn file, by MNN's callbacks before and after each operator."""
    import pandas

    with quiet():  # importing MNN and creating a session print messages
        import MNN

        interpreter = MNN.Interpreter(str(path))
        session = interpreter.createSession({"backend": "CPU", "numThread": 1, "precision": "high"})
        _fixed(interpreter.getSessionInput(session).getShape(), path)
    names = []
    taken = []

    def before(tensors: list, about) -> bool:
        names.append(f"{about.getName()} ({about.getType()})")
        taken.append(-time.perf_counter_ns())
        return True

    def after(tensors: list, about) -> bool:
        taken[-1] += time.perf_counter_ns()
        return True

    for _ in range(calls):
        interpreter.runSessionWithCallBackInfo(session, before, after)
    per_call = np.array(taken).reshape(calls, -1)
    operators = names[: per_call.shape[1]]
    return pandas.DataFrame({"operator": operators, "time (µs)": np.median(per_call, axis=0) / 1e3})


def profile_ncnn(path: Path | str, calls: int):
    """The layers of NAME.ncnn.param.

    ncnn computes the requested output and keeps it, so outputs are requested layer by layer.
    """
    import ncnn
    import pandas

    net = float32_net(threads=1)
    net.opt.lightmode = False  # light mode would free each output
    net.load_param(str(path))
    net.load_model(str(Path(path).with_suffix(".bin")))
    blobs = net.blobs()
    layers = [layer for layer in net.layers() if layer.type != "Input"]
    # a copy that ncnn owns: layers that work in place must not write to numpy's memory
    shape = _fixed(list(open_model(path).input_shape or [None]), path)
    image = ncnn.Mat(np.zeros(shape[1:], np.float32)).clone()
    taken = []
    for _ in range(calls):
        with net.create_extractor() as extractor:
            extractor.input(net.input_names()[0], image)
            for layer in layers:
                start = time.perf_counter_ns()
                extractor.extract(blobs[layer.tops[0]].name)
                taken.append(time.perf_counter_ns() - start)
    per_call = np.array(taken).reshape(calls, -1)
    return pandas.DataFrame(
        {
            "operator": [f"{layer.name} ({layer.type})" for layer in layers],
            "time (µs)": np.median(per_call, axis=0) / 1e3,
        }
    )


def count_delegate_partitions(path: Path | str) -> int:
    """The number of partitions of a .tflite graph that LiteRT delegates to XNNPACK's fast kernels.

    1 is the whole graph in one partition. LiteRT's Python package has no operator profiler, but it
    reports this number.
    """
    from ai_edge_litert.interpreter import Interpreter

    with quiet():
        interpreter = Interpreter(str(path), num_threads=1)
        interpreter.allocate_tensors()
        return sum(operator["op_name"] == "DELEGATE" for operator in interpreter._get_ops_details())
