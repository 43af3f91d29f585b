"""Write the sources of the site, and have Sphinx build the pages that changed."""

import os
import shutil
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path

from helpers.paths import ROOT, build_dir, build_path
from modelfiles.errors import WorkbookError
from workbook.site import front, links
from workbook.site.chapters import PATTERN, SOLUTIONS, Chapter, chapters, solutions
from workbook.site.prepare import prepared

HERE = Path(__file__).parent


class SiteFailed(WorkbookError, RuntimeError):
    """Sphinx failed; the message is what it printed."""


def build(live_digit: str = "") -> Path:
    """See workbook.site.build."""
    known = chapters()
    has_same_list = _write_sources(known, live_digit)
    _remove_others(build_dir("html"), PATTERN.replace(".ipynb", ".html"), _available(known))
    # every page shows the list of chapters
    warnings = sphinx("html", build_dir("html"), everything=not has_same_list)
    if warnings:
        print(warnings, file=sys.stderr)
    return build_path("html", "index.html")


def sphinx(builder: str, target: Path, everything: bool = False) -> str:
    """Run one of Sphinx's builders over the sources; the warnings that it printed.

    It has its own process, because Sphinx changes settings of the process that it runs in.
    """
    command = [sys.executable, "-m", "workbook.site.sphinx_process", "-q"]
    command += ["-b", builder, "-c", str(HERE)]
    if everything:
        command.append("--write-all")
    command += ["-d", str(build_dir("site", "doctrees")), str(build_dir("site", "source"))]
    done = subprocess.run(
        [*command, str(target)],
        env=os.environ | {"PYTHONWARNINGS": "ignore", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        errors="replace",
    )
    if done.returncode:
        raise SiteFailed(f"the pages in {target} were not built:\n{done.stderr.strip()}")
    return done.stderr.strip()


def _available(known: Collection[Chapter]) -> dict[str, set[str]]:
    """The names of the notebooks that have a page, with their sections."""
    return {
        chapter.name: links.sections(chapter.notebook)
        for chapter in [*known, *solutions(known)]
        if chapter.notebook
    }


def _remove_others(folder: Path, pattern: str, available: Collection[str]) -> None:
    """Delete the files of notebooks that no longer have a page."""
    for path in [*folder.glob(pattern), *folder.glob(f"{SOLUTIONS}/{pattern}")]:
        if path.relative_to(folder).with_suffix("").as_posix() not in available:
            path.unlink()


def _write_sources(known: Collection[Chapter], live_digit: str) -> bool:
    """Write the sources that changed; whether the list of chapters is the same as before."""
    build_dir("site")
    folder = build_dir("site", "source")
    available = _available(known)
    build_dir("site", "source", SOLUTIONS)
    _remove_others(folder, PATTERN, available)
    for chapter in [*known, *solutions(known)]:
        if chapter.notebook:
            text = prepared(chapter, available, live_digit)
            _write_if_changed(folder / f"{chapter.name}.ipynb", text)
    _copy_diagrams(folder)
    glossary = (ROOT / "notebooks" / f"{links.GLOSSARY}.md").read_text(encoding="utf-8")
    _write_if_changed(folder / f"{links.GLOSSARY}.md", links.to_pages(glossary, available))
    index = folder / "index.md"
    has_same_list = index.exists() and front.contents(known) in index.read_text(encoding="utf-8")
    _write_if_changed(index, front.source(known, live_digit))
    return has_same_list


def _copy_diagrams(folder: Path) -> None:
    """The pictures that notebooks show, in the same place next to the sources."""
    there = folder / "figures"
    there.mkdir(exist_ok=True)
    for path in (ROOT / "notebooks" / "figures").glob("*.svg"):
        shutil.copy2(path, there)  # with its time, so that pages that show it are not built again


def _write_if_changed(path: Path, text: str) -> None:
    """Sphinx redoes each page whose source is newer."""
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")
