"""The website: one is built from the committed notebooks and opened from its files in Chromium."""

import base64
import contextlib
import io
import json
import re
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from html.parser import HTMLParser
from urllib.parse import unquote, urlsplit

import nbformat
import pandas as pd
import pytest
from PIL import Image

from helpers.paths import ROOT
from workbook import cli, digit, site
from workbook.site import charts, embed, links, pages, prepare, printing, tables
from workbook.site.chapters import picture
from workbook.site.mathml import mathml

CHROMIUM = printing.chromium()
needs_chromium = pytest.mark.skipif(
    not CHROMIUM, reason="chromium is missing: sudo apt install chromium"
)
NAMES = sorted(path.stem for path in (ROOT / "notebooks").glob("[0-9][0-9]*_*.ipynb"))
SOLUTIONS = [f"solutions/{name}" for name in NAMES]
RUN = {
    "seconds": 125.0,
    "executed": "2026-01-02T03:04:05+00:00",
    "commit": "abc1234",
    "machine": "AMD EPYC 7B13, 2 cores, Linux",
    "versions": {"python": "3.11.7", "torch": "2.13.0"},
}
REASON = "the Pi reported: throttled"


def measurement(number: int, model: str, p50_ns: float, is_valid: bool = True, **facts) -> str:
    """A record as a line; `facts` are more of the model, its `runtime` and its `threads`."""
    record = json.loads((ROOT / "tests/records.jsonl").read_text().splitlines()[0])
    record["run_id"] = f"{number:032}"
    record["runtime"]["name"] = facts.pop("runtime", record["runtime"]["name"])
    record["runtime"]["threads"] = facts.pop("threads", 1)
    record["model"] |= {"name": model} | facts
    record["latency_ns"]["p50"] = p50_ns
    record["valid"] = is_valid
    record["void_reasons"] = [] if is_valid else [REASON]
    return json.dumps(record) + "\n"


def measurements() -> str:
    """Records of two files of one network, and an invalid one of a third."""
    files = [("mnist_cnn.onnx", 90e3, True), ("mnist_cnn.mnn", 1e6, True)]
    files.append(("mnist_cnn_int8.tflite", 2e5, False))
    return "".join(measurement(number, *facts) for number, facts in enumerate(files))


def build_quietly(live_digit: str = ""):
    """Build the site; it prints nothing, because warnings of Sphinx are errors here."""
    printed = io.StringIO()
    with contextlib.redirect_stderr(printed):
        page = pages.build(live_digit)
    assert printed.getvalue() == ""
    return page


