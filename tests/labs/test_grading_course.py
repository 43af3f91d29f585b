"""A whole course: the commands, the gradebook, the pages, the handout, many submissions at once."""

import collections
import contextlib
import csv
import hashlib
import json
import re
import shutil
import signal
import subprocess
import sys
import time
import types
import zipfile

import nbformat
import numpy as np
import psutil
import pytest
from nbgrader.preprocessors import ClearHiddenTests

from helpers.paths import ROOT
from labs.grading.autograde import grade_all, grade_one
from labs.grading.course import Course, Result
from labs.grading.release import handout
from labs.grading.report import grade_table, gradebook, overview
from labs.grading.report.feedback import feedback
from labs.grading.report.sanitize import harmless
from tests.labs import toy, wrong
from tests.labs.test_grading import QUICK, needs_jail

LABS = sorted(path.parent.name for path in (ROOT / "labs" / "source").glob("*/hidden.py"))


def command(course: Course, *arguments: str, **options) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "labs.grading", "--course", str(course.root), *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        **options,
    )


def grades(course: Course) -> dict[str, dict]:
    with open(course.root / "grades.csv", encoding="utf-8-sig", newline="") as file:
        return {row["student"]: row for row in csv.DictReader(file)}


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """Four graded submissions, one of them unreadable and one whose zip could not be unpacked."""
    course = toy.make_course(tmp_path_factory.mktemp("course"))
    toy.submit(course, "1001")
    toy.submit(course, "1002", toy.answer(course, "1002", double="def double(x):\n    return x"))
    untouched = nbformat.read(course.release(toy.LAB), 4)
    toy.submit(course, "1003", untouched, result=None)
    toy.submit(course, "1004")
    (course.submitted(toy.LAB, "1004") / "toy.ipynb").write_text('{"cells": [')
    (course.root / "collected").mkdir()
    names = {"1001": "Ada", "1002": "=1+1", "1003": "<b>李</b>", "1004": "Zoë", "1005": "Kim"}
    collected = {
        student: {"name": name, "notes": [], "problem": ""} for student, name in names.items()
    }
    collected["1005"]["problem"] = "the zip is damaged"
    (course.root / "collected" / "toy.json").write_text(json.dumps(collected))
    ran = command(course, "grade", toy.LAB, "--jobs", "2")
    assert ran.returncode == 0, ran.stderr
    assert "5 graded now, 2 of them could not be" in ran.stdout
    assert "5/5" in ran.stderr  # the progress bar
    return course


@needs_jail
def test_grades_have_a_status_and_no_false_zero(course):
    table = grades(course)
    assert {s: (r["status"], r["automatic"], r["points"]) for s, r in table.items()} == {
        "1001": ("written part open", "5.0", ""),
        "1002": ("written part open", "3.0", ""),
        "1003": ("graded", "0.0", "0.0"),
        "1004": ("could not be graded", "", ""),
        "1005": ("could not be graded", "", ""),
    }
    assert "cut off" in table["1004"]["look"] and table["1005"]["look"] == "the zip is damaged"
    assert table["1002"]["name"] == "'=1+1"  # a spreadsheet must not compute a name


@needs_jail
@pytest.mark.slow
def test_what_is_graded_is_not_graded_again_until_it_changes(course, tmp_path):
    copied = Course(shutil.copytree(course.root, tmp_path / "copy"))
    assert "0 graded now" in command(copied, "grade", toy.LAB).stdout
    toy.submit(copied, "1004", toy.answer(copied, "1004"))
    ran = command(copied, "grade", toy.LAB)
    assert "1 graded now, 0 of them could not be" in ran.stdout
    assert grades(copied)["1004"]["automatic"] == "5.0"
    assert "1 graded now" in command(copied, "grade", toy.LAB, "--again", "1001").stdout


@needs_jail
@pytest.mark.slow
def test_a_humans_marks_count_and_stay(course, tmp_path):
    from nbgrader.api import Gradebook

    copied = Course(shutil.copytree(course.root, tmp_path / "copy"))
    with Gradebook(copied.database) as book:
        grade = book.find_grade("why", "toy", "toy", "1001")
        assert grade.needs_manual_grade and grade.max_score == 2
        grade.manual_score = 1.5
        grade.needs_manual_grade = False
        book.find_comment("why", "toy", "toy", "1001").manual_comment = "A fine <i>thought</i>."
        book.db.commit()
    assert command(copied, "grade", toy.LAB, "--again", "1001").returncode == 0
    assert grades(copied)["1001"]["status"] == "graded"
    assert grades(copied)["1001"]["points"] == "6.5"
    feedback(copied, toy.LAB)
    page = copied.feedback(toy.LAB, "1001").read_text()
    assert "A fine" in page and "(Score: 6.5 / 7.0)" in page and "not graded yet" not in page


