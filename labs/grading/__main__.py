"""The grader's commands; run in the repository's root: python -m labs.grading COMMAND LAB."""

import argparse
import dataclasses
import json
import sys
from pathlib import Path

from modelfiles.errors import EXIT_INTERRUPTED, WorkbookError

INTERRUPTED = "Interrupted. Graded submissions are saved. Run the same command again to continue."


def main() -> int:
    """Run one command and return its exit status, 0 for success."""
    if sys.argv[1:2] == ["one"]:  # a submission's own process, started by autograde
        _one(*sys.argv[2:])
        return 0
    parser = argparse.ArgumentParser(
        prog="python -m labs.grading", description="Grade the labs; labs/README.md has the steps."
    )
    parser.add_argument("--course", type=Path, help="the course's folder (default: labs/)")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, text: str, lab: bool = True):
        added = commands.add_parser(name, help=text, description=text)
        if lab:
            added.add_argument("lab")
        return added

    command("release", "create the students' notebook of a lab").set_defaults(run=_release)
    collect = command("collect", "unpack a download from Moodle or Canvas into submitted/")
    collect.add_argument("downloads", type=Path, nargs="+", help="zips, or folders of them")
    collect.add_argument(
        "--students",
        type=Path,
        metavar="CSV",
        help="the course list: student_id, and lms_id or name or both",
    )
    collect.set_defaults(run=_collect)
    grade = command("grade", "grade new and changed submissions; safe to interrupt and run again")
    grade.add_argument("--jobs", type=int, default=1, help="submissions at a time (default 1)")
    grade.add_argument(
        "--wall",
        type=float,
        metavar="S",
        help="seconds for all calls of a student's functions together",
    )
    grade.add_argument("--memory", type=int, metavar="MB", help="memory of one submission")
    grade.add_argument(
        "--processes",
        type=int,
        metavar="N",
        help="processes and threads of one submission",
    )
    grade.add_argument(
        "--again", nargs="+", default=[], metavar="STUDENT", help="grade these again"
    )
    grade.add_argument(
        "--no-jail",
        action="store_true",
        help="run students' code unprotected: only for code that you trust",
    )
    grade.set_defaults(run=_grade)
    command("feedback", "create the students' feedback pages").set_defaults(run=_feedback)
    command("overview", "write grades.csv and overview.html", lab=False).set_defaults(run=_overview)
    words = command("check-words", "print the check word of each student id", lab=False)
    words.add_argument("students", type=Path, metavar="CSV", help="the course list, as for collect")
    words.set_defaults(run=_check_words)
    handout = command("handout", "create the zip for participants", lab=False)
    handout.add_argument("zip", type=Path)
    handout.set_defaults(run=_handout)
    options = parser.parse_args()
    from labs.grading.course import Course

    course = Course()
    if options.course:
        course = Course(options.course)
    try:
        options.run(course, options)
    except WorkbookError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print(INTERRUPTED, file=sys.stderr)
        return EXIT_INTERRUPTED
    return 0


def _one(root: str, lab: str, student: str, options: str) -> None:
    import contextlib
    import os
    import resource
    import threading
    import time

    # a grammar of web addresses that nbformat's checks never use: 0.9 s to load
    sys.modules["rfc3987_syntax"] = None
    from labs.grading.autograde import grade_one
    from labs.grading.sandbox.limits import Limits

    def end_with_the_parent() -> None:
        sys.stdin.read()
        os._exit(1)

    threading.Thread(target=end_with_the_parent, daemon=True).start()
    jail, given_limits = json.loads(options)
    limits = Limits(**given_limits)
    # a file that needs all memory to read must not stop the machine, only this submission
    address_space = limits.rlimits(0)["RLIMIT_AS"]
    resource.setrlimit(resource.RLIMIT_AS, (address_space, address_space))
    starting = time.process_time()  # Python and the imports, which each submission costs too
    with contextlib.redirect_stdout(sys.stderr):  # loading MNIST prints its source
        result = grade_one(root, lab, student, jail, limits)
    result.cpu_s = round(result.cpu_s + starting, 2)
    print(json.dumps(dataclasses.asdict(result)))


def _release(course, options) -> None:
    from labs.grading.report import gradebook

    print(gradebook.release(course, options.lab))


def _collect(course, options) -> None:
    from labs.grading.intake.collect import collect
    from labs.grading.intake.roster import Roster

    found = collect(course, options.lab, options.downloads, Roster(options.students))
    problems = {student: entry["problem"] for student, entry in found.items() if entry["problem"]}
    # in these words, because scripts of instructors read this line
    print(f"{len(found)} hand-ins collected, {len(problems)} of them cannot be read")
    for student, problem in problems.items():
        print(f"  {student}: {problem}")


def _grade(course, options) -> None:
    from tqdm import tqdm

    from labs.grading.autograde import grade_all
    from labs.grading.errors import CourseError
    from labs.grading.report import gradebook
    from labs.grading.sandbox.limits import Limits

    if not course.release(options.lab).is_file():
        gradebook.release(course, options.lab)
    if unknown := sorted({*options.again} - {*course.students(options.lab)}):
        raise CourseError(f"there is no submission of {', '.join(unknown)} for {options.lab}")
    if not course.students(options.lab):
        raise CourseError(f"there are no submissions of {options.lab}: collect them first")
    given = {"wall_s": options.wall, "memory_mb": options.memory, "processes": options.processes}
    limits = Limits(**{name: value for name, value in given.items() if value is not None})

    def with_bar(results, total: int):
        return tqdm(results, total=total, desc=options.lab, unit="submission")

    new = grade_all(
        course,
        options.lab,
        jobs=options.jobs,
        jail=not options.no_jail,
        limits=limits,
        again=options.again,
        progress=with_bar,
    )
    failed = [result for result in new if result.problem]
    cpu = [result.cpu_s for result in new] or [0.0]
    print(
        f"{len(new)} graded now, {len(failed)} of them could not be; "
        f"{sum(cpu) / len(cpu):.1f} s of processor time each, {max(cpu):.1f} s at most"
    )
    for result in failed:
        print(f"  {result.student}: {result.problem}")
    gradebook.write(course, options.lab, course.results(options.lab))
    _tables(course)


def _feedback(course, options) -> None:
    from labs.grading.report.feedback import feedback

    print(f"{len(feedback(course, options.lab))} pages in {course.root / 'feedback'}")


def _overview(course, options) -> None:
    from labs.grading.report import gradebook

    for lab in _in_use(course):  # includes what an interrupted run has saved
        gradebook.write(course, lab, course.results(lab))
    _tables(course)


def _in_use(course) -> list[str]:
    return [lab for lab in course.labs if course.release(lab).is_file() and course.students(lab)]


def _tables(course) -> None:
    from labs.grading.report import grade_table, overview

    labs = _in_use(course)
    print(grade_table.export(course, labs))
    print(overview.write(course, labs))


def _check_words(course, options) -> None:
    from helpers.student_ids import check_word
    from labs.grading.intake.roster import Roster

    for student in Roster(options.students).ids:
        print(f"{student},{check_word(student)}")


def _handout(course, options) -> None:
    from labs.grading.release import handout

    print(handout(course, options.zip))


if __name__ == "__main__":
    sys.exit(main())