def test_two_builds_at_once_take_turns(monkeypatch, tmp_path):
    monkeypatch.setenv("WORKBOOK_BUILD", str(tmp_path))
    is_running = threading.Lock()

    def pages_that_must_be_alone(live_digit: str) -> None:
        assert is_running.acquire(blocking=False)
        time.sleep(0.2)
        is_running.release()

    monkeypatch.setattr(pages, "build", pages_that_must_be_alone)
    with ThreadPoolExecutor(2) as pool:
        for build in [pool.submit(site.build) for _ in range(2)]:
            build.result()


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The folder of a site of all notebooks."""
    folder = tmp_path_factory.mktemp("site")
    for part in ("notebooks", "results", "html"):
        (folder / part).mkdir()
    for name in NAMES:
        notebook = nbformat.read(ROOT / f"notebooks/{name}.ipynb", 4)
        notebook.metadata["workbook"] = RUN
        nbformat.write(notebook, folder / f"notebooks/{name}.ipynb")
    (folder / "results/one.jsonl").write_text(measurements())
    shutil.copy(ROOT / "notebooks/runtimes.png", folder / "html")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WORKBOOK_BUILD", str(folder))
        assert build_quietly() == folder / "html/index.html"
        yield folder / "html"


@pytest.fixture
def tab(browser, request):
    """A new tab; `request.param` is its width and colour scheme, default 1400 pixels and light."""
    width, scheme = getattr(request, "param", (1400, "light"))
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, reduced_motion="reduce"
    )
    yield context.new_page()
    context.close()


def address(built, name: str) -> str:
    return (built / f"{name}.html").as_uri()


CUT_OFF = """() => {
  const width = document.documentElement.clientWidth;
  const scrolls = (box) => ["auto", "scroll"].includes(getComputedStyle(box).overflowX);
  const found = [];
  for (const box of document.querySelectorAll(":is(html, body, .bd-main, .bd-article-container)")) {
    if (box.scrollWidth > box.clientWidth) found.push(`${box.tagName} scrolls sideways`);
  }
  for (const part of document.querySelectorAll(".bd-article :is(p, li, table, img, pre, math)")) {
    if (part.getBoundingClientRect().right <= width + 1) continue;
    let box = part;
    while (box && !box.matches(".bd-article") && !scrolls(box)) box = box.parentElement;
    if (!box || box.matches(".bd-article")) found.push(part.outerHTML.slice(0, 200));
  }
  return found;
}"""


@needs_chromium
def test_every_page_fits_and_loads_only_its_own_files(tab, built):
    requested = []
    tab.on("request", lambda request: requested.append(request.url))
    for name in ["index", *NAMES, *SOLUTIONS, "glossary"]:
        tab.goto(address(built, name))
        for width in (1400, 390):
            tab.set_viewport_size({"width": width, "height": 900})
            for theme in ("light",) if name in SOLUTIONS else ("light", "dark"):
                tab.evaluate("theme => { document.documentElement.dataset.theme = theme }", theme)
                assert tab.evaluate(CUT_OFF) == [], f"{name}, {theme}, at {width} pixels"
    assert len(requested) > 100
    elsewhere = [url for url in requested if not url.startswith((built.as_uri(), "data:", "blob:"))]
    assert elsewhere == []


OUTPUTS = "[...document.querySelectorAll('div.cell_output pre')]"


@needs_chromium
@pytest.mark.parametrize("name", [name for name in NAMES if name[:2] in ("02", "05", "06")])
def test_lines_of_output_wrap_and_lines_of_code_scroll(tab, built, name):
    tab.goto(address(built, name))
    for width in (1400, 390):
        tab.set_viewport_size({"width": width, "height": 900})
        assert tab.evaluate(f"{OUTPUTS}.length") > 5
        scrolling = f"{OUTPUTS}.filter(pre => pre.scrollWidth > pre.clientWidth)"
        assert tab.evaluate(f"{scrolling}.map(pre => pre.textContent)") == []
    code = "[...document.querySelectorAll('div.cell_input pre')]"
    assert tab.evaluate(f"{code}.some(pre => pre.scrollWidth > pre.clientWidth)")


# pieces of words that go on in the next line; a line may end after a hyphen or a slash
BROKEN = """() => {
  const found = [];
  for (const cell of document.querySelectorAll("table :is(th, td)")) {
    const walker = document.createTreeWalker(cell, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
      const node = walker.currentNode;
      for (const word of node.data.matchAll(/[^\\s/-]+/g)) {
        const range = document.createRange();
        range.setStart(node, word.index);
        range.setEnd(node, word.index + word[0].length);
        const lines = new Set([...range.getClientRects()].map((box) => Math.round(box.top)));
        if (lines.size > 1) found.push(word[0]);
      }
    }
  }
  return found;
}"""


@needs_chromium
@pytest.mark.parametrize("name", ["index", *(n for n in NAMES if n[:2] in ("03", "06", "08"))])
def test_no_table_breaks_a_word(tab, built, name):
    tab.goto(address(built, name))
    for width in (1400, 390):
        tab.set_viewport_size({"width": width, "height": 900})
        assert tab.evaluate(BROKEN) == [], f"at {width} pixels"


@needs_chromium
def test_tables_of_results_fit_on_a_laptop(tab, built):
    tab.goto(address(built, "index"))
    for width in (1400, 1100):
        tab.set_viewport_size({"width": width, "height": 900})
        boxes = tab.locator(".wide:has(table.results.valid)")
        assert boxes.count()
        for box in boxes.all():
            assert box.evaluate("box => box.scrollWidth <= box.clientWidth")


@needs_chromium
def test_next_leads_through_the_book(tab, built):
    tab.goto(address(built, "index"))
    visited = []
    while (following := tab.locator("a.right-next")).count():
        following.click()
        tab.wait_for_load_state()
        visited.append(re.search(r"(\w+)\.html", tab.url)[1])
    assert visited == [*NAMES, "glossary"]
    tab.locator("a.left-prev").click()
    assert NAMES[-1] in tab.url


def focus_with_tab(tab, selector: str, most: int = 80) -> None:
    """Press Tab until the focus is on an element that `selector` describes."""
    for _ in range(most):
        tab.keyboard.press("Tab")
        if tab.evaluate("text => document.activeElement.matches(text)", selector):
            return
    pytest.fail(f"Tab does not reach {selector}")


@needs_chromium
def test_the_keyboard_alone_finds_zero_point(tab, built):
    tab.goto(address(built, "index"))
    focus_with_tab(tab, ".search-button-field")
    tab.keyboard.press("Enter")
    tab.keyboard.type("zero point")
    tab.keyboard.press("Enter")
    # results appear one after the other
    tab.locator('#search-results a[href*="05_affine_quantization.html"]').first.wait_for()


@needs_chromium
@pytest.mark.parametrize("tab", [(1400, "light"), (390, "light")], indirect=True)
def test_the_keyboard_alone_opens_a_chapter(tab, built):
    tab.goto(address(built, "index"))
    if tab.viewport_size["width"] == 390:
        focus_with_tab(tab, ".primary-toggle")
        tab.keyboard.press("Enter")
    focus_with_tab(tab, 'nav[aria-label="Chapters"] a[href^="05_"]')
    tab.keyboard.press("Enter")
    tab.wait_for_url("**/05_affine_quantization.html")


@needs_chromium
def test_the_keyboard_alone_switches_the_theme(tab, built):
    tab.goto(address(built, "index"))
    assert tab.locator("html").get_attribute("data-theme") == "light"
    light = tab.evaluate("getComputedStyle(document.body).backgroundColor")
    focus_with_tab(tab, ".theme-switch-button")
    tab.keyboard.press("Enter")
    tab.locator('.bd-header .theme-change-button[data-mode="dark"]').wait_for()
    for _ in range(10):
        tab.keyboard.press("ArrowDown")
        if tab.evaluate("document.activeElement.dataset.mode") == "dark":
            break
    tab.keyboard.press("Enter")
    assert tab.locator("html").get_attribute("data-theme") == "dark"
    assert tab.evaluate("getComputedStyle(document.body).backgroundColor") != light
    tab.goto(address(built, NAMES[0]))
    assert tab.locator("html").get_attribute("data-theme") == "dark", "the choice is kept"


@needs_chromium
@pytest.mark.parametrize("tab", [(1400, "light"), (1400, "dark")], indirect=True)
def test_text_has_enough_contrast(tab, built):
    from axe_playwright_python.sync_playwright import Axe

    for name in ("index", "02_export_to_every_runtime", "07_quantization_aware_training"):
        tab.goto(address(built, name))
        # the rest of a chapter has the same kinds of parts, and axe takes a minute for all of them
        tab.evaluate(
            "[...document.querySelectorAll('div.cell')].slice(12).forEach(c => c.remove())"
        )
        options = {"runOnly": ["wcag2a", "wcag2aa"], "resultTypes": ["violations"]}
        results = Axe().run(tab, options=options)
        assert results.violations_count == 0, results.generate_report()


def column(tab, heading: str) -> list[str]:
    """The texts of the column of the first table of results."""
    table = tab.locator("table.results.valid").first
    heads = table.locator("th").all_inner_texts()
    number = [re.sub(r"\W+$", "", text) for text in heads].index(heading)
    return table.locator(f"tbody td:nth-child({number + 1})").all_inner_texts()


@needs_chromium
def test_results_sort_by_a_click_and_by_the_keyboard(tab, built):
    tab.goto(address(built, "index"))
    assert column(tab, "model") == ["mnist_cnn.onnx", "mnist_cnn.mnn"], "the fastest is first"
    tab.get_by_role("button", name="model").first.click()
    assert column(tab, "model") == ["mnist_cnn.mnn", "mnist_cnn.onnx"]
    p50 = tab.get_by_role("button", name="p50 (µs)").first
    p50.focus()
    tab.keyboard.press("Enter")
    assert column(tab, "model") == ["mnist_cnn.onnx", "mnist_cnn.mnn"], "90 is less than 1,000"
    tab.keyboard.press("Space")
    assert column(tab, "model") == ["mnist_cnn.mnn", "mnist_cnn.onnx"]
    head = tab.locator('table.results.valid th[aria-sort="descending"]')
    assert head.count() == 1 and "p50" in head.inner_text()


@needs_chromium
def test_code_can_be_copied(tab, built):
    tab.goto(address(built, NAMES[0]))
    buttons = tab.locator("button.copybtn")
    assert buttons.count() == tab.locator("div.cell_input pre").count() > 5


class Targets(HTMLParser):
    """The addresses that a page names, and the places in it that others can name."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.places = {"", "top"}
        self.feed(text)

    def handle_starttag(self, tag, attrs) -> None:
        for name, value in attrs:
            if name in ("href", "src") and value:
                self.addresses.append(value)
            elif name in ("id", "name") and value:
                self.places.add(value)