@needs_jail
def test_feedback_tells_what_is_wrong_and_not_what_is_hidden(course):
    assert feedback(course, toy.LAB) == ["1001", "1002", "1003", "1004", "1005"]
    hidden = [line.strip() for line in toy.HIDDEN.splitlines() if len(line.strip()) > 25]
    for student in ("1001", "1002", "1003", "1004", "1005"):
        page = course.feedback(toy.LAB, student).read_text()
        assert str(toy.SECRET) not in page
        assert not [line for line in hidden if line in page]
        assert "rubric" not in page
    assert "double: wrong values" in course.feedback(toy.LAB, "1002").read_text()
    assert "Check your student id" not in course.feedback(toy.LAB, "1002").read_text()
    assert "Check your student id" in course.feedback(toy.LAB, "1003").read_text()  # has 0000000
    assert "could not be graded" in course.feedback(toy.LAB, "1004").read_text()
    waiting = course.feedback(toy.LAB, "1001").read_text()
    untouched = course.feedback(toy.LAB, "1003").read_text()
    assert "(Score so far: 5.0 / 7.0)" in waiting
    assert "not graded yet, of 2.0" in waiting
    assert "why</a> (not graded yet)" in waiting
    assert "(Score: 0.0 / 7.0)" in untouched and "not graded yet" not in untouched


LINKS = (
    "\n"
    "[a](javascript:alert(1)) [b](<javascript:alert(1)>) [c](java&#115;cript:alert(1)) "
    "[d](&#106avascript&colon;alert(1)) [e]&lpar;javascript:alert(1))\n"
    "[f](data:text/html;base64,PHNjcmlwdD4=) [g](\n"
    "javascript:alert(1)) [h](\\javascript:alert(1)) [i](files/javascript:alert(1)) "
    "[j][evil] [evil] <javascript:alert(1)> [k](JAVASCRIPT:alert(1))\n"
    "![t](http://evil.example/p.png) ![u](//evil.example/p.png) ![v][pic] "
    "![w](attachment:none.png) $\\href{javascript:alert(1)}{x}$"
    """
&dollar;&#92;href{javascript:alert(1)}{x}&dollar; &amp;#92;href{javascript:alert(1)}{x}

```mermaid
<img src=http://evil.example/p.png>
```

> [evil]: javascript:alert(1)

[evil]:
  data:text/html;base64,PHNjcmlwdD4=

[pic]: http://evil.example/p.png
"""
)
KEPT = (
    "![dot](data:image/png;base64,iVBORw0KGgo=) "
    "[web](https://example.org/?a=1&b=2), [up](#top), $a \\le b$, x[1]"
)


def test_harmless_markdown_keeps_its_words():
    assert harmless(KEPT) == KEPT
    shown = harmless("*R&D* of [x](javascript:y) and a < b")
    assert shown == "*R&D* of [x] (javascript:y) and a < b"
    sources = ["<b>as released</b> ![x](picture.png)", "<b>by a student</b>"]
    cells = [nbformat.v4.new_markdown_cell(source) for source in sources]
    result = Result("1", "toy", notebook=nbformat.writes(nbformat.v4.new_notebook(cells=cells)))
    shown = nbformat.reads(gradebook._with_verdicts(result, {sources[0]}), 4)
    assert [cell.source for cell in shown.cells] == [sources[0], "< b>by a student< /b>"]


SCRIPT = "<script>document.title = 'stolen'</script><img src=x onerror=\"document.title='stolen'\">"


