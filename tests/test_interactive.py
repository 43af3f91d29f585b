"""What readers do in notebooks: guesses, checked answers, and a digit that they draw."""

import base64
import json
import re
import shutil
import sys
from pathlib import Path

import IPython.display
import ipywidgets
import nbformat
import numpy as np
import pytest
import torch
from jupyter_pages import START_MS, jupyter_lab, run_cell, run_cells, write_notebook
from notebook_code import code_cells
from ssh_servers import kill, needs_sshd
from strokes import draw_stroke
from test_interactive_browser import GRID, VALUES
from test_live_browser import pi  # noqa: F401  a fixture: a laptop, and a Pi

from helpers import interactive
from helpers.data import mnist, normalize
from helpers.interactive import answers, drawing, guesses
from workbook import book


@pytest.fixture(autouse=True)
def own_build(monkeypatch, tmp_path):
    """Guesses and drawings of one test are not those of another."""
    monkeypatch.setenv("WORKBOOK_BUILD", str(tmp_path / "build"))
    return tmp_path / "build"


@pytest.fixture
def shown(monkeypatch):
    """What is displayed; no browser is there, unless a test says otherwise."""
    objects = []
    monkeypatch.setattr(IPython.display, "display", lambda *some: objects.extend(some))
    return objects


@pytest.fixture
def in_front(monkeypatch):
    """A front end that shows widgets."""
    for module in (guesses, drawing):
        monkeypatch.setattr(module, "has_widgets", lambda: True)


# answers


@pytest.mark.parametrize(
    "answer, expected, tolerance, printed",
    [
        (None, 3, 0, "No answer yet."),
        (3, 3, 0, "Right."),
        (3.0, 3, 0, "Right."),
        ("3", 3, 0, "Right."),
        (True, True, 0, "Right."),
        (0.1 + 0.2, 0.3, 0, "Right."),
        (3.1, 3, 0, "Not yet: count."),
        (3.1, 3, 0.2, "Right."),
        (2.7, 3, 0.2, "Not yet: count."),
        (-3, 3, 0, "Not yet: count."),
        (" Conv2 ", "conv2", 0, "Right."),
        ("conv1", "conv2", 0, "Not yet: count."),
        (2, "conv2", 0, "Not yet: count."),
        ("three", 3, 0, "Not yet: count."),
        (float("nan"), 3, 0, "Not yet: count."),
        ((2, 3), [2, 3], 0, "Right."),
        ([3, 2], [2, 3], 0, "Not yet: count."),
        ([2, 3, 4], [2, 3], 0, "Not yet: count."),
        (2, [2, 2], 0, "Not yet: count."),
        ([[1, 2], [3]], [1, 2, 3], 0, "Not yet: count."),
        (np.eye(2), np.eye(2), 0, "Right."),
        (np.eye(2) + 0.01, np.eye(2), 0.02, "Right."),
        (torch.ones(2), [1, 1], 0, "Right."),
        (torch.ones(2, requires_grad=True), [1, 1], 0, "Not yet: count."),
        (object(), 3, 0, "Not yet: count."),
        ({"a": 1}, 1, 0, "Not yet: count."),
    ],
)
def test_an_answer_is_checked_and_never_stops_the_notebook(
    answer, expected, tolerance, printed, capsys
):
    assert interactive.check(answer, expected, "count.", tolerance) is None
    assert capsys.readouterr().out == f"{printed}\n"


def test_without_a_hint_the_line_is_short(capsys):
    interactive.check(1, 2)
    assert capsys.readouterr().out == "Not yet.\n"


def test_rounding_is_smaller_than_any_mistake():
    assert answers.ROUNDING < 1e-6


# guesses


@pytest.mark.parametrize(
    "typed, unit, number",
    [
        ("12", "", 12),
        (" 12.5 ", "", 12.5),
        ("98.5 %", "%", 98.5),
        ("98.5%", "%", 98.5),
        ("12,000", "", 12000),
        ("1,199,882", "", 1199882),
        ("12 000", "", 12000),
        ("-3e2", "", -300),
        ("350 µs", "µs", 350),
    ],
)
def test_numbers_as_people_type_them(typed, unit, number):
    assert guesses._number(typed, unit) == number


