"""Rebuilds a cell's outputs from text and pictures: a page must not run a student's script.

This file is also loaded inside the jail.
"""

import base64
import html
import re

import nbformat

PICTURES = ("image/png", "image/jpeg", "image/gif", "image/webp", "image/svg+xml")
MAX_TEXT = 100_000  # characters that one cell may show
_SOURCES = ("text/markdown", "text/latex", "text/html")  # of what has no plain text of its own


def clean(outputs) -> list[nbformat.NotebookNode]:
    """`outputs` as in a notebook's JSON, without what must not be on a page.

    It names what it does not show.
    """
    if not isinstance(outputs, list):
        return []
    kept = []
    for output in outputs:
        try:
            kept.append(_clean(output))
        except (TypeError, AttributeError, KeyError):  # not what Jupyter writes
            continue
    return [output for output in kept if output is not None]


def _clean(output) -> nbformat.NotebookNode | None:
    kind = output["output_type"]
    if kind == "stream":
        name = "stderr" if output["name"] == "stderr" else "stdout"
        return nbformat.v4.new_output("stream", name=name, text=clipped(text_of(output["text"])))
    if kind == "error":
        lines = clipped("\n".join(text_of(line) for line in output["traceback"])).split("\n")
        return nbformat.v4.new_output("error", ename="", evalue="", traceback=lines)
    if kind in ("execute_result", "display_data"):
        return nbformat.v4.new_output("display_data", data=_as_page(essential(output["data"])))
    return None


def essential(data: dict) -> dict[str, str]:
    """Of an output in several formats its text, as "text/plain", and its picture, if any.

    An object that shows itself in another format only is replaced by the source of that.
    """
    found = {"text/plain": text_of(data.get("text/plain", ""))}
    for kind in PICTURES:
        if (picture := encoded(kind, data.get(kind))) is not None:
            return found | {kind: picture}
    if not found["text/plain"] or found["text/plain"].startswith("<IPython.core.display"):
        sources = [text_of(data[kind]) for kind in _SOURCES if kind in data]
        others = ", ".join(str(kind)[:60] for kind in list(data)[:5] if kind != "text/plain")
        source = next(filter(None, sources), "")
        found["text/plain"] = source or f"[not shown: an output of type {others}]"
    found["text/plain"] = clipped(found["text/plain"])
    return found


def encoded(kind: str, data) -> str | None:
    """A picture of type `kind` in Base64; None if `data` is not a picture. SVG may be text."""
    if kind not in PICTURES or not isinstance(data, (str, list)):
        return None
    text = text_of(data)
    if kind == "image/svg+xml" and "<" in text:
        return base64.b64encode(text.encode("utf-8", "replace")).decode()
    text = re.sub(r"\s", "", text)
    if not re.fullmatch(r"[A-Za-z0-9+/]+=*", text):
        return None
    return text


def as_image(kind: str, picture: str, name: str = "") -> str:
    """HTML that shows a Base64 picture. As an image, SVG runs no script and loads nothing."""
    return f'<img alt="{html.escape(name)}" src="data:{kind};base64,{picture}">'


def _as_page(data: dict[str, str]) -> dict[str, str]:
    """nbconvert shows PNG and JPEG itself, no GIF or WebP, and SVG with its scripts."""
    kind = next((kind for kind in PICTURES if kind in data), None)
    if kind in (None, "image/png", "image/jpeg"):
        return data
    return {"text/plain": data["text/plain"], "text/html": as_image(kind, data[kind])}


def clipped(text: str, room: int = MAX_TEXT) -> str:
    """`text`, or its beginning and its end and how much is missing between them."""
    if len(text) <= room:
        return text
    end = room // 10
    return f"{text[: room - end]}\n{not_shown(len(text) - room)}\n{text[-end:]}"


def not_shown(count: int) -> str:
    return f"[{count:,} characters are not shown here]"


def text_of(text) -> str:
    """Text that Jupyter stores whole or as a list of lines."""
    if isinstance(text, str):
        return text
    return "".join(map(str, text))
