"""Links of notebooks and of the glossary, which name files, as links between pages."""

import html
import re
from collections.abc import Collection

GLOSSARY = "glossary"
LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)\s]+)\)")  # not a picture, which begins with !
NOT_IN_SLUGS = re.compile(r"[^\w-]")


def to_pages(text: str, available: Collection[str]) -> str:
    """Markdown whose links lead to pages; links to files without a page become plain text.

    `available` has the names of the chapters that have a page. The glossary always has one. Links
    into it are HTML, because its terms are not headings, the only targets that MyST knows.
    """

    def replace(match: re.Match) -> str:
        words, target = match.groups()
        if re.match(r"https?:|#", target):
            return match[0]
        file, _, anchor = target.partition("#")
        if file == f"{GLOSSARY}.md":
            address = f"{GLOSSARY}.html{'#' * bool(anchor)}{anchor}"
            return f'<a class="reference internal" href="{html.escape(address)}">{words}</a>'
        name = file.removesuffix(".ipynb")
        if name not in available:
            return words
        return f"[{words}]({name}.ipynb{'#' * bool(anchor)}{slug(anchor)})"

    return LINK.sub(replace, text)


def slug(anchor: str) -> str:
    """A section's name in MyST, from the name that Jupyter gives it.

    >>> slug("Which-way-leads-where?")
    'which-way-leads-where'
    """
    return NOT_IN_SLUGS.sub("", anchor.lower())