@pytest.mark.parametrize("typed", ["", "many", "12,5", "1,2,3", "nan", "inf", "3 ms", "1.2.3"])
def test_what_is_no_number_is_a_sentence(typed):
    with pytest.raises(ValueError, match=r"is not a number: write one such as 12\.5 or 12,000"):
        guesses._number(typed, "%")


def locked(shown) -> tuple:
    """The field, the button and the line of the last question."""
    return shown[-1].children


def test_a_number_is_locked_and_scored(shown, in_front, own_build, capsys):
    interactive.ask("05-three-bits", "How accurate?", unit="%")
    assert "How accurate?" in shown[0].data and "a number, in %" in shown[0].data
    field, button, line = locked(shown)
    button.click()
    assert "is not a number" in line.value and not field.disabled
    field.value = "<b>"
    button.click()
    assert "&lt;b&gt;" in line.value
    field.value = "90 %"
    button.click()
    assert field.disabled and button.disabled
    assert line.value == "Locked: 90 %. Run the next cells."
    assert json.loads((own_build / "guesses/05-three-bits.json").read_text())["guess"] == 90

    shown.clear()
    interactive.ask("05-three-bits", "How accurate?", unit="%")
    assert len(shown) == 1, "no second field"
    assert capsys.readouterr().out.startswith("You locked: 90 %. To guess again, delete ")

    interactive.score("05-three-bits", 98.5)
    assert capsys.readouterr().out == (
        "Answer: 98.5 %.\nYour guess: 90 %, a hit (a hit is at most 9.85 away).\n"
        "So far in this book: 1 of 1 guesses were hits (100%).\n"
    )
    interactive.score("05-three-bits", 98.5, within=1)
    printed = capsys.readouterr().out
    assert "90 %, not a hit (a hit is at most 1 away)" in printed
    assert "0 of 1 guesses" in printed, "scored again, it counts once"


@pytest.mark.parametrize("truth, hits", [("int8", 1), ("float32", 0)])
def test_a_choice_is_locked_and_scored(shown, in_front, truth, hits, capsys):
    interactive.ask("06-which", "Which one?", ["int8", "float32"])
    field, button, line = locked(shown)
    button.click()
    assert line.value == "Choose one of the buttons first."
    field.value = "int8"
    button.click()
    interactive.score("06-which", truth)
    verdict = "a hit" if hits else "not a hit"
    printed = capsys.readouterr().out
    assert printed.startswith(f"Answer: {truth}.\nYour guess: int8, {verdict}.\n")
    assert f"So far in this book: {hits} of 1 guesses" in printed
    assert interactive.hit_rate() == guesses.HitRate(hits, 1)


def test_choices_that_are_numbers(shown, in_front, capsys):
    interactive.ask("06-how-many", "How many?", [1, 2])
    field, button, _ = locked(shown)
    field.value = "2"
    button.click()
    interactive.score("06-how-many", 2)
    assert "Your guess: 2, a hit." in capsys.readouterr().out


def test_the_hit_rate_is_that_of_the_whole_book(shown, in_front, capsys):
    assert str(interactive.hit_rate()) == "No guess has been scored yet."
    for number, guess in enumerate(["10", "20", "99"]):
        interactive.ask(f"0{number}-x", "?")
        field, button, _ = locked(shown)
        field.value = guess
        button.click()
        interactive.score(f"0{number}-x", 10 * (number + 1))
    interactive.ask("03-not-scored", "?")
    assert str(interactive.hit_rate()) == "2 of 3 guesses were hits (67%)."


def test_without_a_guess_the_answer_is_there(shown, capsys):
    interactive.ask("05-three-bits", "How accurate?", unit="%")
    [question] = shown
    assert isinstance(question, IPython.display.Markdown), "a text, no widget"
    interactive.score("05-three-bits", 98.456)
    interactive.score("05-others", 1199882)
    assert capsys.readouterr().out == (
        "Answer: 98.46 %. No guess was locked.\nAnswer: 1,199,882. No guess was locked.\n"
    )
    assert interactive.hit_rate() == guesses.HitRate(0, 0)


