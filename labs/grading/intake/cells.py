"""A notebook's cells as submitted, and which cell of the release each of them was."""

import ast
import json
import re
from dataclasses import dataclass
from functools import cached_property

import nbformat

from labs.grading.sandbox import outputs
from labs.grading.sandbox.notebook_loader import parsed
from labs.grading.sandbox.statement_names import bound_in
from modelfiles.errors import WorkbookError

MAX_NOTEBOOK_MB = 20
MAX_CELLS = 2000  # a lab has about 40 cells; checking each takes a while
_NEW_CELL = {
    "code": nbformat.v4.new_code_cell,
    "markdown": nbformat.v4.new_markdown_cell,
    "raw": nbformat.v4.new_raw_cell,
}


class Unreadable(WorkbookError):
    """There is no notebook, or none that can be read; the text says which."""


@dataclass
class Cell:
    """A cell with its source, its outputs and its pictures; no other metadata."""

    node: nbformat.NotebookNode
    grade_id: str | None = None
    cell_id: str | None = None

    @property
    def kind(self) -> str:
        return self.node.cell_type

    @property
    def source(self) -> str:
        return self.node.source

    def change_kind(self, kind: str) -> None:
        """Make it a cell of another type; the text stays."""
        attachments = self.node.get("attachments", {})
        self.node = _NEW_CELL[kind](self.source)
        if attachments and kind != "code":
            self.node.attachments = attachments

    @cached_property
    def names(self) -> set[str] | None:
        """The globals that the source binds as Python; None if it is not Python."""
        try:
            return {name for statement in parsed(self.source).body for name in bound_in(statement)}
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None


def read(content: bytes) -> list[Cell]:
    """The cells of a notebook, format 3 or 4. Unreadable if it is not a notebook."""
    if len(content) > MAX_NOTEBOOK_MB << 20:
        raise Unreadable(
            f"the notebook has more than {MAX_NOTEBOOK_MB} MB: ask for it without outputs"
        )
    try:
        raw = json.loads(decoded(content))
        if "worksheets" in raw:  # format 3
            cells = [cell for sheet in raw["worksheets"] for cell in sheet["cells"]]
        else:
            cells = raw["cells"]
        if len(cells) > MAX_CELLS:
            raise Unreadable(f"the notebook has {len(cells)} cells; at most {MAX_CELLS} are read")
        return [cell for cell in map(_read_cell, cells) if cell]
    except (ValueError, RecursionError) as error:
        raise Unreadable("the notebook is cut off or damaged: it is not JSON") from error
    except (TypeError, KeyError, AttributeError) as error:
        raise Unreadable("the file is JSON, but not a Jupyter notebook") from error


def version(content: bytes) -> str | None:
    """The version of the workbook that released a notebook; None if it is not stored."""
    try:
        stamp = json.loads(decoded(content))["metadata"]["workbook"]["version"]
    except (ValueError, RecursionError, TypeError, KeyError):
        return None
    return stamp if isinstance(stamp, str) else None


def is_notebook(content: bytes) -> bool:
    """Whether a file, of any name, is a notebook."""
    return len(content) <= MAX_NOTEBOOK_MB << 20 and '"cell_type"' in decoded(content)


def decoded(content: bytes) -> str:
    """UTF-8 or UTF-16 as JSON allows; else what Windows editors write."""
    encoding = json.detect_encoding(content)
    try:
        return content.decode(encoding)
    except UnicodeDecodeError:
        return content.decode("cp1252", errors="replace")


def _read_cell(cell: dict) -> Cell | None:
    source = cell.get("source", cell.get("input", ""))
    kind = cell.get("cell_type")
    if kind not in _NEW_CELL:  # "heading" of format 3
        if not isinstance(source, (str, list)):
            return None
        kind = "markdown"
    whole = outputs.text_of(source).replace("\r\n", "\n").replace("\r", "\n")
    text = whole.encode("utf-8", "replace").decode()  # half a character cannot be saved
    node = _NEW_CELL[kind](text)
    if kind == "code":
        node.outputs = outputs.clean(cell.get("outputs"))
    elif pictures := _pictures(cell.get("attachments")):
        node.attachments = pictures
    grade_id = (cell.get("metadata") or {}).get("nbgrader", {}).get("grade_id")
    return Cell(node, _text_or_none(grade_id), _text_or_none(cell.get("id")))