def test_every_link_leads_to_a_file_and_to_a_place_in_it(built):
    pages_of = [*built.glob("*.html"), *built.glob("solutions/*.html")]
    known = {path: Targets(path.read_text("utf-8")) for path in pages_of}
    assert {f"{name}.html" for name in [*NAMES, *SOLUTIONS]} <= {
        path.relative_to(built).as_posix() for path in known
    }
    dead = []
    for page, targets in known.items():
        for address in targets.addresses:
            url = urlsplit(address)
            if url.scheme or url.netloc:
                continue  # other sites
            target = (page.parent / unquote(url.path)).resolve() if url.path else page
            places = known[target].places if target in known else {""}
            if not target.is_file() or unquote(url.fragment) not in places:
                dead.append(f"{page.relative_to(built)}: {address}")
    assert dead == []


def test_solutions_are_linked_from_their_chapter_and_found_by_no_search(built):
    for name in NAMES:
        chapter = (built / f"{name}.html").read_text(encoding="utf-8")
        assert re.search(rf'<a [^>]*href="solutions/{name}.html"[^>]*>.*?solutions', chapter)
        page = (built / f"solutions/{name}.html").read_text(encoding="utf-8")
        assert f'href="../{name}.html"' in page and "came with" in page
        assert 'class="right-next"' not in page and 'class="left-prev"' not in page
    titles = (built / "searchindex.js").read_text(encoding="utf-8")
    assert "glossary" in titles and "Solutions" not in titles


