"""The process of tensorflow_form: load a TensorFlow model, run it, write it as TFLite.

It is started as SOURCE TARGET FOLDER. If FOLDER has calibration.npy, the file becomes int8. It
writes images.npy and answers.npy there for the comparison, or problem.txt, a sentence.
"""

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

TO_LAST = (0, 2, 3, 1)  # transposes NCHW to NHWC
TO_FIRST = (0, 3, 1, 2)  # and back
CHECKED = 32  # calibration images that are compared


class Problem(Exception):
    """The model cannot be used; the message is a sentence."""


def main(source: Path, target: Path, folder: Path) -> None:
    """Convert `source`; Problem if it cannot be used."""
    import tensorflow as tf

    calibration = folder / "calibration.npy"
    examples = None
    if calibration.exists():
        examples = np.load(calibration, allow_pickle=False)
    place = source
    if not source.is_dir():
        place = folder / "saved"
        _export(source, place)
    model, call, shape = _loaded(place, source.name)
    function = tf.function(call, input_signature=[tf.TensorSpec((1, *shape), tf.float32, "input")])
    inputs = _inputs(shape, examples)
    answers = [np.asarray(function(tf.constant(x[None]))) for x in inputs]
    # with the model, or else the file has no weights
    concrete = function.get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], model)
    if examples is not None:
        every = _channels_last(examples)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: _calls(every)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = tf.int8
        converter.inference_output_type = tf.int8
    target.write_bytes(converter.convert())
    np.save(folder / "images.npy", _channels_first(inputs), allow_pickle=False)
    np.save(folder / "answers.npy", np.concatenate(answers), allow_pickle=False)


def _export(source: Path, place: Path) -> None:
    """Write a .keras file as a SavedModel: a function of a Keras model itself has no weights."""
    import tensorflow as tf

    try:
        model = tf.keras.models.load_model(source, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises many types
        raise Problem(_why_not(str(error), type(error).__name__, source.name)) from error
    if len(model.inputs) != 1:
        raise Problem(f"{source.name} has {len(model.inputs)} inputs; only one is supported")
    _sizes(model.inputs[0].shape[1:], source.name)
    model.export(place, verbose=False)


def _why_not(words: str, kind: str, name: str) -> str:
    if "ambda" in words and "deserializ" in words:
        return (
            f"{name} has a Lambda layer, Python code inside the file, which is not executed: "
            "replace it by a layer of Keras, or give the model as a SavedModel folder"
        )
    unknown = re.search(r"Could not locate (?:class|function) '([^']+)'", words)
    if unknown:
        return (
            f"{name} has a class of its own, {unknown[1]}, and only Keras's own are loaded: give "
            "the model as a SavedModel folder (model.export), which needs no classes"
        )
    first = (words.strip().splitlines() or ["no message"])[0][:200]
    return f"{name} cannot be loaded by Keras: is it damaged? ({kind}: {first})"


def _loaded(source: Path, name: str) -> tuple[object, Callable, tuple[int, ...]]:
    """The SavedModel, a function that computes its first output, and the shape of one input.

    `name` is for messages.
    """
    import tensorflow as tf

    try:
        model = tf.saved_model.load(str(source))
    except Exception as error:  # damaged files raise many types
        first = (str(error).strip().splitlines() or ["no message"])[0][:200]
        raise Problem(f"{name} is no SavedModel that can be loaded ({first})") from error
    signatures = dict(model.signatures)
    if not signatures:
        raise Problem(f"{name} has no signature: save it with model.export or signatures=")
    signature = signatures.get("serving_default") or next(iter(signatures.values()))
    given = signature.structured_input_signature[1]
    if len(given) != 1:
        raise Problem(f"{name} has {len(given)} inputs; only one is supported")
    [(key, entry)] = given.items()
    if entry.dtype != tf.float32 or entry.shape.rank is None:
        raise Problem(f"{name} takes {entry.dtype.name}; only float32 inputs are supported")
    shape = _sizes(entry.shape[1:], name)
    return model, lambda x: _first(signature(**{key: x})), shape


def _sizes(shape: tuple, name: str) -> tuple[int, ...]:
    if not shape or any(size is None for size in shape):
        raise Problem(
            f"{name} leaves the sizes of its input free ({tuple(shape)}): only the number of "
            "examples may be free, so save it with fixed ones"
        )
    return tuple(int(size) for size in shape)


def _first(answer: object) -> object:
    """The first output of a model that returns one, a list, or a dictionary."""
    while isinstance(answer, (list, tuple, dict)):
        values = list(answer.values()) if isinstance(answer, dict) else answer
        answer = values[0]
    return answer


def _inputs(shape: tuple[int, ...], examples: np.ndarray | None) -> np.ndarray:
    """Some examples, or random numbers of two ranges, as the model takes them."""
    if examples is None:
        generator = np.random.default_rng(0)
        noise = generator.standard_normal((4, *shape), np.float32)
        return np.concatenate([noise, generator.random((4, *shape), np.float32)])
    every = _channels_last(examples)
    if every.shape[1:] != shape:
        given = every.shape[1:]
        raise Problem(f"the model takes {shape}, and the calibration examples are {given}")
    chosen = np.linspace(0, len(every) - 1, min(len(every), CHECKED)).astype(int)
    return every[chosen]


def _calls(examples: np.ndarray) -> Iterator[list[np.ndarray]]:
    for example in examples:
        yield [np.ascontiguousarray(example[None])]


def _channels_last(x: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(x.transpose(TO_LAST)) if x.ndim == 4 else x


def _channels_first(x: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(x.transpose(TO_FIRST)) if x.ndim == 4 else x


if __name__ == "__main__":
    place = Path(sys.argv[3])
    try:
        main(Path(sys.argv[1]), Path(sys.argv[2]), place)
    except Problem as problem:
        (place / "problem.txt").write_text(str(problem), encoding="utf-8")
        sys.exit(1)
