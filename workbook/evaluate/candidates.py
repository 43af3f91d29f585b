"""The files that are raced: MODEL itself, and what it is converted to for other runtimes."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from helpers.model_files import parts_of
from modelfiles.errors import ConversionError, WorkbookError, reason
from workbook.evaluate import network as networks
from workbook.evaluate.runtimes import RUNTIMES, runtime_of

if TYPE_CHECKING:
    import torch

NEEDS_NETWORK = (
    "only a PyTorch network can be converted to it: give MODEL as .pt2, or as FILE.py:CLASS"
)


class CandidateError(WorkbookError):
    """The runtimes or options do not fit MODEL."""


@dataclass(frozen=True)
class Candidate:
    """A runtime and its file; without a file, `problem` says why there is none."""

    runtime: str
    is_int8: bool
    path: Path | None
    problem: str = ""

    @property
    def parts(self) -> list[Path]:
        """The files of the model; none without a file."""
        return parts_of(self.path) if self.path else []


@dataclass(frozen=True)
class Source:
    """What is converted: a PyTorch network, or a model file, or both (.pt2)."""

    name: str
    file: Path | None = None
    network: "torch.nn.Module | None" = None

    @property
    def runtime(self) -> str | None:
        """The runtime of the file; None without a file."""
        return runtime_of(self.file) if self.file else None


def source_of(model: str, weights: str | None = None) -> Source:
    """The source of `workbook evaluate MODEL`, with --weights for a class in a Python file.

    CandidateError for a file that no runtime here reads.
    """
    if ".py:" in model:
        network = networks.from_class(model, weights)
        return Source(model.rpartition(":")[2].lower(), network=network)
    path = Path(model)
    runtime = runtime_of(path)
    if runtime is None:
        known = ", ".join(runtime.suffix for runtime in RUNTIMES.values())
        raise CandidateError(
            f"{path.name} is no model that is known here: it must end in {known}, or be a PyTorch "
            "class, FILE.py:CLASS"
        )
    if not path.exists():
        raise CandidateError(f"{path} does not exist")
    if weights:
        raise CandidateError("--weights belongs to a PyTorch class, FILE.py:CLASS")
    name = path.name[: -len(RUNTIMES[runtime].suffix)]
    if runtime == "torch":
        return Source(name, path, networks.from_exported(path))
    return Source(name, path)


def possible_runtimes(source: Source) -> list[str]:
    """The runtimes that `source` can be measured in."""
    if source.network is not None:
        return list(RUNTIMES)
    if source.runtime == "onnx":
        return ["onnx", "mnn"]
    assert source.runtime is not None
    return [source.runtime]


def prepare(
    source: Source,
    runtimes: Sequence[str],
    example: np.ndarray,
    folder: Path,
    calibration: np.ndarray | None = None,
    say: Callable[[str], None] = print,
) -> Iterator[Candidate]:
    """A Candidate for each of `runtimes`, converted into `folder` where needed.

    `example` is one input, float32 with a first axis of 1. With `calibration`, inputs of the same
    kind, the int8 forms follow. `say` is told what is being converted. What cannot be converted is
    a Candidate with the reason.
    """
    made: dict[str, Candidate] = {}
    for runtime in runtimes:
        if runtime == source.runtime:
            made[runtime] = Candidate(runtime, False, source.file)
        else:
            say(f"{source.name}: converting for {runtime} ...")
            made[runtime] = _convert(source, runtime, made, example, folder)
        yield made[runtime]
    if calibration is None:
        return
    for runtime in runtimes:
        if RUNTIMES[runtime].has_int8:
            say(f"{source.name}: quantizing for {runtime} ...")
            yield _quantize(source, runtime, made, folder, calibration)


def _convert(
    source: Source, runtime: str, made: dict[str, Candidate], example: np.ndarray, folder: Path
) -> Candidate:
    import torch

    from helpers import convert

    path = folder / (source.name + RUNTIMES[runtime].suffix)
    writers = {
        "torch": convert.to_pt2,
        "onnx": convert.to_onnx,
        "tflite": convert.to_tflite,
        "ncnn": convert.to_ncnn,
        "executorch": convert.to_executorch,
    }

    def write() -> None:
        if runtime == "mnn":
            convert.to_mnn(_onnx_file(source, made, example, folder), path)
        elif source.network is None:
            raise ConversionError(NEEDS_NETWORK)
        else:
            writers[runtime](source.network, torch.from_numpy(example), path)

    return _attempt(runtime, False, path, write)


def _onnx_file(
    source: Source, made: dict[str, Candidate], example: np.ndarray, folder: Path
) -> Path:
    """The ONNX file that MNN's converter reads: MODEL, or one of this run, never an older one."""
    if source.runtime == "onnx":
        assert source.file is not None
        return source.file
    found = made.get("onnx") or _convert(source, "onnx", made, example, folder)
    if found.path is None:
        raise ConversionError(found.problem)
    return found.path


def _quantize(
    source: Source,
    runtime: str,
    made: dict[str, Candidate],
    folder: Path,
    calibration: np.ndarray,
) -> Candidate:
    from helpers import convert

    path = folder / (f"{source.name}_int8{RUNTIMES[runtime].suffix}")

    def write() -> None:
        if runtime == "executorch":
            if source.network is None:
                raise ConversionError(NEEDS_NETWORK)
            convert.to_executorch_int8(source.network, path, calibration)
        elif runtime == "mnn":
            convert.to_mnn(_onnx_file(source, made, calibration[:1], folder), path, weight_bits=8)
        else:
            float_file = made[runtime].path
            if float_file is None:
                raise ConversionError("there is no float file to quantize")
            writer = convert.to_onnx_int8 if runtime == "onnx" else convert.to_tflite_int8
            writer(float_file, path, calibration)

    return _attempt(runtime, True, path, write)


def _attempt(runtime: str, is_int8: bool, path: Path, write: Callable[[], None]) -> Candidate:
    """The Candidate after write(), which may fail."""
    try:
        write()
    except (ConversionError, ImportError, OSError) as error:
        return Candidate(runtime, is_int8, None, reason(error))
    return Candidate(runtime, is_int8, path)