def _text_or_none(value) -> str | None:
    return value if isinstance(value, str) else None


def _pictures(attachments) -> dict[str, dict[str, str]]:
    """{name: {type: Base64}} of the pictures pasted into a cell; "" for what is not a picture."""
    if not isinstance(attachments, dict):
        return {}
    found = {}
    for name, data in attachments.items():
        kind = content = ""
        if isinstance(data, dict):
            kind, content = next(iter(data.items()), ("", ""))
        found[str(name)[:200]] = {str(kind)[:60]: outputs.encoded(kind, content) or ""}
    return found


def same(one: str, other: str) -> bool:
    """Whether two sources are equal except for white space."""
    return one.split() == other.split()


def has_words(cell: Cell) -> bool:
    """Whether a cell that the student added may be meant as a written answer."""
    if cell.kind != "code":
        return bool(re.search(r"\w", cell.source)) or bool(cell.node.get("attachments"))
    if not cell.source.strip():
        return bool(cell.node.outputs)
    if cell.names is None:
        return bool(re.search(r"\w", cell.source))
    comments = re.findall(r"#(.*)", cell.source)
    strings = [
        node.value
        for node in ast.walk(parsed(cell.source))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    return len(re.findall(r"[^\W\d_]{2,}", " ".join(comments + strings))) >= 3


def match(given: list[Cell], released: list[nbformat.NotebookNode]) -> list[int | None]:
    """For each submitted cell the index of the released cell that it was.

    None for cells that the student added.
    """
    by_grade_id = {grade_id(cell): i for i, cell in enumerate(released) if grade_id(cell)}
    by_id = {cell.get("id"): i for i, cell in enumerate(released)}
    by_source: dict[str, list[int]] = {}
    for i, cell in enumerate(released):
        by_source.setdefault(" ".join(cell.source.split()), []).append(i)
    found = []
    for cell in given:
        # the text of a released cell is better evidence than its id, which editors can move
        alike = by_source.get(" ".join(cell.source.split()), [])
        places = alike if len(alike) == 1 else []
        places = [*places, by_grade_id.get(cell.grade_id), by_id.get(cell.cell_id)]
        fitting = (i for i in places if i is not None and _may_be(cell, released[i]))
        found.append(next(fitting, None))
    _match_by_place(given, released, found)
    return found


def _match_by_place(given: list[Cell], released: list, found: list[int | None]) -> None:
    """Match answers without an id if the cells before and after them leave one possibility."""
    missing = [i for i, cell in enumerate(released) if is_answer(cell) and i not in found]
    while missing:
        low = max((i for i in found if i is not None and i < missing[0]), default=-1)
        high = min((i for i in found if i is not None and i > missing[0]), default=len(released))
        gap = [i for i in missing if i < high]
        missing = missing[len(gap) :]
        begin = found.index(low) + 1 if low >= 0 else 0
        end = found.index(high) if high < len(released) else len(given)
        open_cells = [i for i in range(begin, end) if found[i] is None and given[i].source.strip()]
        if len(gap) == 1:
            alike = [i for i in open_cells if given[i].kind == released[gap[0]].cell_type]
            if len(alike) == 1:
                open_cells = alike
        if len(open_cells) != len(gap):
            continue
        if all(_may_be(given[i], released[j]) for i, j in zip(open_cells, gap)):
            for i, j in zip(open_cells, gap):
                found[i] = j


def _may_be(cell: Cell, released: nbformat.NotebookNode) -> bool:
    """Whether the types fit.

    Code in a text cell must still be Python, and text in a code cell must not be Python.
    """
    if cell.kind == released.cell_type:
        return True
    if released.cell_type == "code":
        return cell.names is not None
    return cell.kind != "code" or not cell.names


def grade_id(cell: nbformat.NotebookNode) -> str | None:
    return cell.metadata.get("nbgrader", {}).get("grade_id")


def is_locked(cell: nbformat.NotebookNode) -> bool:
    marks = cell.metadata.get("nbgrader", {})
    return bool(marks) and not marks.get("solution", False) and not marks.get("task", False)


def is_answer(cell: nbformat.NotebookNode) -> bool:
    return bool(grade_id(cell)) and not is_locked(cell)


def is_worked_on(cell: Cell, released: nbformat.NotebookNode) -> bool:
    """Whether an answer differs from the release."""
    return not same(cell.source, released.source) or bool(cell.node.get("attachments"))
