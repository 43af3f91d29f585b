"""Random networks through every converter: each file is right, or refused in one sentence.

`make fuzz` runs it. FUZZ_NETWORKS says how many networks (200), FUZZ_FIRST the first seed (0).
"""

import collections
import copy
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from forms import FROM_PYTORCH, convert_to
from torch import nn

from helpers import convert
from helpers.errors import ConversionError
from helpers.quiet import quiet
from helpers.runtimes import dequantize, quantize
from modelfiles.conversion.opener import Opener

sys.path.insert(0, str(Path(__file__).parent))
from random_networks import network

FROM_FLOAT = ("mnn", "int8 onnx", "int8 integer onnx", "int8 tflite", "int8 mnn", "int8 pte")
FORMS = (*FROM_PYTORCH, *FROM_FLOAT)
IMAGES = 40
SAME_CLASS = 0.95


def test_random_networks(tmp_path):
    first = int(os.environ.get("FUZZ_FIRST", "0"))
    count = int(os.environ.get("FUZZ_NETWORKS", "200"))
    outcomes = collections.Counter()
    wrong = []
    for seed in range(first, first + count):
        for form, outcome in try_network(seed, tmp_path / str(seed)).items():
            kind = outcome.split(":")[0]
            outcomes[form, kind] += 1
            if kind != "right":
                print(f"network {seed}, {form}: {outcome}", flush=True)
            if kind not in ("right", "refused"):
                wrong.append((seed, form, outcome))
    for form in sorted({form for form, _ in outcomes}):
        print(form, {kind: number for (name, kind), number in outcomes.items() if name == form})
    assert not wrong, wrong


def try_network(seed: int, folder: Path, forms: Sequence[str] = FORMS) -> dict[str, str]:
    """{form: "right", "refused: sentence", or what is wrong} for one network."""
    made, example = network(seed)
    before = {name: value.clone() for name, value in made.state_dict().items()}
    modes = [part.training for part in made.modules()]
    generator = np.random.default_rng(seed + 1)
    images = generator.standard_normal((IMAGES, *example.shape[1:]), np.float32)
    kept = images.copy()
    found = {}
    for form in forms:
        try:
            path = _convert(form, made, example, images, folder)
        except ConversionError as error:
            kind = "refused" if _names_the_form(str(error)) else "unclear"
            found[form] = f"{kind}: {error}"
            continue
        except Exception as error:
            found[form] = f"{type(error).__name__}: {error}"
            continue
        compare = _int8_fault if "int8" in form else _float_fault
        fault = compare(path, made, images)
        found[form] = f"wrong: {fault}" if fault else "right"
    if [part.training for part in made.modules()] != modes:
        found["mode"] = "changed"
    if any(not torch.equal(value, before[name]) for name, value in made.state_dict().items()):
        found["weights"] = "changed"
    if example.any() or not np.array_equal(images, kept):
        found["images"] = "changed"
    return found


def _convert(form: str, made, example, images, folder: Path) -> Path:
    def source(suffix: str) -> Path:
        path = folder / f"net.{suffix}"
        return path if path.exists() else FROM_PYTORCH[suffix](made, example, path)

    if form in FROM_PYTORCH:
        return source(form)
    path = folder / f"net.{form.replace(' ', '.')}"
    if form == "int8 integer onnx":
        options = {"qdq": False, "unsigned_activations": False}
        return convert.to_onnx_int8(source("onnx"), path, images, **options)
    return convert_to(form, path, made, example, images, source)


def _names_the_form(sentence: str) -> bool:
    return bool(re.match(r"Cannot convert to \S.* \(\S+\): \S", sentence)) and len(sentence) < 600


def _answers(path: Path, images: np.ndarray) -> np.ndarray:
    return _opener(path.suffix).answers(path, images).reshape(len(images), -1)


_openers: dict[str, Opener] = {}


def _opener(suffix: str) -> Opener:
    """A process that opens one file after the other: each was opened in its own process before."""
    kept = _openers.get(suffix)
    if kept is None or not kept.is_running:
        kept = Opener(".ncnn.param" if suffix == ".param" else suffix)
        _openers[suffix] = kept
    return kept


def _network_answers(made, images):
    with torch.no_grad():
        answers = [made(image) for image in torch.from_numpy(images.copy()).split(1)]
    first = [answer[0] if isinstance(answer, tuple) else answer for answer in answers]
    return torch.cat(first).flatten(1).numpy()


def _float_fault(path: Path, made, images) -> str | None:
    modes = {part: part.training for part in made.modules()}
    wanted = _network_answers(made.eval(), images)
    for part, training in modes.items():
        part.training = training
    # of all images: one whose outputs nearly cancel is as far off as the others
    error = np.abs(_answers(path, images) - wanted).max() / np.abs(wanted).max()
    return f"off by {error:.2g} of the largest output" if error > 1e-3 else None


def _int8_fault(path: Path, made, images) -> str | None:
    """The same class as the file's own simulation on 95 % of the images."""
    simulated = _simulated(path, made, images)
    answers = _answers(path, images)
    if simulated.shape[1] == 1:
        error = np.abs(answers - simulated).mean() / max(np.ptp(simulated), 1e-9)
        return f"off by {error:.2g} of the range" if error > 0.02 else None
    # equal int8 numbers are frequent: a class counts as kept if it is among the largest
    step = np.diff(np.unique(answers)).min(initial=1e9)
    chosen = np.take_along_axis(answers, simulated.argmax(1)[:, None], 1)[:, 0]
    same = np.mean(chosen >= answers.max(1) - 1.01 * step)
    return f"the class is kept for {same:.0%} of the images" if same < SAME_CLASS else None


def _simulated(path: Path, made, images) -> np.ndarray:
    """What the int8 file computes, by slow and plain means."""
    if path.suffix == ".onnx":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        answers = [session.run(None, {name: image[None]})[0] for image in images]
        return np.concatenate([answer.reshape(1, -1) for answer in answers])
    if path.suffix == ".tflite":
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        kernels = OpResolverType.BUILTIN_REF
        with quiet():
            plain = Interpreter(str(path), experimental_op_resolver_type=kernels)
            plain.allocate_tensors()
        entry = plain.get_input_details()[0]
        result = plain.get_output_details()[0]
        answers = []
        for image in images:
            numbers = quantize(image[None], entry["dtype"], *entry["quantization"])
            plain.set_tensor(entry["index"], numbers)
            plain.invoke()
            answer = dequantize(plain.get_tensor(result["index"]), *result["quantization"])
            answers.append(answer.reshape(1, -1))
        return np.concatenate(answers)
    if path.suffix == ".pte":
        return _network_answers(convert.quantize_pt2e(made, images), images)
    return _network_answers(_with_int8_weights(made).eval(), images)  # MNN, with float arithmetic


def _with_int8_weights(made):
    """A copy whose weights are rounded as MNN's: 256 levels from the least to the largest.

    Each output channel has levels of its own.
    """
    rounded = copy.deepcopy(made)
    for layer in rounded.modules():
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
            rows = layer.weight.data.flatten(1)  # [outputs, inputs x height x width]
            low, high = rows.aminmax(dim=1, keepdim=True)
            step = ((high - low) / 255).clamp_min(1e-12)
            layer.weight.data = (((rows - low) / step).round() * step + low).view_as(layer.weight)
    return rounded
