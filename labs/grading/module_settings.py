"""Statements that change a module rather than a variable: sys.setrecursionlimit(10**5), torch.manual_seed(0).

A function may need them without naming them. Loaded inside the jail, by definitions.py.
"""

import ast
import builtins
import re
from collections.abc import Iterator

# their settings hold for all code; those of other modules for the code that uses the module
EVERYWHERE = (
    "builtins",
    "decimal",
    "gc",
    "locale",
    "os",
    "random",
    "resource",
    "sys",
    "threading",
    "warnings",
)
_SETTER = re.compile(
    r"set|.*seed|use|use_.*|.*filter.*|enable|disable|append|insert|extend|update|putenv|"
    r"makedirs|mkdir|chdir|stack_size|basicConfig|reconfigure|reset.*"
)
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
_IN_SETTERS = (
    ast.Expr,
    ast.Assign,
    ast.AugAssign,
    ast.AnnAssign,
    ast.If,
    ast.Import,
    ast.ImportFrom,
    ast.Pass,
    ast.Delete,
    ast.Try,
)


def find(
    statements: list[ast.stmt], reads: list[set[str]], constants: set[str], only_setters: bool
) -> list[set[str]]:
    """For each statement the modules that it sets, as `module` writes them.

    Only statements that read nothing but imports, definitions and `constants` are settings: what saves or
    trains a network is none. only_setters: only calls whose name says that they set something.
    """
    modules = {}
    for statement in statements:
        for node in ast.walk(statement):
            modules |= _imported(node)
    for statement in statements:
        if isinstance(statement, ast.FunctionDef) and _only_sets(statement):
            modules[statement.name] = set().union(
                *_targets(statement.body, modules, only_setters=True)
            )
    known = set(dir(builtins)) | set(modules) | constants
    return [
        set().union(*_targets([statement], modules, only_setters)) if read <= known else set()
        for statement, read in zip(statements, reads)
    ]


def used(statement: ast.stmt, read: set[str], statements: list[ast.stmt]) -> set[str]:
    """The modules that `statement`, which reads the globals `read`, works with."""
    modules = {}
    for other in statements:
        if isinstance(other, (ast.Import, ast.ImportFrom)):
            modules |= _imported(other)
    inner = [_imported(node) for node in ast.walk(statement)]
    return set().union(
        *(modules.get(name, set()) for name in read), *(set().union(*i.values()) for i in inner)
    )


def module(name: str) -> str:
    """How a module is called among the names of variables."""
    return f"module {name.partition('.')[0]}"


def _imported(node: ast.AST) -> dict[str, set[str]]:
    """{name: its module} of an import."""
    if isinstance(node, ast.Import):
        return {
            alias.asname or alias.name.partition(".")[0]: {module(alias.name)}
            for alias in node.names
        }
    if isinstance(node, ast.ImportFrom) and node.module:
        return {alias.asname or alias.name: {module(node.module)} for alias in node.names}
    return {}


def _only_sets(function: ast.FunctionDef) -> bool:
    """Whether a function does nothing but set: def set_seed(n): random.seed(n); torch.manual_seed(n)."""
    return all(
        isinstance(node, _IN_SETTERS)
        for statement in function.body
        for node in ast.walk(statement)
        if isinstance(node, ast.stmt)
    )


def _targets(
    statements: list[ast.stmt], modules: dict[str, set[str]], only_setters: bool
) -> Iterator[set[str]]:
    """The modules whose functions are called, or whose attributes are assigned, for no result."""
    for node in (node for statement in statements for node in _outside_functions(statement)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            call, is_setter = node.value, _is_setter(node.value)
        elif (
            isinstance(node, ast.Assign)
            and isinstance(node.value, ast.Call)
            and _is_setter(node.value)
        ):
            call, is_setter = node.value, True  # old = np.seterr(all="raise")
        elif isinstance(node, (ast.Attribute, ast.Subscript)) and isinstance(
            node.ctx, (ast.Store, ast.Del)
        ):
            call, is_setter = node, True  # os.environ["A"] = "1"
        else:
            continue
        found = modules.get(_root(call), set())
        everywhere = {module(name) for name in EVERYWHERE}
        yield found if is_setter else set() if only_setters else found - everywhere


def _is_setter(call: ast.Call) -> bool:
    name = getattr(call.func, "attr", getattr(call.func, "id", ""))
    return name.startswith("set") or bool(_SETTER.fullmatch(name))


def _root(node: ast.AST) -> str:
    """The name at the beginning of a.b[c].d(e).f."""
    while isinstance(node, (ast.Attribute, ast.Subscript, ast.Call)):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else ""


def _outside_functions(statement: ast.stmt) -> Iterator[ast.AST]:
    todo = [statement]
    while todo:
        node = todo.pop()
        yield node
        if not isinstance(node, _FUNCTIONS):
            todo += ast.iter_child_nodes(node)
