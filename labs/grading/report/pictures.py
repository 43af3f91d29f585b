"""Pictures in a student's texts: pasted ones and files of the submission.

Showing them loads nothing from elsewhere.
"""

import base64
import html
import re
from pathlib import Path
from urllib.parse import unquote

import nbformat

from labs.grading.report.sanitize import harmless
from labs.grading.sandbox.outputs import as_image

MAX_BYTES = 5 << 20
_TYPES = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".gif": "image/gif",
    ".webp": "image/webp",
    ".svg": "image/svg+xml",
}
_IN_TEXT = ("image/png", "image/jpeg", "image/gif")  # allowed as data in Markdown
_MARKDOWN = re.compile(
    r"!\[(?P<text>[^\]]*)\]\(\s*<?(?P<name>[^)>]+?)>?(?:\s+[\"'][^\"')]*[\"'])?\s*\)"
)
_HTML = re.compile(r"<img\s[^>]*?src\s*=\s*[\"']?(?P<name>[^\"'>]+)", re.IGNORECASE)


def attach_files(merged: list[nbformat.NotebookNode], files: dict[str, bytes]) -> None:
    """Attach to each text the pictures among the submitted `files` that it names."""
    for cell in merged:
        if cell.cell_type == "code":
            continue
        for match in (*_MARKDOWN.finditer(cell.source), *_HTML.finditer(cell.source)):
            name = _name(match["name"])
            kind = _TYPES.get(Path(name).suffix.lower())
            if kind and name in files and len(files[name]) <= MAX_BYTES:
                pictures = cell.setdefault("attachments", nbformat.NotebookNode())
                pictures.setdefault(name, {kind: base64.b64encode(files[name]).decode()})


def shown(cell: nbformat.NotebookNode, is_released: bool) -> str:
    """The source of a text cell for a page, with its pictures in it.

    The source is made harmless unless `is_released`.
    """
    attachments = cell.get("attachments", {})
    pictures = {name: next(iter(data.items()), ("", "")) for name, data in attachments.items()}
    placed = set()

    def with_data(match: re.Match) -> str:
        name = _name(match["name"])
        kind, picture = pictures.get(name, ("", ""))
        if kind not in _IN_TEXT or not picture:
            return match[0]
        placed.add(name)
        text = re.sub(r"[\[\]\\<]", "", match["text"])
        return f"![{text}](data:{kind};base64,{picture})"

    is_markdown = cell.cell_type == "markdown"
    text = cell.source
    if is_markdown:
        text = _MARKDOWN.sub(with_data, text)
    if not is_released:
        text = harmless(text)
        if not is_markdown:
            text = html.escape(text)
    for name, (kind, picture) in pictures.items():
        if not picture:
            what = f"{name}, an attachment of type {kind or 'unknown'}"
            text += html.escape(f"\n\n[not shown: {what}]")
        elif name not in placed:
            text += f"\n\n{as_image(kind, picture, name)}"
    return text


def _name(target: str) -> str:
    return unquote(target.strip()).removeprefix("attachment:").removeprefix("./")
