"""TFLite files from TensorFlow's models, by TensorFlow's own converter in a separate process."""

import importlib.util
import sys
import tempfile
from pathlib import Path

import numpy as np

from modelfiles.conversion import compare
from modelfiles.conversion.writing import check, writing
from modelfiles.errors import ConversionError, ExplainedError
from modelfiles.limits import NO_LIMITS, Limits
from modelfiles.programs import ProgramFailed, run_program

PACKAGE = "tensorflow-cpu (on a Mac: tensorflow)"


def to_tflite(
    source: Path, path: Path, calibration: np.ndarray | None = None, limits: Limits = NO_LIMITS
) -> Path:
    """TFLite from a SavedModel folder or a .keras file, for one example a call.

    With `calibration`, float32 examples (images NCHW), weights, activations, input and output are
    int8. The outputs are compared with TensorFlow's. Keras's own layers are loaded; classes of
    others and Python code in the file are not. ConversionError, or ImportError without TensorFlow.
    """
    if importlib.util.find_spec("tensorflow") is None:
        raise ImportError(f"{source.name} needs TensorFlow: pip install {PACKAGE}")
    find_fault = compare.float_fault if calibration is None else compare.int8_fault
    with writing(path, ".tflite") as (scratch, process), tempfile.TemporaryDirectory() as folder:
        arguments = [str(source.resolve()), str(scratch), folder]
        if calibration is not None:
            np.save(Path(folder, "calibration.npy"), calibration, allow_pickle=False)
        _run(arguments, Path(folder), limits)
        images = np.load(Path(folder, "images.npy"), allow_pickle=False)
        wanted = np.load(Path(folder, "answers.npy"), allow_pickle=False)
        check(scratch, process, images, wanted, find_fault)
    return path


def _run(arguments: list[str], folder: Path, limits: Limits) -> None:
    command = [sys.executable, "-m", "modelfiles.conversion.tensorflow_process", *arguments]
    settings = {"TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "tensorflow"}
    try:
        run_program(command, "TensorFlow's converter", settings=settings, limits=limits)
    except ProgramFailed as error:
        explained = folder / "problem.txt"
        if explained.exists():
            raise ExplainedError(explained.read_text(encoding="utf-8")) from error
        raise ConversionError(str(error)) from error
