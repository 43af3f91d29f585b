"""The front page: what this is, the chapters, the results, and what they were made with."""

import html
from collections.abc import Collection

from helpers.paths import build_dir, build_path
from workbook.site import tables
from workbook.site.chapters import Chapter, picture
from workbook.site.embed import place
from workbook.site.links import GLOSSARY

INTRODUCTION = """
These are hands-on notebooks for running neural networks on a Raspberry Pi. You train a small CNN on
MNIST in minutes on your laptop, export it to ONNX, TFLite, ncnn, MNN and ExecuTorch, and check that
every file computes the same logits. You quantize it, first by hand and then with PTQ and QAT, and
benchmark it on a Raspberry Pi so that someone else can reproduce your numbers.
"""
WAY = (
    "![A laptop trains, exports and quantizes; model files go to the Pi, records come back]"
    "(figures/00_laptop_to_pi.svg)"
)
PNG = b"\x89PNG"  # how such a file begins
CHART = "runtimes.png"  # notebook 03 draws it


def source(chapters: Collection[Chapter], live_digit: str) -> str:
    """The front page in Markdown. Writes the pictures that it shows to build/html/pictures."""
    parts = [
        "# Neural networks on a Raspberry Pi",
        INTRODUCTION.strip(),
        WAY,
        _raw(_chart()),
        _raw(place(live_digit)),
        contents(chapters),
        "## Chapters",
        _raw(_cards(chapters)),
        "## Results",
        _raw(tables.HOW_TO_SORT),
        *_results(),
        "## How this site was made",
        _raw(_runs(chapters)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def contents(chapters: Collection[Chapter]) -> str:
    """The list of pages, which Sphinx shows at the side of each page."""
    lines = [
        f"{chapter.number} {chapter.title} <{chapter.name}>"
        for chapter in chapters
        if chapter.notebook
    ]
    lines.append(f"Glossary <{GLOSSARY}>")
    return "\n".join(["```{toctree}", ":hidden:", "", *lines, "```"])


def _raw(text: str) -> str:
    """HTML as a part of a page in Markdown."""
    return f"```{{raw}} html\n{text}\n```" if text else ""


def _chart() -> str:
    if not build_path("html", CHART).exists():
        return ""
    alt = "Latency and memory of each runtime, as measured by notebook 03"
    return f'<figure class="chart"><img src="{CHART}" alt="{alt}"></figure>'


def _cards(chapters: Collection[Chapter]) -> str:
    return f'<div class="chapters">{"".join(_card(chapter) for chapter in chapters)}</div>'


def _card(chapter: Chapter) -> str:
    title = html.escape(f"{chapter.number} {chapter.title}")
    abilities = ""
    if chapter.abilities:
        abilities = f"<p>You will be able to {html.escape(chapter.abilities)}</p>"
    if chapter.notebook is None:
        state = "Not run yet"
    elif chapter.run.get("failed"):
        state = f'<strong class="failed">Failed.</strong> {html.escape(chapter.run["failed"])}'
    else:
        state = _duration(chapter.run)
        title = f'<a href="{chapter.name}.html">{title}</a>'
    if chapter.run.get("failed"):
        title = f'<a href="{chapter.name}.html">{title}</a>'
    note = f'<p class="state">{state}</p>' if state else ""
    return f'<div class="chapter">{_picture(chapter)}<h3>{title}</h3>{abilities}{note}</div>'


def _picture(chapter: Chapter) -> str:
    """The picture of a card; an empty place without one, so that cards in a row have one form."""
    content = picture(chapter.notebook) if chapter.notebook else None
    if content is None:
        return '<div class="picture"></div>'
    ending = ".png" if content.startswith(PNG) else ".svg"
    path = build_dir("html", "pictures") / f"{chapter.name}{ending}"
    path.write_bytes(content)
    return f'<div class="picture"><img src="pictures/{path.name}" alt=""></div>'


def _duration(run: dict) -> str:
    if "seconds" not in run:
        return ""
    if run["seconds"] < 100:
        return f"{run['seconds']:.0f} s"
    return f"{run['seconds'] / 60:.0f} minutes"


def _results() -> list[str]:
    networks = tables.networks()
    if not networks:
        return ["No measurement has been recorded yet."]
    parts = []
    for name, text in networks.items():
        parts += [f"### {name}", _raw(text)]
    return parts


def _runs(chapters: Collection[Chapter]) -> str:
    """When, where and with which versions the notebooks ran: one table, one row per difference."""
    runs = [chapter.run for chapter in chapters if chapter.run]
    if not runs:
        return "<p>When and where these notebooks ran is unknown.</p>"
    dates = sorted(run["executed"] for run in runs if run.get("executed"))
    facts = {
        "Run": " to ".join(dict.fromkeys([dates[0], dates[-1]])) if dates else "",
        "Machine": _different(run.get("machine") for run in runs),
        "Commit": _different(run.get("commit") for run in runs),
        "Versions": _different(
            f"{name} {version}" for run in runs for name, version in run.get("versions", {}).items()
        ),
    }
    rows = "".join(
        f"<dt>{name}</dt><dd>{html.escape(fact)}</dd>" for name, fact in facts.items() if fact
    )
    return f'<dl class="run-facts">{rows}</dl>'


def _different(values) -> str:
    """The values that differ, in the order in which they come."""
    return ", ".join(dict.fromkeys(value for value in values if value))
