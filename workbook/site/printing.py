"""The whole book as one PDF: Sphinx's single page, printed by Chromium without a window."""

import re
import shutil
from pathlib import Path

from helpers.paths import build_dir, build_path
from modelfiles.errors import WorkbookError
from workbook.site.pages import build, sphinx

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
LINK = re.compile(r'href="(glossary|\d\d[a-z]?_\w+)\.html"')
TO_SOLUTION = re.compile(r'<a [^>]*href="[^"]*\bsolutions/[^"]*"[^>]*>(.*?)</a>', re.DOTALL)


class NoChromium(WorkbookError, RuntimeError):
    """No Chromium was found."""


def chromium() -> str | None:
    """The path of an installed Chromium, or of Chrome; None if there is none."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


def pdf() -> Path:
    """See workbook.site.pdf."""
    browser = chromium()
    if browser is None:
        raise NoChromium(
            "The PDF was not printed: Chromium is missing. Install it, on Debian and Ubuntu with "
            "`sudo apt install chromium`, then run `make pdf` again."
        )
    page = _single_page()
    path = build_path("workbook.pdf")
    _print(browser, page, path)
    return path


def _single_page() -> Path:
    """The book as one HTML page, with the same pictures as the site."""
    build()
    folder = build_dir("site", "single")
    sphinx("singlehtml", folder, everything=True)
    shutil.copytree(build_dir("html", "pictures"), folder / "pictures", dirs_exist_ok=True)
    for picture in build_dir("html").glob("*.png"):
        shutil.copy(picture, folder)
    page = folder / "index.html"
    text = page.read_text(encoding="utf-8")
    text = text.replace('href="glossary.html#', 'href="#')  # a term is on the same page
    text = TO_SOLUTION.sub(r"\1", text)  # they are not printed
    page.write_text(LINK.sub(r'href="#document-\1"', text), encoding="utf-8")
    return page


def _print(browser: str, page: Path, path: Path) -> None:
    from playwright.sync_api import sync_playwright

    footer = (
        '<div style="font-size: 8px; width: 100%; text-align: center">'
        '<span class="pageNumber"></span></div>'
    )
    with sync_playwright() as playwright:
        process = playwright.chromium.launch(executable_path=browser, args=FLAGS)
        tab = process.new_page(color_scheme="light")
        tab.goto(page.as_uri())
        tab.pdf(
            path=path,
            format="A4",
            print_background=True,
            outline=True,
            tagged=True,
            display_header_footer=True,
            header_template="<div></div>",
            footer_template=footer,
            margin={"top": "15mm", "bottom": "18mm", "left": "15mm", "right": "15mm"},
        )
        process.close()
