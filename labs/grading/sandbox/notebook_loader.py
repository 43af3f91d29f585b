"""Loads what one name of a notebook needs: its definition, and all that the definition reads.

That is imports, functions and globals. Runs inside the jail. Training, plots and tests of the
notebook do not run here unless the asked function reads what they compute. So a call of one
function takes little time, and a failing cell breaks nothing else.
"""

import __future__

import ast
import builtins
import functools
import json
import linecache
import operator
import re

try:  # inside the jail
    import module_settings as settings
    import statement_names
except ImportError:
    from labs.grading.sandbox import module_settings as settings
    from labs.grading.sandbox import statement_names


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

    If it is not Python, IPython turns its %magic, !command and help? into calls.
    """
    try:
        return ast.parse(source)
    except SyntaxError:
        from IPython.core.inputtransformer2 import TransformerManager

        # the code below %%time is Python; of another language the next line fails
        return ast.parse(TransformerManager().transform_cell(re.sub(r"\A\s*%%.*", "pass", source)))


def _future(statements: list[tuple[int, ast.stmt]]) -> int:
    """The compiler's flags of all `from __future__ import`: they apply to the cells below, too."""
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
    reads = [statement_names.read_or_set(statement, _READS) for _, statement in statements]
    bodies = [statement for _, statement in statements]
    writes = _writes(bodies, reads)
    plain_ones = [
        statement_names.is_definition(statement) or statement_names.is_constant(statement)
        for statement in bodies
    ]
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
        if isinstance(statement, statement_names.DEFINITIONS):
            defined |= statement_names.bound(statement)
            sets |= dict.fromkeys(
                statement_names.bound(statement),
                statement_names.read_or_set(statement, {"STORE_GLOBAL"}),
            )
        else:  # an optimizer made from a network may change the network
            for bound in statement_names.bound_in(statement):
                made_from.setdefault(bound, set()).update(read)
    found = []
    for statement, read in zip(statements, reads):
        writes = statement_names.bound_in(statement)
        if not isinstance(statement, statement_names.DEFINITIONS):
            todo = statement_names.changed_in(statement, read) - defined
            changed = set()
            while todo:
                changed |= todo
                sources = set().union(*(made_from.get(other, ()) for other in todo))
                todo = sources - defined - changed
            writes = writes.union(changed, *(sets.get(other, ()) for other in read))
        found.append(writes)
    return found
