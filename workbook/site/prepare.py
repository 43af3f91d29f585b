"""An executed notebook as Sphinx reads it. The notebook itself keeps its tags and its text."""

import html
import re
from collections.abc import Collection, Mapping

import nbformat

from workbook.site import links
from workbook.site.chapters import SOLUTIONS, Chapter
from workbook.site.embed import after_tagged_cells, html_cell

METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python", "pygments_lexer": "ipython3"},
}
# no place in the order of the chapters, and nothing that a search gives away
SOLUTION_METADATA = METADATA | {"orphan": True, "nosearch": True}
HEADING = re.compile(r"^(#{1,5}) ", re.MULTILINE)
CODE = re.compile(r"(```.*?```)", re.DOTALL)
EMPTY_HEADING = re.compile(r"<th( [^>]*)?>(&nbsp;|\s)*</th>")
LONG_CELL = re.compile(r"<(t[dh])\b([^>]*)>(?=[^<]{16})(?=[^<]*\S\s)")  # of several words
AS_COMMITTED = (
    '<dl class="run-facts"><dt>Run</dt><dd>The outputs are those that the book came with. Your own '
    "run can give other figures.</dd></dl>"
)


def prepared(chapter: Chapter, available: Mapping[str, Collection[str]], live_digit: str) -> str:
    """The notebook of a chapter that was run, as the text of a file for Sphinx.

    `available` has the notebooks that have a page, with their sections. `live_digit` is HTML for
    cells tagged `live-digit`; "" leaves it out.
    """
    assert chapter.notebook is not None
    notebook = nbformat.from_dict(chapter.notebook)
    if live_digit:
        after_tagged_cells(notebook, live_digit)
    _hide_inputs(notebook)
    _mark_tables(notebook)
    _keep_one_title(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = _outside_code(
                cell.source, lambda text: links.to_pages(text, available, chapter.folder)
            )
    failed = chapter.run.get("failed")
    if failed:
        _insert_below_title(notebook, failure(failed))
    if chapter.run:
        notebook.cells.append(html_cell(run_facts(chapter.run)))
    if chapter.folder == SOLUTIONS:
        notebook.cells.append(html_cell(AS_COMMITTED))
        notebook.metadata = nbformat.from_dict(SOLUTION_METADATA)
    else:
        notebook.metadata = nbformat.from_dict(METADATA)
    _number_ids(notebook)
    return nbformat.writes(notebook)


def failure(sentence: str) -> str:
    """The notice on the page of a notebook that failed, as HTML."""
    return (
        '<div class="admonition danger" role="alert">'
        '<p class="admonition-title">This notebook did not run to its end</p>'
        f"<p>{html.escape(sentence)}</p></div>"
    )


def run_facts(run: dict) -> str:
    """When, where and with which versions a notebook was run, as HTML."""
    facts = {
        "Run": run.get("executed"),
        "Time": f"{run['seconds']:.0f} s" if "seconds" in run else None,
        "Machine": run.get("machine"),
        "Commit": run.get("commit"),
        "Versions": ", ".join(f"{name} {text}" for name, text in run.get("versions", {}).items()),
    }
    rows = "".join(
        f"<dt>{name}</dt><dd>{html.escape(str(fact))}</dd>" for name, fact in facts.items() if fact
    )
    return f'<dl class="run-facts">{rows}</dl>'


def _number_ids(notebook: nbformat.NotebookNode) -> None:
    """Same notebook, same file: new cells get random ids otherwise."""
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number}"


def _hide_inputs(notebook: nbformat.NotebookNode) -> None:
    """MyST-NB folds cells tagged hide-input; the site shows only their output."""
    for cell in notebook.cells:
        tags = cell.metadata.get("tags", [])
        if "hide-input" in tags:
            cell.metadata["tags"] = ["remove-input" if tag == "hide-input" else tag for tag in tags]


def _mark_tables(notebook: nbformat.NotebookNode) -> None:
    """Tables of pandas' Styler get the class of other DataFrames, which the theme knows.

    An empty heading, such as the one above the index, is a plain cell for those who hear the page.
    Cells that may take several lines are marked, so that numbers and names stay on one.
    """
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if "text/html" in data:
                table = data["text/html"]
                table = table.replace('<table id="T_', '<table class="dataframe" id="T_')
                table = EMPTY_HEADING.sub(r"<td\1></td>", table)
                data["text/html"] = LONG_CELL.sub(r"<\1 data-long\2>", table)


def _keep_one_title(notebook: nbformat.NotebookNode) -> None:
    """A notebook in parts has several headings of level 1; a page has one."""
    texts = [cell for cell in notebook.cells if cell.cell_type == "markdown"]
    titles = [text for cell in texts for text in _headings(cell.source) if text == "#"]
    if len(titles) < 2:
        return
    for cell in texts[1:]:
        cell.source = _outside_code(cell.source, lambda text: HEADING.sub(r"#\1 ", text))


def _headings(source: str) -> list[str]:
    return HEADING.findall(CODE.sub("", source))


def _outside_code(source: str, change) -> str:
    """`source` with `change` applied to the text between blocks of code."""
    parts = CODE.split(source)
    return "".join(part if part.startswith("```") else change(part) for part in parts)


def _insert_below_title(notebook: nbformat.NotebookNode, text: str) -> None:
    title, _, rest = notebook.cells[0].source.partition("\n")
    below = nbformat.v4.new_markdown_cell(rest)
    notebook.cells[0].source = title
    notebook.cells[1:1] = [html_cell(text), below]
