"""The solutions of the exercises: each notebook of them runs alone, and is committed executed."""

import re

import nbformat
import pytest

from workbook import book

SOLUTIONS = book.names("solutions/")
# they train, convert or measure for a quarter of a minute and more: only `make test-all` runs them
LONG = {
    "solutions/" + name
    for name in book.names()
    if name.startswith(("00", "01", "02", "03", "05b", "06", "07", "08", "10b"))
}


def committed(name: str) -> nbformat.NotebookNode:
    return nbformat.read(book.HERE / f"{name}.ipynb", 4)


def quick(notebook: nbformat.NotebookNode) -> dict:
    """The small parameters: the metadata `quick` of the cell tagged `parameters`, {name: value}."""
    found = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    return dict(found[0].metadata.get("quick", {})) if found else {}


def exercises(name: str) -> list[str]:
    """The numbered exercises of the chapter that these solutions belong to."""
    chapter = committed(name.removeprefix("solutions/"))
    [cell] = [cell for cell in chapter.cells if "## Exercises" in cell.source]
    text = cell.source.partition("## Exercises")[2]
    return re.findall(r"^\d+\. .*", text, re.MULTILINE)


def test_there_are_solutions():
    assert SOLUTIONS


@pytest.mark.parametrize("name", SOLUTIONS)
def test_solutions_belong_to_a_chapter_and_have_a_section_for_each_exercise(name):
    assert name.removeprefix("solutions/") in book.names()
    cells = committed(name).cells
    headings = [cell.source for cell in cells if re.match(r"## \S*\d|## Exercise", cell.source)]
    assert len(headings) == len(exercises(name)) >= 3


@pytest.mark.parametrize("name", SOLUTIONS)
def test_solutions_are_committed_executed_without_errors(name):
    cells = [cell for cell in committed(name).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1)), (
        f"run `python -m workbook book in-place {name}`"
    )
    for cell in cells:
        for output in cell.outputs:
            assert output.output_type != "error" and output.get("name") != "stderr", cell.source


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] if name in LONG else []) for name in SOLUTIONS],
)
def test_solutions_run_alone(name, quick_networks, quick_depthwise):
    notebook = book.execute(name, quick(committed(name)))
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            assert output.get("name") != "stderr", output.text


def test_small_parameters_are_those_of_the_cell():
    cell = nbformat.v4.new_code_cell("epochs = 9", metadata={"tags": ["parameters"]})
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("x = 1"), cell])
    assert quick(notebook) == {}
    cell.metadata["quick"] = {"epochs": 1}
    assert quick(notebook) == {"epochs": 1}
