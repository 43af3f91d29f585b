"""The definitions of a notebook without the rest of it: imports, functions, classes, and the globals they read.

Runs inside the jail. Training, plots and tests of the notebook do not run here, so a call of one function costs
little, and a cell that fails takes nothing else with it.
"""

import ast
import dis
import json
import linecache
import re
import types

_DEFINITIONS = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_READS = {"LOAD_GLOBAL", "LOAD_NAME"}


def load(notebook: str, namespace: dict, plain: bool) -> list[str]:
    """Run the definitions of the .ipynb file `notebook` in `namespace`; the cells and statements that failed.

    A global that a definition reads is computed as in the notebook; with `plain` only if that calls nothing, for
    notebooks where it takes too long.
    """
    statements, failures = _statements(notebook)
    for cell, statement in _select(statements, plain):
        try:
            exec(compile(ast.Module([statement], []), _name(cell), "exec"), namespace)
        except BaseException as error:  # SystemExit too: the other definitions still count
            failures.append(f"cell {cell}, line {statement.lineno}: {type(error).__name__}")
    return failures


def where(error: BaseException) -> str:
    """" (cell 3, line 7)": the innermost line of the notebook that `error` passed through, "" if none."""
    place, traceback = "", error.__traceback__
    while traceback is not None:
        if match := re.fullmatch(r"<(cell \d+)>", traceback.tb_frame.f_code.co_filename):
            place = f" ({match[1]}, line {traceback.tb_lineno})"
        traceback = traceback.tb_next
    return place


def _name(cell: int) -> str:
    return f"<cell {cell}>"


def _statements(notebook: str) -> tuple[list[tuple[int, ast.stmt]], list[str]]:
    with open(notebook, encoding="utf-8") as file:
        cells = json.load(file)["cells"]
    statements, failures = [], []
    for number, cell in enumerate((c for c in cells if c.get("cell_type") == "code"), 1):
        source = "".join(cell.get("source", ""))
        # what only IPython understands, %magic and !command, becomes `pass`
        source = re.sub(r"^([ \t]*)[%!?].*$", r"\1pass", source, flags=re.MULTILINE)
        try:
            statements += [(number, statement) for statement in ast.parse(source).body]
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            failures.append(f"cell {number}: {type(error).__name__}")
        linecache.cache[_name(number)] = (len(source), None, source.splitlines(True), _name(number))
    return statements, failures


def _select(statements: list[tuple[int, ast.stmt]], plain: bool) -> list[tuple[int, ast.stmt]]:
    """The definitions, and the statements that write a name which what is selected reads, in the notebook's order."""
    chosen = [_is_definition(statement) or _is_constant(statement) for _, statement in statements]
    if not plain:
        reads = [_reads(statement) for _, statement in statements]
        writes = [_writes(statement) for _, statement in statements]
        needed = set().union(*(r for r, chose in zip(reads, chosen) if chose))
        while new := [i for i, chose in enumerate(chosen) if not chose and writes[i] & needed]:
            for i in new:
                chosen[i] = True
                needed |= reads[i]
    return [statement for statement, chose in zip(statements, chosen) if chose]


def _is_definition(statement: ast.stmt) -> bool:
    if isinstance(statement, (ast.If, ast.Try)):  # try: import torch, except ImportError: torch = None
        parts = [child for child in ast.iter_child_nodes(statement) if isinstance(child, (ast.stmt, ast.ExceptHandler))]
        inner = [s for part in parts for s in (part.body if isinstance(part, ast.ExceptHandler) else [part])]
        return all(isinstance(s, ast.Pass) or _is_definition(s) or _is_constant(s) for s in inner)
    return isinstance(statement, _DEFINITIONS)


def _is_constant(statement: ast.stmt) -> bool:
    return isinstance(statement, (ast.Assign, ast.AnnAssign)) and not any(
        isinstance(node, (ast.Call, ast.Await)) for node in ast.walk(statement))


def _reads(statement: ast.stmt) -> set[str]:
    """The globals that `statement`, or a function in it, reads: from its byte code, which knows what is local."""
    try:
        todo = [compile(ast.Module([statement], []), "<reads>", "exec")]
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return set()
    names = set()
    while todo:
        code = todo.pop()
        todo += [constant for constant in code.co_consts if isinstance(constant, types.CodeType)]
        names |= {i.argval for i in dis.get_instructions(code) if i.opname in _READS}
    return names


def _writes(statement: ast.stmt) -> set[str]:
    """The globals that `statement` sets, or sets entries or attributes of; none for a bare expression."""
    if not isinstance(statement, (ast.Assign, ast.AnnAssign, ast.AugAssign, ast.For, ast.With, ast.If, ast.Try)):
        return set()
    names = set()
    for node in ast.walk(statement):
        if isinstance(getattr(node, "ctx", None), ast.Store):
            while isinstance(node, (ast.Subscript, ast.Attribute, ast.Starred)):
                node = node.value
            if isinstance(node, ast.Name):
                names.add(node.id)
    return names
