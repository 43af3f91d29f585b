"""What the site knows about each notebook."""

import base64
import io
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

import nbformat

from helpers.paths import ROOT, build_dir

PATTERN = "[0-9][0-9]*_*.ipynb"
SOLUTIONS = "solutions"  # the folder of their notebooks, and of their pages
ABILITIES = re.compile(r"\*\*You will be able to\*\* (.+)")
COVER = "cover"  # the tag of a cell whose picture stands for the chapter
CARD_SHAPE = (320, 200)  # width and height of a card's picture, in pixels
LEGIBLE = 0.5  # of its size: the labels of a figure that is made smaller cannot be read
DIAGRAM = re.compile(r"!\[[^\]]*\]\((figures/\w+\.svg)\)")


@dataclass(frozen=True)
class Chapter:
    """One notebook, run or not.

    name        its path in notebooks/ without extension
    title       its first heading
    abilities   what the reader will be able to do, as one sentence; "" if it does not say
    notebook    the executed notebook; None if it was not run
    run         notebook.metadata["workbook"]: how it was run; empty if unknown
    """

    name: str
    title: str
    abilities: str
    notebook: nbformat.NotebookNode | None
    run: dict = field(default_factory=dict)

    @property
    def number(self) -> str:
        """What its name begins with: two digits, and a letter if it follows a chapter."""
        return self.name.partition("_")[0]

    @property
    def folder(self) -> str:
        """The folder of its notebook, relative to notebooks/: "" or "solutions"."""
        return self.name.rpartition("/")[0]


def chapters() -> list[Chapter]:
    """All notebooks in order: those in notebooks/, and those that were run."""
    committed = {path.stem: path for path in (ROOT / "notebooks").glob(PATTERN)}
    executed = {path.stem: path for path in build_dir("notebooks").glob(PATTERN)}
    return [
        _chapter(name, committed.get(name), executed.get(name))
        for name in sorted(committed | executed)
    ]


def solutions(known: Iterable[Chapter]) -> list[Chapter]:
    """The committed solutions of the chapters that have a page."""
    found = []
    for chapter in known:
        path = ROOT / "notebooks" / SOLUTIONS / f"{chapter.name}.ipynb"
        if chapter.notebook and path.exists():
            found.append(replace(_chapter(f"{SOLUTIONS}/{chapter.name}", None, path), run={}))
    return found


def _chapter(name: str, committed: Path | None, executed: Path | None) -> Chapter:
    path = executed or committed
    assert path is not None
    notebook = nbformat.read(path, 4)
    source = notebook.cells[0].source
    abilities = ABILITIES.search(source)
    return Chapter(
        name=name,
        title=source.splitlines()[0].lstrip("# "),
        abilities=abilities[1] if abilities else "",
        notebook=notebook if executed else None,
        run=notebook.metadata.get("workbook", {}) if executed else {},
    )


def picture(notebook: nbformat.NotebookNode) -> bytes | None:
    """The PNG or SVG that stands for a chapter; None if the notebook has no picture.

    It is the first figure of a cell tagged `cover`, else the one that fills a card best. If that
    one is too wide to be read on a card, it is the first diagram of the text.
    """
    best = None
    best_area = 0.0
    is_legible = False
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {}).get("image/png")
            if not data:
                continue
            png = base64.b64decode(data)
            if COVER in cell.metadata.get("tags", []):
                return png
            scale, area = _on_card(png)
            if area > best_area:
                best = png
                best_area = area
                is_legible = scale >= LEGIBLE
    diagram = None if is_legible else _first_diagram(notebook)
    return diagram or best


def _on_card(png: bytes) -> tuple[float, float]:
    """By what the size of a picture is multiplied on a card, and how many pixels it covers."""
    from PIL import Image

    width, height = Image.open(io.BytesIO(png)).size
    scale = min(CARD_SHAPE[0] / width, CARD_SHAPE[1] / height)
    return scale, scale * width * scale * height


def _first_diagram(notebook: nbformat.NotebookNode) -> bytes | None:
    """The first SVG file that the text shows; None if it shows none that exists."""
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and (found := DIAGRAM.search(cell.source)):
            path = ROOT / "notebooks" / found[1]
            if path.exists():
                return path.read_bytes()
    return None
