"""Formulas as MathML, which browsers show without JavaScript. An extension of Sphinx."""

from docutils import nodes  # type: ignore[import-untyped]
from latex2mathml.converter import convert


def setup(app) -> dict:
    """Register the renderer `mathml`, for `html_math_renderer` in the configuration."""
    app.add_html_math_renderer(
        "mathml", inline_renderers=(visit_inline, None), block_renderers=(visit_block, None)
    )
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def visit_inline(writer, node: nodes.Element) -> None:
    """Write a formula within a line."""
    writer.body.append(convert(node.astext(), display="inline"))
    raise nodes.SkipNode


def visit_block(writer, node: nodes.Element) -> None:
    """Write a formula on lines of its own, in a box that scrolls if it is too wide."""
    writer.body.append(f'<div class="math">{convert(node.astext(), display="block")}</div>')
    raise nodes.SkipNode
