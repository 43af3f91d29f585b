"""Write a model file to a temporary path, and rename it only if its outputs are correct."""

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from modelfiles.conversion import compare, culprit, inputs
from modelfiles.conversion.opener import Opener, opener
from modelfiles.errors import ConversionError, ExplainedError, WrongAnswers, reason
from modelfiles.quiet import quiet

FORMAT_NAMES = {
    ".pt2": "PyTorch's .pt2",
    ".torchscript": "TorchScript",
    ".onnx": "ONNX",
    ".tflite": "TFLite",
    ".ncnn.param": "ncnn",
    ".mnn": "MNN",
    ".pte": "ExecuTorch",
}


Write = Callable[[torch.nn.Module, torch.Tensor, Path], None]
FindFault = Callable[[np.ndarray, np.ndarray], str | None]


def write_network(
    network: torch.nn.Module,
    example: torch.Tensor,
    path: Path | str,
    suffix: str,
    write: Write,
    find_fault: FindFault = compare.float_fault,
) -> Path:
    """Write `network` to `path` with write(network, example, scratch file); compare outputs."""

    def convert(layer: torch.nn.Module, image: torch.Tensor, file: Path) -> None:
        _write_and_check(layer, image, file, suffix, write, find_fault)

    path = checked_path(path, suffix)
    with naming_the_layer(network, example, suffix, convert):
        convert(network, example, path)
    return path


def _write_and_check(
    network: torch.nn.Module,
    example: torch.Tensor,
    path: Path,
    suffix: str,
    write: Write,
    find_fault: FindFault,
) -> None:
    with writing(path, suffix) as (scratch, process):
        wanted = inputs.reference(network, example)
        write(wanted.network, wanted.example, scratch)
        if wanted.is_quantized:
            find_fault = compare.int8_fault
        check(scratch, process, wanted.images, wanted.answers, find_fault)


@contextlib.contextmanager
def naming_the_layer(
    network: torch.nn.Module, example: torch.Tensor, suffix: str, convert: Write
) -> Iterator[None]:
    """Add the failing layer to a ConversionError; convert(layer, its input, file) finds it."""
    try:
        yield
    except ConversionError as error:
        if isinstance(error.__cause__, ExplainedError):
            raise
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "layer" + suffix)

            def attempt(layer: torch.nn.Module, image: torch.Tensor) -> None:
                convert(layer, image, file)

            where = culprit.where_it_fails(network, example, attempt)
        if not where:
            raise
        raise _restated(error, f"{str(error).removesuffix('.')}. {where}") from error


@contextlib.contextmanager
def writing(path: Path | str, suffix: str) -> Iterator[tuple[Path, Opener]]:
    """A scratch file that is renamed to `path` at the end, and a process to open it before.

    After an error no file is left. The error becomes a ConversionError that names the format, with
    the converter's last lines as a note; an ImportError is not changed.
    """
    path = checked_path(path, suffix)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        scratch = Path(folder, "model" + suffix)  # an ASCII name, which every library can read
        try:
            # the process starts first, so that it is ready when the network is converted
            with opener(suffix) as process, quiet():
                yield scratch, process
        except ImportError:
            raise
        except Exception as error:
            raise _as_conversion_error(error, FORMAT_NAMES[suffix], path) from error
        for written in sorted(Path(folder).glob("model.*")):
            written.replace(path.with_name(path.name.removesuffix(suffix) + written.name[5:]))


def check(
    file: Path,
    process: Opener,
    images: np.ndarray,
    wanted: np.ndarray,
    find_fault: FindFault,
) -> None:
    """Raise ConversionError unless the outputs of `file` for `images` match `wanted`."""
    if not file.exists():
        raise ConversionError("the converter wrote no file")
    answers = process.answers(file, images)
    fault = find_fault(answers, wanted)
    if fault:
        found = compare.largest_difference(answers, wanted)
        raise WrongAnswers(f"the file's outputs are wrong: {fault}", *found)


def checked_path(path: Path | str, suffix: str) -> Path:
    """`path` with its folder created. ConversionError if the file cannot be written there."""
    path = Path(path)
    if not path.name.endswith(suffix) or path.name == suffix:
        form = FORMAT_NAMES[suffix]
        raise ConversionError(f"A file for {form} is named NAME{suffix}, not {path.name!r}.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConversionError(f"{path.name} cannot be written: {error}") from error
    if path.is_dir():
        raise ConversionError(f"{path.name} cannot be written: a folder has this name.")
    return path


def _as_conversion_error(error: Exception, form: str, path: Path) -> ConversionError:
    """`error` in one sentence, with its notes."""
    return _restated(error, f"Cannot convert to {form} ({path.name}): {reason(error)}")


def _restated(error: Exception, message: str) -> ConversionError:
    """A ConversionError with `message`; one about wrong answers stays one. It keeps the notes."""
    problem = ConversionError(message)
    if isinstance(error, WrongAnswers):
        problem = WrongAnswers(message, error.difference, error.largest)
    for note in getattr(error, "__notes__", []):
        problem.add_note(note)
    return problem
