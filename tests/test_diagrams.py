"""The diagrams: the files are what the code draws, nothing in them overlaps. And the glossary."""

import doctest
import importlib
import json
import math
import re
import xml.etree.ElementTree as ET
from functools import cache
from itertools import combinations, pairwise

import matplotlib
import pytest
from PIL import ImageFont

from helpers.paths import ROOT
from workbook import cli
from workbook.diagrams import DIAGRAMS, write_all
from workbook.diagrams.picture import COLOURS, SMALL, WIDTH, Picture

FIGURES = ROOT / "notebooks" / "figures"
SVG = "{http://www.w3.org/2000/svg}"
FONTS = f"{matplotlib.get_data_path()}/fonts/ttf/DejaVuSans"  # no common sans serif is wider
GAP = 2  # units between a text and its neighbours


@cache
def font(is_bold: bool) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(f"{FONTS}{'-Bold' * is_bold}.ttf", 100)


def drawn(name: str) -> ET.Element:
    return ET.parse(FIGURES / f"{name}.svg").getroot()


def width_of(text: ET.Element) -> float:
    """The width of a text in units, subscripts included."""
    is_bold = "bold" in text.get("class", "")
    size = float(text.get("font-size"))
    width = font(is_bold).getlength(text.text or "") * size / 100
    for part in text:
        own = float(part.get("font-size", size))
        width += font(is_bold).getlength(part.text or "") * own / 100
        width += font(is_bold).getlength(part.tail or "") * size / 100
    return width


def box_of(text: ET.Element) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of a text: of capital letters and what hangs below the line."""
    width = width_of(text)
    x = (
        float(text.get("x"))
        - {"start": 0, "middle": width / 2, "end": width}[text.get("text-anchor")]
    )
    y = float(text.get("y"))
    size = float(text.get("font-size"))
    return x, y - 0.74 * size, x + width, y + 0.2 * size


def texts(picture: ET.Element) -> dict[str, tuple]:
    """{text with its place: its box}."""
    return {
        f"{''.join(text.itertext())!r} at {text.get('x')}, {text.get('y')}": box_of(text)
        for text in picture.iter(f"{SVG}text")
    }


def overlap(a: tuple, b: tuple) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def contains(outer: tuple, inner: tuple) -> bool:
    return (
        outer[0] <= inner[0] and outer[1] <= inner[1]
        and outer[2] >= inner[2] and outer[3] >= inner[3]
    )  # fmt: skip


def crosses(a: tuple, b: tuple, box: tuple) -> bool:
    """Whether the straight line from a to b passes through a box, by clipping it to the box."""
    begin = 0.0
    end = 1.0
    for axis in (0, 1):
        step = b[axis] - a[axis]
        low = box[axis] - a[axis]
        high = box[axis + 2] - a[axis]
        if step == 0:
            if low >= 0 or high <= 0:
                return False
            continue
        begin = max(begin, min(low / step, high / step))
        end = min(end, max(low / step, high / step))
    return begin < end


def problems(picture: ET.Element) -> list[str]:
    """What a reader would call ugly: text that is cut off, covered, crossed or too small."""
    boxes = texts(picture)
    height = float(picture.get("height"))
    found = [
        f"{name} leaves the picture"
        for name, box in boxes.items()
        if not contains((4, 2, WIDTH - 4, height - 2), box)
    ]
    found += [
        f"{a} overlaps {b}"
        for (a, first), (b, second) in combinations(boxes.items(), 2)
        if overlap(first, second)
    ]
    for part in list(picture.iter(f"{SVG}rect"))[1:]:  # the first is the paper
        x, y, wide, tall = (float(part.get(key, 0)) for key in ("x", "y", "width", "height"))
        area = (x, y, x + wide, y + tall)
        found += [
            f"{name} crosses the edge of the box at {x:g}, {y:g}"
            for name, box in boxes.items()
            if overlap(area, box) and not contains(area, box)
        ]
    for part in picture.iter(f"{SVG}path"):
        points = [tuple(map(float, pair.split())) for pair in part.get("d")[2:].split(" L ")]
        found += [
            f"a line through {a} and {b} crosses {name}"
            for a, b in pairwise(points)
            for name, box in boxes.items()
            if crosses(a, b, box)
        ]
    sizes = {float(text.get("font-size")) for text in picture.iter(f"{SVG}text")}
    found += [f"text of size {size:g}" for size in sizes if size < SMALL]
    return found


@pytest.mark.parametrize("name", sorted(DIAGRAMS))
def test_nothing_in_a_diagram_is_cut_off_or_covered(name):
    assert problems(drawn(name)) == []


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda picture: picture.text(640, 50, "too far right"), "leaves the picture"),
        (lambda picture: picture.text(300, 55, "on top"), "overlaps"),
        (lambda picture: picture.block(60, 80, 50, 30, "a long word"), "crosses the edge"),
        (lambda picture: picture.line((200, 20), (400, 80)), "a line through"),
        (lambda picture: picture.text(60, 90, "tiny", size=9), "text of size 9"),
    ],
)
def test_such_a_picture_would_be_noticed(change, problem):
    picture = Picture("title", "description", 120)
    picture.text(300, 50, "in the middle")
    assert problems(ET.fromstring(picture.svg())) == []
    change(picture)
    found = problems(ET.fromstring(picture.svg()))
    assert found and all(problem in sentence for sentence in found)


def test_the_files_are_what_the_code_draws(tmp_path):
    written = write_all(tmp_path)
    assert [path.name for path in written] == [f"{name}.svg" for name in DIAGRAMS]
    assert {path.name for path in FIGURES.glob("*.svg")} == {path.name for path in written}
    for path in written:
        committed = (FIGURES / path.name).read_text(encoding="utf-8")
        assert path.read_text(encoding="utf-8") == committed, "run `workbook book diagrams`"


@pytest.mark.parametrize(
    "name",
    [
        "codebooks",
        "detectors",
        "float_layers",
        "grids",
        "integers",
        "live",
        "machines",
        "networks",
        "parts",
    ],
)
def test_the_examples_of_the_code_are_true(name):
    result = doctest.testmod(importlib.import_module(f"workbook.diagrams.{name}"))
    assert result.attempted > 0
    assert result.failed == 0


def test_the_command_draws_all_of_them(capsys, monkeypatch):
    drawn_into = []
    monkeypatch.setattr("workbook.diagrams.write_all", lambda: drawn_into.append(1) or DIAGRAMS)
    assert cli.main(["book", "diagrams"]) == 0
    assert drawn_into and f"Drew {len(DIAGRAMS)} diagrams" in capsys.readouterr().out
    assert cli.main(["book", "diagrams", "05_affine_quantization"]) == 1
    assert "name no notebooks" in capsys.readouterr().err


def pictures_in(path) -> list[str]:
    """The files that a notebook's text shows."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    texts = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"]
    return [target for text in texts for target in re.findall(r"!\[[^\]]+\]\(([^)]+)\)", text)]


