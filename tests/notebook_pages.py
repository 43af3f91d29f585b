"""What a committed notebook shows, for tests of its sentences; and single cells of it, executed."""

import html
import re

import numpy as np
import pandas as pd
from notebook_code import cell_with, code_cells

CELL = re.compile(r"<t[hd][^>]*>(.*?)</t[hd]>", re.DOTALL)


def printed(name: str) -> str:
    """All lines that the cells of notebooks/NAME.ipynb printed."""
    outputs = [output for cell in code_cells(name) for output in cell.outputs]
    return "".join(output.text for output in outputs if output.output_type == "stream")


def numbers(name: str, line: str) -> list[float]:
    """The numbers in the groups of the pattern `line`, at its first match in what was printed."""
    found = re.search(line, printed(name))
    assert found, f"{name} prints no line like {line!r}"
    return [float(group.replace(",", "")) for group in found.groups()]


def table(name: str, *columns: str, row: str = "") -> pd.DataFrame:
    """The first table of notebooks/NAME.ipynb that has all `columns` and `row`; cells are texts."""
    for cell in code_cells(name):
        for output in cell.outputs:
            text = output.get("data", {}).get("text/html", "")
            frame = _frame(text) if "<table" in text else pd.DataFrame()
            if set(columns) <= set(frame.columns) and (not row or row in frame.index):
                return frame
    raise AssertionError(f"{name} shows no table with the columns {', '.join(columns)}")


def as_numbers(column: pd.Series) -> pd.Series:
    """Texts as numbers; "-" and empty cells as NaN."""
    return column.str.replace(",", "").replace(["-", "", "nan"], np.nan).astype(float)


def run_cell(name: str, part: str, **variables: object) -> dict:
    """Execute the only code cell that has `part`, with these variables; all variables after it."""
    exec(compile(cell_with(name, part), f"{name}.ipynb: {part}", "exec"), variables)
    return variables


def _frame(text: str) -> pd.DataFrame:
    rows = [
        [html.unescape(re.sub("<[^>]*>", "", cell)).strip() for cell in CELL.findall(row)]
        for row in re.findall(r"<tr[^>]*>(.*?)</tr>", text, re.DOTALL)
    ]
    body = [row for row in rows[1:] if len(row) == len(rows[0])]
    return pd.DataFrame([row[1:] for row in body], [row[0] for row in body], rows[0][1:])
