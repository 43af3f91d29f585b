"""What students, editors and browsers do to a submission, by chance.

The answers stay in it, if not in their places.
"""

import io
import json
import unicodedata
import zipfile

WORK = ("double", "total", "why")  # the answers of the toy lab


def name_of(cell: dict) -> str:
    return cell["metadata"].get("nbgrader", {}).get("grade_id") or cell.get("id", "")


def text_cell(source: str, kind: str = "markdown", **more) -> dict:
    made = {"cell_type": kind, "metadata": {}, "source": source} | more
    return made | no_outputs(kind)


def no_outputs(kind: str) -> dict:
    """The entries of a cell that has not been run: only a code cell has any."""
    return {"outputs": [], "execution_count": None} if kind == "code" else {}


def other_types(book, release, rng):
    for cell in book["cells"]:
        if name_of(cell) in WORK and rng.random() < 0.6:
            cell["cell_type"] = str(rng.choice(["code", "markdown", "raw"]))
            cell |= no_outputs(cell["cell_type"])


def no_metadata(book, release, rng):
    for cell in book["cells"]:
        cell["metadata"] = {"id": f"cell{rng.integers(10**6)}"}


def no_ids(book, release, rng):
    book["nbformat_minor"] = 4
    for cell in book["cells"]:
        cell.pop("id", None)


def ids_shuffled(book, release, rng):
    ids = [cell.get("id", "") for cell in book["cells"]]
    for cell, other in zip(book["cells"], rng.permutation(ids)):
        cell["id"] = str(other)


def marks_shuffled(book, release, rng):
    marks = [cell["metadata"] for cell in book["cells"]]
    for cell, other in zip(book["cells"], rng.permutation(len(marks))):
        cell["metadata"] = marks[other]


def moved_to_own_cells(book, release, rng):
    """The given cells stay as released, or are deleted; the answers are in cells of their own."""
    keep = rng.random() < 0.5
    place = int(rng.integers(len(book["cells"]) + 1))
    stubs = {name_of(cell): cell for cell in release["cells"]}
    cells = []
    own = []
    for cell in book["cells"]:
        if name_of(cell) in WORK and rng.random() < 0.7:
            own.append(text_cell(cell["source"], cell["cell_type"]))
            if keep:
                cells.append(json.loads(json.dumps(stubs[name_of(cell)])))
        else:
            cells.append(cell)
    book["cells"] = [*cells[:place], *own, *cells[place:]]


def copied(book, release, rng):
    """A released answer once more, below or above the one that was worked on."""
    name = rng.choice(WORK)
    stub = next(cell for cell in release["cells"] if name_of(cell) == name)
    book["cells"].insert(int(rng.integers(len(book["cells"]) + 1)), json.loads(json.dumps(stub)))


def joined(book, release, rng):
    """An answer joined to the cell above it."""
    places = [i for i, cell in enumerate(book["cells"]) if i and name_of(cell) in WORK]
    if places:
        place = int(rng.choice(places))
        cell = book["cells"].pop(place)
        above = book["cells"][place - 1]
        above["source"] = f"{above['source']}\n{cell['source']}"


def split(book, release, rng):
    for i, cell in reversed(list(enumerate(book["cells"]))):
        if name_of(cell) == "why" and " " in cell["source"]:
            first, rest = cell["source"].split(" ", 1)
            book["cells"][i : i + 1] = [cell | {"source": first}, cell | {"source": rest}]


def as_comment(book, release, rng):
    """A written answer as a comment in a code cell."""
    for i, cell in enumerate(book["cells"]):
        if name_of(cell) == "why":
            stub = next(c for c in release["cells"] if name_of(c) == "why")
            comment = text_cell(f"# {cell['source']}", "code")
            book["cells"][i : i + 1] = [json.loads(json.dumps(stub)), comment]
            return


def cells_shuffled(book, release, rng):
    book["cells"] = [book["cells"][i] for i in rng.permutation(len(book["cells"]))]