NOT_PRINTED = """() => {
  const found = [];
  for (let box = document.querySelector(".bd-article"); box; box = box.parentElement) {
    const style = getComputedStyle(box);
    const isPlain = style.display === "block" && style.overflowY === "visible";
    if (!isPlain && box !== document.documentElement) found.push(box.className || box.tagName);
  }
  return found;
}"""


@needs_chromium
def test_on_paper_no_box_cuts_off_the_text(tab, built):
    tab.goto(address(built, "index"))
    tab.emulate_media(media="print")
    assert tab.evaluate(NOT_PRINTED) == [], "Chromium prints only the beginning of such a box"


def test_invalid_results_are_apart_with_the_reason(built):
    text = (built / "index.html").read_text(encoding="utf-8")
    valid, invalid = (
        re.search(rf'<table class="table results {kind}">.*?</table>', text, re.DOTALL)[0]
        for kind in ("valid", "invalid")
    )
    assert "mnist_cnn_int8.tflite" not in valid and REASON not in valid
    assert "mnist_cnn_int8.tflite" in invalid and REASON in invalid
    machine = "Raspberry Pi 5 Model B Rev 1.0"
    assert machine not in re.sub(r"<[^>]*>", "", valid + invalid)
    assert f"<strong>{machine}" in text
    assert (built / re.search(r'src="(pictures/results-[^"]+)"', text)[1]).exists()


def test_the_front_page_shows_every_chapter_and_the_run(built):
    text = (built / "index.html").read_text(encoding="utf-8")
    assert text.count('<div class="chapter">') == len(NAMES)
    for name in NAMES:
        assert f'<a href="{name}.html">' in text
        [file] = (built / "pictures").glob(f"{name}.*")
        assert f'src="pictures/{file.name}"' in text and file.stat().st_size > 1000
    assert text.count("2 minutes") == len(NAMES)
    assert 'src="runtimes.png"' in text and (built / "runtimes.png").exists()
    for page in (text, (built / "03_measure_latency.html").read_text(encoding="utf-8")):
        for fact in ("abc1234", "AMD EPYC 7B13", "torch 2.13.0", "2026-01-02"):
            assert fact in page


def figure_cell(width: int, height: int, grey: int = 0, **metadata) -> nbformat.NotebookNode:
    """A code cell that has drawn a grey picture."""
    written = io.BytesIO()
    Image.new("L", (width, height), grey).save(written, "PNG")
    data = {"image/png": base64.b64encode(written.getvalue()).decode()}
    output = nbformat.v4.new_output("display_data", data)
    return nbformat.v4.new_code_cell("draw()", outputs=[output], metadata=metadata)