@pytest.mark.parametrize("name", ["", "three-bits", "05", "5-x", "05-", "05-a/b", "../05-x"])
def test_names_that_are_none(name, shown):
    for call in (lambda: interactive.ask(name, "?"), lambda: interactive.score(name, 1)):
        with pytest.raises(ValueError, match="a guess is named like 05-three-bits"):
            call()


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "{}", '{"guess": 3}'])
def test_a_damaged_guess_is_a_sentence(text, own_build, shown):
    interactive.hit_rate()  # makes the folder
    (own_build / "guesses/05-x.json").write_text(text)
    with pytest.raises(ValueError, match=r"05-x\.json is not a stored guess: delete it"):
        interactive.score("05-x", 1)


# the drawing


def stored(own_build) -> Path:
    own_build.mkdir(exist_ok=True)
    return own_build / "my_digit.npy"


def test_without_a_drawing_a_test_image_stands_in(capsys):
    digit = interactive.my_digit()
    test_set = mnist("test")
    np.testing.assert_array_equal(digit, normalize(test_set.images[:1]))
    assert (digit.dtype, digit.shape) == (np.float32, (1, 1, 28, 28))
    assert f"using a test image, a {test_set.labels[0]}." in capsys.readouterr().out


def test_a_drawing_is_normalized(own_build, capsys):
    pixels = np.arange(784).reshape(28, 28).astype(np.uint8)
    np.save(stored(own_build), pixels)
    np.testing.assert_array_equal(interactive.my_digit(), normalize(pixels[None]))
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "save",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"\x93NUMPY half a file"),
        lambda path: np.save(path, np.zeros((28, 28))),
        lambda path: np.save(path, np.zeros((28, 27), np.uint8)),
        lambda path: np.save(path, np.array([{"a": 1}], object), allow_pickle=True),
        lambda path: path.write_bytes(b"PK\x03\x04"),
    ],
)
def test_a_damaged_drawing_is_a_sentence(save, own_build):
    save(stored(own_build))
    with pytest.raises(ValueError, match="is not a drawing of 28 x 28 pixels: delete it, and draw"):
        interactive.my_digit()


def test_without_a_front_end_the_canvas_is_a_picture(shown, own_build, capsys):
    interactive.draw_digit()
    [picture] = shown
    assert isinstance(picture, IPython.display.Image)
    assert picture.data.startswith(b"\x89PNG")
    assert "this is a canvas" in capsys.readouterr().out


def test_what_the_canvas_sends_is_stored(shown, in_front, own_build):
    interactive.draw_digit()
    page, below = shown
    text, line = below.children
    assert not re.search(r"\b(https?:)?//\w", re.sub(r"^\s*//.*$", "", page.data, flags=re.M))
    pixels = np.arange(784).reshape(28, 28).astype(np.uint8)
    text.value = base64.b64encode(pixels.tobytes()).decode()
    np.testing.assert_array_equal(interactive.drawn_pixels(), pixels)
    assert line.value.startswith("Stored in my_digit.npy")
    for bad in ("AAAA", "no base64!"):
        text.value = bad
        assert line.value == "The drawing did not arrive: draw it again."
        np.testing.assert_array_equal(interactive.drawn_pixels(), pixels)
    text.value = ""
    assert line.value == "Nothing is drawn yet." and interactive.drawn_pixels() is None


def test_clear_deletes_the_drawing_of_an_earlier_day(shown, in_front, own_build):
    np.save(stored(own_build), np.zeros((28, 28), np.uint8))
    interactive.draw_digit()
    text, line = shown[1].children
    assert line.value.startswith("Stored in")
    text.value = ""
    assert interactive.drawn_pixels() is None


