"""The labs themselves: solutions get every point, empty submissions none.

Every mistake costs what it breaks. Students' code runs in a process of its own here as in the
grader, but without the jail: it is our own.
"""

import ast
import functools
import json
import shutil
from typing import ClassVar

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient
from nbgrader.preprocessors import ClearHiddenTests, ClearSolutions

from helpers.paths import ROOT
from helpers.student_ids import check_word
from labs.grading.checks.questions import Student, ask, load_questions
from labs.grading.course import Course
from labs.grading.report import gradebook
from tests.labs import button, wrong
from tests.labs.test_grading import needs_jail

SOURCE = ROOT / "labs" / "source"
LABS = sorted(folder.name for folder in SOURCE.iterdir() if folder.is_dir())
QUICK_LABS = ("lab2_kmeans", "lab3_affine", "lab7_detection")  # need no training
STUDENT_ID = "ada-1815"
MANUAL_SHARE = {"lab6_capstone": 0.7}  # elsewhere 0.3


def labs(*, quick=()):
    """The labs as parameters of a test; those not in `quick` in `make test-all` only."""
    return [pytest.param(lab, marks=() if lab in quick else pytest.mark.slow) for lab in LABS]


def source_of(lab: str):
    return nbformat.read(SOURCE / lab / f"{lab}.ipynb", 4)


def notebook_of(lab: str):
    """The lab with its solutions, as a student hands it in."""
    return ClearHiddenTests().preprocess(source_of(lab), {})[0]


@functools.cache
def questions_of(lab: str):
    return load_questions(SOURCE / lab / "hidden.py")


def cell_of(notebook, grade_id: str):
    return next(
        c for c in notebook.cells if c.metadata.get("nbgrader", {}).get("grade_id") == grade_id
    )


def with_body(notebook, grade_id: str, body: str):
    """The notebook with `body` as the solution of one cell, instead of the text in the markers."""
    cell = cell_of(notebook, grade_id)
    before, _, rest = cell.source.partition("### BEGIN SOLUTION")
    _, end, after = rest.partition("### END SOLUTION")
    assert end, f"{grade_id} has no solution"
    indent = before[before.rfind("\n") + 1 :]
    cell.source = before.rstrip(" ") + "\n".join(indent + line for line in body.split("\n")) + after
    compile(cell.source, grade_id, "exec")  # a wrong solution that is no Python would prove nothing
    return notebook


def released(lab: str):
    """The notebook as students get it."""
    return ClearSolutions().preprocess(notebook_of(lab), {})[0]


def set_id(notebook):
    cell = next(
        c for c in notebook.cells if c.cell_type == "code" and c.source.startswith("student_id = ")
    )
    cell.source = f'student_id = "{STUDENT_ID}"'
    return notebook


class Remembering(Student):
    """A Student whose models are run once per file and images.

    Most submissions of these tests share their files.
    """

    remembered: ClassVar[dict] = {}

    def predict(self, file, images, timeout=None):
        content = self.file(file).read_bytes()
        key = (file, hash(content), hash(np.asarray(images).tobytes()), len(content))
        if key not in self.remembered:
            self.remembered[key] = super().predict(file, images, timeout)
        return self.remembered[key]


def lost(lab: str, folder, notebook) -> tuple[dict, dict]:
    """Points lost by question where any are, and what the student would read.

    A check that stumbles fails the test.
    """
    nbformat.write(notebook, folder / f"{lab}.ipynb")
    with Remembering(STUDENT_ID, folder, f"{lab}.ipynb", jail=False) as student:
        verdicts = ask(student, questions_of(lab))
    assert not [v.flags for v in verdicts.values() if v.flags], verdicts
    return (
        {name: v.max_points - v.points for name, v in verdicts.items() if v.points < v.max_points},
        {name: v.message for name, v in verdicts.items() if v.message},
    )


