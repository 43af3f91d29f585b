"""A notebook's cells, run in the process of the test, so that the test can look at what they made.

A chapter's cells are checked by this where they are no functions: a wrong unit or axis in them
changes a variable, a printed line, the expected answer of a task or the truth of a guess.
"""

import ast
import contextlib
import io
from dataclasses import dataclass, field
from unittest.mock import patch

import matplotlib.pyplot as plt
from notebook_code import code_cells


@dataclass
class Page:
    """What the cells left: their variables, what they printed, expected answers and truths."""

    variables: dict = field(default_factory=dict)
    printed: str = ""
    expected: list = field(default_factory=list)  # of the tasks, in order
    truths: dict = field(default_factory=dict)  # of the guesses, by name
    figures: list = field(default_factory=list)  # matplotlib's, in order
    shown: list = field(default_factory=list)  # tables and texts in the last lines of cells

    def __getitem__(self, name: str):
        return self.variables[name]


def run(name: str, **parameters) -> Page:
    """Run all code cells of notebooks/NAME.ipynb with other values of its `parameters`."""
    page = Page({"__name__": f"notebook_{name}"})
    text = io.StringIO()

    def check(answer, expected, *_, **__):
        assert answer is None, "a committed notebook has no answers"
        page.expected.append(expected)

    def score(guess, truth, **_):
        page.truths[guess] = truth

    recorded = patch.multiple(
        "helpers.interactive", check=check, score=score, ask=lambda *_, **__: None
    )
    with recorded, plt.rc_context({"figure.max_open_warning": 0}), contextlib.redirect_stdout(text):
        plt.switch_backend("agg")
        plt.close("all")
        for cell in code_cells(name):
            source = cell.source
            if "parameters" in cell.metadata.get("tags", []):
                source += "".join(f"\n{key} = {value!r}" for key, value in parameters.items())
            page.shown.append(_execute(source, name, page.variables))
        page.figures = [plt.figure(number) for number in plt.get_fignums()]
        plt.close("all")
    page.printed = text.getvalue()
    return page


def _execute(source: str, name: str, variables: dict):
    """Run a cell. Returns the value of its last line if that is an expression."""
    tree = ast.parse(source)
    last: ast.expr = ast.Constant(None)
    if tree.body and isinstance(tree.body[-1], ast.Expr):
        last = tree.body[-1].value
        del tree.body[-1]
    exec(compile(tree, f"{name}.ipynb", "exec"), variables)
    expression = ast.fix_missing_locations(ast.Expression(last))
    return eval(compile(expression, f"{name}.ipynb", "eval"), variables)
