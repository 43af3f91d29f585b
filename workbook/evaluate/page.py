"""The results as one HTML page that needs no other file and no network."""

import html
import platform
from collections.abc import Sequence
from datetime import UTC, datetime

from workbook.evaluate import bars
from workbook.evaluate.columns import cells, columns, ranked, remarks
from workbook.evaluate.picture import picture
from workbook.evaluate.published import Published
from workbook.evaluate.rows import Row

STYLE = """
:root { color-scheme: light dark; --paper: #ffffff; --ink: #1b1b1b; --soft: #5f6368;
  --line: #d7dade; --best: #0b63c5; --on-best: #ffffff; }
@media (prefers-color-scheme: dark) { :root { --paper: #16181b; --ink: #ececec; --soft: #a4a9af;
  --line: #3a3e44; --best: #7cb7ff; --on-best: #10243c; } }
body { background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, sans-serif;
  margin: 2rem auto; max-width: 100rem; padding: 0 1rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .875rem; }
th, td { border-bottom: 1px solid var(--line); padding: .3rem .6rem; text-align: left;
  white-space: nowrap; }
th { vertical-align: bottom; white-space: normal; }
.number { font-variant-numeric: tabular-nums; text-align: right; }
.void { color: var(--soft); }
.pictures { display: flex; flex-wrap: wrap; gap: 1rem; }
svg { flex: 1 1 22rem; max-width: 34rem; }
svg text { fill: var(--ink); font: 12px system-ui, sans-serif; text-anchor: middle; }
svg .side { text-anchor: end; }
.grid { stroke: var(--line); fill: none; }
circle { fill: var(--paper); stroke: var(--soft); stroke-width: 1.5; }
.best circle { fill: var(--best); stroke: var(--best); }
.best text { fill: var(--on-best); font-weight: 600; }
.bars { max-width: 44rem; }
svg .value { text-anchor: start; }
.here { fill: var(--best); }
.theirs { fill: var(--paper); stroke: var(--soft); stroke-width: 1.5; }
"""


def page(
    tables: Sequence[tuple[str, Sequence[Row], dict]],
    title: str,
    notes: Sequence[str] = (),
    published: Sequence[Published] = (),
) -> str:
    """The page: for each (host, rows, facts of the machine) a table and its pictures.

    `host` is "" for this machine. `notes` are paragraphs, such as the advice for a budget.
    `published` figures follow in a chart of their own.
    """
    date = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    parts = [f"<h1>{html.escape(title)}</h1>"]
    for host, rows, facts in tables:
        parts += _section(host, rows, facts)
    parts += [f"<p>{_lines(note)}</p>" for note in notes if note]
    parts += bars.section(published)
    parts.append(
        f'<p class="void">workbook evaluate, {date}, on Python {platform.python_version()}. '
        "The speed of a row is p50 of the fastest row divided by its own p50, with the 95 % "
        "interval over several starts of both processes. In the pictures, filled points are on the "
        "Pareto front: no other file is faster, smaller and better.</p>"
    )
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{html.escape(title)}</title>\n<style>{STYLE}</style>",
            *parts,
            "</html>\n",
        ]
    )


def _section(host: str, rows: Sequence[Row], facts: dict) -> list[str]:
    measured = ranked(rows)
    parts = []
    if host:
        parts.append(f"<h2>{html.escape(host)}</h2>")
    parts.append(f"<p>{html.escape(machine(facts))}</p>")
    if measured:
        parts += [_table(measured), bars.measured(measured), '<div class="pictures">']
        parts.append(picture(measured, "p50 in ms", lambda row: row.p50_ms))
        parts.append(picture(measured, "size in kB", lambda row: (row.bytes or 0) / 1e3))
        parts.append("</div>")
    parts += [f"<p>{html.escape(remark)}</p>" for remark in remarks(rows)]
    return parts


def _table(rows: Sequence[Row]) -> str:
    shown = columns(rows)
    kinds = [' class="number"' if column.is_number else "" for column in shown]
    head = [f"<th{kind}>{html.escape(column.title)}" for kind, column in zip(kinds, shown)]
    lines = ['<div class="wide"><table>', f"<tr><th>#{''.join(head)}"]
    for number, (row, texts) in enumerate(zip(rows, cells(rows, shown)), 1):
        kind = "" if row.valid else ' class="void"'
        body = [f"<td{kind}>{html.escape(text)}" for kind, text in zip(kinds, texts)]
        lines.append(f"<tr{kind}><td>{number}{''.join(body)}")
    return "\n".join([*lines, "</table></div>"])


def machine(facts: dict) -> str:
    """The measured machine in one line."""
    name = facts.get("board") or facts.get("cpu") or facts.get("arch") or "unknown processor"
    known = [
        str(name),
        f"{facts['cores']} cores" if facts.get("cores") else "",
        f"{facts['ram_mb'] / 1e3:.1f} GB" if facts.get("ram_mb") else "",
        str(facts.get("os") or ""),
        f"Python {facts['python']}" if facts.get("python") else "",
    ]
    return ", ".join(filter(None, known))


def _lines(text: str) -> str:
    return "<br>".join(map(html.escape, text.splitlines()))