def old_format(book, release, rng):
    cells = []
    for cell in book["cells"]:
        cell = dict(cell)
        if cell["cell_type"] == "code":
            cell["input"] = cell.pop("source")
        cells.append(cell)
    return {"nbformat": 3, "nbformat_minor": 0, "metadata": {}, "worksheets": [{"cells": cells}]}


def lines_of_windows(book, release, rng):
    for cell in book["cells"]:
        cell["source"] = cell["source"].replace("\n", "\r\n")


CELLS = [
    other_types,
    no_metadata,
    no_ids,
    ids_shuffled,
    marks_shuffled,
    moved_to_own_cells,
    copied,
    joined,
    split,
    as_comment,
    cells_shuffled,
    lines_of_windows,
]
NAMES = [
    "toy.ipynb",
    "toy (1).ipynb",
    "Toy-Copy1.ipynb",
    "toy.ipynb.txt",
    "toy.ipynb.json",
    "homework.ipynb",
    "übung.IPYNB",
    "toy.json",
    "1001_toy Kopie.ipynb",
]


def submission(answered: dict, release: dict, result: bytes, rng) -> dict[str, bytes]:
    """The files of a submission, mangled in up to three ways."""
    book = json.loads(json.dumps(answered))
    for way in rng.choice(len(CELLS), int(rng.integers(4)), replace=False):
        CELLS[way](book, release, rng)
    if rng.random() < 0.1:
        book = old_format(book, release, rng)
    encoding = str(rng.choice(["utf-8", "utf-8", "utf-8-sig", "utf-16"]))
    name = str(rng.choice(NAMES))
    files = {name: json.dumps(book, ensure_ascii=bool(rng.random() < 0.5)).encode(encoding)}
    if rng.random() < 0.3:  # the release, or what was begun, lies beside it
        begun = json.loads(json.dumps(release))
        begun["cells"].append(text_cell("", "code"))
        other = "toy.ipynb" if name != "toy.ipynb" else "toy-Copy1.ipynb"
        files[other] = json.dumps(begun).encode()
    files["result (1).json" if rng.random() < 0.3 else "result.json"] = result
    return files


def packed(files: dict[str, bytes], rng) -> tuple[str, bytes] | dict[str, bytes]:
    """One zip, or the files as they are, in folders or not."""
    folder = str(rng.choice(["", "toy/", "my work/toy/", "./"]))
    files = {folder + name: content for name, content in files.items()}
    if rng.random() < 0.4:
        return files
    if rng.random() < 0.3:
        files |= {
            f"__MACOSX/{folder}._{name.rpartition('/')[2]}": b"\0\5\x16\7" for name in list(files)
        }
    content = zipped(files, rng)
    if rng.random() < 0.3:
        content = zipped({"toy.zip": content}, rng)
    return {str(rng.choice(["toy.zip", "Toy (2).zip"])): content}


def zipped(files: dict[str, bytes], rng) -> bytes:
    buffer = io.BytesIO()
    dated = rng.random() < 0.7
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            if rng.random() < 0.2:
                name = unicodedata.normalize("NFD", name)
            date = (1980, 1, 1, 0, 0, 0)
            if dated:
                date = (2026, 11, int(rng.integers(1, 29)), 12, 0, 0)
            archive.writestr(zipfile.ZipInfo(name, date), content)
    return buffer.getvalue()


def downloads(submissions: dict[str, dict[str, bytes]], rng) -> dict[str, bytes]:
    """{path: content} of a class's downloads, as an LMS names them and people unpack them."""
    found = {}
    bulk = {}
    for number, (student, files) in enumerate(submissions.items()):
        target = bulk if rng.random() < 0.6 else found
        of_canvas = rng.random() < 0.4 and not any("/" in path for path in files)
        for index, (path, content) in enumerate(files.items()):
            if of_canvas:
                target[f"berg{'abcdefghij'[number % 10]}_{student}_{7000 + index}_{path}"] = content
            else:
                target[f"Mia Bérg{number}_{student}_assignsubmission_file_/{path}"] = content
    content = zipped(bulk, rng)
    found["again/Kurs [WS 26].zip" if rng.random() < 0.5 else "Kurs-77.zip"] = content
    return found
