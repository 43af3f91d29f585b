"""Repairs, on a copy, what students break by accident.

That is renamed files and moved, copied or deleted cells. Locked cells are restored. An answer that
is as released earns 0 only if the student wrote nothing else that may be the answer.
"""

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

import nbformat

from labs.grading.intake import archives, cells, names
from labs.grading.intake.archives import BadZip
from labs.grading.intake.cells import Cell, Unreadable
from labs.grading.intake.merge import Repaired, merge, own
from labs.grading.report.pictures import attach_files
from labs.grading.sandbox.limits import DEFAULT_LIMITS, Limits

# where a student may have written what belongs into the notebook
_DOCUMENT = re.compile(
    r"\.(pdf|docx?|odt|rtf|txt|md|tex|html?|pages|png|jpe?g|gif|webp|svg|heic|py)$", re.IGNORECASE
)


@dataclass
class _Book:
    """A notebook of the submission, and for each of its cells the released one that it was."""

    name: str
    cells: list[Cell]
    was: list[int | None]
    version: str | None

    def own(self, released: list) -> list[Cell]:
        return own(self.cells, self.was, released)

    def answers(self, released: list) -> dict[int, str]:
        """{released cell: source} of the changed answers; of several copies the last one."""
        return {
            i: cell.source
            for cell, i in zip(self.cells, self.was)
            if i is not None
            and cells.is_answer(released[i])
            and cells.is_worked_on(cell, released[i])
        }


def repair(folder: Path, release: Path, target: Path, limits: Limits = DEFAULT_LIMITS) -> Repaired:
    """Copy the submission in `folder` to `target`, and repair its notebook.

    The repaired notebook has the release's name. Unreadable if no notebook can be graded.
    """
    try:
        flat = archives.flat(archives.in_folder(folder, limits), limits)
    except BadZip as error:
        raise Unreadable(str(error)) from error
    if not flat.content:
        raise Unreadable(f"there is no notebook in the submission: {flat.problem}")
    found = Repaired(notes=flat.notes, flags=flat.flags)
    files = _renamed(flat.content, found)
    wanted = release.name
    released = nbformat.read(release, 4)
    books = _books(files, released.cells, wanted, found)
    book, *others = sorted(books, key=lambda book: _rank(book, released.cells, wanted))
    if book.name != wanted:
        found.notes.append(f"took {book.name} for {wanted}")
    documents = [
        name
        for name in files
        if _DOCUMENT.search(name)
        and not names.is_notebook(name)
        and not (release.parent / name).exists()
    ]
    if documents:
        found.notes.append(f"also submitted: {', '.join(documents)}")
    elsewhere = [*_unread(book, others, released.cells, found), *documents]
    found.version = book.version
    merged = merge(book.cells, book.was, released.cells, elsewhere, found)
    attach_files(merged, files)
    found.texts = _digests(merged, released.cells, files)
    _save({name: content for name, content in files.items() if name != book.name}, target)
    repaired = nbformat.v4.new_notebook(metadata=released.metadata, cells=merged)
    nbformat.write(repaired, target / wanted)
    return found


def _digests(merged: list, released: list, files: dict[str, bytes]) -> dict[str, str]:
    """{grade_id: digest of what a mark is about}.

    That is the answer, or all that was submitted if there is none.
    """
    whole = hashlib.sha256()
    for name, content in sorted(files.items()):
        whole.update(name.encode() + b"\0" + hashlib.sha256(content).digest())
    digests = {}
    by_name = {cells.grade_id(cell): cell for cell in released}
    for cell in merged:
        name = cells.grade_id(cell)
        if not name or not cell.metadata.nbgrader.get("grade"):
            continue
        if cells.is_answer(cell) and cells.is_worked_on(Cell(cell), by_name[name]):
            text = f"{cell.source}\0{cell.get('attachments', '')}"
            digests[name] = hashlib.sha256(text.encode()).hexdigest()
        else:
            digests[name] = whole.hexdigest()
    return digests


def _save(files: dict[str, bytes], target: Path) -> None:
    """Write `files`; one under two names uses disk space once."""
    written: dict[int, str] = {}
    for name, content in files.items():
        if id(content) in written:
            os.link(target / written[id(content)], target / name)
        else:
            (target / name).write_bytes(content)
            written[id(content)] = name


def _renamed(content: dict[str, bytes], found: Repaired) -> dict[str, bytes]:
    """All files, "results (1).json" as "results.json" where there is none."""
    files = dict(content)
    for name in content:
        plain = names.without_copy(name)
        if plain not in files and not names.is_notebook(name):
            files[plain] = content[name]
            found.notes.append(f"took {name} for {plain}")
    return files


def _books(files: dict[str, bytes], released: list, wanted: str, found: Repaired) -> list[_Book]:
    """The notebooks of the submission that can be read; Unreadable if there is none."""
    books = []
    unread = []
    for name, content in files.items():
        may_be_notebook = Path(name).suffix.lower() in ("", ".json", ".txt")
        if not names.is_notebook(name) and not (may_be_notebook and cells.is_notebook(content)):
            continue
        try:
            given = cells.read(content)
            books.append(_Book(name, given, cells.match(given, released), cells.version(content)))
        except Unreadable as error:
            unread.append((name, error))
    if books:
        found.flags += [f"{name} cannot be read: {error}" for name, error in unread]
        return books
    if unread:
        raise next((error for name, error in unread if name == wanted), unread[0][1])
    problem = "there is no notebook in the submission"
    if files:
        problem += f", only {', '.join(list(files)[:5])}"
    raise Unreadable(problem)


def _rank(book: _Book, released: list, wanted: str) -> tuple:
    """The key to sort by: the notebook with the most changed answers comes first.

    Among equals, the one with the release's name comes first, then one with a similar name.
    """
    plain = names.without_copy(book.name).lower()
    return (
        -len(book.answers(released)),
        book.name != wanted,
        plain != wanted.lower(),
        Path(wanted).stem.lower() not in plain,
        -len(book.own(released)),
        book.name,
    )


def _unread(book: _Book, others: list[_Book], released: list, found: Repaired) -> list[str]:
    """The names of the other notebooks that contain what `book` does not."""
    texts = {" ".join(cell.source.split()) for cell in book.cells}
    names_of_others = []
    for other in others:
        new = [cell for cell in other.own(released) if " ".join(cell.source.split()) not in texts]
        answers = other.answers(released)
        differing = [
            cells.grade_id(released[i])
            for i, source in answers.items()
            if " ".join(source.split()) not in texts
        ]
        if differing:
            found.flags.append(
                f"{other.name} has other answers ({', '.join(differing)}): {book.name} was graded"
            )
        if differing or new:
            names_of_others.append(other.name)
    return names_of_others
