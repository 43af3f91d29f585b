"""features.md: a row for every feature, and each place and test that it names exists."""

import argparse
import ast
import json
import re
from functools import cache

import pytest

from helpers.paths import ROOT
from workbook import cli

TABLE = ROOT / "tests" / "features.md"
OPEN = re.compile(r"not here, because \w+|comes with chapter \d\d")


def rows() -> dict[int, tuple[str, str]]:
    """{number: (where, test)} of all lines of the table."""
    found = {}
    for line in TABLE.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if cells[0].isdecimal():
            number, _, where, test = cells
            assert int(number) not in found, f"two rows for {number}"
            found[int(number)] = (where, test)
    return found


@cache
def headings(name: str) -> set[str]:
    """The headings of a notebook, by its name without .ipynb, or of a Markdown file."""
    path = ROOT / name
    texts = []
    if path.suffix == ".md":
        texts = [path.read_text(encoding="utf-8")]
    else:
        notebook = ROOT / "notebooks" / f"{name}.ipynb"
        for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
            if cell["cell_type"] == "markdown":
                texts.append("".join(cell["source"]))
    return set(re.findall(r"^#+ (.+?)\s*$", "\n".join(texts), re.MULTILINE))


@cache
def functions_of(name: str) -> set[str]:
    tree = ast.parse((ROOT / "tests" / name).read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


@cache
def commands() -> set[str]:
    """The names after `workbook`."""
    parser = cli._parser()
    return {
        name
        for action in parser._actions
        if isinstance(action, argparse._SubParsersAction)
        for name in action.choices
    }


def exists(place: str) -> bool:
    """Whether a notebook's section, a command `workbook NAME` or a file exists."""
    if place.startswith("workbook "):
        return place.removeprefix("workbook ") in commands()
    if "#" in place:
        name, _, heading = place.partition("#")
        return heading in headings(name)
    return (ROOT / place).exists()


def test_every_feature_has_a_row():
    assert list(rows()) == list(range(1, 101))


@pytest.mark.parametrize("number", range(1, 101))
def test_the_places_of_a_feature_exist(number):
    where, test = rows()[number]
    places = re.findall(r"`([^`]+)`", where)
    assert [place for place in places if not exists(place)] == []
    assert places or OPEN.match(where)
    if test == "none":
        assert OPEN.search(where), "a feature that is here has a test"
        return
    [name] = re.findall(r"^`([^`]+)`$", test)
    file, function = name.split("::")
    assert function in functions_of(file)


@pytest.mark.parametrize(
    "place",
    ["workbook dance", "00_start_here#No such section", "cpp/nothing.cpp", "README.md#Nothing"],
)
def test_what_does_not_exist_is_seen(place):
    assert not exists(place)
