"""The conversion matrix: which kind of file becomes which other, by trying each arrow."""

import platform
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from modelfiles.errors import WrongAnswers, reason
from workbook.commands.arrows import ARROWS, Arrow, Workshop
from workbook.evaluate import isolated

NOT_HERE = "not here"


@dataclass(frozen=True)
class Tried:
    """An arrow, its `state` (a word of verdicts.TITLES, or NOT_HERE), and the reason for it.

    `difference` is the largest difference of an answer from the source's; the largest answers of
    the small network are about 1.
    """

    arrow: Arrow
    state: str
    why: str = ""
    difference: float | None = None


def tried(say: Callable[[str], None] = print, arrows: Sequence[Arrow] = ARROWS) -> list[Tried]:
    """Try each arrow with a small network, in another process; what fails is a row too."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        workshop = Workshop(Path(folder))

        def attempt(arrow: Arrow) -> tuple[str, str, float | None]:
            return _attempt(arrow, workshop)

        for arrow, result in isolated.results(attempt, arrows):
            if isinstance(result, isolated.Crashed):
                result = ("fails", str(result), None)
            found.append(Tried(arrow, *result))
            say(f"{arrow.source} to {arrow.target}: {result[0]}")
    return found


def _attempt(arrow: Arrow, workshop: Workshop) -> tuple[str, str, float | None]:
    if arrow.write is None:
        return NOT_HERE, arrow.remark, None
    try:
        return "works", arrow.remark, arrow.write(workshop)
    except WrongAnswers as error:
        return "wrong", str(error), error.difference
    except ImportError as error:
        return NOT_HERE, f"not installed: {error}", None
    except Exception as error:  # a converter raises anything
        return "fails", reason(error), None


def as_markdown(rows: Sequence[Tried]) -> str:
    """The table in Markdown, with the versions of the packages."""
    system = f"Python {platform.python_version()}, {platform.system()} on {platform.machine()}"
    lines = [
        f"Tried with {system}. The largest answers of the small network are about 1.",
        "",
        "| from | to | with | state | largest difference |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        packages = ", ".join(_with_version(name) for name in row.arrow.packages) or "-"
        state = f"{row.state}: {row.why}" if row.why else row.state
        difference = "-" if row.difference is None else f"{row.difference:.1e}"
        cells = (row.arrow.source, row.arrow.target, packages, state, difference)
        lines.append("| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |")
    return "\n".join(lines)


def states_in(markdown: str) -> dict[tuple[str, str], str]:
    """{(from, to): state} of a table that as_markdown wrote."""
    rows = [line.split(" | ") for line in markdown.splitlines() if line.startswith("| ")]
    return {
        (cells[0].removeprefix("| "), cells[1]): cells[3].split(":")[0]
        for cells in rows
        if len(cells) == 5 and cells[1] != "to"
    }


def _with_version(package: str) -> str:
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return package
