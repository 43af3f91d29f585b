"""Answers that are not in their cells are found, or a person is asked.

The grader gives 0 points by itself only if nothing was written.
"""

import json

import nbformat
import pytest

from labs.grading.intake.repair import repair
from labs.grading.sandbox import notebook_loader
from tests.labs import toy

ANSWER = "Because two is even."


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    return toy.make_course(tmp_path_factory.mktemp("course"))


@pytest.fixture
def repaired(course, tmp_path):
    """repaired({file: notebook or text}): the report, and the repaired notebook."""

    def run(files: dict):
        (tmp_path / "given").mkdir()
        (tmp_path / "target").mkdir()
        for name, content in files.items():
            text = nbformat.writes(content) if isinstance(content, dict) else content
            path = tmp_path / "given" / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(text if isinstance(text, bytes) else text.encode())
        found = repair(tmp_path / "given", course.release(toy.LAB), tmp_path / "target")
        return found, tmp_path / "target" / "toy.ipynb"

    return run


def stub(course, name: str) -> str:
    return toy.cell(nbformat.read(course.release(toy.LAB), 4), name).source


def result_of(path, x=3):
    """What the notebook's `double` gives as the grader loads it."""
    namespace = {}
    notebook_loader.load(str(path), "double", namespace, plain=False)
    return namespace["double"](x)


def other_type(book, name, kind):
    cell = toy.cell(book, name)
    place = book.cells.index(cell)
    changed = dict(cell, cell_type=kind)
    if kind == "code":
        changed |= {"outputs": [], "execution_count": None}
    book.cells[place] = nbformat.from_dict(changed)


def own(book, kind, source, place=None):
    """Insert a cell of the student's own at `place`, by default as the last one."""
    make = {
        "code": nbformat.v4.new_code_cell,
        "markdown": nbformat.v4.new_markdown_cell,
        "raw": nbformat.v4.new_raw_cell,
    }[kind]
    if place is None:
        place = len(book.cells)
    book.cells.insert(place, make(source))


def without(book, *names):
    book.cells = [cell for cell in book.cells if cell["id"] not in names]


@pytest.mark.parametrize("kind", ["code", "raw"])
def test_a_written_answer_in_a_cell_of_another_type_is_text_again(course, repaired, kind):
    book = toy.answer(course)
    other_type(book, "why", kind)
    found, path = repaired({"toy.ipynb": book})
    cell = toy.cell(nbformat.read(path, 4), "why")
    assert (cell.cell_type, cell.source) == ("markdown", ANSWER) and found.untouched == []
    assert found.notes == [f"cell why was a {kind} cell; it is a markdown cell again"]


@pytest.mark.parametrize("kind", ["markdown", "raw"])
def test_a_function_in_a_cell_of_text_is_code_again(course, repaired, kind):
    book = toy.answer(course)
    other_type(book, "double", kind)
    _, path = repaired({"toy.ipynb": book})
    assert result_of(path) == 6


def test_an_editor_that_drops_marks_and_ids_loses_no_answer(course, repaired):
    book = json.loads(nbformat.writes(toy.answer(course)))
    book["nbformat_minor"] = 4
    for number, cell in enumerate(book["cells"]):
        cell["metadata"] = {"id": f"cell{number}"}
        del cell["id"]
    found, path = repaired({"toy.ipynb": json.dumps(book)})
    assert toy.cell(nbformat.read(path, 4), "why").source == ANSWER
    assert found.notes == found.untouched == []
    assert result_of(path) == 6


# what a student may have done if the cell for the written answer is as released, or gone
OWN_ANSWERS = {
    "a cell below": lambda book: own(book, "markdown", ANSWER),
    "a raw cell": lambda book: own(book, "raw", ANSWER, 2),
    "the question's cell": lambda book: toy.cell(book, "title").update(
        source=f"# A toy lab\n\n{ANSWER}"
    ),
    "a comment": lambda book: own(book, "code", f"# {ANSWER}"),
    "text in a code cell": lambda book: own(book, "code", ANSWER),
    "printed": lambda book: own(book, "code", f"print({ANSWER!r})"),
    "the locked cell": lambda book: toy.cell(book, "result_file").update(source=f"# {ANSWER}"),
}


@pytest.mark.parametrize("deleted", [False, True])
@pytest.mark.parametrize("where", OWN_ANSWERS)
def test_words_in_cells_of_the_students_own_are_no_zero(course, repaired, where, deleted):
    book = toy.answer(course, why=stub(course, "why"))
    OWN_ANSWERS[where](book)
    if deleted:
        without(book, "why")
    found, path = repaired({"toy.ipynb": book})
    taken = ANSWER in toy.cell(nbformat.read(path, 4), "why").source
    assert found.untouched == []
    assert taken or "no answer in why, but the student wrote cells of their own" in found.flags[0]