@needs_jail
@pytest.mark.slow
def test_pages_run_no_scripts_of_students(tmp_path):
    course = toy.make_course(tmp_path)
    shows = (
        "from IPython.display import HTML, Markdown, display\n"
        f"display(HTML({SCRIPT!r}), Markdown({SCRIPT!r}))\n"
        f"display({{'image/png': '\">' + {SCRIPT!r}, 'text/html': {SCRIPT!r}, "
        f"'text/plain': {SCRIPT!r}}}, raw=True)\n"
        f"print({SCRIPT!r})\nraise ValueError({SCRIPT!r})"
    )
    book = toy.answer(
        course,
        "1001",
        why=f"Because {SCRIPT}\n{LINKS}",
        title=f"# Toy {SCRIPT}\n\n{KEPT}",
        try_it=shows,
    )
    raw = f"{SCRIPT}<a href='https://evil.example'>raw</a>\n{LINKS}"
    book.cells.append(nbformat.v4.new_raw_cell(raw))
    toy.submit(course, "1001", book)
    results = grade_all(course, toy.LAB, jobs=1, limits=QUICK)
    results[0].flags.append(SCRIPT)
    results[0].write(course.result(toy.LAB, "1001"))
    feedback(course, toy.LAB)
    titles = []
    targets = []
    pictures = []
    with chromium() as browser:
        for page in (course.feedback(toy.LAB, "1001"), overview.write(course, [toy.LAB])):
            tab = browser.new_page()
            tab.goto(page.as_uri())
            tab.wait_for_timeout(300)
            titles.append(tab.title())
            targets += tab.eval_on_selector_all(
                "a[href]", "links => links.map(link => link.getAttribute('href'))"
            )
            pictures += tab.eval_on_selector_all(
                "img", "pictures => pictures.map(picture => picture.getAttribute('src'))"
            )
            assert not re.search(r"\\href(?![A-Za-z])", tab.inner_text("body"))
    assert titles == ["toy", "Labs: overview"]
    allowed = ("#", "http://", "https://", "feedback/")
    assert all(target.startswith(allowed) for target in targets), targets
    assert "https://example.org/?a=1&b=2" in targets and "https://evil.example" not in targets
    assert [picture for picture in pictures if not picture.startswith("data:image/")] == []
    assert any("iVBORw0KGgo=" in p for p in pictures)


@contextlib.contextmanager
def chromium():
    playwright = pytest.importorskip("playwright.sync_api")
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next(filter(None, map(shutil.which, names)), None)
    if not found:
        pytest.skip("needs chromium: sudo apt install chromium")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


@needs_jail
def test_overview_shows_questions_and_who_needs_a_look(course):
    page = overview.write(course, [toy.LAB]).read_text()
    assert "<script" not in page and "&lt;b&gt;李" in page
    for name in (*toy.POINTS, "why (written)", "could not be graded", "the zip is damaged"):
        assert name in page, name
    row = r"<tr><td>double_values<td class=number>2<td><div class=bar>(.*?)</div>"
    widths = re.findall(row, page)[0]
    assert widths.count("33.3%") == 1 and widths.count("66.7%") == 1  # one of three has it


def test_overview_of_a_course_without_submissions(tmp_path):
    assert "There are no submissions" in overview.write(Course(tmp_path), []).read_text()


def test_results_are_written_whole_or_not_at_all(tmp_path):
    Result("1", "toy", notes=["é"]).write(tmp_path / "1.json")
    assert Result.read(tmp_path / "1.json") == Result("1", "toy", notes=["é"])
    assert [p.name for p in tmp_path.iterdir()] == ["1.json"]


# ------------------------------------------------------------------------------------------ handout
@pytest.fixture(scope="module")
def real_course(tmp_path_factory):
    """The labs as they are, in a folder of their own."""
    root = tmp_path_factory.mktemp("labs")
    for lab in LABS:
        shutil.copytree(ROOT / "labs" / "source" / lab, root / "source" / lab)
    return Course(root)


def _distinctive(text: str) -> list[str]:
    """The lines that stand nowhere by chance; imports may stand in several labs."""
    lines = [line.strip() for line in text.splitlines()]
    return [line for line in lines if len(line) >= 30 and not line.startswith(("import ", "from "))]


