"""`make workbook`: run what has changed, two notebooks at a time, and build the pages."""

import asyncio
import math
import re
import subprocess
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import nbformat

from helpers import device
from helpers.paths import ROOT, build_path, display_path, whole_file
from modelfiles.errors import WorkbookError
from workbook import book, site
from workbook.book_progress import Progress
from workbook.fingerprint import changes, fingerprint
from workbook.turns import Turns

AT_A_TIME = 2
SECONDS_PER_CELL = 2  # a guess where no run is known
VERSIONS = ("torch", "onnxruntime", "ai-edge-litert", "ncnn", "MNN", "executorch", "numpy")


@dataclass
class Chapter:
    """A notebook of this run, and what is known of its last one."""

    name: str
    notebook: nbformat.NotebookNode
    last: dict  # the metadata of the executed copy; empty if there is none
    expected_s: float  # how long it will take
    failure: str | None = None
    saved: dict[str, asyncio.Event] = field(init=False)  # {network that this notebook trains}

    def __post_init__(self) -> None:
        self.saved = {network: asyncio.Event() for network in self.saving_cells}

    @property
    def executed_file(self) -> Path:
        """Where its executed copy is."""
        return build_path("notebooks", f"{self.name}.ipynb")

    @property
    def cells(self) -> list[nbformat.NotebookNode]:
        """Its code cells."""
        return [cell for cell in self.notebook.cells if cell.cell_type == "code"]

    @property
    def saving_cells(self) -> dict[str, int]:
        """{network that this notebook trains for others: the code cell that saves it, from 1}."""
        return {
            network: number
            for number, cell in enumerate(self.cells, 1)
            for network in re.findall(r"training\.save\(\"(\w+)\"", cell.source)
        }

    def loads(self, network: str) -> bool:
        """Whether it may load `network`: it has the name, or has files converted of any network."""
        code = "\n".join(cell.source for cell in self.cells)
        return f'"{network}"' in code or "model_files" in code

    def reason_to_run(self) -> str:
        """Why it has to run, in a few words; empty if nothing that it depends on has changed."""
        if not self.last:
            return "it has not run yet"
        if "KeyboardInterrupt" in self.last.get("failed", ""):
            return "it was interrupted"
        if "failed" in self.last:
            return "it failed"
        changed = changes(self.last["fingerprint"], fingerprint(self.name, self.notebook))
        return ", ".join(changed[:3]) + (" ..." if len(changed) > 3 else "")


def run(chosen: list[str]) -> None:
    """Run the notebooks `chosen`, or all, as far as needed; write pages and results to build/html.

    Raises WorkbookError, with each cell that failed, after all others have run.
    """
    begun = time.monotonic()
    chapters = [_chapter(name) for name in book.chosen_names(chosen)]
    asyncio.run(_run(chapters))
    site.build()  # of what did not run, texts may have changed
    failures = [chapter.failure for chapter in chapters if chapter.failure]
    page = display_path(build_path("html", "index.html"))
    print(f"{(time.monotonic() - begun) / 60:.1f} minutes in all; read {page}")
    if failures:
        raise WorkbookError("\n\n".join(failures))


def _chapter(name: str) -> Chapter:
    notebook = book.prepared(name)
    committed = nbformat.read(book.HERE / f"{name}.ipynb", 4).metadata.get("workbook", {})
    path = build_path("notebooks", f"{name}.ipynb")
    last = {}
    if path.exists():
        last = nbformat.read(path, 4).metadata.get("workbook", {})
    expected_s = (committed | last).get("seconds", SECONDS_PER_CELL * len(notebook.cells))
    return Chapter(name, notebook, last, expected_s)


