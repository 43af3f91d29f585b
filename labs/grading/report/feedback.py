"""The students' pages: nbgrader's for graded submissions, a short one for the others."""

import html
import re
import warnings

from labs.grading.course import Course
from labs.grading.errors import CourseError
from labs.grading.report import grade_table, gradebook

_PAGE = """<!DOCTYPE html>
<html lang="en"><meta charset="utf-8"><title>{lab}</title>
<style>
body {{ font: 16px/1.5 sans-serif; max-width: 40em; margin: 3em auto; padding: 0 1em }}
</style>
<h1>{lab}</h1>
<p>This submission could not be graded: {problem}.</p>
<p>That is not 0 points. Submit again, or ask your instructor.</p>
</html>
"""


def feedback(course: Course, lab: str) -> list[str]:
    """Recreate the page of every graded student from the gradebook's marks; the students' ids."""
    course.source(lab)
    if not course.release(lab).is_file():
        raise CourseError(f"{lab} is not released yet: use the commands release and grade first")
    results = course.results(lab)
    gradebook.write(course, lab, results)
    for result in results:
        if not result.problem:
            _nbgrader_page(course, lab, result.student)
            continue
        page = course.feedback(lab, result.student)
        page.parent.mkdir(parents=True, exist_ok=True)
        text = _PAGE.format(lab=html.escape(lab), problem=html.escape(result.problem))
        page.write_text(text, encoding="utf-8")
    return [result.student for result in results]


def _nbgrader_page(course: Course, lab: str, student: str) -> None:
    """nbgrader's feedback page from the autograded notebook and the gradebook.

    A question that is not graded yet is shown as such, not with 0 points.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gradebook.succeed(
            gradebook.nbgrader_api(course).generate_feedback(lab, student),
            f"the feedback of {student}",
        )
    path = course.feedback(lab, student)
    page = path.read_text(encoding="utf-8").replace(
        "</head>", "<style>pre { white-space: pre-wrap }</style></head>", 1
    )
    marks = grade_table.marks_of(course, lab)[student]
    for name, mark in marks.items():
        by_kind = rf'(<a href="#{name}">)(Test cell|Written response)</a>'
        page = re.sub(by_kind, rf"\1{name}</a>", page)
        if mark.points is None:
            in_contents = rf'(<a href="#{name}">{name}</a>) \(Score: [^)]*\)'
            page = re.sub(in_contents, r"\1 (not graded yet)", page)
            at_cell = rf'(<a name="{name}"></a>.*?)Score: [\d.]+ / ([\d.]+)'
            page = re.sub(at_cell, r"\1not graded yet, of \2", page, count=1, flags=re.DOTALL)
    if any(mark.points is None for mark in marks.values()):
        so_far = sum(mark.points or 0 for mark in marks.values())
        total = rf"<h4>{re.escape(lab)} \(Score: [\d.]+"
        page = re.sub(total, f"<h4>{lab} (Score so far: {so_far}", page, count=1)
    path.write_text(page, encoding="utf-8")
