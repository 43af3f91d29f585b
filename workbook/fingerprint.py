"""What the outputs of a notebook depend on, as one hash: where it is equal, nothing has to run."""

import ast
import hashlib
import json
import os
import platform
import re
from collections.abc import Iterator
from pathlib import Path

import nbformat

from helpers.interactive import drawing_path
from helpers.paths import PACKAGES, ROOT, build_path

SETTINGS = ("WORKBOOK_DATA", "WORKBOOK_OFFLINE", "OMP_NUM_THREADS")


def fingerprint(name: str, notebook: nbformat.NotebookNode) -> dict[str, str]:
    """{what the notebook depends on: its hash}.

    The parts are its code with the parameters, each module of this project that it imports (and
    what that imports), the trained networks and stored figures that it reads, the digit that the
    reader drew, the packages and the settings.
    """
    code = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    parts = {"its code": _hash("\0".join(code))}
    for path in modules(code):
        parts[path.relative_to(ROOT).as_posix()] = _hash_file(path)
    for path in _networks(code):
        parts[f"the network {path.stem}"] = _hash_file(path)
    stored = ROOT / "notebooks" / "figures" / f"{name}.json"
    if stored.exists():
        parts["its stored figures"] = _hash_file(stored)
    if any("my_digit(" in source for source in code) and drawing_path().exists():
        parts["the drawn digit"] = _hash_file(drawing_path())
    parts["the packages"] = _hash(platform.python_version()) + _hash_file(ROOT / "requirements.txt")
    parts["the settings"] = _hash(json.dumps([os.environ.get(setting) for setting in SETTINGS]))
    return parts


def changes(before: dict[str, str], now: dict[str, str]) -> list[str]:
    """What differs between two fingerprints, in words."""
    return sorted(part for part in before.keys() | now.keys() if before.get(part) != now.get(part))


def modules(code: list[str]) -> list[Path]:
    """The files of this project's modules that the code imports, directly or not."""
    found: set[Path] = set()
    new = {path for source in code for path in _imported(source)}
    while new:
        found |= new
        used = {path for file in new for path in _imported(file.read_text(encoding="utf-8"))}
        new = used - found
    return sorted(found)


def _imported(source: str) -> Iterator[Path]:
    try:
        tree = ast.parse(source)
    except SyntaxError:  # a cell with a magic line; it fails, or does not, when it runs
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _files(alias.name)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from _files(node.module)
            for alias in node.names:
                yield from _files(f"{node.module}.{alias.name}")


def _files(name: str) -> Iterator[Path]:
    """The file of the module `name`, and those of the packages that it lies in."""
    parts = name.split(".")
    if parts[0] not in PACKAGES:
        return
    for i in range(1, len(parts) + 1):
        folder = ROOT.joinpath(*parts[:i])
        for path in (folder / "__init__.py", folder.with_suffix(".py")):
            if path.exists():
                yield path


def _networks(code: list[str]) -> list[Path]:
    """The checkpoints of trained networks whose names stand in the code as strings."""
    words = set(re.findall(r"""["'](\w+)["']""", "\n".join(code)))
    return [
        path for path in sorted(build_path("models", "x").parent.glob("*.pt")) if path.stem in words
    ]


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _hash_file(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
