"""Repairs what students break without meaning to, on a copy: renamed files, copied, deleted and stripped cells.

The release notebook is the measure: locked cells come back as they were released, whatever a hand-in made of them.
"""

import json
import re
import shutil
from pathlib import Path

import nbformat

MAX_NOTEBOOK_MB, MAX_CELLS = 20, 2000  # a lab has about 40 cells; checking each takes a while
_COPY = re.compile(r"([ _-]*(\(\d+\)|[-_ ]\d{1,2}|copy\d*|kopie|copia))+$", re.IGNORECASE)
_NEW_CELL = {"code": nbformat.v4.new_code_cell, "markdown": nbformat.v4.new_markdown_cell, "raw": nbformat.v4.new_raw_cell}


class Unreadable(Exception):
    """There is no notebook, or none that can be read; the text says which."""


def repair(folder: Path, release: Path, target: Path) -> tuple[list[str], list[str]]:
    """Copy the hand-in in `folder` to `target`, its notebook under the release's name and repaired.

    The notes on what was repaired, and the grade_ids of the written answers that are as they were released.
    Unreadable where no notebook can be graded.
    """
    notes = _copy_files(folder, target)
    path, found = _find_notebook(target, release.name)
    notes += found
    given = _read(path)
    book, changed, untouched = _merge(given, nbformat.read(release, 4))
    if path.name != release.name:
        path.unlink()
    nbformat.write(book, target / release.name)
    return notes + changed, untouched


def _copy_files(folder: Path, target: Path) -> list[str]:
    """All files, and "results (1).json" also as "results.json" where there is none."""
    notes = []
    names = [path.name for path in sorted(folder.iterdir()) if path.is_file() and not path.is_symlink()] if folder.is_dir() else []
    for name in names:
        shutil.copyfile(folder / name, target / name)
        plain = _COPY.sub("", Path(name).stem) + Path(name).suffix.lower()
        if plain not in names and not (target / plain).exists() and not name.lower().endswith(".ipynb"):
            shutil.copyfile(folder / name, target / plain)
            notes.append(f"took {name} for {plain}")
    return notes


def _find_notebook(folder: Path, wanted: str) -> tuple[Path, list[str]]:
    books = sorted(folder.glob("*.[iI][pP][yY][nN][bB]"))
    if not books:
        raise Unreadable("there is no notebook in the hand-in")
    if (folder / wanted).exists():
        return folder / wanted, []
    stem = Path(wanted).stem.lower()
    alike = [book for book in books if _COPY.sub("", book.stem).lower() == stem]
    alike = alike or [book for book in books if stem in book.stem.lower()] or books
    if len(alike) > 1:
        raise Unreadable(f"which notebook is meant? {', '.join(book.name for book in alike[:5])}")
    return alike[0], [f"took {alike[0].name} for {wanted}"]


def _read(path: Path) -> list[tuple[nbformat.NotebookNode, str | None, str | None]]:
    """The cells of the notebook at `path`, each with its grade_id and its id as handed in."""
    if path.stat().st_size > MAX_NOTEBOOK_MB << 20:
        raise Unreadable(f"the notebook has more than {MAX_NOTEBOOK_MB} MB: ask for it without outputs")
    try:
        raw = json.loads(path.read_bytes().decode("utf-8-sig", errors="replace"))
        if len(raw["cells"]) > MAX_CELLS:
            raise Unreadable(f"the notebook has {len(raw['cells'])} cells; at most {MAX_CELLS} are read")
        return [_plain_cell(cell) for cell in raw["cells"] if cell.get("cell_type") in _NEW_CELL]
    except (ValueError, RecursionError) as error:
        raise Unreadable("the notebook is cut off or damaged: it is no JSON") from error
    except (TypeError, KeyError, AttributeError) as error:
        raise Unreadable("the file is JSON, and no Jupyter notebook") from error


def _plain_cell(cell: dict) -> tuple[nbformat.NotebookNode, str | None, str | None]:
    """The cell with its source and nothing else: no outputs, no metadata; then its grade_id and its id."""
    source = cell.get("source", "")
    whole = source if isinstance(source, str) else "".join(map(str, source))
    plain = _NEW_CELL[cell["cell_type"]](whole.encode("utf-8", "replace").decode())  # half a character cannot be saved
    grade_id = (cell.get("metadata") or {}).get("nbgrader", {}).get("grade_id")
    return plain, *(mark if isinstance(mark, str) else None for mark in (grade_id, cell.get("id")))


def _merge(given: list, release: nbformat.NotebookNode) -> tuple[nbformat.NotebookNode, list[str], list[str]]:
    """The student's cells in their order, with the released ones in their places. Notes, and written answers untouched."""
    released = {_grade_id(cell): cell for cell in release.cells if _grade_id(cell)}
    by_cell_id = {cell.get("id"): name for name, cell in released.items()}
    by_source = {cell.source: name for name, cell in released.items() if _is_locked(cell) and cell.source.strip()}
    claims: dict[str, list[nbformat.NotebookNode]] = {}
    for cell, grade_id, cell_id in given:
        name = grade_id if grade_id in released else by_cell_id.get(cell_id) or by_source.get(cell.source)
        if name and released[name].cell_type == cell.cell_type:
            claims.setdefault(name, []).append(cell)
    notes, owner = [], {}
    for name, cells in claims.items():
        own = cells[0]
        if not _is_locked(released[name]):  # of copies of an answer, the last one that was worked on
            own = next((cell for cell in reversed(cells) if cell.source.strip() != released[name].source.strip()), own)
        owner[id(own)] = name
        if len(cells) > 1:
            notes.append(f"cell {name} is there {len(cells)} times")
    cells = []
    for cell, *_ in given:
        if name := owner.get(id(cell)):
            cell.metadata, cell["id"] = released[name].metadata, released[name].get("id", cell["id"])
            if _is_locked(released[name]):
                if cell.source.strip() != released[name].source.strip():
                    notes.append(f"locked cell {name} was changed, and is as released again")
                cell.source = released[name].source
        cells.append(cell)
    order = list(released)
    for name in order:
        if name not in claims:
            notes.append(f"cell {name} was deleted, and is back")
            before = order[:order.index(name)]
            place = max((i for i, cell in enumerate(cells) if _grade_id(cell) in before), default=-1)
            cells.insert(place + 1, released[name].copy())
    used = set()
    for number, cell in enumerate(cells):  # a copied cell has the id of the original
        cell["id"] = cell["id"] if cell.get("id") and cell["id"] not in used else f"cell-{number}"
        used.add(cell["id"])
    untouched = [name for name, cell in released.items() if not _is_locked(cell) and all(
        mine.source.strip() == cell.source.strip() for mine in claims.get(name, []))]
    return nbformat.v4.new_notebook(metadata=release.metadata, cells=cells), notes, untouched


def _grade_id(cell: nbformat.NotebookNode) -> str | None:
    return cell.metadata.get("nbgrader", {}).get("grade_id")


def _is_locked(cell: nbformat.NotebookNode) -> bool:
    return not cell.metadata.nbgrader.get("solution", False) and not cell.metadata.nbgrader.get("task", False)
