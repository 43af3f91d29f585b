"""An instructor sees what was submitted; a mark belongs to the text that it was given for."""

import base64
import html
import json

import nbformat
import psutil
import pytest

from labs.grading.course import Result
from labs.grading.report import grade_table, gradebook
from labs.grading.report.feedback import _nbgrader_page
from labs.grading.sandbox import limits, notebook_run, outputs
from tests.labs import toy

PNG = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJ"
    "AAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
SVG = "<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"
SVG_URL = f"data:image/svg+xml;base64,{base64.b64encode(SVG.encode()).decode()}"


def data_output(**data):
    """An output with these data: image_svg_xml stands for image/svg+xml."""
    kinds = {name.replace("_", "/").replace("/xml", "+xml"): name for name in data}
    return {
        "output_type": "display_data",
        "data": {kind: data[name] for kind, name in kinds.items()},
    }


@pytest.mark.parametrize(
    "output, shown",
    [
        (data_output(image_png=PNG), {"text/plain": "", "image/png": PNG}),
        (
            data_output(image_jpeg=[PNG[:20] + "\n", PNG[20:]]),
            {"text/plain": "", "image/jpeg": PNG},
        ),
        (
            data_output(image_gif=PNG),
            {"text/plain": "", "text/html": f'<img alt="" src="data:image/gif;base64,{PNG}">'},
        ),
        (
            data_output(image_svg_xml=SVG),
            {"text/plain": "", "text/html": f'<img alt="" src="{SVG_URL}">'},
        ),
        (
            data_output(text_plain="<IPython.core.display.Markdown object>", text_markdown="*why*"),
            {"text/plain": "*why*"},
        ),
        (data_output(text_html="<script>1</script>"), {"text/plain": "<script>1</script>"}),
        (data_output(text_plain="a table", text_html="<table>"), {"text/plain": "a table"}),
        (data_output(video_mp4="AAAA"), {"text/plain": "[not shown: an output of type video/mp4]"}),
        (
            data_output(image_png='"><script>'),
            {"text/plain": "[not shown: an output of type image/png]"},
        ),
    ],
)
def test_outputs_of_every_kind_are_shown_or_named(output, shown):
    assert [dict(kept.data) for kept in outputs.clean([output])] == [shown]


def test_what_is_no_output_of_jupyter_is_dropped():
    assert outputs.clean([3, {}, {"output_type": "stream"}, {"output_type": "unknown"}]) == []
    assert outputs.clean("what?") == []


def test_long_text_keeps_its_beginning_and_its_end():
    text = outputs.clipped("first" + "x" * 200_000 + "last")
    assert text.startswith("first")
    assert text.endswith("last")
    assert "[100,009 characters are not shown here]" in text
    assert outputs.clipped("x" * outputs.MAX_TEXT) == "x" * outputs.MAX_TEXT


@pytest.mark.parametrize(
    "was_run, error, shown",
    [
        (True, False, ["here"]),
        (
            False,
            False,
            ["here", "This cell was not run here. Its submitted outputs:\n", "submitted"],
        ),
        (
            True,
            True,
            ["here", "trace", "This cell fails here. Its submitted outputs:\n", "submitted"],
        ),
    ],
)
def test_submitted_outputs_stay_where_a_cell_is_not_run(was_run, error, shown):
    new = [nbformat.v4.new_output("stream", text="here")]
    if error:
        new.append(nbformat.v4.new_output("error", ename="", evalue="", traceback=["trace"]))
    submitted = [nbformat.v4.new_output("stream", text="submitted")]
    kept = notebook_run._with_submitted(new, submitted, was_run)
    assert [o.text if o.output_type == "stream" else o.traceback[0] for o in kept] == shown


def page_of(source, attachments, kind="markdown"):
    """The text of a cell as the instructor sees it."""
    make = nbformat.v4.new_markdown_cell if kind == "markdown" else nbformat.v4.new_raw_cell
    book = nbformat.v4.new_notebook(cells=[make(source, attachments=attachments)])
    result = Result("1", "toy", notebook=nbformat.writes(book))
    return nbformat.reads(gradebook._with_verdicts(result, set()), 4).cells[0].source


