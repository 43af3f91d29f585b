"""Print what a command found, on standard output and in the files that the options name."""

import argparse
import json
from collections.abc import Sequence
from typing import IO

from helpers.paths import display_path
from workbook.evaluate import budget, output, page, published, tuning
from workbook.evaluate.candidates import Candidate
from workbook.evaluate.hosts import Answer
from workbook.evaluate.rows import Row, as_json
from workbook.evaluate.verdicts import WORKS

Table = tuple[str, Sequence[Row], dict]  # host, rows, device.describe() of it


def conversions(found: Sequence[Candidate], stream: IO[str]) -> int:
    """Where each file is, or why there is none; 1 if there is none at all."""
    for candidate in found:
        text = display_path(candidate.path) if candidate.path else candidate.problem
        output.write(stream, f"{candidate.runtime}, {candidate.precision}: {text}")
    return int(not any(candidate.path for candidate in found))


def tables(found: Sequence[Table], options: argparse.Namespace, stream: IO[str]) -> None:
    """The tables of one machine or more: first the files, then JSON or text."""
    limits = budget.Budget(options.max_ms, options.max_mb, options.min_accuracy)
    advice = [_advice(host, rows, limits) for host, rows, _ in found]
    if options.csv:
        output.write_csv([row for _, rows, _ in found for row in rows], options.csv)
    if options.html:
        title = f"{options.model.rpartition('/')[2]} in several runtimes"
        others = published.of_network(options.model) if options.published else []
        output.write_file(options.html, page.page(found, title, advice, others))
    if options.json:
        plain = [
            {**row, "host": host} if host else row
            for host, rows, _ in found
            for row in as_json(rows)
        ]
        output.write(stream, json.dumps(plain, indent=1))
        return
    for (host, rows, facts), text in zip(found, advice):
        if host:
            output.write(stream, f"{host}: {page.machine(facts)}")
        output.write(stream, output.for_terminal(rows, stream))
        if text:
            output.write(stream, f"\n{text}")
    if options.published:
        output.write(stream, f"\n{_published(options.model)}")


def _published(network: str) -> str:
    figures = published.of_network(network)
    if not figures:
        known = ", ".join(sorted({figure.network for figure in published.FIGURES}))
        return f"No published figures are known for {network}; there are some for {known}."
    return published.as_text(figures)


def _advice(host: str, rows: Sequence[Row], limits: budget.Budget) -> str:
    """What to ship; without limits the Pareto front, if there is a choice."""
    start = f"{host}: " if host else ""
    if limits:
        return start + budget.advice(rows, limits)
    if sum(row.state == WORKS for row in rows) < 2:
        return ""
    return start + budget.pareto_line(rows)


def tuned(
    found: Sequence[tuple[str, Sequence[dict]]], options: argparse.Namespace, stream: IO[str]
) -> None:
    """What the tuner found on each (host, ...)."""
    if options.json:
        plain = [{**row, "host": host} if host else row for host, rows in found for row in rows]
        output.write(stream, json.dumps(plain, indent=1))
        return
    for host, rows in found:
        if host:
            output.write(stream, f"{host}:")
        output.write(stream, tuning.as_text(rows))


def hosts(answers: Sequence[Answer], options: argparse.Namespace, stream: IO[str]) -> None:
    """A table for each host; a host that failed is a row with the reason."""
    if options.tune:
        failed = {"runtime": "host", "file": None}
        each = [
            (answer.host, answer.tuned or [{**failed, "text": answer.problem}])
            for answer in answers
        ]
        tuned(each, options, stream)
        return
    found: list[Table] = []
    for answer in answers:
        rows = list(answer.rows)
        if answer.problem:
            rows.append(Row("host", "-", "fails", answer.problem))
        found.append((answer.host, rows, answer.machine))
    tables(found, options, stream)
