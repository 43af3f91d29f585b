"""overview.html: how each question went, and who needs a human look and why. One file, no scripts."""

import html
from collections import Counter
from pathlib import Path
from urllib.parse import quote

from labs.grading import gradebook
from labs.grading.course import Course

_STYLE = """
body { font: 15px/1.45 sans-serif; max-width: 62em; margin: 2em auto; padding: 0 1em; color: #222 }
table { border-collapse: collapse; width: 100% } th, td { text-align: left; padding: .3em .8em .3em 0; vertical-align: top }
th { border-bottom: 1px solid #999 } tr + tr td { border-top: 1px solid #eee } td.number { text-align: right; white-space: nowrap }
.bar { display: flex; width: 20em; height: 1.1em; background: #fff; border: 1px solid #888 } .bar span { display: block }
.full { background: #2a6f97 } .part { background: #89c2d9 } .none { background: #e5989b } .open { background: #eee }
.key span { display: inline-block; width: 1em; height: 1em; border: 1px solid #888; vertical-align: middle; margin: 0 .3em 0 1em }
svg text { font: 11px sans-serif } h2 { margin-top: 2em } .problem { color: #a4161a }
"""


def write(course: Course, labs: list[str]) -> Path:
    """Write the page for the labs that have hand-ins; its path."""
    body = "".join(_lab(course, lab) for lab in labs) or "<p>There are no hand-ins.</p>"
    page = (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>Labs: overview</title>'
        f"<style>{_STYLE}</style></head><body><h1>Labs: overview</h1>{body}</body></html>\n"
    )
    path = course.root / "overview.html"
    path.write_text(page, encoding="utf-8")
    return path


def _lab(course: Course, lab: str) -> str:
    table, asked = gradebook.rows(course, lab), gradebook.questions(course, lab)
    counts = Counter(row["status"] for row in table)
    summary = ", ".join(f"{n} {status}" for status, n in counts.most_common())
    graded = [row for row in table if row["marks"]]
    automatic = sum(q["max"] for q in asked.values() if not q["written"])
    bars = "".join(
        _question(name, question, [row["marks"][name] for row in graded])
        for name, question in asked.items()
    )
    return (
        f"<h2>{html.escape(lab)}</h2><p>{len(table)} hand-ins: {html.escape(summary)}.</p>"
        f"{_histogram([row['automatic'] for row in graded if row['automatic'] is not None], automatic)}"
        "<p class=key>Share of the graded hand-ins:<span class=full></span>all points<span class=part></span>some"
        "<span class=none></span>none<span class=open></span>waiting for a human</p>"
        f"<table><tr><th>question<th>points<th>how it went<th>mean{bars}</table>{_look(course, lab, table)}{_repaired(table)}"
    )


def _question(name: str, question: dict, marks: list[float | None]) -> str:
    kinds = Counter(
        "open"
        if mark is None
        else "full"
        if mark >= question["max"]
        else "part"
        if mark > 0
        else "none"
        for mark in marks
    )
    given = [mark for mark in marks if mark is not None]
    spans = "".join(
        f'<span class={kind} style="width:{100 * kinds[kind] / len(marks):.1f}%" title="{kinds[kind]} of {len(marks)}"></span>'
        for kind in ("full", "part", "none", "open")
        if kinds[kind]
    )
    mean = f"{sum(given) / len(given):.2f}" if given else ""
    kind = " (written)" if question["written"] else ""
    return (
        f"<tr><td>{html.escape(name)}{kind}<td class=number>{question['max']:g}<td><div class=bar>{spans}</div>"
        f"<td class=number>{mean}"
    )


def _histogram(points: list[float], largest: float) -> str:
    """Bars of how many hand-ins have how many automatic points, in ten classes."""
    if not points or not largest:
        return ""
    classes = Counter(min(int(10 * p / largest), 9) for p in points)
    highest = max(classes.values())
    bars = []
    for i in range(10):
        height = 90 * classes[i] / highest
        low, high = i * largest / 10, (i + 1) * largest / 10
        bars.append(
            f'<rect x="{i * 58 + 4}" y="{112 - height:.1f}" width="50" height="{height:.1f}" fill="#2a6f97"/>'
            f'<text x="{i * 58 + 29}" y="{107 - height:.1f}" text-anchor="middle">{classes[i] or ""}</text>'
            f'<text x="{i * 58 + 29}" y="128" text-anchor="middle">{low:.3g}–{high:.3g}</text>'
        )
    return (
        f'<svg viewBox="0 0 584 150" width="584" role="img"><line x1="0" x2="584" y1="112" y2="112" stroke="#888"/>{"".join(bars)}'
        f'<text x="292" y="146" text-anchor="middle">automatic points of {largest:g}; the number of hand-ins above each bar</text></svg>'
    )


def _look(course: Course, lab: str, table: list[dict]) -> str:
    """Who needs a human and why; those without a grade first."""
    who = [row for row in table if row["look"] or row["status"] == "could not be graded"]
    if not who:
        return "<p>No hand-in needs a human look beyond its written part.</p>"
    lines = []
    for row in sorted(who, key=lambda row: row["status"] != "could not be graded"):
        reasons = "<br>".join(html.escape(reason) for reason in row["look"])
        student = html.escape(row["student"])
        page = course.feedback(lab, row["student"])
        if page.is_file():
            student = f'<a href="{quote(page.relative_to(course.root).as_posix())}">{student}</a>'
        status = "" if row["status"] != "could not be graded" else " class=problem"
        points = "" if row["automatic"] is None else f"{row['automatic']:g}"
        lines.append(
            f"<tr><td>{student}<td>{html.escape(row['name'])}<td{status}>{html.escape(row['status'])}<td class=number>{points}<td>{reasons}"
        )
    return (
        f"<h3>Needs a human look: {len(who)}</h3><table><tr><th>student<th>name<th>status<th>automatic points<th>why"
        f"{''.join(lines)}</table>"
    )


def _repaired(table: list[dict]) -> str:
    """What was put right in hand-ins before they were graded."""
    lines = [
        f"<tr><td>{html.escape(row['student'])}<td>{'<br>'.join(map(html.escape, row['notes']))}"
        for row in table
        if row["notes"]
    ]
    return (
        f"<details><summary>Repaired or noted on the way: {len(lines)}</summary><table>{''.join(lines)}</table></details>"
        if lines
        else ""
    )
