"""What one name of a notebook needs: its definition and all that this reads in turn.

That is imports, functions and globals. Runs inside the jail. Training, plots and tests of the
notebook do not run here unless the asked function reads what they compute. So a call of one
function costs little, and a cell that fails breaks nothing else.
"""

import __future__

import ast
import builtins
import dis
import functools
import json
import linecache
import operator
import re
import types
from collections.abc import Iterator

try:
    import module_settings as settings  # inside the jail
except ImportError:
    from labs.grading.sandbox import module_settings as settings

_DEFINITIONS = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
_READS = {"LOAD_GLOBAL", "LOAD_NAME"}


def load(notebook: str, name: str, namespace: dict, plain: bool) -> list[str]:
    """Run in `namespace` what the .ipynb file `notebook` needs to define `name`.

    A global that is read is computed as in the notebook, in its order; with `plain` only if that
    calls nothing, for notebooks where it takes too long.

    Returns the cells and statements that failed.
    """
    statements, failures = _statements(notebook)
    flags = _future(statements)
    for cell, statement in _select(statements, name, plain):
        try:
            module = ast.Module([statement], [])
            code = compile(module, _name(cell), "exec", flags, dont_inherit=True)
            exec(code, namespace)
        except BaseException as error:  # SystemExit too: the other definitions still count
            failures.append(f"cell {cell}, line {statement.lineno}: {type(error).__name__}")
    return failures


def where(error: BaseException) -> str:
    """The innermost line of the notebook that `error` passed through: " (cell 3, line 7)".

    "" if there is none.
    """
    place = ""
    traceback = error.__traceback__
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
    statements = []
    failures = []
    code_cells = (cell for cell in cells if cell.get("cell_type") == "code")
    for number, cell in enumerate(code_cells, 1):
        source = "".join(cell.get("source", ""))
        try:
            statements += [(number, statement) for statement in parsed(source).body]
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            failures.append(f"cell {number}: {type(error).__name__}")
        linecache.cache[_name(number)] = (len(source), None, source.splitlines(True), _name(number))
    return statements, failures


def parsed(source: str) -> ast.Module:
    """The cell as Python.

    If it is none as it stands, IPython turns its %magic, !command and help? into calls.
    """
    try:
        return ast.parse(source)
    except SyntaxError:
        from IPython.core.inputtransformer2 import TransformerManager

        # below %%time stands Python; of another language the next line fails
        return ast.parse(TransformerManager().transform_cell(re.sub(r"\A\s*%%.*", "pass", source)))


def _future(statements: list[tuple[int, ast.stmt]]) -> int:
    """The compiler's flags of all `from __future__ import`: they hold for the cells below, too."""
    names = [
        alias.name
        for _, statement in statements
        if isinstance(statement, ast.ImportFrom) and statement.module == "__future__"
        for alias in statement.names
    ]
    features = [getattr(__future__, name, None) for name in names]
    flags = [feature.compiler_flag for feature in features if feature]
    return functools.reduce(operator.or_, flags, 0)


def _select(
    statements: list[tuple[int, ast.stmt]], name: str, plain: bool
) -> list[tuple[int, ast.stmt]]:
    """The statements that `name` needs, in the notebook's order.

    They are those that write `name`, and those that write or set what the selected ones read.
    """
    reads = [_names(statement, _READS) for _, statement in statements]
    bodies = [statement for _, statement in statements]
    writes = _writes(bodies, reads)
    plain_ones = [_is_definition(statement) or _is_constant(statement) for statement in bodies]
    given = set().union(*(write for write, is_plain in zip(writes, plain_ones) if is_plain))
    computed = set().union(*(write for write, is_plain in zip(writes, plain_ones) if not is_plain))
    sets = settings.find(bodies, reads, given - computed, only_setters=plain)
    writes = [write | modules for write, modules in zip(writes, sets)]
    reads = [
        read | settings.used(statement, read, bodies) for statement, read in zip(bodies, reads)
    ]
    allowed = {
        i
        for i, (is_plain, modules) in enumerate(zip(plain_ones, sets))
        if not plain or is_plain or modules
    }
    chosen = set()
    needed = {name, "*", *map(settings.module, settings.EVERYWHERE)}
    while True:
        new = {i for i in allowed - chosen if writes[i] & needed}
        if not new:
            return [statements[i] for i in sorted(chosen)]
        chosen |= new
        needed |= set().union(*(reads[i] for i in new))


def _writes(statements: list[ast.stmt], reads: list[set[str]]) -> list[set[str]]:
    """The globals that each statement binds or may change.

    It changes them itself or through a function of the notebook.
    """
    defined = set(dir(builtins))  # what no call changes
    sets = {}
    made_from = {}
    for statement, read in zip(statements, reads):
        if isinstance(statement, _DEFINITIONS):
            defined |= _bound(statement)
            sets |= dict.fromkeys(_bound(statement), _names(statement, {"STORE_GLOBAL"}))
        else:  # an optimizer made from a network may change the network
            for bound in bound_in(statement):
                made_from.setdefault(bound, set()).update(read)
    found = []
    for statement, read in zip(statements, reads):
        writes = bound_in(statement)
        if not isinstance(statement, _DEFINITIONS):
            todo = _changed_in(statement, read) - defined
            changed = set()
            while todo:
                changed |= todo
                sources = set().union(*(made_from.get(other, ()) for other in todo))
                todo = sources - defined - changed
            writes = writes.union(changed, *(sets.get(other, ()) for other in read))
        found.append(writes)
    return found


def _is_definition(statement: ast.stmt) -> bool:
    if not isinstance(statement, (ast.If, ast.Try)):
        return isinstance(statement, _DEFINITIONS)
    inner = []  # of try: import torch, except ImportError: torch = None
    for child in ast.iter_child_nodes(statement):
        if isinstance(child, ast.ExceptHandler):
            inner += child.body
        elif isinstance(child, ast.stmt):
            inner.append(child)
    return all(isinstance(s, ast.Pass) or _is_definition(s) or _is_constant(s) for s in inner)


def _is_constant(statement: ast.stmt) -> bool:
    return isinstance(statement, (ast.Assign, ast.AnnAssign)) and not any(
        isinstance(node, (ast.Call, ast.Await)) for node in ast.walk(statement)
    )


def _names(statement: ast.stmt, operations: set[str]) -> set[str]:
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

    "*" stands for an import that does not name them.
    """
    return {name for node in _outside_functions(statement) for name in _bound(node)}


def _bound(node: ast.AST) -> set[str]:
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


def _changed_in(statement: ast.stmt, read: set[str]) -> set[str]:
    """The names that `statement` may change without binding them.

    These are x and y of a call `x.fit(y)` that stands alone. A loop or a `with` may change all
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


def _outside_functions(statement: ast.stmt) -> Iterator[ast.AST]:
    """The nodes of `statement`, without those inside functions and classes.

    The names in there are their own.
    """
    todo = [statement]
    while todo:
        node = todo.pop()
        yield node
        if not isinstance(node, _SCOPES):
            todo += ast.iter_child_nodes(node)
