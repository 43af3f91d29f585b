"""The students' pages: nbgrader's for what was graded, a short one for what could not be."""

import html

from labs.grading import gradebook
from labs.grading.course import Course

_PAGE = """<!DOCTYPE html>
<html lang="en"><meta charset="utf-8"><title>{lab}</title>
<style>
body {{ font: 16px/1.5 sans-serif; max-width: 40em; margin: 3em auto; padding: 0 1em }}
</style>
<h1>{lab}</h1>
<p>This hand-in could not be graded: {problem}.</p>
<p>That is not 0 points. Hand in again, or ask your instructor.</p>
</html>
"""


def feedback(course: Course, lab: str) -> list[str]:
    """Recreate the page of every graded student from the gradebook's marks; the students' ids."""
    results = course.results(lab)
    gradebook.write(course, lab, results)
    for result in results:
        if not result.problem:
            gradebook.feedback_page(course, lab, result.student)
            continue
        page = course.feedback(lab, result.student)
        page.parent.mkdir(parents=True, exist_ok=True)
        text = _PAGE.format(lab=html.escape(lab), problem=html.escape(result.problem))
        page.write_text(text, encoding="utf-8")
    return [result.student for result in results]