def test_a_mark_that_moved_to_a_locked_text_hides_no_answer(course, repaired):
    """The text of another cell is under the answer's mark, the answer has no mark and no type."""
    book = toy.answer(course)
    answer = toy.cell(book, "double")
    locked = toy.cell(book, "double_values")
    locked.metadata = answer.metadata
    place = book.cells.index(answer)
    book.cells[place] = nbformat.v4.new_markdown_cell(answer.source)
    del locked["id"]
    found, path = repaired({"toy.ipynb": json.dumps(book)})
    repaired_book = nbformat.read(path, 4)
    assert toy.cell(repaired_book, "double_values").source == locked.source
    assert "double" in " ".join([*found.flags, *found.elsewhere]) or result_of(path) == 6


def test_an_answer_that_was_joined_to_a_code_cell_is_no_zero(course, repaired):
    book = toy.answer(course, total=f"{toy.TOTAL}\n{ANSWER}")
    without(book, "why")
    found, _ = repaired({"toy.ipynb": book})
    assert found.untouched == []
    assert "no answer in why, but the student wrote cells of their own" in found.flags[0]


def test_nothing_written_is_zero_by_itself(course, repaired):
    book = toy.answer(course, "1001", why=stub(course, "why"))
    own(book, "code", "double(np.ones(3))  # try")
    own(book, "markdown", "\n")
    found, _ = repaired({"toy.ipynb": book})
    assert found.untouched == ["why"] and found.flags == []


@pytest.mark.parametrize(
    "file", ["answers.pdf", "why.docx", "page.jpg", "notes.txt", "toy.html", "toy.py"]
)
def test_answers_in_another_file_are_no_zero(course, repaired, file):
    found, _ = repaired({"toy.ipynb": nbformat.read(course.release(toy.LAB), 4), file: "x"})
    assert found.untouched == [] and file in found.flags[0] and file in found.elsewhere[0]


@pytest.mark.parametrize("place", [0, 5, None])
@pytest.mark.parametrize(
    "source",
    [
        toy.DOUBLE,
        "double = lambda x: 2 * x",
        "from operator import pos\ndouble = lambda x: pos(x) + x",
    ],
)
@pytest.mark.parametrize("deleted", [False, True])
def test_a_function_in_a_cell_of_the_students_own_is_not_replaced_by_the_stub(
    course, repaired, place, source, deleted
):
    book = toy.answer(course, double=stub(course, "double"))
    own(book, "code", source, place)
    if deleted:
        without(book, "double")
    _, path = repaired({"toy.ipynb": book})
    assert result_of(path) == 6


def test_a_released_copy_below_the_answer_does_not_replace_it(course, repaired):
    book = toy.answer(course)
    copy = dict(toy.cell(book, "double"), source=stub(course, "double"), id="copy")
    book.cells.append(nbformat.from_dict(copy))
    _, path = repaired({"toy.ipynb": book})
    assert result_of(path) == 6


def test_of_two_answers_the_last_one_is_graded(course, repaired):
    book = toy.answer(course, why="My first thought.")
    second = dict(toy.cell(book, "why"), source="My second thought.", id="copy")
    book.cells.append(nbformat.from_dict(second))
    found, path = repaired({"toy.ipynb": book})
    assert toy.cell(nbformat.read(path, 4), "why").source == "My second thought."
    assert "why has several answers; the last one was graded" in found.elsewhere


def test_what_was_written_into_a_locked_cell_stays_above_it(course, repaired):
    book = toy.answer(course, double=stub(course, "double"))
    toy.cell(book, "setup").source = f"import numpy as np\n\n{toy.DOUBLE}"
    found, path = repaired({"toy.ipynb": book})
    assert result_of(path) == 6
    assert toy.cell(nbformat.read(path, 4), "setup").source == "import numpy as np"
    assert "locked cell setup was changed, and has been restored" in found.notes


COPIES = {  # the other notebook of the submission; which is graded, and whether a person is asked
    "worked on in the copy": ("toy-Copy1.ipynb", {}, True, False),
    "only begun in the copy": ("toy (1).ipynb", {"total": "STUB", "why": "STUB"}, False, False),
    "other answers in the copy": ("toy-Copy1.ipynb", {"why": "Because of the sum."}, False, True),
}


@pytest.mark.parametrize("case", COPIES)
def test_of_two_notebooks_the_one_with_the_answers_is_graded(course, repaired, case):
    name, changes, is_taken, is_asked = COPIES[case]
    sources = {
        cell: stub(course, cell) if source == "STUB" else source for cell, source in changes.items()
    }
    other = toy.answer(course, **sources)
    exact = nbformat.read(course.release(toy.LAB), 4) if is_taken else toy.answer(course)
    found, path = repaired({"toy.ipynb": exact, name: other})
    assert (f"took {name} for toy.ipynb" in found.notes) == is_taken
    assert bool(found.flags) == is_asked
    assert result_of(path) == 6 and toy.cell(nbformat.read(path, 4), "why").source == ANSWER


