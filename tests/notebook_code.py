"""The definitions of a notebook, for tests: its imports, functions, classes and upper-case constants, nothing run."""

import ast
import types

import nbformat

from helpers.paths import ROOT

NOTEBOOKS = ROOT / "notebooks"


def code_cells(name: str) -> list:
    """The code cells of notebooks/NAME.ipynb."""
    return [cell for cell in nbformat.read(NOTEBOOKS / f"{name}.ipynb", 4).cells if cell.cell_type == "code"]


def definitions(name: str) -> types.SimpleNamespace:
    """What notebooks/NAME.ipynb defines; a later definition of the same name wins, as in the notebook."""
    namespace: dict = {"__name__": f"notebook_{name}"}
    for cell in code_cells(name):
        tree = ast.parse(cell.source)
        tree.body = [node for node in tree.body if _defines(node)]
        exec(compile(tree, f"{name}.ipynb", "exec"), namespace)
    return types.SimpleNamespace(**namespace)


def _defines(node: ast.stmt) -> bool:
    if isinstance(node, ast.Assign):
        return all(isinstance(target, ast.Name) and target.id.isupper() for target in node.targets)
    return isinstance(node, (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef))
