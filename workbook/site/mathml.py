"""Formulas as MathML, which browsers show without JavaScript. An extension of Sphinx."""

from xml.etree import ElementTree

from docutils import nodes  # type: ignore[import-untyped]
from latex2mathml.converter import convert

NAMESPACE = "http://www.w3.org/1998/Math/MathML"
# latex2mathml sets limits beside a sum; under and over it, a browser moves them as TeX does.
# It moves those of words only if it is told that they may.
WITH_LIMITS = {"msub": "munder", "msup": "mover", "msubsup": "munderover"}
LARGE_OPERATORS = {"∑", "∏"}
WORDS_WITH_LIMITS = {"min", "max", "lim", "sup", "inf"}
FUNCTIONS = {"log", "ln", "exp", *WORDS_WITH_LIMITS}  # TeX sets a thin space behind them
THIN_SPACE = "0.167em"
OPERATORS = {"±"}  # latex2mathml takes them for names, without space around


def setup(app) -> dict:
    """Register the renderer `mathml`, for `html_math_renderer` in the configuration."""
    app.add_html_math_renderer(
        "mathml", inline_renderers=(visit_inline, None), block_renderers=(visit_block, None)
    )
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def visit_inline(writer, node: nodes.Element) -> None:
    """Write a formula within a line."""
    writer.body.append(mathml(node.astext(), "inline"))
    raise nodes.SkipNode


def visit_block(writer, node: nodes.Element) -> None:
    """Write a formula on lines of its own, in a box that scrolls if it is too wide."""
    writer.body.append(f'<div class="math">{mathml(node.astext(), "block")}</div>')
    raise nodes.SkipNode


def mathml(latex: str, display: str) -> str:
    """The formula `latex`; `display` is "inline" or "block"."""
    tree = ElementTree.fromstring(convert(latex, display=display))
    for element in list(tree.iter()):
        element.tag = element.tag.removeprefix(f"{{{NAMESPACE}}}")
        if element.tag in WITH_LIMITS and element[0].text in LARGE_OPERATORS | WORDS_WITH_LIMITS:
            element.tag = WITH_LIMITS[element.tag]
            element[0].set("movablelimits", "true")
        _join_letters(element)
        _set_space(element)
        if element.tag == "mi" and element.text in OPERATORS:
            element.tag = "mo"
    tree.set("xmlns", NAMESPACE)
    return ElementTree.tostring(tree, encoding="unicode")


def _set_space(row: ElementTree.Element) -> None:
    """Give names of functions the space of TeX; not to a name alone, such as an index."""
    for child in row:
        if child.text in FUNCTIONS and len(row) > 1:
            child.tag = "mo"
            child.set("lspace", "0")
            child.set("rspace", THIN_SPACE)


def _join_letters(row: ElementTree.Element) -> None:
    r"""Make one name of the upright letters of \mathrm, which is also read aloud as a word."""
    letters = [child for child in row if child.get("mathvariant") == "normal"]
    if len(letters) > 1 and len(letters) == len(row):
        letters[0].text = "".join(letter.text or "" for letter in letters)
        for letter in letters[1:]:
            row.remove(letter)
