"""The job that runs a notebook. Unlike the other modules here, it needs the environment."""

import os
import time

import nbformat

from workbook import book
from workbook.pi.on_device.jobs import STATE


def run(request):
    """Execute `notebook` with `parameters`, and keep it for the laptop."""
    name = request["notebook"]
    overrides = dict(request["parameters"])
    parameters = book.parameters(nbformat.read(book.HERE / f"{name}.ipynb", 4))
    if "reuse_hours" in parameters:  # it can continue from its records
        overrides.setdefault("reuse_hours", round((time.time() - request["since"]) / 3600, 4))
    notebook = book.execute(name, overrides, progress=_print_cell)
    target = STATE / "executed" / f"{name}.ipynb"
    target.parent.mkdir(exist_ok=True)
    nbformat.write(notebook, target.with_suffix(".part"))
    os.replace(target.with_suffix(".part"), target)


def _print_cell(cell, cells):
    print(f"cell {cell} of {cells}", flush=True)
