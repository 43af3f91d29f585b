"""Conversions that are kept: a file is used again if nothing that it was made from has changed.

Next to each converted file stands NAME.made.json. It holds a hash of all that decides the file's
content: the source, the options, the example's shape, the calibration inputs, the versions of the
converters and the code in modelfiles that calls them. It also holds a hash of the file itself, so
that a file that was changed later is converted again.
"""

import hashlib
import importlib.metadata
import json
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from helpers.model_files import parts_of
from helpers.paths import ROOT, whole_file

# the packages whose versions decide what a converter writes
CONVERTERS = {
    ".pt2": ("torch",),
    ".torchscript": ("torch",),
    ".onnx": ("torch", "onnx", "onnxscript", "onnxruntime"),
    ".tflite": ("torch", "litert-torch", "ai-edge-quantizer", "ai-edge-litert"),
    ".ncnn.param": ("torch", "pnnx", "ncnn"),
    ".mnn": ("torch", "onnx", "onnxscript", "MNN"),
    ".pte": ("torch", "torchao", "executorch"),
}


def recipe(suffix: str, source: Path, **options: object) -> dict:
    """All that decides the content of a file with this suffix that is converted from `source`.

    `options` are values that json.dumps can write.
    """
    return {
        "suffix": suffix,
        "source": _hash(parts_of(source)),
        "options": options,
        "python": ".".join(map(str, sys.version_info[:2])),
        "versions": {name: _version(name) for name in CONVERTERS.get(suffix, ())},
        "code": _code(),
    }


def hash_of(content: bytes) -> str:
    """The SHA-256 of an array's bytes, for an option."""
    return hashlib.sha256(content).hexdigest()


def is_current(path: Path, made_from: dict) -> bool:
    """Whether `path` is complete, unchanged, and was made from exactly this recipe."""
    try:
        stored = json.loads(_note(path).read_text(encoding="utf-8"))
        return stored["recipe"] == made_from and stored["file"] == _hash(parts_of(path))
    except (OSError, ValueError, KeyError, TypeError):
        return False


def remember(path: Path, made_from: dict, seconds: float) -> None:
    """Store the recipe of a file that was just converted, and how long that took."""
    content = {"recipe": made_from, "file": _hash(parts_of(path)), "seconds": round(seconds, 2)}
    with whole_file(_note(path)) as part:
        part.write_text(json.dumps(content, indent=1), encoding="utf-8")


def seconds_of(path: Path) -> float | None:
    """How long the last conversion to `path` took; None if that is unknown."""
    try:
        return float(json.loads(_note(path).read_text(encoding="utf-8"))["seconds"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _note(path: Path) -> Path:
    return path.with_name(f"{path.name}.made.json")


def _hash(files: Iterable[Path]) -> str:
    found = hashlib.sha256()
    for file in files:
        content = file.read_bytes()
        found.update(f"{len(content)} ".encode())
        found.update(content)
    return found.hexdigest()


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


@cache
def _code() -> str:
    """A hash of the modules that convert."""
    return _hash(sorted((ROOT / "modelfiles" / "conversion").glob("*.py")))
