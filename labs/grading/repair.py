"""Repairs what students break without meaning to, on a copy: renamed files, moved, copied and deleted cells.

The release notebook is the measure: locked cells come back as they were released. An answer that is as released
earns 0 by itself only where the student wrote nothing else that could be meant.
"""

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

import nbformat

from labs.grading import archives, cells, names
from labs.grading.archives import BadZip
from labs.grading.cells import Cell, Unreadable
from labs.grading.jail import Limits
from labs.grading.merge import Repaired, merge, own
from labs.grading.pictures import attach_files

# where a student may have written what belongs into the notebook
_DOCUMENT = re.compile(
    r"\.(pdf|docx?|odt|rtf|txt|md|tex|html?|pages|png|jpe?g|gif|webp|svg|heic|py)$", re.IGNORECASE
)


@dataclass
class _Book:
    """A notebook of the hand-in, and for each of its cells the released one that it was."""

    name: str
    cells: list[Cell]
    was: list[int | None]

    def own(self, released: list) -> list[Cell]:
        return own(self.cells, self.was, released)

    def answers(self, released: list) -> dict[int, str]:
        """{released cell: source} of the answers that were worked on; of copies the last one."""
        return {
            i: cell.source
            for cell, i in zip(self.cells, self.was)
            if i is not None
            and cells.is_answer(released[i])
            and cells.is_worked_on(cell, released[i])
        }


def repair(folder: Path, release: Path, target: Path, limits: Limits = Limits()) -> Repaired:
    """Copy the hand-in in `folder` to `target`, its notebook under the release's name and repaired.

    Unreadable where no notebook can be graded.
    """
    try:
        flat = archives.flat(archives.in_folder(folder, limits), limits)
    except BadZip as error:
        raise Unreadable(str(error)) from error
    if not flat.content:
        raise Unreadable(f"there is no notebook in the hand-in: {flat.problem}")
    found = Repaired(notes=flat.notes, look=flat.look)
    files = _renamed(flat.content, found)
    wanted, released = release.name, nbformat.read(release, 4)
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
    found.notes += [f"also handed in: {', '.join(documents)}"] if documents else []
    elsewhere = [*_unread(book, others, released.cells, found), *documents]
    merged = merge(book.cells, book.was, released.cells, elsewhere, found)
    attach_files(merged, files)
    found.texts = _digests(merged, released.cells, files)
    _save({name: content for name, content in files.items() if name != book.name}, target)
    nbformat.write(
        nbformat.v4.new_notebook(metadata=released.metadata, cells=merged), target / wanted
    )
    return found


def _digests(merged: list, released: list, files: dict[str, bytes]) -> dict[str, str]:
    """{grade_id: digest of what a mark is about}: the answer, or all that was handed in where there is none."""
    whole = hashlib.sha256()
    for name, content in sorted(files.items()):
        whole.update(name.encode() + b"\0" + hashlib.sha256(content).digest())
    digests = {}
    by_name = {cells.grade_id(cell): cell for cell in released}
    for cell in merged:
        if (name := cells.grade_id(cell)) and cell.metadata.nbgrader.get("grade"):
            text = f"{cell.source}\0{cell.get('attachments', '')}"
            own = cells.is_answer(cell) and cells.is_worked_on(Cell(cell), by_name[name])
            digests[name] = hashlib.sha256(text.encode()).hexdigest() if own else whole.hexdigest()
    return digests


def _save(files: dict[str, bytes], target: Path) -> None:
    """Write `files`; one under two names takes its room once."""
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
    """The notebooks of the hand-in that can be read; Unreadable where there is none."""
    books, unread = [], []
    for name in files:
        if not names.is_notebook(name) and not (
            Path(name).suffix.lower() in ("", ".json", ".txt") and cells.is_notebook(files[name])
        ):
            continue
        try:
            given = cells.read(files[name])
            books.append(_Book(name, given, cells.match(given, released)))
        except Unreadable as error:
            unread.append((name, error))
    if books:
        found.look += [f"{name} cannot be read: {error}" for name, error in unread]
        return books
    if unread:
        raise next((error for name, error in unread if name == wanted), unread[0][1])
    held = f", only {', '.join(list(files)[:5])}" if files else ""
    raise Unreadable(f"there is no notebook in the hand-in{held}")


def _rank(book: _Book, released: list, wanted: str) -> tuple:
    """Where the most answers were worked on comes first; of equal ones the name of the release, then one like it."""
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
    """The other notebooks that hold what `book` does not."""
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
            found.look.append(
                f"{other.name} has other answers ({', '.join(differing)}): {book.name} was graded"
            )
        if differing or new:
            names_of_others.append(other.name)
    return names_of_others