async def _run(chapters: list[Chapter]) -> None:
    free = asyncio.Semaphore(AT_A_TIME)
    turns = Turns()
    progress = Progress({chapter.name: chapter.expected_s for chapter in chapters})
    unfinished = {chapter.name for chapter in chapters}
    runs = []
    # the longest first: else it would run last, and one processor would wait for it
    for chapter in sorted(chapters, key=lambda chapter: -chapter.expected_s):
        first = [
            is_saved
            for earlier in chapters[: chapters.index(chapter)]
            # the last network first: those that wait for the same one then start in this order
            for network, is_saved in reversed(earlier.saved.items())
            if chapter.loads(network)
        ]
        runs.append(_run_chapter(chapter, first, free, turns, progress, unfinished))
    async with progress.shown():
        await asyncio.gather(*runs)


async def _run_chapter(
    chapter: Chapter,
    first: list[asyncio.Event],
    free: asyncio.Semaphore,
    turns: Turns,
    progress: Progress,
    unfinished: set[str],
) -> None:
    """Run one notebook, if it has to run, after the events `first`, and build its page.

    The pages of the last one are left to the build at the end.
    """
    for event in first:
        await event.wait()
    async with free:
        reason = chapter.reason_to_run()
        if reason:
            seconds = await _execute(chapter, turns, progress)
            outcome = "FAILED" if chapter.failure else "ok"
            line = f"{chapter.name:36}{seconds:6.0f} s  {outcome:6}  ({reason})"
            progress.end(chapter.name, line)
            _note_saved(chapter)  # also if it failed: the others train what is missing
            unfinished.discard(chapter.name)
            if unfinished:
                async with turns.turn():  # building pages would disturb a measurement
                    await asyncio.to_thread(site.build)
        else:
            unfinished.discard(chapter.name)
            _keep_outputs(chapter)
            progress.skip(chapter.name, f"{chapter.name:36}          unchanged since its last run")
            _note_saved(chapter)


def _note_saved(chapter: Chapter, running_cell: float = math.inf) -> None:
    """Let those start that load what the cells before `running_cell` have saved."""
    for network, number in chapter.saving_cells.items():
        if number < running_cell:
            chapter.saved[network].set()


async def _execute(chapter: Chapter, turns: Turns, progress: Progress) -> float:
    """Execute the notebook and store it, also if it fails; the seconds that it took."""
    show_cell = progress.of(chapter.name)

    def begin_cell(number: int, count: int) -> None:
        _note_saved(chapter, running_cell=number)
        show_cell(number, count)

    about: dict = {"executed": datetime.now(UTC).isoformat(timespec="seconds")} | _environment()
    try:
        await book.execute_cells(chapter.notebook, chapter.name, turns=turns, progress=begin_cell)
    except book.NotebookFailed as error:
        chapter.failure = str(error)
        about["failed"] = error.sentence
    about |= chapter.notebook.metadata["workbook"]  # its seconds
    # computed now: a notebook may itself write a network that it loads
    about["fingerprint"] = fingerprint(chapter.name, book.prepared(chapter.name))
    _store(chapter, about)
    return about["seconds"]


def _keep_outputs(chapter: Chapter) -> None:
    """Store the notebook's present text with the outputs of its last run."""
    executed = nbformat.read(chapter.executed_file, 4)
    outputs = [cell for cell in executed.cells if cell.cell_type == "code"]
    for cell, last in zip(chapter.cells, outputs):
        cell.outputs = last.outputs
        cell.execution_count = last.execution_count
    _store(chapter, chapter.last)


def _store(chapter: Chapter, about: dict) -> None:
    chapter.notebook.metadata["workbook"] = about
    text = nbformat.writes(chapter.notebook)
    path = chapter.executed_file
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return  # its page need not be built again
    with whole_file(path) as part:
        part.write_text(text, encoding="utf-8")


def _environment() -> dict:
    """What a page says about where it was executed."""
    machine = device.describe()
    head = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=ROOT
    )
    return {
        "commit": head.stdout.strip() or None,
        "machine": f"{machine['cpu']}, {machine['cores']} cores, {machine['os']}",
        "versions": {"python": machine["python"]} | {name: version(name) for name in VERSIONS},
    }
