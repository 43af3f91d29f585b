"""Links of notebooks and of the glossary, which name files, as links between pages."""

import html
import posixpath
import re
from collections.abc import Collection, Mapping

import nbformat

GLOSSARY = "glossary"
LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)\s]+)\)")  # not a picture, which begins with !
HEADING = re.compile(r"^#{1,5} +(.+?) *$", re.MULTILINE)
NOT_IN_SLUGS = re.compile(r"[^\w-]")


def to_pages(text: str, available: Mapping[str, Collection[str]], folder: str = "") -> str:
    """Markdown whose links lead to pages; links to files without a page become plain text.

    `available` has the notebooks that have a page, with their sections. A link to any other section
    leads to the page. `folder` is that of the text, relative to notebooks/. The glossary always has
    a page. Links into it are HTML, because its terms are not headings, the only targets that MyST
    knows.
    """

    def replace(match: re.Match) -> str:
        words, target = match.groups()
        if re.match(r"https?:|#", target):
            return match[0]
        file, _, anchor = target.partition("#")
        name = posixpath.normpath(posixpath.join(folder, file)).removesuffix(".ipynb")
        if name == f"{GLOSSARY}.md":
            address = f"{file.removesuffix('.md')}.html{'#' * bool(anchor)}{anchor}"
            return f'<a class="reference internal" href="{html.escape(address)}">{words}</a>'
        if name not in available:
            return words
        section = slug(anchor)
        place = f"#{section}" if section in available[name] else ""
        return f"[{words}]({file.removesuffix('.ipynb')}.ipynb{place})"

    return LINK.sub(replace, text)


def sections(notebook: nbformat.NotebookNode) -> set[str]:
    """The names of a notebook's sections in MyST."""
    texts = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
    headings = [heading for text in texts for heading in HEADING.findall(text)]
    return {slug(heading.replace(" ", "-")) for heading in headings}


def slug(anchor: str) -> str:
    """A section's name in MyST, from the name that Jupyter gives it.

    >>> slug("Which-way-leads-where?")
    'which-way-leads-where'
    """
    return NOT_IN_SLUGS.sub("", anchor.lower())