@pytest.mark.parametrize(
    "source, kind, picture",
    [
        ("![a](attachment:my%20a.png)", "image/png", f"![a](data:image/png;base64,{PNG})"),
        (
            "<img src='attachment:my a.png' width=300>",
            "image/png",
            f'<img alt="my a.png" src="data:image/png;base64,{PNG}">',
        ),
        ("see below", "image/jpeg", f'<img alt="my a.png" src="data:image/jpeg;base64,{PNG}">'),
        (
            "![a](attachment:my%20a.png)",
            "image/svg+xml",
            f'<img alt="my a.png" src="data:image/svg+xml;base64,{PNG}">',
        ),
        ("x", "application/pdf", "[not shown: my a.png, an attachment of type application/pdf]"),
    ],
)
def test_pictures_in_texts_are_shown_or_named(source, kind, picture):
    shown = page_of(source, {"my a.png": {kind: PNG if kind.startswith("image") else ""}})
    assert picture in shown and "<img src=" not in shown
    raw = page_of(source, {"my a.png": {kind: ""}}, "raw")
    if kind == "application/pdf":
        assert html.escape(picture) in raw


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    return toy.make_course(tmp_path_factory.mktemp("course"))


def entered(course, student, texts, untouched=()):
    """A saved result in the gradebook: everything right, `texts` the digests of what is marked."""
    questions = {
        name: {"points": points, "max_points": points, "message": "", "flags": []}
        for name, points in toy.POINTS.items()
    }
    notebook = nbformat.writes(toy.answer(course, student))
    result = Result(
        student,
        toy.LAB,
        questions=questions,
        texts=texts,
        untouched=list(untouched),
        notebook=notebook,
    )
    course.submitted(toy.LAB, student).mkdir(parents=True, exist_ok=True)
    result.write(course.result(toy.LAB, student))
    gradebook.write(course, toy.LAB, [result])
    return next(row for row in grade_table.rows(course, toy.LAB) if row["student"] == student)


def marked(course, student, name, points):
    from nbgrader.api import Gradebook

    with Gradebook(course.database) as book:
        grade = book.find_grade(name, "toy", "toy", student)
        grade.manual_score = points
        grade.needs_manual_grade = False
        book.db.commit()


def test_a_mark_belongs_to_the_text_it_was_given_for(course):
    assert entered(course, "1", {"why": "a"})["status"] == "written part open"
    marked(course, "1", "why", 1.5)
    row = entered(course, "1", {"why": "a"})
    assert (row["status"], row["points"], row["flags"]) == ("graded", 6.5, [])
    for _ in range(2):  # however often it is entered
        row = entered(course, "1", {"why": "b"})
        assert row["status"] == "changed since marking"
        assert (row["points"], row["written"], row["automatic"]) == (None, None, 5)
        assert row["flags"] == [
            "why has changed since it was marked: "
            "the 1.5 points do not count until you mark it again"
        ]
    marked(course, "1", "why", 1.0)
    assert entered(course, "1", {"why": "b"})["points"] == 6
    row = entered(course, "1", {"why": "c"}, untouched=["why"])
    assert row["status"] == "changed since marking"


def test_points_that_a_person_changed_belong_to_what_was_checked(course):
    entered(course, "2", {"double_values": "a"}, untouched=["why"])
    marked(course, "2", "double_values", 1.0)
    assert entered(course, "2", {"double_values": "a"}, untouched=["why"])["points"] == 4
    row = entered(course, "2", {"double_values": "b"}, untouched=["why"])
    assert (row["status"], row["automatic"], row["points"]) == ("changed since marking", None, None)


def test_results_of_earlier_versions_are_read(course):
    """Their flags were called "look"."""
    path = course.result(toy.LAB, "3")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"student": "3", "lab": toy.LAB, "look": ["unusual code: socket"]}))
    assert Result.read(path).flags == ["unusual code: socket"]
    path.unlink()
    report = course.root / "collected" / f"{toy.LAB}.json"
    report.parent.mkdir(exist_ok=True)
    report.write_text(json.dumps({"3": {"name": "", "notes": [], "look": ["a"], "problem": ""}}))
    assert course.collected(toy.LAB)["3"]["flags"] == ["a"]
    report.unlink()


def test_what_processes_share_counts_once():
    class Process:
        def __init__(self, pss=None, rss=0, ended=False):
            self.pss = pss
            self.rss = rss
            self.ended = ended

        def memory_full_info(self):
            if self.ended:
                raise psutil.NoSuchProcess(1)
            if self.pss is None:
                raise psutil.AccessDenied
            return self

        def memory_info(self):
            return self

    processes = [Process(100, 900), Process(100, 900), Process(rss=50), Process(ended=True)]
    assert limits._memory(processes) == 250


@pytest.mark.parametrize("name", ["Kurs [WS 26] (alt) + 100% neu #2"])
def test_a_course_may_have_any_path(tmp_path, name):
    course = toy.make_course(tmp_path / name)
    assert entered(course, "1", {})["status"] == "written part open"
    _nbgrader_page(course, toy.LAB, "1")
    assert "double_values" in course.feedback(toy.LAB, "1").read_text()
