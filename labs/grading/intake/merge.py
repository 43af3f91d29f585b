"""The student's cells in their order, with the released ones in their places."""

from dataclasses import dataclass, field

import nbformat

from labs.grading.intake import cells
from labs.grading.intake.cells import Cell


@dataclass
class Repaired:
    """What became of a submission.

    flags: what a person has to review. elsewhere: the same, if points are missing.
    """

    notes: list[str] = field(default_factory=list)
    flags: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)
    # written answers that are as released: 0 points
    untouched: list[str] = field(default_factory=list)
    # {grade_id: digest of what a mark is about}
    texts: dict[str, str] = field(default_factory=dict)
    version: str | None = None  # of the workbook that released the notebook


def own(given: list[Cell], was: list[int | None], released: list) -> list[Cell]:
    """The cells that the student added, and changed cells other than answers.

    An answer in code that is not Python is among them: it may contain other answers.
    """
    found = []
    for cell, i in zip(given, was):
        changed = i is None or cells.is_worked_on(cell, released[i])
        if i is not None and cells.is_answer(released[i]):
            changed = changed and released[i].cell_type == "code" and cell.names is None
        is_empty = not cell.source.strip() and not cell.node.get("outputs")
        if changed and not is_empty and cell.names != {"student_id"}:
            found.append(cell)
    return found


def merge(
    given: list[Cell], was: list[int | None], released: list, elsewhere: list[str], found: Repaired
) -> list[nbformat.NotebookNode]:
    """The cells of the repaired notebook.

    was: for each of `given` the released cell that it was. elsewhere: files that may hold answers,
    too. What is repaired or unclear is added to `found`.
    """
    claims: dict[int, list[Cell]] = {}
    for cell, i in zip(given, was):
        if i is not None and cells.grade_id(released[i]):
            claims.setdefault(i, []).append(cell)
    chosen = {i: _chosen(copies, released[i], found) for i, copies in claims.items()}
    added = own(given, was, released)
    merged = []
    stubs = []
    for cell, i in zip(given, was):
        if i not in chosen:
            merged.append(cell.node)
            continue
        is_worked_on = cells.is_worked_on(cell, released[i])
        if cell is chosen[i]:
            merged += _in_its_place(cell, released[i], found)
            if cells.is_answer(released[i]) and not is_worked_on:
                stubs.append(merged[-1])
        elif is_worked_on:  # a copy; an unchanged one would redefine the answer
            merged.append(cell.node)
    missing = [cell for i, cell in enumerate(released) if i not in claims]
    stubs += _bring_back(merged, missing, released, found)
    _judge(stubs, added, elsewhere, found)
    _silence(stubs, merged, found)
    used = set()
    for number, cell in enumerate(merged):  # a copied cell has the id of the original
        if not cell.get("id") or cell["id"] in used:
            cell["id"] = f"cell-{number}"
        used.add(cell["id"])
    return merged


def _chosen(copies: list[Cell], released: nbformat.NotebookNode, found: Repaired) -> Cell:
    """Of several copies of an answer the last changed one, as Python itself would take it."""
    name = cells.grade_id(released)
    if len(copies) > 1:
        found.notes.append(f"cell {name} occurs {len(copies)} times")
    if cells.is_locked(released):
        return copies[0]
    worked_on = [cell for cell in copies if cells.is_worked_on(cell, released)]
    if len({" ".join(cell.source.split()) for cell in worked_on}) > 1:
        found.elsewhere.append(f"{name} has several answers; the last one was graded")
    if worked_on:
        return worked_on[-1]
    return copies[0]


def _in_its_place(cell: Cell, released: nbformat.NotebookNode, found: Repaired) -> list:
    """The cell with the marks of the released one.

    Code that was written into a locked cell is moved to a new cell above it.
    """
    name = cells.grade_id(released)
    if cell.kind != released.cell_type:
        found.notes.append(
            f"cell {name} was a {cell.kind} cell; it is a {released.cell_type} cell again"
        )
        cell.change_kind(released.cell_type)
    before = []
    if cells.is_locked(released) and not cells.same(cell.source, released.source):
        found.notes.append(f"locked cell {name} was changed, and has been restored")
        if set(cell.source.split()) - set(released.source.split()):
            before = [nbformat.v4.new_code_cell(cell.source, outputs=cell.node.outputs)]
    if cells.is_locked(released):
        cell.node.source = released.source
    cell.node.metadata = released.metadata
    cell.node["id"] = released.get("id", cell.node["id"])
    return [*before, cell.node]


def _bring_back(
    merged: list, missing: list, released: list, found: Repaired
) -> list[nbformat.NotebookNode]:
    """Insert the marked cells that are `missing` where they were; returns the answers of them."""
    order = [cells.grade_id(cell) for cell in released if cells.grade_id(cell)]
    answers = []
    for cell in missing:
        if name := cells.grade_id(cell):
            found.notes.append(f"cell {name} was deleted, and has been restored")
            before = order[: order.index(name)]
            above = [i for i, other in enumerate(merged) if cells.grade_id(other) in before]
            place = max(above, default=-1) + 1
            copy = cell.copy()
            merged.insert(place, copy)
            if cells.is_answer(cell):
                answers.append(copy)
    return answers


def _judge(stubs: list, added: list[Cell], elsewhere: list[str], found: Repaired) -> None:
    """Answers that are as released get 0 points, unless other text may be the answer."""
    with_own_cells = ["cells of their own", *elsewhere]
    written = [cells.grade_id(cell) for cell in stubs if cell.cell_type != "code"]
    code = [cells.grade_id(cell) for cell in stubs if cell.cell_type == "code"]
    places = with_own_cells if any(map(cells.has_words, added)) else elsewhere
    if written and places:
        found.flags.append(
            f"no answer in {', '.join(written)}, but the student wrote {', '.join(places)}: "
            "read it before you give 0"
        )
    elif written:
        found.untouched = written
    places = with_own_cells if added else elsewhere
    if code and places:
        found.elsewhere.append(
            f"no answer in {', '.join(code)}, but the student wrote {', '.join(places)}"
        )


def _silence(stubs: list, merged: list, found: Repaired) -> None:
    """Disable a released function without an answer if the student wrote it in another cell."""
    others = [
        cell
        for cell in merged
        if cell.cell_type == "code"
        and not cells.is_locked(cell)
        and not any(cell is stub for stub in stubs)
    ]
    defined = set().union(*(Cell(cell).names or () for cell in others))
    for stub in stubs:
        if stub.cell_type == "code" and (names := (Cell(stub).names or set()) & defined):
            text = f"{', '.join(sorted(names))}: defined in another cell"
            found.notes.append(text)
            stub.source = f"# {text}"
