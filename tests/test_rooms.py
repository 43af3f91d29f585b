"""The packages: their modules, what each may import, and how long a module may be."""

import ast
import json
import re
from functools import cache
from pathlib import Path

import pytest

from helpers.paths import ROOT

PACKAGES = ("helpers", "modelfiles", "workbook", "labs.grading")
MAY_IMPORT = {
    "helpers": {"modelfiles"},
    "modelfiles": set(),
    "workbook": {"helpers", "modelfiles"},
    "labs.grading": {"helpers", "modelfiles"},
}
LONGEST = 260
# of helpers without the parts below: what all chapters share stays a package that a reader can know
MOST_STATEMENTS = 1800
# of parts that a reader can skip until their chapter: (its rooms and modules, most statements)
PARTS_OF_HELPERS = {
    "01, augmented images": (["helpers.augmentation"], 20),
    "04 and 04b, codebooks": (["helpers.codebooks"], 50),
    "08, its plumbing": (["helpers.bench"], 160),
    "09 and 10, the digit detector and its figures": (
        [
            "helpers.digit_detector",
            "helpers.digit_targets",
            "helpers.data.digit_scenes",
            "helpers.data.photos",
            "helpers.metrics.matching",
            "helpers.metrics.mean_precision",
            "helpers.metrics.overlap",
        ],
        480,
    ),
    # 50 check the labels of pictures that readers bring, 480 open cameras and say why one fails,
    # and 60 make MobileNetV2 from the weights of its int8 file
    "09b and 11, photographs and cameras": (["helpers.vision"], 1165),
    # what notebooks call is explained in them: ask, score, check, draw
    "every chapter": (["helpers.interactive"], 250),
}
IMPORT_TORCH = {
    "helpers.augmentation",
    "helpers.models",
    "helpers.training",
    "helpers.convert",
    "helpers.digit_detector",
    "helpers.digit_targets",
    "helpers.vision.published",
}


@cache
def modules() -> dict[str, Path]:
    """{dotted name: file} of all modules; a package has the name of its folder."""
    found = {}
    for package in PACKAGES:
        for path in (ROOT / package.replace(".", "/")).rglob("*.py"):
            parts = path.relative_to(ROOT).with_suffix("").parts
            name = ".".join(parts).removesuffix(".__init__")
            found[name] = path
    return found


def imported(tree: ast.AST, at_top: bool = False) -> set[str]:
    """The modules of this project that the code imports; with `at_top` only while it is loaded."""
    nodes = ast.iter_child_nodes(tree) if at_top else ast.walk(tree)
    names = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                names.add(whole if whole in modules() else node.module)
    return names


def parsed(name: str) -> ast.Module:
    return ast.parse(modules()[name].read_text(encoding="utf-8"))


def package_of(name: str) -> str | None:
    return next((p for p in PACKAGES if name == p or name.startswith(f"{p}.")), None)


@pytest.mark.parametrize("name", sorted(modules()))
def test_a_package_imports_only_what_it_may(name):
    allowed = {package_of(name), *MAY_IMPORT[package_of(name)], None}
    assert {package_of(other) for other in imported(parsed(name))} <= allowed


def test_no_module_needs_itself():
    needs = {name: imported(parsed(name), at_top=True) & set(modules()) for name in modules()}
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join([*path, name])
        if name not in done:
            for other in needs[name]:
                visit(other, (*path, name))
            done.add(name)

    for name in needs:
        visit(name, ())


@pytest.mark.parametrize("name", sorted(modules()))
def test_no_module_is_long(name):
    assert len(modules()[name].read_text(encoding="utf-8").splitlines()) <= LONGEST


def statements(name: str) -> int:
    """How many statements a module has, without its docstrings."""
    nodes = list(ast.walk(parsed(name)))
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = [
        node for node in nodes if isinstance(node, documented) and ast.get_docstring(node)
    ]
    return sum(isinstance(node, ast.stmt) for node in nodes) - len(docstrings)


def test_helpers_is_small():
    counted = {name: statements(name) for name in modules() if package_of(name) == "helpers"}
    for chapters, (parts, most) in PARTS_OF_HELPERS.items():
        inside = [
            name for name in counted if any(f"{name}.".startswith(f"{part}.") for part in parts)
        ]
        assert sum(counted.pop(name) for name in inside) <= most, chapters
    assert sum(counted.values()) <= MOST_STATEMENTS


@pytest.mark.parametrize("name", [name for name in sorted(modules()) if name.startswith("helpers")])
def test_helpers_load_without_torch(name):
    tops = {other.split(".")[0] for other in imported(parsed(name), at_top=True)}
    assert "torch" not in tops or name in IMPORT_TORCH


def test_every_module_of_helpers_serves_a_notebook_or_a_lab():
    used = set()
    for path in [*ROOT.glob("notebooks/*.ipynb"), *ROOT.glob("labs/source/*/*.ipynb")]:
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            if cell["cell_type"] == "code":
                lines = "".join(cell["source"]).splitlines()
                code = "\n".join(line for line in lines if not line.lstrip().startswith(("%", "!")))
                used |= imported(ast.parse(code)) & set(modules())
    todo = set(used)
    while todo:
        name = todo.pop()
        room = name.rpartition(".")[0]
        new = (imported(parsed(name)) | {room}) & set(modules()) - used
        used |= new
        todo |= new
    used.add("helpers.device.peak_process")  # a process of its own, started by its name
    used.add("helpers.errors")  # what callers catch; notebooks show messages
    assert not {name for name in modules() if name.startswith("helpers")} - used


def rooms() -> list[str]:
    return sorted(name for name, path in modules().items() if path.name == "__init__.py")


@pytest.mark.parametrize("room", rooms())
def test_a_room_names_all_that_is_in_it(room):
    text = ast.get_docstring(parsed(room)) or ""
    inside = {
        name.removeprefix(f"{room}.")
        for name in modules()
        if name.rpartition(".")[0] == room and not name.rpartition(".")[2].startswith("_")
    }
    assert not {name for name in inside if not re.search(rf"\b{name}\b", text)}
    listed = set(re.findall(r"^(\w+) {2,}\S", text, re.MULTILINE))
    assert listed <= inside, "listed, and not there"
