"""overview.html: the results of each question, and what is flagged for review.

It is one file, without scripts.
"""

import html
from collections import Counter
from pathlib import Path
from urllib.parse import quote

from labs.grading.course import Course
from labs.grading.report import grade_table

_STYLE = """
body { font: 15px/1.45 sans-serif; max-width: 62em; margin: 2em auto; padding: 0 1em; color: #222 }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; padding: .3em .8em .3em 0; vertical-align: top }
th { border-bottom: 1px solid #999 }
tr + tr td { border-top: 1px solid #eee }
td.number { text-align: right; white-space: nowrap }
.bar { display: flex; width: 20em; height: 1.1em; background: #fff; border: 1px solid #888 }
.bar span { display: block }
.full { background: #2a6f97 }
.part { background: #89c2d9 }
.none { background: #e5989b }
.open { background: #eee }
.key span { display: inline-block; width: 1em; height: 1em; border: 1px solid #888 }
.key span { vertical-align: middle; margin: 0 .3em 0 1em }
svg text { font: 11px sans-serif }
h2 { margin-top: 2em }
.problem { color: #a4161a }
"""
_KEY = (
    "<p class=key>Share of the graded submissions:<span class=full></span>all points"
    "<span class=part></span>some<span class=none></span>none"
    "<span class=open></span>not graded yet</p>"
)


def write(course: Course, labs: list[str]) -> Path:
    """Write the page for the labs that have submissions; its path."""
    body = "".join(_lab(course, lab) for lab in labs) or "<p>There are no submissions.</p>"
    page = (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>Labs: overview</title>'
        f"<style>{_STYLE}</style></head><body><h1>Labs: overview</h1>{body}</body></html>\n"
    )
    path = course.root / "overview.html"
    path.write_text(page, encoding="utf-8")
    return path


def _lab(course: Course, lab: str) -> str:
    table = grade_table.rows(course, lab)
    asked = grade_table.questions(course, lab)
    counts = Counter(row["status"] for row in table)
    summary = ", ".join(f"{n} {status}" for status, n in counts.most_common())
    graded = [row for row in table if row["marks"]]
    automatic = sum(q["max"] for q in asked.values() if not q["written"])
    points = [row["automatic"] for row in graded if row["automatic"] is not None]
    bars = "".join(
        _question(name, question, [row["marks"][name] for row in graded])
        for name, question in asked.items()
    )
    return (
        f"<h2>{html.escape(lab)}</h2><p>{len(table)} submissions: {html.escape(summary)}.</p>"
        f"{_histogram(points, automatic)}{_KEY}"
        f"<table><tr><th>question<th>points<th>results<th>mean{bars}</table>"
        f"{_flagged(course, lab, table)}{_repaired(table)}"
    )


def _question(name: str, question: dict, marks: list[float | None]) -> str:
    """A row of the table: the question, its points, a bar of the results, and the mean."""
    counts = Counter(_outcome(mark, question["max"]) for mark in marks)
    spans = ""
    for outcome in ("full", "part", "none", "open"):
        if count := counts[outcome]:
            width = 100 * count / len(marks)
            title = f"{count} of {len(marks)}"
            spans += f'<span class={outcome} style="width:{width:.1f}%" title="{title}"></span>'
    given = [mark for mark in marks if mark is not None]
    mean = f"{sum(given) / len(given):.2f}" if given else ""
    kind = " (written)" if question["written"] else ""
    return (
        f"<tr><td>{html.escape(name)}{kind}<td class=number>{question['max']:g}"
        f"<td><div class=bar>{spans}</div><td class=number>{mean}"
    )


def _outcome(mark: float | None, largest: float) -> str:
    """The class of a mark's part of the bar."""
    if mark is None:
        return "open"
    if mark >= largest:
        return "full"
    return "part" if mark > 0 else "none"


def _histogram(points: list[float], largest: float) -> str:
    """Bars of how many submissions have how many automatic points, in ten classes."""
    if not points or not largest:
        return ""
    classes = Counter(min(int(10 * p / largest), 9) for p in points)
    highest = max(classes.values())
    bars = []
    for i in range(10):
        height = 90 * classes[i] / highest
        left = i * 58 + 4
        low = i * largest / 10
        high = (i + 1) * largest / 10
        place = f'x="{left}" y="{112 - height:.1f}" width="50" height="{height:.1f}"'
        bars.append(f'<rect {place} fill="#2a6f97"/>')
        bars.append(_centred(left + 25, f"{107 - height:.1f}", classes[i] or ""))
        bars.append(_centred(left + 25, 128, f"{low:.3g}\N{EN DASH}{high:.3g}"))
    label = f"automatic points of {largest:g}; the number of submissions above each bar"
    return (
        '<svg viewBox="0 0 584 150" width="584" role="img">'
        '<line x1="0" x2="584" y1="112" y2="112" stroke="#888"/>'
        f"{''.join(bars)}{_centred(292, 146, label)}</svg>"
    )


def _centred(x: int, y: int | str, text: int | str) -> str:
    return f'<text x="{x}" y="{y}" text-anchor="middle">{text}</text>'


def _flagged(course: Course, lab: str, table: list[dict]) -> str:
    """Which submissions are flagged and why; those without a grade first."""
    who = [row for row in table if row["flags"] or row["status"] == "could not be graded"]
    if not who:
        return "<p>No submission is flagged for review.</p>"
    lines = []
    for row in sorted(who, key=lambda row: row["status"] != "could not be graded"):
        reasons = "<br>".join(html.escape(reason) for reason in row["flags"])
        student = html.escape(row["student"])
        page = course.feedback(lab, row["student"])
        if page.is_file():
            student = f'<a href="{quote(page.relative_to(course.root).as_posix())}">{student}</a>'
        style = " class=problem" if row["status"] == "could not be graded" else ""
        points = "" if row["automatic"] is None else f"{row['automatic']:g}"
        lines.append(
            f"<tr><td>{student}<td>{html.escape(row['name'])}"
            f"<td{style}>{html.escape(row['status'])}<td class=number>{points}<td>{reasons}"
        )
    return (
        f"<h3>Flagged for review: {len(who)}</h3>"
        "<table><tr><th>student<th>name<th>status<th>automatic points<th>why"
        f"{''.join(lines)}</table>"
    )


def _repaired(table: list[dict]) -> str:
    """What was repaired in submissions before they were graded."""
    lines = [
        f"<tr><td>{html.escape(row['student'])}<td>{'<br>'.join(map(html.escape, row['notes']))}"
        for row in table
        if row["notes"]
    ]
    if not lines:
        return ""
    return (
        f"<details><summary>Repaired, or noted: {len(lines)}</summary>"
        f"<table>{''.join(lines)}</table></details>"
    )