def test_the_handout_holds_no_solution_and_no_hidden_check(real_course, tmp_path):
    cache = real_course.source(LABS[0]) / "__pycache__"
    cache.mkdir(exist_ok=True)
    (cache / "hidden.cpython-311.pyc").write_bytes(b"x")
    path = handout(real_course, tmp_path / "handout.zip")
    with zipfile.ZipFile(path) as archive:
        texts = {
            name.removeprefix("pi-workbook/"): archive.read(name).decode(errors="replace")
            for name in archive.namelist()
        }
    names = list(texts)
    assert {
        "README.md",
        "environment.yml",
        "requirements.txt",
        "requirements-pi.txt",
        "pyproject.toml",
    } <= set(names)
    notebooks = [n for n in sorted(names) if n.startswith("labs/") and n.endswith(".ipynb")]
    assert notebooks == [f"labs/release/{lab}/{lab}.ipynb" for lab in LABS]
    assert any(name.startswith("notebooks/") for name in names)
    assert any(name.startswith("helpers/") for name in names)
    bad = re.compile(
        r"(^|/)(hidden\.py|rubric\.md|gradebook\.db|__pycache__|\.ipynb_checkpoints"
        r"|source|submitted|tests|grading|build)(/|$)|\.pyc$"
    )
    assert not [name for name in names if bad.search(name)]
    of_labs = "\n".join(text for name, text in texts.items() if name.startswith("labs/"))
    whole = {hashlib.sha256(text.encode()).digest() for text in texts.values()}
    for lab in LABS:
        folder = real_course.source(lab)
        cells = nbformat.reads(texts[f"labs/release/{lab}/{lab}.ipynb"], 4).cells
        released = "\n".join(cell.source for cell in cells)
        for secret in ("hidden.py", "rubric.md"):
            text = (folder / secret).read_text()
            assert hashlib.sha256(text.encode()).digest() not in whole
            leaked = [
                line
                for line in _distinctive(text)
                if json.dumps(line)[1:-1] in of_labs and line not in _distinctive(released)
            ]
            assert not leaked, (lab, secret, leaked)
        source = nbformat.read(folder / f"{lab}.ipynb", 4)
        solutions = []
        for cell in source.cells:
            solutions += re.findall(
                r"### BEGIN SOLUTION(.*?)### END SOLUTION", cell.source, re.DOTALL
            )
        assert solutions
        for line in _distinctive("\n".join(solutions)):
            assert line not in released, (lab, line)
    assert not re.search(r"### (BEGIN|END) (SOLUTION|HIDDEN|MARK)", of_labs)


# ------------------------------------------------------------------------------------- many at once
@needs_jail
@pytest.mark.slow
def test_dask_spreads_a_class_and_one_process_writes(tmp_path):
    from distributed import Client, LocalCluster

    from labs.grading.dask_grading import grade_on

    course = toy.make_course(tmp_path)
    for student in map(str, range(4000, 4006)):
        toy.submit(course, student)
    toy.submit(course, "4003", toy.answer(course, "4003", double="while True: pass"))
    (course.submitted(toy.LAB, "4005") / "toy.ipynb").write_text("{")
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        results = grade_on(client, course, toy.LAB, limits=QUICK)
        assert grade_on(client, course, toy.LAB, limits=QUICK) == []
    points = {result.student: result.points for result in results}
    assert points == {"4000": 5, "4001": 5, "4002": 5, "4003": 3, "4004": 5, "4005": None}
    assert automatic_points(course, toy.LAB) == points


def automatic_points(course: Course, lab: str) -> dict[str, float | None]:
    """The automatic points of every student in the gradebook."""
    return {row["student"]: row["automatic"] for row in grade_table.rows(course, lab)}


LAB2 = "lab2_kmeans"
CLASS = 60


@pytest.fixture(scope="module")
def large_class(real_course):
    """60 submissions of lab 2, and what each must lose.

    They are the reference, and the right and wrong solutions of the tables, in turn.
    """
    gradebook.release(real_course, LAB2)
    source = nbformat.read(real_course.source(LAB2) / f"{LAB2}.ipynb", 4)
    source, _ = ClearHiddenTests().preprocess(source, {})
    # the version: lost points of another one are left to a person
    source.metadata = nbformat.read(real_course.release(LAB2), 4).metadata
    cases = [(cell, body, {}) for cell, body in wrong.RIGHT[LAB2].values() if "loop" not in body]
    cases = [("cluster", None, {}), *cases, *wrong.WRONG[LAB2].values()]
    reference = types.ModuleType("reference")
    needed = ("setup", "own_weights", "cluster", "assign")
    for cell in source.cells:
        if cell.metadata.get("nbgrader", {}).get("grade_id") in needed:
            exec("student_id = '0'\n" + cell.source, vars(reference))
    expected = {}
    for i in range(CLASS):
        student = str(5000 + i)
        name, body, lost = cases[i % len(cases)]
        book = nbformat.from_dict(json.loads(json.dumps(source)))
        toy.cell(book, "code-01").source = f'student_id = "{student}"'
        if body is not None:
            changed = toy.cell(book, name)
            head, _, rest = changed.source.partition("### BEGIN SOLUTION")
            indent = head[head.rfind("\n") + 1 :]
            lines = "\n".join(indent + line for line in wrong.dedent(body).split("\n"))
            changed.source = head.rstrip(" ") + lines + rest.partition("### END SOLUTION")[2]
        folder = real_course.submitted(LAB2, student)
        folder.mkdir(parents=True)
        nbformat.write(book, folder / f"{LAB2}.ipynb")
        weights = reference.own_weights(student)
        codebook = reference.cluster(weights, 16)
        indices = reference.assign(weights, codebook)
        np.savez(folder / "my_layer.npz", codebook=codebook, indices=indices)
        expected[student] = lost if name != "own_layer" else {}
    return real_course, expected