@pytest.fixture(scope="session")
def reference_folders(tmp_path_factory, request):
    """reference_folders(lab): what the instructor's notebook submits.

    The notebook is executed once, in a fresh kernel.
    """

    @functools.cache
    def make(lab: str):
        folder = tmp_path_factory.mktemp(lab)
        left_out = shutil.ignore_patterns("hidden.py", "rubric.md", "__pycache__")
        shutil.copytree(SOURCE / lab, folder, dirs_exist_ok=True, ignore=left_out)
        notebook = set_id(notebook_of(lab))
        if any('trained("' in cell.source for cell in notebook.cells):
            # or the notebook trains the book's networks in full
            request.getfixturevalue("quick_networks")
        place = {"metadata": {"path": str(folder)}}
        client = NotebookClient(notebook, timeout=600, kernel_name="python3", resources=place)
        client.execute()
        outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
        said = [output for output in outputs if output.get("name") == "stderr"]
        assert not said, f"{lab} writes to the error stream: {said[0].text}"
        if (folder / "records.jsonl").exists():
            wrong.edit(folder / "records.jsonl", as_on_a_quiet_machine)
        return folder

    return make


def as_on_a_quiet_machine(number: int, record: dict) -> dict:
    """The record without what other programs did to it.

    These tests share their machine, and a lab wants one left alone.
    """
    return record | {"contention": 0.01, "valid": True, "void_reasons": [], "warnings": []}


@pytest.fixture
def submission(reference_folders, tmp_path):
    """submission(lab): a copy of the reference's files, to be spoiled."""

    def copy(lab: str):
        return shutil.copytree(reference_folders(lab), tmp_path / lab)

    return copy


@pytest.mark.parametrize("lab", labs(quick=LABS))
def test_points_are_those_of_the_hidden_checks_and_three_tenths_are_written(lab):
    graded = [c for c in notebook_of(lab).cells if c.metadata.get("nbgrader", {}).get("grade")]
    automatic = {
        c.metadata.nbgrader.grade_id: c.metadata.nbgrader.points
        for c in graded
        if c.cell_type == "code"
    }
    written = sum(c.metadata.nbgrader.points for c in graded if c.cell_type == "markdown")
    assert automatic == {name: question.points for name, question in questions_of(lab).items()}
    share = MANUAL_SHARE.get(lab, 0.3)
    assert written == pytest.approx(share * (written + sum(automatic.values())))
    for cell in graded:
        if cell.cell_type == "code":
            assert cell.metadata.nbgrader.locked, "students must not edit it"
            # what it checks is in hidden.py
            assert all(line.startswith("#") for line in cell.source.splitlines())


@pytest.mark.parametrize("lab", labs(quick=LABS))
def test_graded_cells_raise_where_nbgrader_alone_grades(lab):
    for name in questions_of(lab):
        cell = cell_of(source_of(lab), name)
        words, begin, error, end = cell.source.split("\n")
        assert (begin, end) == ("### BEGIN HIDDEN TESTS", "### END HIDDEN TESTS"), name
        assert words.startswith("# ") and error.startswith("raise "), name
        assert "raises-exception" in cell.metadata.tags, "authors run the whole notebook"


@pytest.mark.parametrize("lab", labs(quick=LABS))
def test_rubric_describes_every_written_question_with_samples(lab):
    rubric = (SOURCE / lab / "rubric.md").read_text()
    written = [
        c
        for c in notebook_of(lab).cells
        if c.metadata.get("nbgrader", {}).get("grade") and c.cell_type == "markdown"
    ]
    assert written
    # sample answers hold figures that nobody measured
    assert "examples of form" in " ".join(rubric.split())
    for cell in written:
        section = rubric.partition(f"## {cell.metadata.nbgrader.grade_id}")[2].partition("\n## ")[0]
        for word in ("**Criteria**", "**Good**", "**Middling**", "**Poor**"):
            assert word in section, f"{cell.metadata.nbgrader.grade_id} lacks {word}"
        assert f"{cell.metadata.nbgrader.points:g} points" in section


@pytest.mark.parametrize("lab", labs(quick=LABS))
def test_release_holds_no_answer(lab):
    source = source_of(lab)
    release = json.dumps(released(lab))
    assert "SOLUTION" not in release and "hidden" not in release.lower()
    for cell in source.cells:
        if "### BEGIN SOLUTION" in cell.source:
            answer = cell.source.partition("### BEGIN SOLUTION")[2].partition("### END SOLUTION")[0]
            for line in filter(lambda line: len(line.strip()) > 20, answer.splitlines()):
                assert json.dumps(line.strip())[1:-1] not in release


@pytest.mark.parametrize("lab", labs(quick=LABS))
def test_untouched_release_gets_nothing(lab, tmp_path):
    missing, _ = lost(lab, tmp_path, released(lab))
    assert missing == {name: question.points for name, question in questions_of(lab).items()}


