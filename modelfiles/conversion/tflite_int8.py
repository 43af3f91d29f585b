"""Google's quantizer of .tflite files, with ranges that give all images equal weight."""

from pathlib import Path

import numpy as np

SMALLEST_SHARE = 2.0**-16  # of a layer's largest weight; less has no effect on int8 activations
LARGEST_BIAS = 2.0**28  # as an int32, with room for the sum that is added to it
# operators with weights: the numbers of their inputs activation, weights and bias
WEIGHTED = {
    "CONV_2D": (0, 1, 2),
    "DEPTHWISE_CONV_2D": (0, 1, 2),
    "FULLY_CONNECTED": (0, 1, 2),
    "CONV_2D_TRANSPOSE": (2, 1, 3),
}


def quantize(source: Path, target: Path, calibration: np.ndarray, batch: int) -> None:
    """Write the float file `source` as static int8 (weights per channel) to `target`."""
    from ai_edge_quantizer import calibrator, quantizer, recipe
    from ai_edge_quantizer.utils import qsv_utils

    tool = quantizer.Quantizer(str(source))
    tool.load_quantization_recipe(recipe.static_wi8_ai8())
    # Quantizer.calibrate would average the ranges and give the first image the most weight
    watched = calibrator.Calibrator(
        source.read_bytes(), num_threads=1, qsv_update_func=qsv_utils.min_max_update
    )
    signature, name = _only_input(str(source))
    calls = [{name: calibration[i : i + batch]} for i in range(0, len(calibration), batch)]
    watched.calibrate({signature: calls}, tool._recipe_manager)
    ranges = watched.get_model_qsvs()
    _widen(source, ranges)
    tool.quantize(ranges).export_model(str(target), overwrite=True)


def halve(source: Path, target: Path) -> None:
    """Write the float file `source` with float16 weights to `target`."""
    from ai_edge_quantizer import algorithm_manager, qtyping, quantizer

    tool = quantizer.Quantizer(str(source))
    tool.add_weight_only_config(
        regex=".*",
        operation_name=qtyping.TFLOperationName.ALL_SUPPORTED,
        num_bits=16,
        algorithm_key=algorithm_manager.AlgorithmName.FLOAT_CASTING,
    )
    tool.quantize().export_model(str(target), overwrite=True)


def _only_input(source: str) -> tuple[str, str]:
    """The names of the file's signature and of its input."""
    from ai_edge_litert.interpreter import Interpreter

    signature, names = next(iter(Interpreter(source).get_signature_list().items()))
    return signature, names["inputs"][0]


def _widen(source: Path, ranges: dict[str, dict[str, np.ndarray]]) -> None:
    """Widen ranges, {tensor: {"min", "max"}}, that are too narrow for int8 arithmetic.

    A tensor that is always zero gets the range 0 to 1. Channels of zero or tiny weights get a wider
    range: a bias is an int32 in units of input scale times weight scale, and would overflow.
    """
    from ai_edge_quantizer.utils import tfl_flatbuffer_utils as flatbuffer

    for values in ranges.values():
        if values and not np.any(values["min"]) and not np.any(values["max"]):
            values["max"] = np.ones_like(values["max"])
    model = flatbuffer.read_model(str(source))
    for graph in model.subgraphs:
        for operator in graph.operators:
            code = model.operatorCodes[operator.opcodeIndex].builtinCode
            kind = getattr(flatbuffer.TFL_OP_CODE_TO_NAME.get(code), "name", None)
            if kind not in WEIGHTED:
                continue
            read, weights, bias, _ = flatbuffer.parse_fc_bmm_conv_tensors(
                operator, graph.tensors, *WEIGHTED[kind]
            )
            values = flatbuffer.get_tensor_data(weights, model.buffers)
            input_range = ranges.get(flatbuffer.get_tensor_name(read))
            if values is None or not input_range:
                continue
            offsets = None if bias is None else flatbuffer.get_tensor_data(bias, model.buffers)
            name = flatbuffer.get_tensor_name(weights)
            ranges[name] = _weight_range(values, offsets, _scale(input_range), kind)


def _scale(activation: dict[str, np.ndarray]) -> float:
    """The step between int8 numbers of an activation; its range includes zero."""
    return float(max(activation["max"].max(), 0) - min(activation["min"].min(), 0)) / 255


def _weight_range(
    weights: np.ndarray, bias: np.ndarray | None, input_scale: float, kind: str
) -> dict[str, np.ndarray]:
    """The range of each output channel of `weights`, wide enough for its bias."""
    channel = weights.ndim - 1 if kind == "DEPTHWISE_CONV_2D" else 0
    others = tuple(axis for axis in range(weights.ndim) if axis != channel)
    largest = np.abs(weights).max(axis=others, keepdims=True)
    limit = max(float(largest.max()) * SMALLEST_SHARE, 1e-9)
    needed = np.full_like(largest, limit)
    if bias is not None and input_scale:
        step = np.abs(bias) / (input_scale * LARGEST_BIAS)
        needed = np.maximum(needed, 127 * step.reshape(largest.shape))
    bound = np.maximum(largest, needed).astype(np.float32)
    return {"min": -bound, "max": bound}
