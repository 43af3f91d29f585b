"""The place for a live demonstration: on the front page, and below cells tagged `live-digit`."""

import nbformat

TAG = "live-digit"


def html_cell(text: str) -> nbformat.NotebookNode:
    """A cell whose HTML becomes part of the page as it is."""
    return nbformat.v4.new_raw_cell(text, metadata={"format": "text/html"})


def place(fragment: str) -> str:
    """The HTML fragment in the box that pages give it; "" if there is no fragment.

    The box is not printed, because paper cannot run a demonstration.
    """
    if not fragment:
        return ""
    return f'<div class="live-digit">\n{fragment}\n</div>'


def after_tagged_cells(notebook: nbformat.NotebookNode, fragment: str) -> None:
    """Insert the HTML fragment after each cell tagged `live-digit`, in place."""
    cells = []
    for cell in notebook.cells:
        cells.append(cell)
        if TAG in cell.metadata.get("tags", []):
            cells.append(html_cell(place(fragment)))
    notebook.cells = cells
