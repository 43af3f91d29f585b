"""Grades submissions, each in a process of its own; results are saved one by one.

The student's code runs in a jail.
"""

import dataclasses
import datetime
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from helpers.paths import ROOT
from labs.grading.checks.questions import Student, ask, load_questions
from labs.grading.course import Course, Result, digest
from labs.grading.intake import cells
from labs.grading.intake.cells import Unreadable
from labs.grading.intake.repair import repair
from labs.grading.intake.roster import same_id
from labs.grading.sandbox import sandbox
from labs.grading.sandbox.errors import GraderError, StudentError
from labs.grading.sandbox.limits import DEFAULT_LIMITS, Limits
from labs.grading.sandbox.notebook_run import execute

# no honest solution needs these; they are easy to hide, so they only raise a flag
SUSPICIOUS = re.compile(
    r"input_transformers|set_custom_exc|_getframe|inspect\.stack|os\._exit|os\.fork|ctypes|sqlite3|"
    r"gradebook|hidden\.py|/proc/|socket|subprocess|\bsignal\.signal|\.\./\.\./|__subclasses__"
)


def grade_one(
    root: str | Path,
    lab: str,
    student: str,
    jail: bool = True,
    limits: Limits = DEFAULT_LIMITS,
) -> Result:
    """Grade one submission of the course at `root`.

    A plain function that only reads the course, so any machine can run it. The Result names what is
    wrong with a submission. Raises NoJail if this machine cannot build a jail.
    """
    if jail:
        sandbox.check()
    course = Course(root)
    began = time.monotonic()
    cpu = time.process_time()
    result = Result(student, lab, digest=digest(course, lab, student))
    collected = course.collected(lab).get(student, {})
    result.notes += collected.get("notes", [])
    result.flags += collected.get("flags", [])
    with tempfile.TemporaryDirectory(prefix="grade-") as folder:
        try:
            if collected.get("problem"):
                raise Unreadable(collected["problem"])
            repaired = repair(
                course.submitted(lab, student), course.release(lab), Path(folder), limits
            )
            result.notes += repaired.notes
            result.flags += repaired.flags
            result.untouched = repaired.untouched
            result.texts = repaired.texts
            _ask(result, Path(folder), course, jail, limits)
            _leave_to_a_person(result, repaired.version, course.release(lab))
            if any(v["points"] < v["max_points"] for v in result.questions.values()):
                result.flags += repaired.elsewhere
            result.notebook, stopped, cpu_s = execute(Path(folder), f"{lab}.ipynb", jail, limits)
            result.flags += stopped
            result.cpu_s += cpu_s
        except (Unreadable, StudentError, GraderError) as error:
            result.problem = str(error)
        except Exception as error:  # one submission must not stop those of the whole class
            result.problem = f"the grader failed: {type(error).__name__}: {error}"[:300]
        _flag_unusual_code(result, Path(folder) / f"{lab}.ipynb")
    result.flags = list(dict.fromkeys(result.flags))
    result.cpu_s = round(result.cpu_s + time.process_time() - cpu, 2)
    result.wall_s = round(time.monotonic() - began, 2)
    result.graded_at = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
    return result


def _ask(result: Result, folder: Path, course: Course, jail: bool, limits: Limits) -> None:
    questions = load_questions(course.source(result.lab) / "hidden.py")
    notebook = f"{result.lab}.ipynb"
    with Student(result.student, folder, notebook, jail=jail, limits=limits) as student:
        try:
            named = str(student.constant("student_id"))
        except StudentError:
            named = result.student
        if same_id(named, result.student):
            student.id = named  # the notebook derived the student's data from this spelling
        verdicts = ask(student, questions)
    result.questions = {name: dataclasses.asdict(verdict) for name, verdict in verdicts.items()}
    result.flags += [f"{name}: {flag}" for name, v in verdicts.items() for flag in v.flags]
    result.flags += student.incidents
    if not same_id(named, result.student):
        result.other_id = named[:40]
        result.flags.append(f"the notebook has another student_id: {named[:40]!r}")
    result.cpu_s += student.cpu_s


def _leave_to_a_person(result: Result, version: str | None, release: Path) -> None:
    """Take back lost points of a submission that was made with another version of the workbook.

    Names have changed between versions (CHANGELOG.md), so a right answer may fail today's checks.
    """
    current = cells.version(release.read_bytes())
    lost = [name for name, v in result.questions.items() if v["points"] < v["max_points"]]
    if version == current or not lost:
        return
    for name in lost:
        del result.questions[name]
    made_with = f"version {version}" if version else "an unknown version"
    result.flags.append(
        f"made with {made_with} of the workbook, and this is version {current}: "
        f"grade {', '.join(lost)} by hand"
    )


def _flag_unusual_code(result: Result, notebook: Path) -> None:
    if notebook.is_file():
        found = sorted(set(SUSPICIOUS.findall(notebook.read_text(encoding="utf-8"))))
        if found:
            result.flags.append(f"unusual code: {', '.join(found)}")


def grade_in_process(root: Path, lab: str, student: str, jail: bool, limits: Limits) -> Result:
    """grade_one in a process of its own.

    The process and all its children are killed if they take longer than the limits allow.
    """
    options = json.dumps([jail, dataclasses.asdict(limits)])
    argv = [sys.executable, "-m", "labs.grading", "one", str(root), lab, student, options]
    longest_s = 3 * (limits.load_s + limits.wall_s) + limits.notebook_s + 60
    # the process ends itself when the kept end closes, also if this process is killed
    lifeline, kept = os.pipe()
    try:
        process = subprocess.Popen(
            argv,
            cwd=ROOT,
            stdin=lifeline,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env=os.environ | sandbox.THREADS,
        )
        out, errors = process.communicate(timeout=longest_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        problem = "the grader itself took too long"
        return Result(student, lab, problem=problem, flags=["grade it by hand"])
    finally:
        os.close(lifeline)
        os.close(kept)
    if process.returncode:
        last_line = (errors.strip().splitlines() or ["?"])[-1]
        return Result(student, lab, problem=f"the grader failed: {last_line[:200]}")
    return Result(**json.loads(out))


def grade_all(
    course: Course,
    lab: str,
    *,
    jobs: int,
    jail: bool = True,
    limits: Limits = DEFAULT_LIMITS,
    again: Iterable[str] = (),
    progress: Callable = lambda results, total: results,
) -> list[Result]:
    """Grade what is not graded yet, `jobs` at a time, and save each Result at once.

    again: students to grade again; changed submissions are graded again in any case.
    `progress(iterator, total)` wraps the loop (tqdm).
    """
    if jail:
        sandbox.check()
    todo = [
        student
        for student in course.students(lab)
        if student in set(again) or not is_done(course, lab, student)
    ]
    results = []
    with ThreadPoolExecutor(jobs) as pool:
        futures = [
            pool.submit(grade_in_process, course.root, lab, student, jail, limits)
            for student in todo
        ]
        try:
            for future in progress(as_completed(futures), total=len(futures)):
                result = future.result()
                result.write(course.result(lab, result.student))
                results.append(result)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return results


def is_done(course: Course, lab: str, student: str) -> bool:
    """Whether there is a result for the student's last submission and for the current checks."""
    path = course.result(lab, student)
    return path.is_file() and Result.read(path).digest == digest(course, lab, student)
