"""Which libraries a student's function uses, for labs that ask to write what a library has.

The notebook is read, not run. Honest mistakes are found; code that hides its imports is not.
"""

import ast
import json
from functools import lru_cache

from labs.grading.checks.questions import Student
from labs.grading.sandbox.notebook_loader import parsed
from labs.grading.sandbox.statement_names import bound_in, read_or_set

_READS = {"LOAD_GLOBAL", "LOAD_NAME"}
# what a cell that is not Python may raise
_UNREADABLE = (SyntaxError, ValueError, RecursionError, MemoryError)


def check(student: Student, name: str, libraries: tuple[str, ...]) -> None:
    """AssertionError if the student's function `name` uses one of `libraries`, as "cv2".

    What it calls of the notebook counts as well. A cell that the function does not need may use
    them, for example to compare results.
    """
    content = (student.folder / student.notebook).read_text(encoding="utf-8")
    for module in sorted(used_modules(content, name)):
        for library in libraries:
            assert not f"{module}.".startswith(f"{library}."), (
                f"{name} uses {library}, which is not allowed in this lab: write it yourself"
            )


@lru_cache(maxsize=32)  # a check calls a function often
def used_modules(content: str, name: str) -> frozenset[str]:
    """The modules that the global `name` of a notebook reads, itself or through other globals.

    `content` is the text of the .ipynb file. Of `from a import b` the result has "a" and "a.b", of
    `a.b.c` "a.b" and "a.b.c". A text counts as well, because importlib.import_module takes one. So
    not all of them are modules.
    """
    binding: dict[str, list[ast.stmt]] = {}
    for statement in _statements(content):
        for bound in bound_in(statement):
            binding.setdefault(bound, []).append(statement)
    modules: set[str] = set()
    todo = [name, "*"]  # a star import binds any name
    done = set()
    while todo:
        needed = todo.pop()
        if needed in done:
            continue
        done.add(needed)
        for statement in binding.get(needed, ()):
            modules = modules.union(*(_modules(node, needed) for node in ast.walk(statement)))
            todo += read_or_set(statement, _READS)
    return frozenset(modules)


def _modules(node: ast.AST, needed: str) -> set[str]:
    """The modules that one node names; of an import only what binds `needed`, if it does."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return {node.value}
    if isinstance(node, ast.Attribute):
        return {ast.unparse(node)}
    if not isinstance(node, (ast.Import, ast.ImportFrom)):
        return set()
    bound = {alias: alias.asname or alias.name.partition(".")[0] for alias in node.names}
    aliases = [alias for alias in node.names if bound[alias] == needed] or node.names
    if isinstance(node, ast.Import):
        # `import a.b` binds a: a.b is what attributes name
        return {alias.name if alias.asname else bound[alias] for alias in aliases}
    return {f"{node.module}.{alias.name}" for alias in aliases} | {str(node.module)}


@lru_cache(maxsize=1)
def _statements(content: str) -> tuple[ast.stmt, ...]:
    """The statements of all code cells at the top level; cells that are not Python are skipped."""
    statements = []
    for cell in json.loads(content)["cells"]:
        if cell.get("cell_type") == "code":
            try:
                statements += parsed("".join(cell.get("source", ""))).body
            except _UNREADABLE:
                continue
    return tuple(statements)