def test_an_executed_page_has_texts_and_pictures_and_no_widget(tmp_path, monkeypatch):
    """As `make workbook` executes it, and as the website shows it."""
    monkeypatch.setattr(book, "HERE", tmp_path)
    write_notebook(
        tmp_path / "77_page.ipynb",
        "from helpers.interactive import ask, check, draw_digit, hit_rate, score",
        "ask('77-a', 'How many?', unit='%')",
        "ask('77-b', 'Which?', ['x', 'y'])",
        "score('77-a', 3)\ncheck(None, 3)\nprint(hit_rate())",
        "draw_digit()",
        *VALUES,
        *GRID,
    )
    notebook = book.execute("77_page")
    kinds = {
        kind
        for cell in notebook.cells
        for output in cell.outputs
        for kind in output.get("data", {"text/plain": ""})
    }
    assert kinds == {"text/plain", "text/markdown", "image/png"}
    assert "widgets" not in notebook.metadata
    shown = ["".join(output.get("text", "") for output in cell.outputs) for cell in notebook.cells]
    assert "shown: 16 values" in shown[6] and "shown: s = 0.35, z = 2" in shown[8]
    assert "Your guess first." in notebook.cells[1].outputs[0].data["text/markdown"]


# what belongs to a browser with a kernel, and to no page
WIDGET = re.compile(r"application/vnd\.jupyter\.widget|\b\w+\(children=|\w+Slider\(value=")


def test_a_widget_is_recognised():
    slider = ipywidgets.interactive(lambda number: None, number=(0, 3))
    for text in (str(slider), str(slider.children[0]), *slider._repr_mimebundle_()):
        assert WIDGET.search(text) or text == "text/plain"


@pytest.mark.parametrize("name", [*book.names(), *book.names("solutions/")])
def test_a_committed_page_shows_pictures_instead_of_widgets(name):
    for cell in code_cells(name):
        assert not WIDGET.search(json.dumps(cell.outputs)), cell.source
        if re.search(r"has_widgets\(\)|draw_digit\(\)|display\((figure|Image)", cell.source):
            kinds = [kind for output in cell.outputs for kind in output.get("data", {})]
            assert sum(kind.startswith("image/") for kind in kinds) == 1, cell.source
    notebook = nbformat.read(book.HERE / f"{name}.ipynb", 4)
    assert "widgets" not in notebook.metadata


# in a browser: after the test that executes a notebook, because both have a loop of events

SEVEN = [(0.3, 0.25), (0.7, 0.25), (0.45, 0.8)]
ONE = [(0.55, 0.2), (0.5, 0.8)]
CIRCLE = [(0.5 + 0.2 * np.sin(t), 0.5 - 0.3 * np.cos(t)) for t in np.linspace(0, 6.2, 25)]
DIGITS = {7: SEVEN, 1: ONE, 0: CIRCLE}


def draw(page, stroke: list[tuple[float, float]]) -> None:
    draw_stroke(page, page.locator(".my-digit-pad"), stroke)


@pytest.fixture
def canvas(browser):
    """The canvas on a page of its own, with the text field that a front end adds."""
    page = browser.new_page()
    errors = []
    page.on("pageerror", lambda error: errors.append(error))
    page.on("request", lambda request: errors.append(request.url))
    field = '<div class="one"><textarea style="display: none"></textarea></div>'
    page.set_content(f"<!doctype html>{field}{drawing._page('one')}")
    yield page
    page.close()
    assert not errors


def sent(page) -> np.ndarray | None:
    """The pixels in the text field."""
    page.evaluate("new Promise(go => requestAnimationFrame(() => requestAnimationFrame(go)))")
    return drawing._decoded(page.locator("textarea").input_value())


@pytest.mark.parametrize("size, shift", [(1, (0, 0)), (0.3, (0.6, 0.05))])
def test_a_drawing_is_centred_and_scaled_as_in_mnist(canvas, size, shift):
    draw(canvas, [(size * x + shift[0], size * y + shift[1]) for x, y in SEVEN])
    pixels = sent(canvas).astype(float)
    rows, _ = np.nonzero(pixels > 60)
    assert 19 <= np.ptp(rows) + 1 <= 21, "it fits into 20 pixels"
    positions = np.arange(28) + 0.5
    for axis in (0, 1):
        centre = (pixels.sum(axis) * positions).sum() / pixels.sum()
        assert centre == pytest.approx(14, abs=0.3)


