"""Run the book: every notebook from a fresh kernel, first to last, and pages to read.

python notebooks/book.py workbook    execute copies, write build/html/index.html
python notebooks/book.py in-place    execute the notebooks themselves, as they are committed
python notebooks/book.py figures     execute the long runs, which are stored in notebooks/figures/
"""

import argparse
import ast
import base64
import html
import io
import re
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbconvert import HTMLExporter
from nbconvert.preprocessors import TagRemovePreprocessor

from helpers.paths import ROOT, build, folder, show

HERE = ROOT / "notebooks"
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 75rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; margin: 1rem 0; font-size: .9rem }
td, th { padding: .2rem .8rem; text-align: left; border-bottom: 1px solid #ddd }
td.number { text-align: right }
img { max-width: 100% }
"""
FORMULA = r"\$\$(.+?)\$\$|(?<![\\\w])\$([^$\n]+?)\$"  # $$display$$ or $inline$


class NotebookFailed(RuntimeError):
    """A cell raised; the message names the notebook and the cell."""


def names() -> list[str]:
    """The notebooks in their order, without file extension."""
    return sorted(path.stem for path in HERE.glob("[0-9][0-9]_*.ipynb"))


def with_a_long_run() -> list[str]:
    """The notebooks whose figures come from a longer run of themselves.

    They have the parameter `train_everything`.
    """
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
    """Run notebooks/NAME.ipynb from a fresh kernel and return it executed.

    `overrides` replaces parameters, {name: value}. `progress` gets the number of each code cell
    that starts, from 1, and how many there are. `kernel` names an installed kernel. A cell may take
    `cell_minutes`. Raises NotebookFailed if a cell fails.
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
            reason = "the kernel died: was memory short?"
        raise NotebookFailed(
            f"{name}.ipynb, code cell {code.index(failed) + 1} of {len(code)}:\n"
            f"{notebook.cells[failed].source}\n\n{reason}"
        ) from error
    return notebook


def override(notebook: nbformat.NotebookNode, name: str, overrides: dict) -> None:
    """Set parameters at the end of the cell tagged `parameters`.

    KeyError if there is not exactly one such cell, or if it sets no such name.
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
    """The same notebook, its pictures with a palette of 128 colours.

    They look the same in about a third of the bytes.
    """
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


def without_formulas(
    notebook: nbformat.NotebookNode,
) -> tuple[nbformat.NotebookNode, dict[str, str]]:
    """A copy with a placeholder for each formula, and {placeholder: MathML}.

    Browsers draw MathML without a script. The Markdown renderer would take it apart, hence the
    placeholders.
    """
    from latex2mathml.converter import convert

    formulas: dict[str, str] = {}

    def replace(match: re.Match) -> str:
        placeholder = f"formula{len(formulas):04}x"
        if match[1]:
            formulas[placeholder] = convert(match[1], display="block")
        else:
            formulas[placeholder] = convert(match[2], display="inline")
        return placeholder

    notebook = nbformat.from_dict(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            parts = re.split(r"(```.*?```|`[^`\n]*`)", cell.source, flags=re.S)
            for i, part in enumerate(parts):
                if not part.startswith("`"):  # what stands in code is no formula
                    parts[i] = re.sub(FORMULA, replace, part, flags=re.S)
            cell.source = "".join(parts)
    return notebook, formulas


def page(notebook: nbformat.NotebookNode, name: str) -> Path:
    """The notebook as a page under build/html, which loads nothing from elsewhere.

    Of cells tagged hide-input, it shows the output only.
    """
    exporter = HTMLExporter(
        mathjax_url="", require_js_url="", jquery_url="", mermaid_js_url="", embed_images=True
    )
    hide_input = TagRemovePreprocessor(enabled=True, remove_input_tags={"hide-input"})
    exporter.register_preprocessor(hide_input, enabled=True)
    prepared, formulas = without_formulas(notebook)
    body, _ = exporter.from_notebook_node(prepared, {"metadata": {"name": title(notebook)}})
    style = "<style>.highlight pre { white-space: pre-wrap; }</style>"
    body = body.replace("</head>", f"{style}</head>", 1)
    body = re.sub("formula[0-9]{4}x", lambda match: formulas[match[0]], body)
    path = build("html", f"{name}.html")
    path.write_text(body, encoding="utf-8")
    return path


def title(notebook: nbformat.NotebookNode) -> str:
    """The notebook's first heading."""
    return notebook.cells[0].source.splitlines()[0].lstrip("# ")


def index(rows: list[tuple[str, str, float]]) -> Path:
    """build/html/index.html: the pages (name, title, seconds), the results table and its plots."""
    items = "".join(
        f'<tr><td><a href="{name}.html">{name[:2]}</a></td>'
        f'<td><a href="{name}.html">{html.escape(text)}</a></td>'
        f"<td>{seconds:.0f} s</td></tr>"
        for name, text, seconds in rows
    )
    pictures = sorted(folder("html").glob("*.png"))
    plots = "".join(f'<img src="{path.name}" alt="{path.stem}">' for path in pictures)
    path = build("html", "index.html")
    path.write_text(
        f"""<!doctype html><meta charset="utf-8"><title>Neural networks on a Raspberry Pi</title>
<style>{STYLE}</style>
<h1>Neural networks on a Raspberry Pi</h1>
<table><tr><th></th><th>Notebook</th><th>ran in</th></tr>{items}</table>
<h2>Results</h2>{results_table()}{plots}""",
        encoding="utf-8",
    )
    return path


def results_table() -> str:
    """The records under build/results as an HTML table, the fastest first.

    A sentence if there are none.
    """
    from helpers import results

    if not list(folder("results").glob("*.jsonl")):
        return "<p>No measurement has been recorded yet.</p>"
    return results.summary(results.read_results(folder("results"))).to_html(index=False, border=0)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description="Run the notebooks of the book, first to last.")
    parser.add_argument("mode", choices=["workbook", "in-place", "figures"])
    parser.add_argument("names", nargs="*", help="only these notebooks (default: all)")
    options = parser.parse_args(arguments)
    rows = []
    start = time.monotonic()
    overrides = {"train_everything": True} if options.mode == "figures" else None
    for name in options.names or (with_a_long_run() if overrides else names()):
        begun = time.monotonic()
        print(f"{name:36}", end="", flush=True)
        try:
            notebook = execute(name, overrides, cell_minutes=120 if overrides else 20)
        except NotebookFailed as error:
            sys.exit(f"FAILED\n{error}")
        seconds = time.monotonic() - begun
        print(f"{seconds:6.0f} s  ok", flush=True)
        if options.mode == "in-place":
            nbformat.write(with_small_pictures(notebook), HERE / f"{name}.ipynb")
        elif options.mode == "workbook":
            page(notebook, name)
            rows.append((name, title(notebook), seconds))
    picture = build("html", "runtimes.png")
    if options.mode == "in-place" and picture.exists():
        shutil.copy(picture, HERE)  # the README shows it
    if rows:
        print(f"{(time.monotonic() - start) / 60:.1f} minutes in all; read {show(index(rows))}")


if __name__ == "__main__":
    main(sys.argv[1:])
