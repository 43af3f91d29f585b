"""Which names a statement of a notebook reads, binds and may change. Loaded inside the jail."""

import ast
import dis
import types
from collections.abc import Iterator

DEFINITIONS = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)


def is_definition(statement: ast.stmt) -> bool:
    if not isinstance(statement, (ast.If, ast.Try)):
        return isinstance(statement, DEFINITIONS)
    inner = []  # of try: import torch, except ImportError: torch = None
    for child in ast.iter_child_nodes(statement):
        if isinstance(child, ast.ExceptHandler):
            inner += child.body
        elif isinstance(child, ast.stmt):
            inner.append(child)
    return all(isinstance(s, ast.Pass) or is_definition(s) or is_constant(s) for s in inner)


def is_constant(statement: ast.stmt) -> bool:
    return isinstance(statement, (ast.Assign, ast.AnnAssign)) and not any(
        isinstance(node, (ast.Call, ast.Await)) for node in ast.walk(statement)
    )


def read_or_set(statement: ast.stmt, operations: set[str]) -> set[str]:
    """The globals that `operations` of `statement`, or of functions in it, name.

    They are read from byte code, which knows what is local. Not among them: what the statement
    itself has bound before, as a loop its variable.
    """
    try:
        todo = [compile(ast.Module([statement], []), "<names>", "exec")]
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return set()
    names = set()
    while todo:
        code = todo.pop()
        bound = set()
        todo += [constant for constant in code.co_consts if isinstance(constant, types.CodeType)]
        for instruction in dis.get_instructions(code):
            if instruction.opname in operations and instruction.argval not in bound:
                names.add(instruction.argval)
            elif instruction.opname == "STORE_NAME":
                bound.add(instruction.argval)
    return names


def bound_in(statement: ast.stmt) -> set[str]:
    """The globals that `statement` binds, or sets entries or attributes of.

    "*" is an import that does not name them.
    """
    return {name for node in outside_functions(statement) for name in bound(node)}


def bound(node: ast.AST) -> set[str]:
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return {alias.asname or alias.name.partition(".")[0] for alias in node.names}
    if isinstance(node, ast.Lambda):
        return set()
    if isinstance(node, _SCOPES):
        return {node.name}
    if isinstance(node, (ast.MatchAs, ast.MatchStar, ast.MatchMapping)):
        return {getattr(node, "name", None) or getattr(node, "rest", None)}
    if isinstance(getattr(node, "ctx", None), (ast.Store, ast.Del)):
        return _base(node)
    return set()


def changed_in(statement: ast.stmt, read: set[str]) -> set[str]:
    """The names that `statement` may change without binding them.

    These are x and y of a statement `x.fit(y)`. A loop or a `with` may change all
    that it reads.
    """
    if isinstance(statement, (ast.For, ast.While, ast.With)):
        return read
    if not isinstance(statement, ast.Expr) or not isinstance(statement.value, ast.Call):
        return set()
    call = statement.value
    given = [*call.args, *(keyword.value for keyword in call.keywords)]
    if isinstance(call.func, ast.Attribute):
        given.append(call.func)
    return set().union(*map(_base, given))


def _base(node: ast.AST) -> set[str]:
    """The name at the beginning of a[b].c, as a set; empty if there is none."""
    while isinstance(node, (ast.Subscript, ast.Attribute, ast.Starred)):
        node = node.value
    if isinstance(node, ast.Name):
        return {node.id}
    return set()


def outside_functions(statement: ast.stmt) -> Iterator[ast.AST]:
    """The nodes of `statement`, without those inside functions and classes.

    The names in there are their own.
    """
    todo = [statement]
    while todo:
        node = todo.pop()
        yield node
        if not isinstance(node, _SCOPES):
            todo += ast.iter_child_nodes(node)