def test_the_pictures_that_notebooks_show_exist():
    folder = ROOT / "notebooks"
    for path in [*folder.glob("*.ipynb"), *folder.glob("solutions/*.ipynb")]:
        for target in pictures_in(path):
            assert (path.parent / target).exists(), f"{path.name} shows {target}"


@pytest.mark.parametrize("name", sorted(DIAGRAMS))
def test_a_diagram_says_what_it_shows(name):
    picture = drawn(name)
    assert picture.tag == f"{SVG}svg" and picture.get("role") == "img"
    children = [child.tag.removeprefix(SVG) for child in picture]
    assert children[:3] == ["title", "desc", "style"]
    assert len(picture.findtext(f"{SVG}title")) > 5
    assert len(picture.findtext(f"{SVG}desc")) > 50


def luminance(colour: str) -> float:
    """Relative luminance of a colour such as #14181e, https://www.w3.org/TR/WCAG22/."""
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(weight * channel for weight, channel in zip((0.2126, 0.7152, 0.0722), linear))


def contrast(a: str, b: str) -> float:
    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_text_and_lines_have_enough_contrast(scheme):
    colours = {name: values[scheme] for name, values in COLOURS.items()}
    for ground in ("paper", "plain", "blue", "orange", "green", "violet"):
        assert contrast(colours["ink"], colours[ground]) >= 7
    for ground in ("paper", "plain"):
        assert contrast(colours["quiet"], colours[ground]) >= 4.5
    for line in ("line", "blue-line", "orange-line", "green-line", "violet-line"):
        assert contrast(colours[line], colours["paper"]) >= 3
    assert math.isclose(contrast("#ffffff", "#000000"), 21)


TERM = re.compile(
    r'<a id="(?P<anchor>[\w-]+)"></a>(?:<a id="(?P<other>[\w-]+)"></a>)?'
    r"\*\*(?P<term>[^*]+)\*\*(?: \((?P<long>[^)]+)\))?: (?P<text>.+) "
    r"\[(?P<label>[^\]]+)\]\((?P<file>\w+\.ipynb)(?:#(?P<section>[^)\s]+))?\)"
)
TO_TERM = re.compile(r"\]\((?:\.\./)?glossary\.md(?:#([^)]*))?\)")
NOT_SPLIT_YET = {"04b_codebooks_to_the_last_byte.ipynb", "05b_integer_only_inference.ipynb"}


def glossary() -> list[re.Match]:
    """The terms of the glossary in their order."""
    text = (ROOT / "notebooks/glossary.md").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")][1:]
    found = [TERM.fullmatch(line) for line in lines]
    assert all(found), [line for line, term in zip(lines, found) if not term]
    return found


def sections(path) -> set[str]:
    """The names that Jupyter gives the headings of a notebook."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    texts = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"]
    headings = [h for text in texts for h in re.findall(r"^#+ (.+)$", text, re.MULTILINE)]
    return {heading.strip().replace(" ", "-") for heading in headings}


def test_terms_are_in_order_and_defined_once():
    names = [term["term"].casefold() for term in glossary()]
    assert len(names) >= 80
    assert names == sorted(set(names))
    anchors = [term["anchor"] for term in glossary()]
    assert len(set(anchors)) == len(anchors)
    for name, anchor in zip(names, anchors):
        assert anchor == re.sub(r"[^\w-]", "", name.replace(" ", "-"))


def test_definitions_are_short():
    for term in glossary():
        sentences = re.findall(r"[.!?](?= [A-Z0-9]|$)", term["text"])
        assert 1 <= len(sentences) <= 2, term["term"]
        assert len(term["text"].split()) <= 40, term["term"]


def test_each_term_leads_to_the_section_that_explains_it():
    for term in glossary():
        path = ROOT / "notebooks" / term["file"]
        if term["file"] in NOT_SPLIT_YET and not path.exists():
            continue
        assert path.exists(), f"{term['term']} leads to {term['file']}"
        if term["section"]:
            assert term["section"] in sections(path), f"{term['term']}: {term['section']}"


def test_notebooks_link_to_terms_that_exist():
    anchors = {term[name] for term in glossary() for name in ("anchor", "other")} | {""}
    folder = ROOT / "notebooks"
    for path in [*folder.glob("*.ipynb"), *folder.glob("solutions/*.ipynb")]:
        targets = set(TO_TERM.findall(path.read_text(encoding="utf-8")))
        assert targets <= anchors, f"{path.name} links to {targets - anchors}"
