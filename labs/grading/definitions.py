"""What one name of a notebook needs: its definition, and the imports, functions and globals that this reads in turn.

Runs inside the jail. Training, plots and tests of the notebook do not run here unless the asked function reads what
they compute, so a call of one function costs little, and a cell that fails takes nothing else with it.
"""

import ast
import dis
import json
import linecache
import re
import types
from collections.abc import Iterator

_DEFINITIONS = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
_READS = {"LOAD_GLOBAL", "LOAD_NAME"}


def load(notebook: str, name: str, namespace: dict, plain: bool) -> list[str]:
    """Run in `namespace` what the .ipynb file `notebook` needs to define `name`; the cells and statements that failed.

    A global that is read is computed as in the notebook, in its order; with `plain` only if that calls nothing, for
    notebooks where it takes too long.
    """
    statements, failures = _statements(notebook)
    for cell, statement in _select(statements, name, plain):
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


def _select(statements: list[tuple[int, ast.stmt]], name: str, plain: bool) -> list[tuple[int, ast.stmt]]:
    """The statements that write `name`, and those that write what the selected ones read, in the notebook's order."""
    modules = {bound for _, statement in statements for node in ast.walk(statement)
               if isinstance(node, (ast.Import, ast.ImportFrom)) for bound in _bound(node)}
    reads = [_reads(statement) for _, statement in statements]
    writes = [_bound_in(statement) | (_changed_in(statement) - modules) for _, statement in statements]
    open_ = [not plain or _is_definition(statement) or _is_constant(statement) for _, statement in statements]
    chosen, needed = set(), {name, "*"}
    while new := {i for i, may in enumerate(open_) if may and i not in chosen and writes[i] & needed}:
        chosen |= new
        needed |= set().union(*(reads[i] for i in new))
    return [statements[i] for i in sorted(chosen)]


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


def _bound_in(statement: ast.stmt) -> set[str]:
    """The globals that `statement` binds, or sets entries or attributes of; "*" where an import does not say which."""
    return {name for node in _outside_functions(statement) for name in _bound(node)}


def _bound(node: ast.AST) -> set[str]:
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return {alias.asname or alias.name.partition(".")[0] for alias in node.names}
    if isinstance(node, _SCOPES):
        return set() if isinstance(node, ast.Lambda) else {node.name}
    return _base(node) if isinstance(getattr(node, "ctx", None), ast.Store) else set()


def _changed_in(statement: ast.stmt) -> set[str]:
    """The names x of calls `x.append(1)` that stand alone, in a loop too: such a call may change what x is."""
    calls = [node.value for node in _outside_functions(statement) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)]
    return set().union(*(_base(call.func) for call in calls if isinstance(call.func, ast.Attribute)))


def _base(node: ast.AST) -> set[str]:
    while isinstance(node, (ast.Subscript, ast.Attribute, ast.Starred)):
        node = node.value
    return {node.id} if isinstance(node, ast.Name) else set()


def _outside_functions(statement: ast.stmt) -> Iterator[ast.AST]:
    """The nodes of `statement`, without the inner ones of functions and classes, whose names are their own."""
    todo = [statement]
    while todo:
        node = todo.pop()
        yield node
        if not isinstance(node, _SCOPES):
            todo += ast.iter_child_nodes(node)
