"""Export executed notebooks as HTML pages, with an index page that includes the results."""

import html
import re
from pathlib import Path

import nbformat
from nbconvert import HTMLExporter
from nbconvert.preprocessors import TagRemovePreprocessor

from helpers.paths import build_dir, build_path

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 75rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; margin: 1rem 0; font-size: .9rem }
td, th { padding: .2rem .8rem; text-align: left; border-bottom: 1px solid #ddd }
td.number { text-align: right }
img { max-width: 100% }
"""
FORMULA = r"\$\$(.+?)\$\$|(?<![\\\w])\$([^$\n]+?)\$"  # $$display$$ or $inline$


def without_formulas(
    notebook: nbformat.NotebookNode,
) -> tuple[nbformat.NotebookNode, dict[str, str]]:
    """A copy with a placeholder for each formula, and {placeholder: MathML}.

    Browsers render MathML without a script. The placeholders protect it from the Markdown renderer.
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
                if not part.startswith("`"):  # code contains no formulas
                    parts[i] = re.sub(FORMULA, replace, part, flags=re.S)
            cell.source = "".join(parts)
    return notebook, formulas


def page(notebook: nbformat.NotebookNode, name: str) -> Path:
    """Write the notebook as a page under build/html that loads no other files; its path.

    For cells tagged hide-input, it shows only the output.
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
    path = build_path("html", f"{name}.html")
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
    pictures = sorted(build_dir("html").glob("*.png"))
    plots = "".join(f'<img src="{path.name}" alt="{path.stem}">' for path in pictures)
    path = build_path("html", "index.html")
    path.write_text(
        f"""<!doctype html><meta charset="utf-8"><title>Neural networks on a Raspberry Pi</title>
<style>{STYLE}</style>
<h1>Neural networks on a Raspberry Pi</h1>
<table><tr><th></th><th>Notebook</th><th>time</th></tr>{items}</table>
<h2>Results</h2>{results_table()}{plots}""",
        encoding="utf-8",
    )
    return path


def results_table() -> str:
    """The records under build/results as an HTML table, fastest first; a sentence if none."""
    from helpers import results

    if not list(build_dir("results").glob("*.jsonl")):
        return "<p>No measurement has been recorded yet.</p>"
    return results.summary(results.read_results(build_dir("results"))).to_html(
        index=False, border=0
    )
