"""Run the notebooks in order, each in a fresh kernel."""

import ast
import base64
import io
import shutil
import time
from collections.abc import Callable

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

from helpers.paths import ROOT, build_path, display_path
from modelfiles.errors import WorkbookError
from workbook import pages

HERE = ROOT / "notebooks"
KERNEL_START_S = 300  # a busy machine, or a Pi with a slow card
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


class NotebookFailed(WorkbookError, RuntimeError):
    """A cell failed; the message names the notebook and the cell."""


def names() -> list[str]:
    """The names of the notebooks in order, without file extension."""
    return sorted(path.stem for path in HERE.glob("[0-9][0-9]_*.ipynb"))


def names_with_figures() -> list[str]:
    """The notebooks with figures from a longer run: they have the parameter `train_everything`."""
    found = []
    for name in names():
        notebook = nbformat.read(HERE / f"{name}.ipynb", 4)
        if "train_everything" in parameters(notebook):
            found.append(name)
    return found


def execute(
    name: str,
    overrides: dict | None = None,
    progress: Callable[[int, int], None] | None = None,
    kernel: str = "python3",
    cell_minutes: int = 20,
) -> nbformat.NotebookNode:
    """Run notebooks/NAME.ipynb in a fresh kernel and return the executed notebook.

    `overrides` replaces parameters, {name: value}. `progress(number, count)` is called at the start
    of each code cell; numbers begin at 1. `kernel` names an installed kernel. Raises NotebookFailed
    if a cell fails or runs for more than `cell_minutes`.
    """
    notebook = nbformat.read(HERE / f"{name}.ipynb", 4)
    notebook.metadata = nbformat.from_dict(METADATA)
    if overrides:
        override(notebook, name, overrides)
    code = [i for i, cell in enumerate(notebook.cells) if cell.cell_type == "code"]
    started: list[int] = []

    def on_cell_start(cell: nbformat.NotebookNode, cell_index: int) -> None:
        started.append(cell_index)
        if progress and cell_index in code:
            progress(code.index(cell_index) + 1, len(code))

    client = NotebookClient(
        notebook,
        timeout=60 * cell_minutes,
        startup_timeout=KERNEL_START_S,
        kernel_name=kernel,
        record_timing=False,
        resources={"metadata": {"path": str(HERE)}},
        on_cell_start=on_cell_start,
    )
    try:
        client.execute()
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
        failed = [i for i in started if i in code][-1]
        if isinstance(error, CellExecutionError):
            reason = f"{error.ename}: {error.evalue}"
        elif isinstance(error, CellTimeoutError):
            reason = f"it ran for more than {cell_minutes} minutes"
        else:
            reason = "the kernel died: out of memory?"
        raise NotebookFailed(
            f"{name}.ipynb, code cell {code.index(failed) + 1} of {len(code)}:\n"
            f"{notebook.cells[failed].source}\n\n{reason}"
        ) from error
    return notebook


def override(notebook: nbformat.NotebookNode, name: str, overrides: dict) -> None:
    """Set parameters at the end of the cell tagged `parameters`.

    KeyError if there is not exactly one such cell, or if it does not set one of the names.
    """
    cells = _parameter_cells(notebook)
    if len(cells) != 1:
        raise KeyError(
            f"{name}.ipynb has {len(cells)} cells tagged 'parameters', it should have one"
        )
    known = parameters(notebook)
    unknown = set(overrides) - known
    if unknown:
        raise KeyError(
            f"{name}.ipynb has no parameter {', '.join(sorted(unknown))}; "
            f"it has {', '.join(sorted(known))}"
        )
    cells[0].source += "".join(f"\n{key} = {value!r}" for key, value in overrides.items())


def parameters(notebook: nbformat.NotebookNode) -> set[str]:
    """The names that cells tagged `parameters` set."""
    return {
        node.id
        for cell in _parameter_cells(notebook)
        for node in ast.walk(ast.parse(cell.source))
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }


def _parameter_cells(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]


def with_small_pictures(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The same notebook with pictures of 128 colours: they look the same at a third of the size."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            picture = output.get("data", {}).get("image/png")
            if picture:
                output["data"]["image/png"] = min(_with_palette(picture), picture, key=len)
    return notebook


def _with_palette(picture: str) -> str:
    """A PNG in base64 with 128 colours."""
    from PIL import Image

    colours = Image.open(io.BytesIO(base64.b64decode(picture))).convert("RGB")
    small = io.BytesIO()
    colours.quantize(128, dither=Image.Dither.NONE).save(small, "PNG", optimize=True)
    return base64.b64encode(small.getvalue()).decode()


def run(mode: str, chosen: list[str]) -> None:
    """Run the notebooks `chosen`, or all, in order.

    `mode` is "workbook" (copies, pages and the table of results), "in-place" (the notebooks
    themselves, to commit them) or "figures" (the long runs of notebooks/figures/). NotebookFailed
    if a cell fails, WorkbookError for an unknown name.
    """
    if unknown := set(chosen) - set(names()):
        raise WorkbookError(
            f"no notebook is called {', '.join(sorted(unknown))}; there are {', '.join(names())}"
        )
    rows = []
    start = time.monotonic()
    overrides = {"train_everything": True} if mode == "figures" else None
    for name in chosen or (names_with_figures() if overrides else names()):
        begun = time.monotonic()
        print(f"{name:36}", end="", flush=True)
        try:
            notebook = execute(name, overrides, cell_minutes=120 if overrides else 20)
        except NotebookFailed:
            print("FAILED", flush=True)
            raise
        seconds = time.monotonic() - begun
        print(f"{seconds:6.0f} s  ok", flush=True)
        if mode == "in-place":
            nbformat.write(with_small_pictures(notebook), HERE / f"{name}.ipynb")
        elif mode == "workbook":
            pages.page(notebook, name)
            rows.append((name, pages.title(notebook), seconds))
    picture = build_path("html", "runtimes.png")
    if mode == "in-place" and picture.exists():
        shutil.copy(picture, HERE)  # the README shows it
    if rows:
        minutes = (time.monotonic() - start) / 60
        print(f"{minutes:.1f} minutes in all; read {display_path(pages.index(rows))}")
