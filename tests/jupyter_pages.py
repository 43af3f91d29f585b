"""JupyterLab in a headless browser: a server for a folder of notebooks, and cells that are run."""

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import nbformat
from ssh_servers import answers, free_port, wait_until

TOKEN = "only-for-this-test"
START_MS = 120_000  # JupyterLab, a notebook or a kernel, on a busy machine


def write_notebook(path: Path, *sources: str) -> None:
    """A notebook with these code cells."""
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    notebook = nbformat.v4.new_notebook(cells=cells)
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    nbformat.write(notebook, path)


@contextlib.contextmanager
def jupyter_lab(folder: Path) -> Iterator[Callable[[str], str]]:
    """JupyterLab for the notebooks in `folder`: a function from a file's name to its address."""
    port = free_port()
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"]
    command += ["--ip=127.0.0.1", f"--port={port}", f"--IdentityProvider.token={TOKEN}"]
    folders = {name: str(folder / name) for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR")}
    with open(folder / "log", "w") as log:
        process = subprocess.Popen(
            command, cwd=folder, env=os.environ | folders, stdout=log, stderr=log
        )
    try:
        wait_until(lambda: answers(port), 120)
        # a workspace of its own: else the page opens all notebooks that were open before, too
        start = f"http://127.0.0.1:{port}/lab/workspaces"
        yield lambda name: f"{start}/{Path(name).stem}/tree/{name}?token={TOKEN}"
    finally:
        process.terminate()
        process.wait(30)


def run_cells(page, count: int) -> None:
    """Run the first `count` cells of the notebook that the page opens, once its kernel is there."""
    cell = page.locator(".jp-Notebook .jp-CodeCell").first
    cell.wait_for(timeout=START_MS)
    page.get_by_text(re.compile(r"Python 3 \(?.*\| Idle")).wait_for(timeout=START_MS)
    wait_until(lambda: _was_taken(page, cell), START_MS / 1000)
    for _ in range(count - 1):
        page.keyboard.press("Shift+Enter")


def start_cell(page, number: int):
    """Start one cell, counted from 0, and return its output area."""
    cell = page.locator(".jp-Notebook .jp-CodeCell").nth(number)
    cell.locator(".cm-content").first.click()
    page.keyboard.press("Control+Enter")
    return cell.locator(".jp-Cell-outputArea")


def run_cell(page, number: int):
    """Run one cell, counted from 0, to its end, and return its output area."""
    before = prompt(page, number)
    output = start_cell(page, number)
    wait_until(lambda: prompt(page, number) not in (before, "[*]:"), START_MS / 1000)
    return output


def prompt(page, number: int) -> str:
    """What stands beside a cell: `[ ]:`, `[*]:` while it runs, or a number."""
    return page.locator(".jp-Notebook .jp-CodeCell .jp-InputPrompt").nth(number).inner_text()


def _was_taken(page, cell) -> bool:
    """Whether the cell runs: a notebook drops keys while it still builds the page."""
    prompt = cell.locator(".jp-InputPrompt")
    cell.locator(".cm-content").click()
    page.keyboard.press("Shift+Enter")
    for _ in range(50):
        page.wait_for_timeout(100)
        if "[ ]" not in prompt.inner_text():
            return True
    return False
