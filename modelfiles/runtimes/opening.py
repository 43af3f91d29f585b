"""open_model: from a file's name to a loaded model."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from modelfiles.errors import ModelFileError
from modelfiles.places import display_path
from modelfiles.quiet import quiet
from modelfiles.runtimes import armnn
from modelfiles.runtimes.mnn_file import open_mnn
from modelfiles.runtimes.model import Model, Unsupported
from modelfiles.runtimes.ncnn_file import open_ncnn
from modelfiles.runtimes.onnx_file import open_onnx
from modelfiles.runtimes.pyarmnn_file import open_pyarmnn
from modelfiles.runtimes.tflite_file import open_tflite
from modelfiles.runtimes.torch_files import open_pt2, open_pte, open_torchscript

DELEGATES = ("armnn", "pyarmnn")
MAX_THREADS = 256  # more than any Pi or laptop has; with thousands, runtimes crash or hang

# suffix: the function that opens it, and the package that must be installed
OPENERS: dict[str, tuple[Callable[..., Model], str]] = {
    ".pt2": (open_pt2, "torch"),
    ".torchscript": (open_torchscript, "torch"),
    ".onnx": (open_onnx, "onnxruntime"),
    ".tflite": (open_tflite, "ai-edge-litert"),
    ".ncnn.param": (open_ncnn, "ncnn"),
    ".mnn": (open_mnn, "MNN"),
    ".pte": (open_pte, "executorch"),
}


def open_model(path: Path | str, threads: int = 1, delegate: str | None = None) -> Model:
    """Load the model file at `path` into the runtime for its suffix; OPENERS lists them.

    Model describes inputs and outputs. Its `precision` ("float32", "float16", "int8") is read from
    the operators and weights in the file. For .pte it is read from the file's name (NAME_int8),
    because delegates hide the operators. int8 means that weights have 8 bits.

    `threads` is a whole number from 1 to MAX_THREADS. With delegate="armnn", Arm NN computes the
    layers of a .tflite file that it supports; modelfiles.runtimes.armnn explains how to install it.
    With delegate="pyarmnn", Arm NN runs the whole file, in the system's Python; see pyarmnn_file.

    Raises FileNotFoundError, ModelFileError for a file that cannot be used, ValueError for wrong
    arguments, ImportError (with the install command) for a missing runtime or delegate.
    """
    path = Path(path)
    threads = check_threads(threads)
    suffix = next((known for known in OPENERS if path.name.lower().endswith(known)), None)
    if suffix is None:
        known = ", ".join(OPENERS)
        raise ModelFileError(
            f"{path.name} has an unsupported file extension; supported are {known}"
        )
    if delegate not in (None, *DELEGATES):
        raise ValueError(f'no delegate is called "{delegate}"; there are {", ".join(DELEGATES)}')
    if delegate and suffix != ".tflite":
        raise ValueError(f"{path.name}: Arm NN supports only .tflite files; remove `delegate`")
    if not path.exists():
        raise FileNotFoundError(
            f"{display_path(path)} does not exist; notebook 02 creates the book's model files"
        )
    if path.is_dir():
        raise ModelFileError(f"{display_path(path)} is a folder, not a model file")
    opener, package = OPENERS[suffix]
    try:
        with quiet():
            if delegate == "pyarmnn":
                return open_pyarmnn(path, threads)
            return opener(path, threads, delegate) if delegate else opener(path, threads)
    except ModuleNotFoundError as error:
        raise ImportError(
            f"{path.name} needs {package}, which is not installed here: pip install {package}"
        ) from error
    except armnn.DelegateUnavailable:
        raise
    except ImportError as error:
        raise ImportError(
            f"{path.name} needs {package}, which is installed but cannot be loaded: {error}"
        ) from error
    except Unsupported as error:
        raise ModelFileError(f"{display_path(path)} {error}") from error
    except Exception as error:
        doubt = "not supported by Arm NN" if delegate else "another kind of file"
        why = (str(error).splitlines() or [""])[0]
        raise ModelFileError(
            f"{display_path(path)} cannot be loaded as a {suffix} model: "
            f"is it damaged, or {doubt}? ({type(error).__name__}: {why})"
        ) from error


def check_threads(threads: int) -> int:
    """`threads` as an int. ValueError unless it is a whole number from 1 to MAX_THREADS."""
    is_whole = isinstance(threads, (int, np.integer)) and not isinstance(threads, bool)
    if not is_whole or not 1 <= threads <= MAX_THREADS:
        raise ValueError(f"threads must be a whole number from 1 to {MAX_THREADS}, not {threads!r}")
    return int(threads)
