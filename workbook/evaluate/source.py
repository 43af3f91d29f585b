"""MODEL: what is converted, and which runtimes it can be measured in."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from modelfiles.errors import WorkbookError
from modelfiles.limits import NO_LIMITS, Limits
from workbook.evaluate import network as networks
from workbook.evaluate import opening
from workbook.evaluate.runtimes import RUNTIMES, runtime_of

if TYPE_CHECKING:
    import torch

INSTEAD = {  # what people try, and what to give instead
    (".pt", ".pth"): "it holds weights; give the class, FILE.py:CLASS, and the file as --weights",
    (".h5", ".hdf5"): 'it has the old format of Keras; load it and model.save("net.keras")',
    (".pb",): "give the folder of the SavedModel that it is in",
    (".ncnn.bin",): "it holds ncnn's weights; give the file of layers, .ncnn.param",
    (".py",): "give the class in it, too: FILE.py:CLASS",
    (".pkl", ".pickle", ".joblib"): "it is a pickle, which can run code; export it to ONNX "
    "(scikit-learn: skl2onnx)",
    (".safetensors",): "it holds weights; save them as .pt for --weights, and give FILE.py:CLASS",
}


class CandidateError(WorkbookError):
    """The runtimes or options do not fit MODEL."""


@dataclass(frozen=True)
class Source:
    """What is converted: a PyTorch network, or a model file, or both (.pt2), or TensorFlow's.

    `tensorflow` is a SavedModel folder or a .keras file. `limits` are those of processes that open
    the file.
    """

    name: str
    file: Path | None = None
    network: "torch.nn.Module | None" = None
    tensorflow: Path | None = None
    limits: Limits = NO_LIMITS

    @property
    def runtime(self) -> str | None:
        """The runtime of the file; None without a file."""
        return runtime_of(self.file) if self.file else None


def source_of(model: str, weights: str | None = None, limits: Limits = NO_LIMITS) -> Source:
    """The source of `workbook evaluate MODEL`, with --weights for a class in a Python file.

    A .pt2 file is opened in a process with `limits` first, because this process loads it, too.
    CandidateError for a file that no runtime here reads.
    """
    if ".py:" in model:
        network = networks.from_class(model, weights)
        return Source(model.rpartition(":")[2].lower(), network=network)
    path = Path(model)
    runtime = runtime_of(path)
    is_tensorflow = path.suffix.lower() == ".keras" or (path / "saved_model.pb").is_file()
    if runtime is None and not is_tensorflow:
        raise CandidateError(_unknown(path))
    if not path.exists():
        raise CandidateError(f"{path} does not exist")
    if weights:
        raise CandidateError("--weights belongs to a PyTorch class, FILE.py:CLASS")
    if runtime is None:
        return Source(path.stem, tensorflow=path, limits=limits)
    if path.is_dir():
        raise CandidateError(f"{path.name} is a folder, not a model file")
    name = path.name[: -len(RUNTIMES[runtime].suffix)]
    if runtime == "torch":
        problem = opening.problem_of(path, runtime, limits)
        if problem:
            raise networks.NetworkError(problem)
        return Source(name, path, networks.from_exported(path), limits=limits)
    return Source(name, path, limits=limits)


def _unknown(path: Path) -> str:
    """Why a MODEL is not known, and what to give instead."""
    for suffixes, advice in INSTEAD.items():
        if path.name.lower().endswith(suffixes):
            return f"{path.name} cannot be used as it is: {advice}"
    if path.is_dir():
        return f"{path.name} is a folder without saved_model.pb, so it is no model of TensorFlow"
    known = ", ".join(dict.fromkeys(runtime.suffix for runtime in RUNTIMES.values()))
    return (
        f"{path.name} is no model that is known here: it must end in {known} or .keras, or be a "
        "SavedModel folder, or a PyTorch class, FILE.py:CLASS"
    )


def possible_runtimes(source: Source) -> list[str]:
    """The runtimes that `source` can be measured in."""
    if source.network is not None:
        return [name for name, runtime in RUNTIMES.items() if runtime.usual]
    if source.tensorflow:
        return ["tflite"]
    if source.runtime == "onnx":
        return ["onnx", "mnn"]
    assert source.runtime is not None
    return [source.runtime]
