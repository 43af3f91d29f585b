"""Run an int8 file in its runtime and return the output of every operator, not only of the last.

In a copy of the file, every operator's result is declared an output.
"""

from pathlib import Path

import numpy as np

from modelfiles.integers.tflite_chain import open_tflite, packed
from modelfiles.quiet import quiet

KERNELS = {
    "XNNPACK": "AUTO",  # what LiteRT uses by default
    "optimized": "BUILTIN_WITHOUT_DEFAULT_DELEGATES",
    "reference": "BUILTIN_REF",
}


def exposed_onnx(path: Path) -> bytes:
    """An ONNX file with the result of every operator as an output, but not the float at the end."""
    import onnx

    model = onnx.load(path)
    names = [node.output[0] for node in model.graph.node[:-1]]
    del model.graph.output[:]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    return model.SerializeToString()


def run_exposed_onnx(model: bytes, images: np.ndarray, exact_sums: str = "1") -> list[np.ndarray]:
    """All outputs of an ONNX file for float images, N x C x H x W; outputs have channels last.

    `exact_sums` is ONNX Runtime's option session.x64quantprecision. "0" leaves the kernels to the
    runtime: on x86 processors without VNNI their sums saturate at 16 bits.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.x64quantprecision", exact_sums)
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    source = session.get_inputs()[0].name
    runs = [session.run(None, {source: image[None]}) for image in images]
    stacked = [np.concatenate(tensor) for tensor in zip(*runs)]
    return [tensor.transpose(0, 2, 3, 1) if tensor.ndim == 4 else tensor for tensor in stacked]


def run_onnx(path: Path, images: np.ndarray, exact_sums: str = "1") -> list[np.ndarray]:
    """What every operator but the last puts out in ONNX Runtime; see run_exposed_onnx."""
    return run_exposed_onnx(exposed_onnx(path), images, exact_sums)


def run_tflite(path: Path, q: np.ndarray, kernels: str) -> list[np.ndarray]:
    """What every operator puts out in LiteRT for int8 images q, N x the file's input shape.

    `kernels` is a name in KERNELS.
    """
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    with quiet():
        interpreter = Interpreter(
            model_content=_exposed_tflite(path),
            num_threads=1,
            experimental_op_resolver_type=OpResolverType[KERNELS[kernels]],
        )
        interpreter.allocate_tensors()
    source = interpreter.get_input_details()[0]["index"]
    results = interpreter.get_output_details()
    runs = []
    for image in q:
        interpreter.set_tensor(source, image[None])
        interpreter.invoke()
        runs.append([interpreter.get_tensor(result["index"]) for result in results])
    return [np.concatenate(tensor) for tensor in zip(*runs)]


def _exposed_tflite(path: Path) -> bytes:
    model = open_tflite(path)
    model.subgraphs[0].outputs = np.array(
        [step.outputs[0] for step in model.subgraphs[0].operators], np.int32
    )
    model.signatureDefs = None  # they name the outputs of before
    return packed(model)
