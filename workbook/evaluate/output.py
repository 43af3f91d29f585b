"""Show the table: in the terminal, as text, as JSON on standard output alone, or in files."""

import contextlib
import csv
import io
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Literal

from helpers.paths import whole_file
from modelfiles.errors import WorkbookError
from workbook.evaluate.columns import Column, cells, columns, ranked, remarks
from workbook.evaluate.rows import Row
from workbook.evaluate.rows import as_json as rows_as_json


class OutputError(WorkbookError):
    """The results cannot be written."""


@contextlib.contextmanager
def results_only() -> Iterator[IO[str]]:
    """Standard output for results alone: in the block, all else that prints goes to standard error.

    Libraries in C++ print to the descriptor itself. A stream that a test or a notebook put in the
    place of standard output is used as it is.
    """
    sys.stdout.flush()
    try:
        descriptor = sys.stdout.fileno()
        is_own = sys.stdout is sys.__stdout__
    except (OSError, ValueError):  # such as io.StringIO
        is_own = False
    if not is_own:
        stream = sys.stdout
        with contextlib.redirect_stdout(sys.stderr):
            yield stream
        return
    saved = os.dup(descriptor)
    os.dup2(2, descriptor)
    stream = os.fdopen(os.dup(saved), "w", encoding=sys.stdout.encoding, errors="replace")
    try:
        yield stream
    finally:
        with contextlib.suppress(OSError):  # a full disk, which `write` has reported
            stream.close()
        sys.stdout.flush()
        os.dup2(saved, descriptor)
        os.close(saved)


def write(stream: IO[str], text: str) -> None:
    """Write `text` and a line end at once; OutputError if that fails, as on a full disk."""
    try:
        stream.write(text + "\n")
        stream.flush()
    except OSError as error:
        raise OutputError(f"the results cannot be written: {error.strerror}") from error


def as_json(rows: Sequence[Row]) -> str:
    """The rows as one JSON list."""
    return json.dumps(rows_as_json(rows), indent=1)


def as_text(rows: Sequence[Row]) -> str:
    """The rows as a table for people, the fastest first; the others below, with the reason."""
    measured = ranked(rows)
    shown = columns(measured)
    lines = aligned(shown, cells(measured, shown)) if measured else []
    return "\n".join([*lines, *remarks(rows)])


def aligned(shown: Sequence[Column], body: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table, numbers at the right."""
    lines = []
    table = [[column.title for column in shown], *body]
    widths = [max(map(len, texts)) for texts in zip(*table)]
    for row in table:
        parts = [
            text.rjust(width) if column.is_number else text.ljust(width)
            for column, text, width in zip(shown, row, widths)
        ]
        lines.append("  ".join(parts).rstrip())
    return lines


def for_terminal(rows: Sequence[Row], stream: IO[str]) -> str:
    """as_text, or on a terminal a table by rich, which folds long cells, if rich is installed."""
    if not stream.isatty():
        return as_text(rows)
    try:
        from rich.console import Console
        from rich.table import Table
    except ImportError:  # a Pi
        return as_text(rows)
    measured = ranked(rows)
    shown = columns(measured)
    lines = remarks(rows)
    if measured:
        table = Table()
        for column in shown:
            justify: Literal["left", "right"] = "left"
            if column.is_number:
                justify = "right"
            table.add_column(column.title, justify=justify, overflow="fold")
        for row, texts in zip(measured, cells(measured, shown)):
            table.add_row(*texts, style=None if row.valid else "dim")
        buffer = io.StringIO()
        width = os.get_terminal_size(stream.fileno()).columns
        Console(file=buffer, force_terminal=True, width=width or 80).print(table)
        lines.insert(0, buffer.getvalue().rstrip("\n"))
    return "\n".join(lines)


def write_csv(rows: Sequence[Row], path: Path) -> None:
    """A file with a line for each row and a column for each of its fields, numbers unrounded."""
    plain = [_flat(row) for row in rows_as_json(rows)]
    names = list(dict.fromkeys(name for row in plain for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(plain)
    write_file(path, text.getvalue())


def _flat(row: dict) -> dict:
    """The row without inner lists and dictionaries."""
    flat: dict = {}
    for name, value in row.items():
        if isinstance(value, dict):
            flat |= {f"{name}.{inner}": entry for inner, entry in value.items()}
        elif isinstance(value, list):
            flat[name] = "; ".join(map(str, value))
        else:
            flat[name] = value
    return flat


def check_writable(path: Path) -> None:
    """OutputError if a file cannot be written at `path`: known before minutes of measuring."""
    if path.is_dir():
        raise OutputError(f"{path} is a folder; name a file")
    if not path.parent.is_dir():
        raise OutputError(f"{path} cannot be written: there is no folder {path.parent}")
    if not os.access(path.parent, os.W_OK):
        raise OutputError(f"{path} cannot be written: you may not write to {path.parent}")


def write_file(path: Path, text: str) -> None:
    """Write a file whole or not at all; OutputError if that fails."""
    try:
        with whole_file(path) as part:
            part.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{path} was not written: {error.strerror}") from error
