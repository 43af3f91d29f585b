"""What the site knows about each notebook."""

import base64
import io
import re
from dataclasses import dataclass, field
from pathlib import Path

import nbformat

from helpers.paths import ROOT, build_dir

PATTERN = "[0-9][0-9]*_*.ipynb"
ABILITIES = re.compile(r"\*\*You will be able to\*\* (.+)")
COVER = "cover"  # the tag of a cell whose picture stands for the chapter
CARD_SHAPE = (320, 200)  # width and height of a card's picture, in pixels


@dataclass(frozen=True)
class Chapter:
    """One notebook, run or not.

    name        its file name without extension
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


def chapters() -> list[Chapter]:
    """All notebooks in order: those in notebooks/, and those that were run."""
    committed = {path.stem: path for path in (ROOT / "notebooks").glob(PATTERN)}
    executed = {path.stem: path for path in build_dir("notebooks").glob(PATTERN)}
    return [
        _chapter(name, committed.get(name), executed.get(name))
        for name in sorted(committed | executed)
    ]


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
    """The PNG that stands for a chapter; None if the notebook has no picture.

    It is the first picture of a cell tagged `cover`, else the one that fills a card best.
    """
    best = None
    best_area = 0.0
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {}).get("image/png")
            if not data:
                continue
            png = base64.b64decode(data)
            if COVER in cell.metadata.get("tags", []):
                return png
            area = _area_on_card(png)
            if area > best_area:
                best = png
                best_area = area
    return best


def _area_on_card(png: bytes) -> float:
    """How many pixels of a card the picture covers."""
    from PIL import Image

    width, height = Image.open(io.BytesIO(png)).size
    scale = min(CARD_SHAPE[0] / width, CARD_SHAPE[1] / height)
    return scale * width * scale * height
