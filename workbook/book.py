"""Run the notebooks in order, each in a fresh kernel."""

import ast
import asyncio
import base64
import contextlib
import io
import shutil
import signal
import time
from collections.abc import Callable

import nbformat
from jupyter_core.utils import run_sync
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

from helpers.paths import ROOT, build_path
from modelfiles.errors import WorkbookError
from workbook.turns import Turns

HERE = ROOT / "notebooks"
MEASURES_TIME = "measures-time"  # the tag of a cell beside which nothing else may run
RUNS_ON = "runs-on"  # the tag of cells during which a process of their own keeps running
KERNEL_START_S = 300  # a busy machine, or a Pi with a slow card
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


class NotebookFailed(WorkbookError, RuntimeError):
    """A cell failed; the message names the notebook and the cell, and has its code.

    `sentence` is the message without the code.
    """

    def __init__(self, where: str, code: str, reason: str) -> None:
        super().__init__(f"{where}:\n{code}\n\n{reason}")
        self.sentence = f"{where}: {reason}"


def names(folder: str = "") -> list[str]:
    """The names of the notebooks in order, without file extension. `folder` may be "solutions/"."""
    return sorted(f"{folder}{path.stem}" for path in HERE.glob(f"{folder}[0-9][0-9]*_*.ipynb"))


def names_with_figures() -> list[str]:
    """The notebooks with figures from a longer run: they have the parameter `train_everything`."""
    read = {name: nbformat.read(HERE / f"{name}.ipynb", 4) for name in names()}
    return [name for name, notebook in read.items() if "train_everything" in parameters(notebook)]


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
    notebook = prepared(name, overrides)
    run_sync(execute_cells)(
        notebook, name, progress=progress, kernel=kernel, cell_minutes=cell_minutes
    )
    return notebook


def prepared(name: str, overrides: dict | None = None) -> nbformat.NotebookNode:
    """notebooks/NAME.ipynb with parameters replaced, {name: value}, ready to be executed."""
    notebook = nbformat.read(HERE / f"{name}.ipynb", 4)
    notebook.metadata = nbformat.from_dict(METADATA)
    if overrides:
        override(notebook, name, overrides)
    return notebook


async def execute_cells(
    notebook: nbformat.NotebookNode,
    name: str,
    *,
    progress: Callable[[int, int], None] | None = None,
    turns: Turns | None = None,
    kernel: str = "python3",
    cell_minutes: int = 20,
) -> None:
    """Execute the cells of `notebook` in a fresh kernel, which writes their outputs into it.

    Of all notebooks with the same `turns`, a cell tagged `measures-time` runs while no other does,
    and not while cells tagged `runs-on` have left a process running. Other parameters: `execute`.
    The seconds that the cells ran are written to the notebook's metadata. After NotebookFailed, the
    outputs of the cells before are there.
    """
    code = [i for i, cell in enumerate(notebook.cells) if cell.cell_type == "code"]
    started: list[int] = []
    alone = [i for i in code if MEASURES_TIME in _tags(notebook.cells[i])]
    turn = contextlib.AsyncExitStack()
    measuring = contextlib.AsyncExitStack()  # until the last of these cells
    keeps_turn = False
    began = 0.0
    running_s = 0.0

    async def on_cell_execute(cell: nbformat.NotebookNode, cell_index: int) -> None:
        nonlocal began
        started.append(cell_index)
        if turns and not keeps_turn:
            tags = _tags(cell)
            await turn.enter_async_context(turns.turn(MEASURES_TIME in tags, RUNS_ON in tags))
        if progress:
            progress(code.index(cell_index) + 1, len(code))
        began = time.monotonic()

    async def on_cell_executed(cell: nbformat.NotebookNode, cell_index: int, **_: object) -> None:
        nonlocal keeps_turn, running_s
        running_s += time.monotonic() - began
        keeps_turn = RUNS_ON in _tags(cell)
        if not keeps_turn:
            await turn.aclose()
        if cell_index in alone[-1:]:
            await measuring.aclose()

    client = NotebookClient(
        notebook,
        timeout=60 * cell_minutes,
        startup_timeout=KERNEL_START_S,
        kernel_name=kernel,
        record_timing=False,
        resources={"metadata": {"path": str(HERE)}},
        on_notebook_start=_let_ctrl_c_through,
        on_cell_execute=on_cell_execute,
        on_cell_executed=on_cell_executed,
    )
    try:
        async with turn, measuring:
            if turns and alone:
                await measuring.enter_async_context(turns.measuring())
            await client.async_execute()
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
        if isinstance(error, CellExecutionError):
            reason = f"{error.ename}: {error.evalue}"
        elif isinstance(error, CellTimeoutError):
            reason = f"it ran for more than {cell_minutes} minutes"
        else:
            reason = "the kernel died: out of memory?"
        failed = started[-1]
        where = f"{name}.ipynb, code cell {code.index(failed) + 1} of {len(code)}"
        raise NotebookFailed(where, notebook.cells[failed].source, reason) from error
    finally:
        # without the waiting for turns, so that it can be compared and predicted
        notebook.metadata["workbook"] = {"seconds": round(running_s, 3)}


def _let_ctrl_c_through(**_: object) -> None:
    """nbclient answers Ctrl-C by ending one kernel, which would look like a failed notebook."""
    with contextlib.suppress(RuntimeError):  # not the main thread, or Windows
        asyncio.get_running_loop().remove_signal_handler(signal.SIGINT)


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
    return [cell for cell in notebook.cells if "parameters" in _tags(cell)]


def _tags(cell: nbformat.NotebookNode) -> list[str]:
    return cell.metadata.get("tags", [])


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


def chosen_names(chosen: list[str], known: list[str] | None = None) -> list[str]:
    """`chosen` in the order of `known`, or all of these; WorkbookError for an unknown name."""
    known = known or names()
    if unknown := set(chosen) - set(known):
        raise WorkbookError(
            f"no notebook is called {', '.join(sorted(unknown))}; there are {', '.join(known)}"
        )
    return [name for name in known if name in chosen or not chosen]


def run_in_place(chosen: list[str]) -> None:
    """Execute the notebooks and the solutions themselves, to commit them, one after the other."""
    begun = time.time()
    for name in chosen_names(chosen, [*names(), *names("solutions/")]):
        notebook = _timed(name)
        nbformat.write(with_small_pictures(notebook), HERE / f"{name}.ipynb")
    picture = build_path("html", "runtimes.png")  # notebook 03 draws it, and the README shows it
    if picture.exists() and picture.stat().st_mtime >= begun:
        shutil.copy(picture, HERE)


def run_figures(chosen: list[str]) -> None:
    """The long runs of notebooks/figures/, one after the other."""
    for name in chosen or names_with_figures():
        _timed(name, {"train_everything": True}, cell_minutes=120)


def _timed(name: str, overrides: dict | None = None, cell_minutes: int = 20):
    """The executed notebook; a line tells how long it took."""
    begun = time.monotonic()
    print(f"{name:36}", end="", flush=True)
    try:
        notebook = execute(name, overrides, cell_minutes=cell_minutes)
    except NotebookFailed:
        print("FAILED", flush=True)
        raise
    print(f"{time.monotonic() - begun:6.0f} s  ok", flush=True)
    return notebook
