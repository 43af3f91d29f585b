"""The website of the workbook, and the same pages as one PDF. Sphinx and MyST-NB build both.

`build()` is called after every notebook: it redoes only the pages that changed. `pdf()` prints
the whole book.

chapters        what is known about each notebook: title, question, picture, minutes
prepare         an executed notebook as Sphinx reads it
links           links between files as links between pages
embed           the place for a live demonstration in pages
tables          the tables of results
charts          the figures of results
front           the front page
pages           writes the sources and runs Sphinx
sphinx_process  the process in which Sphinx runs
printing        prints the book with Chromium
conf            the configuration of Sphinx
mathml          formulas without JavaScript, an extension of Sphinx
"""

from pathlib import Path


def build() -> Path:
    """Build build/html from build/notebooks, and return the path of its front page.

    A second call redoes only the pages that changed. The live digit is on the front page, and below
    cells tagged `live-digit`, as soon as its network exists. Warnings of Sphinx go to standard
    error. pages.SiteFailed if a page cannot be built.
    """
    # imported when needed: Sphinx's own process loads this package for its configuration
    from helpers.paths import build_path, locked
    from workbook import digit
    from workbook.site import pages

    # of two notebooks that end at once, the second would change sources that Sphinx is reading
    with locked(build_path("site")):
        has_network = digit.write_assets(build_path("html", "digit"))
        return pages.build(digit.fragment("digit") if has_network else "")


def pdf() -> Path:
    """Print the book to build/workbook.pdf, A4, and return its path.

    printing.NoChromium if Chromium is missing.
    """
    from workbook.site import printing

    return printing.pdf()