@pytest.mark.parametrize(
    "name",
    [
        "toy.ipynb.txt",
        "toy.ipynb.json",
        "toy.json",
        "toy",
        "folder/toy.ipynb",
        "folder/toy (2).ipynb",
    ],
)
def test_a_notebook_under_another_name_is_read(course, repaired, name):
    found, path = repaired({name: toy.answer(course)})
    assert result_of(path) == 6 and found.flags == []


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "cp1252"])
def test_encodings_of_windows_editors(course, repaired, encoding):
    book = json.dumps(toy.answer(course, why="Für zwei."), ensure_ascii=False)
    _, path = repaired({"toy.ipynb": book.encode(encoding)})
    assert toy.cell(nbformat.read(path, 4), "why").source == "Für zwei."


def test_a_packed_zip_is_read_or_named(course, repaired, tmp_path):
    from tests.labs.test_collecting import zipped

    submission = zipped({"lab/toy.ipynb": nbformat.writes(toy.answer(course))})
    _, path = repaired({"submission.zip": submission})
    assert result_of(path) == 6


SETTINGS = {  # a call on a line of its own, and what a function sees of it
    "sys.setrecursionlimit": (
        "import sys\nsys.setrecursionlimit(20_000)",
        "__import__('sys').getrecursionlimit()",
        20_000,
    ),
    "np.set_printoptions": (
        "import numpy as np\nnp.set_printoptions(precision=2)",
        "str(np.array([1.2345]))",
        "[1.23]",
    ),
    "np.seterr with a result": (
        "import numpy as np\nold = np.seterr(all='raise')",
        "np.geterr()['over']",
        "raise",
    ),
    "seed of a part": (
        "from numpy import random\nrandom.seed(1)",
        "round(random.rand(), 3)",
        0.417,
    ),
    "warnings": (
        "import warnings\nwarnings.simplefilter('error')",
        "__import__('warnings').filters[0][0]",
        "error",
    ),
    "environment": (
        "import os\nos.environ['OF_A_TEST'] = '7'",
        "__import__('os').environ['OF_A_TEST']",
        "7",
    ),
    "path": (
        "import sys\nsys.path.append('/of/a/test')",
        "'/of/a/test' in __import__('sys').path",
        True,
    ),
    "decimal": (
        "from decimal import Decimal, getcontext\ngetcontext().prec = 5",
        "str(Decimal(1) / 3)",
        "0.33333",
    ),
    "an own function": (
        "import os\ndef set_all(n):\n    os.environ['OF_A_TEST'] = str(n)\nset_all(8)",
        "__import__('os').getenv('OF_A_TEST')",
        "8",
    ),
    "under a condition": (
        "import os\n"
        "if not os.environ.get('NO_SUCH_NAME'):\n"
        "    os.putenv('A', 'b')\n"
        "    os.environ['OF_A_TEST'] = '9'",
        "__import__('os').environ['OF_A_TEST']",
        "9",
    ),
    "a plot's": (
        "import matplotlib\nmatplotlib.use('svg')\nimport matplotlib.pyplot as plt",
        "plt.get_backend().lower()",
        "svg",
    ),
}


@pytest.fixture
def as_before():
    """What the settings change is put back: these tests load them in their own process."""
    import decimal
    import os
    import sys
    import warnings

    import matplotlib
    import numpy as np

    limit = sys.getrecursionlimit()
    options = np.get_printoptions()
    errors = np.geterr()
    backend = matplotlib.get_backend()
    path = list(sys.path)
    precision = decimal.getcontext().prec
    state = np.random.get_state()
    with warnings.catch_warnings():
        yield
    sys.setrecursionlimit(limit)
    np.set_printoptions(**options)
    np.seterr(**errors)
    np.random.set_state(state)
    matplotlib.use(backend)
    sys.path[:] = path
    decimal.getcontext().prec = precision
    os.environ.pop("OF_A_TEST", None)


def write_notebook(path, *sources):
    """A notebook with one code cell per source."""
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("name", SETTINGS)
def test_a_call_alone_that_sets_a_module_is_run(as_before, tmp_path, name, plain):
    first, expression, expected = SETTINGS[name]
    write_notebook(tmp_path / "a.ipynb", first, f"def ask():\n    return {expression}")
    namespace = {}
    assert notebook_loader.load(str(tmp_path / "a.ipynb"), "ask", namespace, plain) == []
    assert namespace["ask"]() == expected


@pytest.mark.parametrize(
    "other",
    [
        "import os\nos._exit(3)",
        "import sys\nsys.exit()",
        "import numpy as np\nw = 1 / 0\nnp.save('w', w)",
        "import time\ntime.sleep(1000)",
        "import torch\ntorch.manual_seed(0)",
    ],
)
def test_other_calls_that_stand_alone_are_not_run(tmp_path, other):
    ask = "import os, numpy as np\ndef ask():\n    return os.sep, np.pi"
    write_notebook(tmp_path / "a.ipynb", other, ask)
    namespace = {}
    assert notebook_loader.load(str(tmp_path / "a.ipynb"), "ask", namespace, plain=False) == []
    assert "torch" not in namespace
