"""Statements that change a module rather than a variable.

Examples are sys.setrecursionlimit(10**5) and torch.manual_seed(0).

A function may need them without naming them. Loaded inside the jail, by notebook_loader.py.
"""

import ast
import builtins
import re
from collections.abc import Iterator

try:
    from statement_names import outside_functions  # inside the jail
except ImportError:
    from labs.grading.sandbox.statement_names import outside_functions

# their settings affect all code; those of other modules the code that uses the module
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

    Only statements that read nothing but imports, definitions and `constants` are settings: what
    saves or trains a network is none. only_setters: only calls of functions named like setters.
    """
    modules = {}
    for statement in statements:
        for node in ast.walk(statement):
            modules |= _imported(node)
    for statement in statements:
        if isinstance(statement, ast.FunctionDef) and _only_sets(statement):
            targets = _targets(statement.body, modules, only_setters=True)
            modules[statement.name] = set().union(*targets)
    known = set(dir(builtins)) | set(modules) | constants
    found = []
    for statement, read in zip(statements, reads):
        if read <= known:
            found.append(set().union(*_targets([statement], modules, only_setters)))
        else:
            found.append(set())
    return found


def used(statement: ast.stmt, read: set[str], statements: list[ast.stmt]) -> set[str]:
    """The modules that `statement`, which reads the globals `read`, works with."""
    modules = {}
    for other in statements:
        if isinstance(other, (ast.Import, ast.ImportFrom)):
            modules |= _imported(other)
    found = set().union(*(modules.get(name, set()) for name in read))
    for node in ast.walk(statement):
        found = found.union(*_imported(node).values())
    return found


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
    """Whether a function only sets: def set_seed(n): random.seed(n); torch.manual_seed(n)."""
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
    everywhere = {module(name) for name in EVERYWHERE}
    for node in (node for statement in statements for node in outside_functions(statement)):
        changed, is_set = _changed_by(node)
        if changed is None or (only_setters and not is_set):
            continue
        found = modules.get(_root(changed), set())
        if not is_set:
            found = found - everywhere
        yield found


def _changed_by(node: ast.AST) -> tuple[ast.AST | None, bool]:
    """What `node` calls or assigns for no result, if so; whether it surely sets something."""
    is_call = isinstance(getattr(node, "value", None), ast.Call)
    if is_call and isinstance(node, ast.Expr):
        return node.value, _is_setter(node.value)
    if is_call and isinstance(node, ast.Assign) and _is_setter(node.value):
        return node.value, True  # old = np.seterr(all="raise")
    is_changed = isinstance(getattr(node, "ctx", None), (ast.Store, ast.Del))
    if is_changed and isinstance(node, (ast.Attribute, ast.Subscript)):
        return node, True  # os.environ["A"] = "1"
    return None, False


def _is_setter(call: ast.Call) -> bool:
    name = getattr(call.func, "attr", getattr(call.func, "id", ""))
    return name.startswith("set") or bool(_SETTER.fullmatch(name))


def _root(node: ast.AST) -> str:
    """The name at the beginning of a.b[c].d(e).f."""
    while isinstance(node, (ast.Attribute, ast.Subscript, ast.Call)):
        node = node.func if isinstance(node, ast.Call) else node.value
    if isinstance(node, ast.Name):
        return node.id
    return ""
