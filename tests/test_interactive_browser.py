"""The book's sliders, guesses and live loss curve in JupyterLab, in a headless Chromium.

Each notebook here has one cell of a chapter, after a cell with what it uses: some numbers stand in
for a trained network. A mouse is used for what has no keys, and keys for all else.
"""

import json

import numpy as np
import pytest
from jupyter_pages import (
    START_MS,
    jupyter_lab,
    prompt,
    run_cell,
    run_cells,
    start_cell,
    write_notebook,
)
from notebook_code import cell_with, definitions, source_of
from ssh_servers import wait_until

pytestmark = pytest.mark.slow
SECONDS = START_MS / 1000

# so that the test can read which picture is shown: below each, its title as text
TITLES = """
def show_with_title(show=plt.show):
    title = plt.gca().get_title()
    show()
    print("shown:", title)
plt.show = show_with_title"""

WEIGHTS = np.random.default_rng(0).laplace(size=2000)
TOY = np.array([-1.0, -0.6, 0.0, 0.2, 0.8, 2.5])


VALUES = [
    source_of(
        "04_kmeans_quantization",
        *("lloyd", "linear_start", "np", "plt", "ipywidgets", "has_widgets"),
    )
    + "\nfc1 = np.random.default_rng(0).laplace(size=2000)"
    + TITLES,
    cell_with("04_kmeans_quantization", "interact("),
]
GRID = [
    source_of(
        "05_affine_quantization",
        *("Grid", "dequantize", "fake_quantize", "np", "plt", "has_widgets"),
    )
    + f"\ntoy = np.array({TOY.tolist()})"
    + TITLES,
    cell_with("05_affine_quantization", "interact("),
]
# the training waits after each picture, until the test has seen it
CURVE = [
    source_of("01_train_mnist_cnn", "learn", "LeNet", "np", "pd", "plt", "torch")
    + """
import time
from pathlib import Path
from types import SimpleNamespace
batch_size, loop_images, loop_epochs = 32, 640, 3
images = np.random.default_rng(0).integers(0, 256, (640, 28, 28), np.uint8)
train_set = SimpleNamespace(images=images, labels=np.arange(640) % 10)
learn_at_once = learn
def wait_until_seen(steps):
    while not Path(f"seen-{steps}").exists():
        time.sleep(0.05)
def learn(*some, watch, **others):
    def watch_and_wait(model, losses):
        watch(model, losses)
        if len(losses) % 20 == 0:
            wait_until_seen(len(losses))
    wait_until_seen(0)
    return learn_at_once(*some, watch=watch_and_wait, **others)""",
    cell_with("01_train_mnist_cnn", "def show_live("),
]
ASK = "from helpers.interactive import ask, hit_rate, score"
NUMBER = cell_with("08_benchmark_on_the_pi", 'ask(\n    "08-int8-gain"')
CHOICE = cell_with("07_quantization_aware_training", 'ask(\n    "07-mistake"')


@pytest.fixture(scope="module")
def lab(browser, tmp_path_factory):
    """A folder with its own guesses, and JupyterLab for it: a function from name to address."""
    folder = tmp_path_factory.mktemp("lab")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WORKBOOK_BUILD", str(folder / "build"))
        with jupyter_lab(folder) as address:
            yield folder, address


@pytest.fixture
def opened(browser, lab, request):
    """A function from the sources of cells to a page with this notebook; its first cell has run."""
    folder, address = lab
    page = browser.new_page(viewport={"width": 1200, "height": 900})
    errors = []
    page.on("pageerror", lambda error: errors.append(error))

    def open_notebook(*sources: str):
        name = f"{request.node.name}.ipynb"
        write_notebook(folder / name, *sources)
        page.goto(address(name))
        run_cells(page, 1)
        return page

    yield open_notebook
    page.close()
    assert not errors


def pictures(output) -> list[str]:
    """The pictures in the output of a cell, as data in their addresses."""
    return output.evaluate("area => [...area.querySelectorAll('img')].map(one => one.src)")


def shown(output, title: str) -> str:
    """Wait until the picture with this title is shown, alone and without a warning."""
    output.get_by_text(f"shown: {title}", exact=True).wait_for(timeout=START_MS)
    [picture] = pictures(output)
    loaded = "one => one.complete && one.naturalHeight > 0"
    wait_until(lambda: output.locator("img").evaluate(loaded), SECONDS)
    assert output.inner_text().count("shown:") == 1
    assert "stderr" not in output.inner_html()
    return picture


def press(page, output, name: str, key: str) -> None:
    """Press a key on the handle of the slider with this name."""
    slider = output.locator(".widget-slider", has_text=name)
    slider.locator(".noUi-handle").focus()
    page.keyboard.press(key)


def type_value(page, output, name: str, text: str) -> None:
    """Replace the number next to the slider with this name."""
    output.locator(".widget-slider", has_text=name).locator(".widget-readout").click()
    page.keyboard.press("Control+A")
    page.keyboard.type(text)
    page.keyboard.press("Enter")


def title_of_values(k: int) -> str:
    book = definitions("04_kmeans_quantization", {"lloyd", "linear_start"})
    _, rounds = book.lloyd(WEIGHTS, book.linear_start(WEIGHTS, k))
    return f"{k} values, {rounds} rounds: dense where the weights are"


