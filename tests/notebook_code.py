"""The definitions of a notebook, for tests: its imports, functions, classes and constants.

Constants are names in upper case. Nothing else of the notebook is run.
"""

import ast

import nbformat

from helpers.paths import ROOT

NOTEBOOKS = ROOT / "notebooks"


def code_cells(name: str) -> list:
    """The code cells of notebooks/NAME.ipynb."""
    return [
        cell
        for cell in nbformat.read(NOTEBOOKS / f"{name}.ipynb", 4).cells
        if cell.cell_type == "code"
    ]


def cell_with(name: str, part: str) -> str:
    """The source of the only code cell of notebooks/NAME.ipynb that contains `part`."""
    [source] = [cell.source for cell in code_cells(name) if part in cell.source]
    return source


class Definitions:
    """Names and values of a notebook as attributes; its code is executed when one is asked for."""

    def __init__(self, name: str, only: set[str] | None) -> None:
        self._name = name
        self._only = only
        self._is_executed = False

    def __getattr__(self, attribute: str) -> object:
        if self._is_executed or attribute.startswith("__"):
            raise AttributeError(f"{self._name} does not define {attribute}")
        self.as_dict()
        return getattr(self, attribute)

    def as_dict(self) -> dict:
        """{name: value}, to be used as the variables of another cell."""
        if not self._is_executed:
            nodes = _definitions(self._name, self._only)
            tree = ast.Module(nodes, type_ignores=[])
            namespace = {"__name__": f"notebook_{self._name}"}
            exec(compile(tree, f"{self._name}.ipynb", "exec"), namespace)
            self._is_executed = True
            vars(self).update(namespace)
        return vars(self)


def definitions(name: str, only: set[str] | None = None) -> Definitions:
    """What notebooks/NAME.ipynb defines; of several definitions of one name, the last one.

    `only` names definitions: they and what they use are executed, and no other import. So a
    machine without the notebook's packages can use a part of it.
    """
    return Definitions(name, only)


def source_of(name: str, *only: str) -> str:
    """The code that defines these names as the notebook does, with all that they use."""
    return ast.unparse(ast.Module(_definitions(name, set(only)), type_ignores=[]))


def sources(name: str) -> dict[str, str]:
    """Functions and classes of a notebook, without comments and layout."""
    nodes = [node for cell in code_cells(name) for node in ast.parse(cell.source).body]
    return {
        node.name: ast.unparse(node)
        for node in nodes
        if isinstance(node, (ast.FunctionDef, ast.ClassDef))
    }


def _definitions(name: str, only: set[str] | None) -> list[ast.stmt]:
    nodes = [
        node for cell in code_cells(name) for node in ast.parse(cell.source).body if _defines(node)
    ]
    return nodes if only is None else _needed(nodes, only)


def _defines(node: ast.stmt) -> bool:
    if isinstance(node, ast.Assign):
        return all(isinstance(target, ast.Name) and target.id.isupper() for target in node.targets)
    return isinstance(node, (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef))


def _needed(nodes: list[ast.stmt], only: set[str]) -> list[ast.stmt]:
    """The nodes that define `only`, and those that they use, in their order."""
    single = [part for node in nodes for part in _one_name_each(node)]
    wanted: set[str] = set()
    new = set(only)
    while new:
        wanted |= new
        used = [_used(node) for node in single if _names(node) & new]
        new = set().union(*used) - wanted
    return [node for node in single if _names(node) & wanted]


def _one_name_each(node: ast.stmt) -> list[ast.stmt]:
    if isinstance(node, ast.Import):
        return [ast.copy_location(ast.Import([alias]), node) for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        return [
            ast.copy_location(ast.ImportFrom(node.module, [alias], node.level), node)
            for alias in node.names
        ]
    return [node]


def _names(node: ast.stmt) -> set[str]:
    """The names that an import, an assignment or a definition binds."""
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return {alias.asname or alias.name.split(".")[0] for alias in node.names}
    if isinstance(node, ast.Assign):
        return {target.id for target in node.targets}
    return {node.name}


def _used(node: ast.stmt) -> set[str]:
    return {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