@pytest.mark.parametrize("lab", labs(quick=QUICK_LABS))
def test_reference_loses_nothing(lab, submission):
    assert lost(lab, submission(lab), notebook_of(lab)) == ({}, {})


def lab_course(root, lab: str) -> Course:
    """A course at `root` with one lab, released."""
    shutil.copytree(SOURCE / lab, root / "source" / lab)
    gradebook.release(Course(root), lab)
    return Course(root)


@needs_jail
@pytest.mark.parametrize("lab", labs())
def test_nbgraders_autograde_gives_every_point_to_the_reference(lab, submission, tmp_path):
    course = lab_course(tmp_path / "course", lab)
    folder = shutil.copytree(submission(lab), course.submitted(lab, STUDENT_ID))
    nbformat.write(set_id(notebook_of(lab)), folder / f"{lab}.ipynb")
    ran = button.press(course, lab, STUDENT_ID)
    assert ran["success"], ran
    largest = sum(question.points for question in questions_of(lab).values())
    row = button.row(course, lab, STUDENT_ID)
    assert row["automatic"] == button.automatic_points(course, lab, STUDENT_ID) == largest
    assert not [reason for reason in row["flags"] if "student_id" in reason]


ID_CELLS = {"": "Write your id", "0000000": "Write your id", 1234567: "in quotes"}


@pytest.mark.parametrize("lab", labs(quick=LABS))
def test_a_locked_cell_stops_at_an_id_that_is_none(lab, capsys):
    cell = cell_of(notebook_of(lab), "setup")
    assert cell.metadata.nbgrader.locked
    tree = ast.parse(cell.source)
    tree.body = [
        part
        for part in tree.body
        if isinstance(part, ast.Assert) or "check_word" in ast.unparse(part)
    ]
    code = compile(tree, lab, "exec")
    for student_id, sentence in ID_CELLS.items():
        with pytest.raises(AssertionError, match=sentence):
            exec(code, {"student_id": student_id})
    exec(code, {"student_id": STUDENT_ID})
    assert capsys.readouterr().out == f"The check word of your id is {check_word(STUDENT_ID)}\n"


def entries(table: dict):
    """(lab, name) of a table as parameters.

    In `make test`: the first entry of every cell or file of the quick labs.
    """
    found = []
    for lab, rows in table.items():
        seen = set()
        for name, (target, *_) in rows.items():
            quick = lab in QUICK_LABS and target not in seen
            seen.add(target)
            marks = () if quick else pytest.mark.slow
            found.append(pytest.param(lab, name, id=f"{lab}-{name}", marks=marks))
    return found


@pytest.mark.parametrize("lab, name", entries(wrong.WRONG))
def test_wrong_solution_loses_what_it_breaks_and_no_more(lab, name, submission):
    cell, body, expected = wrong.WRONG[lab][name]
    assert expected, "a wrong solution must lose something"
    assert lost(lab, submission(lab), with_body(notebook_of(lab), cell, body))[0] == expected


@pytest.mark.parametrize("lab, name", entries(wrong.DAMAGED))
def test_wrong_file_loses_what_it_breaks_and_no_more(lab, name, submission):
    file, damage, expected = wrong.DAMAGED[lab][name]
    folder = submission(lab)
    damage(folder / file)
    assert lost(lab, folder, notebook_of(lab))[0] == expected


@pytest.mark.parametrize("lab, name", entries(wrong.RIGHT))
def test_right_solution_in_another_style_loses_nothing(lab, name, submission):
    cell, body = wrong.RIGHT[lab][name]
    notebook = with_body(notebook_of(lab), cell, wrong.dedent(body))
    assert lost(lab, submission(lab), notebook) == ({}, {})


def test_every_graded_function_has_five_wrong_solutions():
    for lab in LABS:
        functions = [
            c.metadata.nbgrader.grade_id
            for c in notebook_of(lab).cells
            if c.metadata.get("nbgrader", {}).get("solution") and c.source.startswith("def ")
        ]
        cells = [cell for cell, *_ in wrong.WRONG.get(lab, {}).values()]
        for function in functions:
            count = cells.count(function)
            assert count >= 5, f"{lab}: {function} has {count} wrong solutions"