def test_the_slider_of_04_shows_as_many_values(opened):
    page = opened(*VALUES)
    output = run_cell(page, 1)
    seen = [shown(output, title_of_values(16))]
    height = output.bounding_box()["height"]
    press(page, output, "values", "ArrowRight")
    seen.append(shown(output, title_of_values(17)))
    type_value(page, output, "values", "23")
    seen.append(shown(output, title_of_values(23)))
    press(page, output, "values", "Home")
    seen.append(shown(output, title_of_values(2)))
    assert len(set(seen)) == 4
    assert output.bounding_box()["height"] == pytest.approx(height, abs=2), "the output grows"


def title_of_grid(scale: float, zero: int) -> str:
    marks = np.clip(np.rint(TOY / scale) + zero, 0, 7)
    error = np.mean((scale * (marks - zero) - TOY) ** 2)
    return f"s = {scale:.2f}, z = {zero}: mean square error {error:.3f}"


def test_the_sliders_of_05_move_the_grid(opened):
    page = opened(*GRID)
    output = run_cell(page, 1)
    seen = [shown(output, title_of_grid(0.35, 2))]
    height = output.bounding_box()["height"]
    press(page, output, "zero", "End")
    seen.append(shown(output, title_of_grid(0.35, 7)))
    press(page, output, "scale", "PageUp")  # five steps
    seen.append(shown(output, title_of_grid(0.6, 7)))
    type_value(page, output, "scale", "0.5")
    seen.append(shown(output, title_of_grid(0.5, 7)))
    type_value(page, output, "zero", "3")
    seen.append(shown(output, title_of_grid(0.5, 3)))
    assert len(set(seen)) == 5
    assert output.bounding_box()["height"] == pytest.approx(height, abs=2), "the output grows"


def test_the_loss_curve_of_01_grows_while_the_network_trains(opened, lab):
    folder, _ = lab
    page = opened(*CURVE)
    output = start_cell(page, 1)
    seen = []

    def has_new_picture() -> bool:
        now = pictures(output)
        assert len(now) <= 1, "it takes the place of the last one"
        return bool(now) and now[0] not in seen

    for steps in (0, 20, 40, 60):
        wait_until(has_new_picture, SECONDS)
        assert prompt(page, 1) == "[*]:", "the cell still runs"
        seen += pictures(output)
        (folder / f"seen-{steps}").touch()
    wait_until(lambda: prompt(page, 1) != "[*]:", SECONDS)
    assert pictures(output) == seen[-1:], "the last picture stays, once"
    assert "stderr" not in output.inner_html()


def test_a_number_is_typed_locked_and_scored(opened, lab):
    folder, _ = lab
    page = opened(ASK, NUMBER, "score('08-int8-gain', 2.5)", "print(hit_rate())")
    question = run_cell(page, 1)
    field = question.get_by_role("textbox")
    lock = question.get_by_role("button", name="Lock")
    field.click()
    page.keyboard.type("twice")
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    question.get_by_text("'twice' is not a number").wait_for(timeout=START_MS)
    field.click()
    page.keyboard.press("Control+A")
    page.keyboard.type("2.4 times")
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    question.get_by_text("Locked: 2.4 times. Run the next cells.").wait_for(timeout=START_MS)
    wait_until(lambda: field.is_disabled() and lock.is_disabled(), SECONDS)
    field.click(force=True)
    page.keyboard.type("9")
    assert field.input_value() == "2.4 times"
    run_cell(page, 2).get_by_text("Your guess: 2.4 times, a hit").wait_for(timeout=START_MS)

    question = run_cell(page, 1)
    question.get_by_text("You locked: 2.4 times. To guess again, delete").wait_for(timeout=START_MS)
    assert field.count() == lock.count() == 0
    kept = json.loads((folder / "build/guesses/08-int8-gain.json").read_text())
    assert kept["guess"] == 2.4 and kept["is_hit"]
    run_cell(page, 3).get_by_text("guesses were hits").wait_for(timeout=START_MS)


def test_a_choice_is_pressed_locked_and_scored(opened):
    page = opened(ASK, CHOICE, "score('07-mistake', 'observers never stop')")
    question = run_cell(page, 1)
    names = ("observers never stop", "look in training mode", "Lock")
    right, wrong, lock = (question.get_by_role("button", name=name) for name in names)
    lock.click()
    question.get_by_text("Choose one of the buttons first.").wait_for(timeout=START_MS)
    for button in (right, wrong):
        assert button.evaluate("one => one.scrollWidth <= one.clientWidth"), "its text is cut off"
    wrong.click()
    lock.click()
    question.get_by_text(f"Locked: {names[1]}. Run the next cells.").wait_for(timeout=START_MS)
    wait_until(lambda: all(one.is_disabled() for one in (right, wrong, lock)), SECONDS)
    right.click(force=True)
    scored = run_cell(page, 2).get_by_text(f"Your guess: {names[1]}, not a hit.")
    scored.wait_for(timeout=START_MS)
    question = run_cell(page, 1)
    question.get_by_text(f"You locked: {names[1]}. To guess again, ").wait_for(timeout=START_MS)
    assert lock.count() == 0