def test_clear_empties_the_canvas(canvas):
    draw(canvas, ONE)
    assert sent(canvas) is not None
    canvas.get_by_role("button", name="Clear").click()
    assert sent(canvas) is None
    draw(canvas, CIRCLE)
    assert sent(canvas)[12:16, 12:16].max() == 0, "a circle is empty in the middle"


def test_without_the_text_field_a_sentence_says_so(browser):
    page = browser.new_page()
    page.set_content(f"<!doctype html>{drawing._page('one')}")
    draw(page, ONE)
    page.get_by_text("The drawing cannot be stored here: use JupyterLab.").wait_for()
    page.close()


READ = """import torch
from helpers import training
from helpers.interactive import my_digit
logits = training.trained("lenet")(torch.from_numpy(my_digit()))
print("LeNet reads:", logits.argmax().item())"""
DRAW = "from helpers.interactive import draw_digit\ndraw_digit()"


def read_drawings(page) -> None:
    """Draw the digits on the canvas of the open notebook; its second cell reads them."""
    requested = []
    page.on("request", lambda request: requested.append(request.url))
    run_cells(page, 1)
    page.locator(".my-digit-pad").wait_for(timeout=START_MS)
    for number, (digit, stroke) in enumerate(DIGITS.items()):
        if number:
            page.get_by_role("button", name="Clear").click()
            page.get_by_text("Nothing is drawn yet.").wait_for(timeout=START_MS)
        page.locator(".my-digit-pad").scroll_into_view_if_needed()
        draw(page, stroke)
        page.get_by_text("This is what the networks get:").wait_for(timeout=START_MS)
        run_cell(page, 1).get_by_text(f"LeNet reads: {digit}").wait_for(timeout=START_MS)
    own = page.url.split("/lab")[0]
    assert all(
        url.startswith((own, own.replace("http", "ws"), "data:", "blob:")) for url in requested
    ), requested


@pytest.mark.slow
def test_a_digit_drawn_in_jupyterlab_is_read(
    browser, quick_networks, own_build, build_folder, tmp_path
):
    (own_build / "models").mkdir(parents=True)
    shutil.copy(build_folder / "models/lenet.pt", own_build / "models")
    write_notebook(tmp_path / "draw.ipynb", DRAW, READ)
    with jupyter_lab(tmp_path) as address:
        page = browser.new_page(viewport={"width": 1200, "height": 900})
        page.goto(address("draw.ipynb"))
        read_drawings(page)
        page.close()


@pytest.mark.slow
@needs_sshd
def test_a_digit_drawn_through_the_tunnel_is_read_on_the_pi(
    pi,  # noqa: F811
    browser,
    quick_networks,
    build_folder,
):
    laptop, server = pi
    models = server.workbook / "build/models"
    models.mkdir(parents=True, exist_ok=True)
    shutil.copy(build_folder / "models/lenet.pt", models)
    # the part of ipywidgets that runs in the browser is no Python package: it is lent as well
    extensions = server.workbook / ".venv/share/jupyter/labextensions"
    extensions.parent.mkdir(parents=True, exist_ok=True)
    extensions.symlink_to(Path(sys.prefix, "share/jupyter/labextensions"))
    command = laptop.command("start", "one", "--no-convert")
    try:
        printed = []
        for line in command.stdout:
            printed.append(line)
            if found := re.search(r"http://127\.0\.0\.1:\d+/lab\?token=\w+", line):
                break
        else:
            pytest.fail("".join(printed))
        write_notebook(server.workbook / "notebooks/draw.ipynb", DRAW, READ)
        page = browser.new_page(viewport={"width": 1200, "height": 900})
        page.goto(found[0].replace("/lab?", "/lab/tree/draw.ipynb?"))
        read_drawings(page)
        page.close()
        drawn = np.load(server.workbook / "build/my_digit.npy", allow_pickle=False)
        assert drawn.shape == (28, 28), "it is stored on the Pi"
    finally:
        laptop.pi("stop", "one")
        kill([command.pid])
        command.wait()
        command.stdout.close()