def test_a_card_shows_a_picture_that_can_be_read_on_it():
    diagram = nbformat.v4.new_markdown_cell("![a kernel](figures/00_kernel.svg)")
    missing = nbformat.v4.new_markdown_cell("![nothing](figures/00_missing.svg)")
    cover = figure_cell(50, 50, 99, tags=["cover"])
    svg = (ROOT / "notebooks/figures/00_kernel.svg").read_bytes()

    def shown(*cells):
        content = picture(nbformat.v4.new_notebook(cells=list(cells)))
        if content in (None, svg):
            return content
        image = Image.open(io.BytesIO(content))
        return image.width, image.getpixel((0, 0))

    assert shown(diagram, figure_cell(100, 50), figure_cell(500, 300)) == (500, 0)
    assert shown(diagram, figure_cell(800, 300)) == svg, "its labels cannot be read"
    assert shown(missing, figure_cell(800, 300)) == (800, 0), "better than none"
    assert shown(diagram, figure_cell(800, 300), cover) == (50, 99)
    assert shown(diagram) == svg
    assert shown(missing) is None


def summary(monkeypatch, folder, *lines: str) -> pd.DataFrame:
    """The rows that the charts get, of one network on one machine."""
    monkeypatch.setenv("WORKBOOK_BUILD", str(folder))
    (folder / "results").mkdir()
    (folder / "results/one.jsonl").write_text("".join(lines))
    found = []
    monkeypatch.setattr(charts, "draw", lambda network, machine, rows: found.append(rows))
    tables.networks()
    [rows] = found
    return rows


def test_a_file_that_was_converted_again_is_listed_once(monkeypatch, tmp_path):
    lines = [
        measurement(0, "net.mnn", 300e3, sha256="aa"),
        measurement(1, "net.mnn", 200e3, sha256="aa", threads=2),
        measurement(2, "net.mnn", 400e3, sha256="bb"),
    ]
    rows = summary(monkeypatch, tmp_path, *lines)
    assert rows["p50 (µs)"].tolist() == [200, 400], "the latest of each number of threads"


def test_charts_show_each_precision_and_runtime_of_a_file(monkeypatch, tmp_path):
    lines = [
        measurement(0, "net.param", 300e3, runtime="ncnn", precision="float32"),
        measurement(1, "net.param", 200e3, runtime="ncnn", precision="half precision"),
        measurement(2, "net.param", 100e3, runtime="ncnn", precision="half precision", threads=2),
        measurement(3, "net.onnx", 50e3, runtime="ONNX Runtime", precision="float32"),
        measurement(4, "net.onnx", 500e3, runtime="OpenCV", precision="float32"),
    ]
    rows = summary(monkeypatch, tmp_path, *lines)
    assert len(rows) == 5
    monkeypatch.undo()
    drawn = []
    monkeypatch.setenv("WORKBOOK_BUILD", str(tmp_path))
    bars = charts.bars
    monkeypatch.setattr(charts, "bars", lambda *given: drawn.append(bars(*given)) or drawn[-1])
    assert charts.draw("net", "a machine", rows) == "pictures/results-net-a-machine.svg"
    [axes] = drawn[0].axes
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert [re.sub(r" [\d.]+,", ",", label) for label in labels] == [
        "net.onnx, ONNX Runtime, float32, 1 thread",
        "net.param, half precision, 2 threads",
        "net.param, float32, 1 thread",
        "net.onnx, OpenCV, float32, 1 thread",
    ]
    assert [bar.get_width() for bar in axes.patches] == pytest.approx([0.05, 0.1, 0.3, 0.5])


@pytest.mark.parametrize("model", ["a.mnn", "a_network_with_a_long_name_int8.onnx"])
def test_charts_cut_off_no_text(model):
    row = {"model": model, "runtime": "MNN 3", "precision": "int8, S8 activations", "threads": 4}
    rows = pd.DataFrame([row | {"p50 (µs)": 1234.5}])
    figure = charts.bars(rows, f"{model}: p50 of one call, fastest number of threads" + " more" * 9)
    figure.draw_without_rendering()
    texts = [figure._suptitle, *figure.axes[0].get_yticklabels(), *figure.axes[0].texts]
    for text in texts:
        box = text.get_window_extent()
        assert box.x0 >= 0 and box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1, text