def lost_points(result: Result) -> dict[str, float]:
    """The points that a submission lost, by question; nothing for the others."""
    return {
        name: question["max_points"] - question["points"]
        for name, question in result.questions.items()
        if question["points"] < question["max_points"]
    }


@needs_jail
@pytest.mark.slow
@pytest.mark.skipif(LAB2 not in LABS, reason="lab 2 is not in this copy")
def test_sixty_submissions_killed_half_way_and_resumed(large_class, capsys):
    course, expected = large_class
    log = course.root / "log.txt"
    argv = [sys.executable, "-m", "labs.grading", "--course", str(course.root)]
    argv += ["grade", LAB2, "--jobs", "2"]
    with open(log, "w") as output:
        first = subprocess.Popen(argv, cwd=ROOT, stdout=output, stderr=output)
    while len(list(course.root.glob(f"results/{LAB2}/*.json"))) < CLASS // 3:
        assert first.poll() is None, log.read_text()
        time.sleep(0.2)
    first.send_signal(signal.SIGKILL)
    first.wait()
    time.sleep(3)
    alive = [
        p.info["cmdline"]
        for p in psutil.process_iter(["cmdline"])
        if str(course.root) in " ".join(p.info["cmdline"] or [])
    ]
    assert not alive, alive
    done = {result.student: result.graded_at for result in course.results(LAB2)}
    assert CLASS // 3 <= len(done) < CLASS
    halfway = command(course, "overview")
    assert halfway.returncode == 0, halfway.stderr
    statuses = collections.Counter(row["status"] for row in grades(course).values())
    assert statuses == {"written part open": len(done), "not graded yet": CLASS - len(done)}
    second = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True)
    assert second.returncode == 0, second.stderr
    assert f"{CLASS - len(done)} graded now, 0 of them could not be" in second.stdout
    results = {result.student: result for result in course.results(LAB2)}
    graded_at = {student: results[student].graded_at for student in done}
    assert graded_at == done  # none was graded twice
    assert {student: lost_points(result) for student, result in results.items()} == expected
    assert "locked" not in log.read_text() + second.stdout + second.stderr
    points = {student: result.points for student, result in results.items()}
    assert automatic_points(course, LAB2) == points
    cpu = [result.cpu_s for result in results.values()]
    with capsys.disabled():
        print(
            f"\n{CLASS} submissions of {LAB2}: {np.mean(cpu):.1f} s of processor time each, "
            f"{max(cpu):.1f} s at most"
        )


OTHER_VERSIONS = {"older": "0.1.0", "no stamp": None}


@pytest.mark.parametrize("name", OTHER_VERSIONS)
def test_lost_points_of_another_version_go_to_a_person(tmp_path, name):
    course = toy.make_course(tmp_path)
    book = toy.answer(course, "1001", total="def total(x):\n    return old_name(x)", why="Because.")
    book.metadata["workbook"] = {"version": OTHER_VERSIONS[name]}
    toy.submit(course, "1001", book)
    result = grade_one(course.root, toy.LAB, "1001", limits=QUICK)
    result.write(course.result(toy.LAB, "1001"))
    gradebook.write(course, toy.LAB, [result])
    assert sorted(result.questions) == ["double_values", "result_file"], "right answers are points"
    assert "grade total_values, total_shape by hand" in " ".join(result.flags)
    (row,) = grade_table.rows(course, toy.LAB)
    assert row["marks"] == {
        "double_values": 2,
        "total_values": None,
        "total_shape": None,
        "result_file": 1,
        "why": None,
    }


def test_the_release_says_its_version_and_its_own_losses_are_lost(tmp_path):
    course = toy.make_course(tmp_path)
    released = nbformat.read(course.release(toy.LAB), 4)
    assert released.metadata["workbook"]["version"] in (ROOT / "pyproject.toml").read_text()
    toy.submit(course, "1001", toy.answer(course, "1001", total="def total(x):\n    return 0"))
    result = grade_one(course.root, toy.LAB, "1001", limits=QUICK)
    assert result.questions["total_values"]["points"] == 0
    assert not any("version" in reason for reason in result.flags)