def test_formulas_are_mathml(built):
    texts = [(built / f"{name}.html").read_text(encoding="utf-8") for name in NAMES]
    assert sum(page.count("<math") for page in texts) > 100
    for page in texts:
        assert not re.search("<script[^>]*mathjax", page, re.IGNORECASE)
        assert not re.search(r"\$\$|\\(frac|mathrm|sum)\b", re.sub(r"<pre>.*?</pre>", "", page))


def test_no_table_has_an_empty_heading(built):
    for name in NAMES:
        page = (built / f"{name}.html").read_text(encoding="utf-8")
        assert "<table" in page and not re.search(r"<th[^>]*>(&nbsp;|\xa0|\s)*</th>", page)


def test_limits_stand_above_and_below_a_sum_and_plus_minus_has_space():
    formula = mathml(r"\sum_{i=0}^n \frac{x_i \pm 1}{\Delta}", "block")
    assert "<munderover><mo>∑</mo>" in formula and "<msub><mi>x</mi><mi>i</mi></msub>" in formula
    assert "<mo>±</mo>" in formula and "<mi>Δ</mi>" in formula
    assert formula.startswith('<math display="block" xmlns="http://www.w3.org/1998/Math/MathML">')


def test_limits_of_words_and_upright_names():
    formula = mathml(r"\min_{x \in A} \mathrm{round}(x_{\max})", "block")
    assert re.search('<munder><mo movablelimits="true"[^>]*>min</mo>', formula)
    assert '<mi mathvariant="normal">round</mi>' in formula
    assert "<msub><mi>x</mi><mrow><mo>max</mo></mrow></msub>" in formula
    assert '<mo lspace="0" rspace="0.167em">log</mo><mi>p</mi>' in mathml(r"-\log p", "inline")


@needs_chromium
def test_limits_stand_below_on_lines_of_their_own_and_beside_in_a_line(tab):
    for display, is_below in (("block", True), ("inline", False)):
        for word in ("sum", "min", "max"):
            formula = mathml(rf"\{word}_{{q}} f", display)
            tab.set_content(f"<p>{formula}</p>")
            left, right = (
                tab.locator(f"math {part}").first.bounding_box() for part in ("mo", "mi")
            )
            assert (right["x"] < left["x"] + left["width"]) == is_below, (word, display)


@pytest.mark.parametrize("tab", [(1400, "light"), (390, "light")], indirect=True)
def test_formulas_on_lines_of_their_own_stand_in_the_middle(built, tab):
    tab.goto((built / "01_train_mnist_cnn.html").as_uri())
    found = tab.evaluate(
        """() => [...document.querySelectorAll("div.math")].map(box => {
            const formula = box.querySelector("mrow").getBoundingClientRect();
            const place = box.getBoundingClientRect();
            return [formula.left - place.left, place.right - formula.right];
        })"""
    )
    assert len(found) >= 3
    for left, right in found:
        assert left == pytest.approx(right, abs=3)


def test_hidden_inputs_show_only_their_output(built):
    notebook = nbformat.read(ROOT / "notebooks/08_benchmark_on_the_pi.ipynb", 4)
    shown = sum(cell.cell_type == "code" for cell in notebook.cells)
    hidden = sum("hide-input" in cell.metadata.get("tags", []) for cell in notebook.cells)
    page = (built / "08_benchmark_on_the_pi.html").read_text(encoding="utf-8")
    assert hidden > 0
    assert page.count('class="cell_input ') == shown - hidden


def test_a_second_build_redoes_only_the_changed_page(built):
    def times() -> dict:
        return {path.stem: path.stat().st_mtime_ns for path in built.glob("*.html")}

    before = times()
    path = built.parent / "notebooks/02_export_to_every_runtime.ipynb"
    notebook = nbformat.read(path, 4)
    notebook.cells[2].source += "\n# a changed cell"
    nbformat.write(notebook, path)
    build_quietly()
    changed = {name for name, time in times().items() if time != before.get(name)}
    assert changed == {"02_export_to_every_runtime", "index", "search"}
    assert "# a changed cell" in (built / "02_export_to_every_runtime.html").read_text("utf-8")


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A build folder with two small notebooks: one that failed, and one without metadata."""
    monkeypatch.setenv("WORKBOOK_BUILD", str(tmp_path))
    (tmp_path / "notebooks").mkdir()
    failed = nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_markdown_cell("# Does it fail?\n\n**You will be able to** fail."),
            nbformat.v4.new_code_cell("1 / 0", metadata={"tags": ["live-digit"]}),
            nbformat.v4.new_markdown_cell(
                "# Part 1\n\n## A\n\n[one](01_train_mnist_cnn.ipynb), [two](02_none.ipynb), "
                "[README](../README.md), `$HOME` and 5 $ stay, $x_1$\n\n$$\\frac{a}{b}$$"
            ),
            nbformat.v4.new_markdown_cell(
                "![a kernel](figures/00_kernel.svg)\n\nThe [mark of 0](glossary.md#zero-point), "
                "[part](01_train_mnist_cnn.ipynb#Is-it-there,-too?)"
            ),
        ]
    )
    failed.metadata["workbook"] = {"failed": "Code cell 1 of 1 failed: <division> by zero."}
    nbformat.write(failed, tmp_path / "notebooks/00_start_here.ipynb")
    plain = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_markdown_cell("# What & why?\n\n## Is it there, too?")]
    )
    nbformat.write(plain, tmp_path / "notebooks/01_train_mnist_cnn.ipynb")
    return tmp_path / "html"


def test_failed_and_missing_chapters(small):
    text = build_quietly('<p id="try">Draw a digit</p>').read_text(encoding="utf-8")
    assert text.count("Not run yet") == len(NAMES) - 2
    assert 'href="00_start_here.html"' in text and 'href="02_export' not in text
    assert "What &amp; why?" in text
    assert "No measurement has been recorded yet" in text
    assert "Code cell 1 of 1 failed: &lt;division&gt; by zero." in text

    page = (small / "00_start_here.html").read_text(encoding="utf-8")
    sentence = page.index("Code cell 1 of 1 failed: &lt;division&gt; by zero.")
    assert page.index("<h1>") < sentence < page.index("<strong>You will be able to</strong>")
    assert page.count("<h1") == 1 and re.search(r"<h2>Part 1", page)
    assert page.count("<math") == 2 and "<mfrac>" in page and "5 $ stay" in page
    assert 'href="01_train_mnist_cnn.html"' in page and 'href="02' not in page
    assert "../README.md" not in page

    assert text.count('<p id="try">') == page.count('<p id="try">') == 1
    assert page.index("cell_input") < page.index('<p id="try">') < page.index("Part 1</")
    plain = (small / "01_train_mnist_cnn.html").read_text(encoding="utf-8")
    assert '<p id="try">' not in plain and "run-facts" not in plain

    (small.parent / "notebooks/01_train_mnist_cnn.ipynb").unlink()
    build_quietly()
    assert not (small / "01_train_mnist_cnn.html").exists()
    page = (small / "00_start_here.html").read_text(encoding="utf-8")
    assert "01_train_mnist_cnn" not in page, "the list of chapters changed"


def test_links_lead_to_sections_and_to_terms(small):
    build_quietly()
    page = (small / "00_start_here.html").read_text(encoding="utf-8")
    section = re.search(r'href="01_train_mnist_cnn.html#([\w-]+)"', page)[1]
    other = (small / "01_train_mnist_cnn.html").read_text(encoding="utf-8")
    assert f'id="{section}"' in other
    assert 'href="glossary.html#zero-point">mark of 0</a>' in page
    terms = (small / "glossary.html").read_text(encoding="utf-8")
    assert '<a id="zero-point">' in terms
    assert 'href="01_train_mnist_cnn.html"' in terms, "the section is not there"
    assert "05_affine_quantization.html" not in terms, "it has no page here"


HEADS = ["runtime", "file (kB)", "p50 (µs)", "p90 (µs)", "answers changed", "against float"]
CELLS = ["ONNX Runtime", "4,803.5", "381.2", "394.8", "0 of 1,000", "1.02 [0.98, 1.07], tied"]


@needs_chromium
def test_tables_fit_on_a_laptop_and_scroll_with_a_hint_on_a_phone(tab, small):
    path = small.parent / "notebooks/01_train_mnist_cnn.ipynb"
    notebook = nbformat.read(path, 4)
    for columns in (len(HEADS), 2):
        frame = pd.DataFrame([CELLS[:columns]] * 3, columns=HEADS[:columns])
        data = {"text/html": frame.to_html(), "text/plain": ""}
        output = nbformat.v4.new_output("display_data", data)
        notebook.cells.append(nbformat.v4.new_code_cell("show()", outputs=[output]))
    nbformat.write(notebook, path)
    build_quietly()
    tab.goto(address(small, "01_train_mnist_cnn"))
    boxes = tab.locator("div.cell_output > .output")
    assert boxes.count() == 2
    shadow = "box => getComputedStyle(box).maskImage"
    for width, is_wide in ((1400, False), (390, True)):
        tab.set_viewport_size({"width": width, "height": 900})
        marked = 'document.querySelectorAll(".cell_output > .more-after").length'
        tab.wait_for_function(f"{marked} === {int(is_wide)}")
        assert boxes.first.evaluate("box => box.scrollWidth > box.clientWidth") == is_wide
        assert (boxes.first.evaluate(shadow) != "none") == is_wide
    assert tab.evaluate(BROKEN) == []
    boxes.first.evaluate("box => { box.scrollLeft = box.scrollWidth; }")
    tab.wait_for_function('document.querySelectorAll(".more-before:not(.more-after)").length === 1')
    assert boxes.last.evaluate(shadow) == "none", "there is no more"


@needs_chromium
@pytest.mark.parametrize("tab", [(1400, "light"), (390, "dark")], indirect=True)
def test_diagrams_follow_the_theme_of_the_page(tab, small):
    build_quietly()
    tab.goto(address(small, "00_start_here"))
    picture = tab.locator('.bd-article img[src$="00_kernel.svg"]')
    assert picture.get_attribute("alt") == "a kernel"
    for theme, is_bright in (("light", True), ("dark", False), ("light", True)):
        tab.evaluate("theme => { document.documentElement.dataset.theme = theme }", theme)
        shown = Image.open(io.BytesIO(picture.screenshot())).convert("L")
        corner = shown.getpixel((shown.width // 2, 4))
        assert (corner > 200) == is_bright and (corner < 60) != is_bright


def test_links_of_solutions_lead_up():
    available = {"01_a": {"a-b"}, "solutions/01_a": set()}
    text = (
        "[a](../01_a.ipynb#A-b) [t](../glossary.md#t) [s](solutions/01_a.ipynb) [n](../02_b.ipynb)"
    )
    assert links.to_pages(text, available, "solutions") == (
        '[a](../01_a.ipynb#a-b) <a class="reference internal" href="../glossary.html#t">t</a> s n'
    )
    assert links.to_pages("[s](solutions/01_a.ipynb)", available) == "[s](solutions/01_a.ipynb)"
    assert links.to_pages("[s](solutions/02_b.ipynb)", available) == "s", "it has no page"


def test_a_live_fragment_follows_each_tagged_cell():
    cells = [
        nbformat.v4.new_code_cell("a", metadata={"tags": ["live-digit"]}),
        nbformat.v4.new_code_cell("b"),
    ]
    notebook = nbformat.v4.new_notebook(cells=cells)
    embed.after_tagged_cells(notebook, "<p>x</p>")
    assert [cell.cell_type for cell in notebook.cells] == ["code", "raw", "code"]
    assert "<p>x</p>" in notebook.cells[1].source
    assert embed.place("") == ""


def test_headings_in_code_stay():
    notebook = nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_markdown_cell("# Title"),
            nbformat.v4.new_markdown_cell("# Part\n\n```\n# a comment\n```\n\n## Section"),
        ]
    )
    prepare._keep_one_title(notebook)
    assert notebook.cells[0].source == "# Title"
    assert notebook.cells[1].source == "## Part\n\n```\n# a comment\n```\n\n### Section"


def test_without_chromium_the_pdf_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setattr(printing, "BROWSERS", ("no-such-browser",))
    assert cli.main(["book", "pdf"]) == 1
    assert "sudo apt install chromium" in capsys.readouterr().err
    assert cli.main(["book", "pdf", "00_start_here"]) == 1
    assert "name no notebooks" in capsys.readouterr().err


@needs_chromium
def test_the_book_is_printed(small):
    # in a process of its own, because the browser of the other tests is open here
    command = [sys.executable, "-m", "workbook", "book", "pdf"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    data = (small.parent / "workbook.pdf").read_bytes()
    assert data.startswith(b"%PDF-") and len(data) > 10_000


@pytest.mark.parametrize("has_network", [False, True])
def test_the_live_digit_is_shown_as_soon_as_its_network_exists(monkeypatch, tmp_path, has_network):
    shown = []
    monkeypatch.setenv("WORKBOOK_BUILD", str(tmp_path))
    monkeypatch.setattr(digit, "write_assets", lambda folder: has_network)
    monkeypatch.setattr(pages, "build", shown.append)
    site.build()
    assert ["digit-pad" in fragment for fragment in shown] == [has_network]
