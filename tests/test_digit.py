"""The website's live digit: its integers are those of the runtimes, and it reads drawings."""

import base64
import io
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime
import pytest
import shared_networks
from notebook_code import definitions
from PIL import Image
from ssh_servers import INSTALL
from strokes import draw_stroke

from helpers import training
from helpers.data import mnist, normalize
from helpers.runtimes import open_model
from modelfiles import integers
from workbook.digit import fragment, write_assets
from workbook.digit.lenet import read_network
from workbook.site import printing

book = definitions("05b_integer_only_inference")
CHROMIUM = printing.chromium()
pytestmark = pytest.mark.skipif(not CHROMIUM, reason=f"chromium is missing: {INSTALL}")

PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>digits</title>
<meta name="viewport" content="width=device-width"></head><body>{}</body></html>"""

# the images, one after the other, to the integers of all layers and the logits, both in base64
RUN = """([parameters, pixels, count]) => {
  const bytes = Uint8Array.from(atob(pixels), (letter) => letter.charCodeAt(0));
  const network = IntegerNetwork.decode(parameters);
  const integers = [], logits = [], times = [];
  for (let i = 0; i < count; i++) {
    const image = bytes.subarray(784 * i, 784 * (i + 1));
    const start = performance.now();
    const result = IntegerNetwork.run(network, image);
    times.push(performance.now() - start);
    for (const tensor of [result.input, ...result.outputs]) integers.push(tensor.slice().buffer);
    logits.push(result.logits.buffer);
  }
  const text = (buffers) => new Promise((done) => {
    const reader = new FileReader();
    reader.onload = () => done(reader.result.split(",")[1]);
    reader.readAsDataURL(new Blob(buffers));
  });
  return Promise.all([text(integers), text(logits), times]);
}"""

# another rule of rounding, the same for all layers: ties go up
ROUND_UP = """() => {
  const up = (sum, layer, o) =>
    Math.round(sum * (layer.M ? layer.M[o] : layer.M0[o] / 2 ** layer.n[o]));
  Object.assign(IntegerNetwork.rules, { float32: up, once: up, twice: up });
}"""


@pytest.fixture(scope="module")
def files(build_folder) -> dict[str, Path]:
    """The int8 files of LeNet that notebook 05b writes, by its names for the runtimes."""
    training.save("lenet", *shared_networks.get("lenet"))
    return book.quantized_files("lenet", normalize(mnist("train").images[:100]))


@pytest.fixture(scope="module")
def tie_files(files) -> dict[str, Path]:
    """The same with scales that are powers of two, which provoke ties."""
    return {name: integers.with_ties(path) for name, path in files.items()}


@pytest.fixture(scope="module")
def site(files, tmp_path_factory) -> Path:
    """A page in a folder, with two live digits whose files are in another folder."""
    folder = tmp_path_factory.mktemp("site")
    assert write_assets(folder / "_static/digit", files["ONNX, per channel"])
    page = folder / "pages/index.html"
    page.parent.mkdir()
    page.write_text(PAGE.format(2 * fragment("../_static/digit")), encoding="utf-8")
    return page


@pytest.fixture
def tab(browser, site):
    """The page, opened as a file; the test fails if a script fails."""
    tab = browser.new_page(viewport={"width": 1000, "height": 1200})
    errors = []
    tab.on("pageerror", lambda error: errors.append(error))
    tab.goto(site.as_uri())
    tab.wait_for_selector(".digit[data-ready]")
    yield tab
    tab.close()
    assert not errors


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    """1,000 test images, and four that saturate or have all grey values."""
    rng = np.random.default_rng(0)
    greys = (np.arange(784) % 256).reshape(28, 28)
    noise = 255 * rng.integers(0, 2, (28, 28))
    extra = np.stack([np.zeros_like(greys), np.full_like(greys, 255), greys, noise])
    return np.concatenate([mnist("test").images[:1000], extra.astype(np.uint8)])


def in_javascript(tab, network, images) -> tuple[np.ndarray, np.ndarray, list[float]]:
    """The integers of the input and all layers (N x all), float32 logits, milliseconds."""
    pixels = base64.b64encode(images.tobytes()).decode()
    integers, logits, times = tab.evaluate(RUN, [network.as_json(), pixels, len(images)])
    dtype = np.int8 if network.input.low < 0 else np.uint8
    integers = np.frombuffer(base64.b64decode(integers), dtype).reshape(len(images), -1)
    return integers, np.frombuffer(base64.b64decode(logits), np.float32).reshape(-1, 10), times


def in_runtime(observed: tuple) -> np.ndarray:
    """The same integers from a runtime, channels first: a result of book.inspect_runtimes."""
    network, q, results = observed
    tensors = [q]
    for operation, result in zip(network.operations, results):
        if not isinstance(operation, integers.Rearrange):
            tensors.append(result.transpose(0, 3, 1, 2) if result.ndim == 4 else result)
    return np.concatenate([tensor.reshape(len(q), -1) for tensor in tensors], axis=1)


RUNTIMES = [
    ("ONNX Runtime, per channel", {}),
    ("ONNX Runtime, per tensor", {}),
    ("LiteRT, XNNPACK", {"kernels": "XNNPACK"}),
    ("LiteRT, reference", {"kernels": "reference"}),
]
# a float32 rule and the rules with a shift in every run, the others in `make test-all`
TRIED = [
    RUNTIMES[0],
    pytest.param(*RUNTIMES[1], marks=pytest.mark.slow),
    pytest.param(*RUNTIMES[2], marks=pytest.mark.slow),
    RUNTIMES[3],
]


def read(files: dict[str, Path], runtime: str, how: dict):
    if how:
        return read_network(files["TFLite"], **how)
    return read_network(files[runtime.replace("ONNX Runtime", "ONNX")])


@pytest.fixture(scope="module")
def observed(files, images) -> dict[str, tuple]:
    return book.inspect_runtimes(files, images)


@pytest.fixture(scope="module")
def observed_ties(tie_files, images) -> dict[str, tuple]:
    return book.inspect_runtimes(tie_files, images)


@pytest.mark.parametrize("runtime, how", TRIED)
def test_every_integer_is_the_runtimes(tab, files, images, observed, runtime, how):
    ours, logits, _ = in_javascript(tab, read(files, runtime, how), images)
    np.testing.assert_array_equal(ours, in_runtime(observed[runtime]))
    labels = mnist("test").labels[:1000]
    assert np.mean(logits[:1000].argmax(1) == labels) > 0.9


@pytest.mark.parametrize("runtime, how", TRIED)
def test_every_integer_is_the_runtimes_where_ties_are_frequent(
    tab, tie_files, images, observed_ties, runtime, how
):
    network = read(tie_files, runtime, how)
    expected = in_runtime(observed_ties[runtime])
    ours, _, _ = in_javascript(tab, network, images)
    np.testing.assert_array_equal(ours, expected)
    tab.evaluate(ROUND_UP)
    rounded_up, _, _ = in_javascript(tab, network, images)
    assert (rounded_up != expected).any(), "there were no ties"


def test_biases_are_added(tab, files, images, tmp_path):
    model = onnx.load(files["ONNX, per channel"])
    rng = np.random.default_rng(0)
    for node in model.graph.node:
        if node.op_type in integers.INPUTS:
            outputs = {t.name: t.dims[0] for t in model.graph.initializer if t.dims}[node.input[3]]
            bias = rng.integers(-3000, 3000, outputs).astype(np.int32)
            name = f"{node.name}_bias"
            model.graph.initializer.append(onnx.numpy_helper.from_array(bias, name))
            place = integers.INPUTS[node.op_type].index("bias")
            node.input[place:] = [name, *node.input[place + 1 :]]
    path = tmp_path / "biased.onnx"
    onnx.save(model, path)
    expected = book.inspect_runtimes({"ONNX": path}, images[:100])["ONNX Runtime"]
    ours, _, _ = in_javascript(tab, read_network(path), images[:100])
    np.testing.assert_array_equal(ours, in_runtime(expected))
    without, _, _ = in_javascript(tab, read_network(files["ONNX, per channel"]), images[:100])
    assert (ours != without).any()


def test_the_logits_are_the_floats_of_onnx_runtime(tab, files, images):
    path = files["ONNX, per channel"]
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.x64quantprecision", "1")  # exact sums
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    runs = [session.run(None, {"input": image[None]})[0] for image in normalize(images)]
    _, logits, _ = in_javascript(tab, read_network(path), images)
    assert runs[0].dtype == np.float32
    np.testing.assert_array_equal(logits, np.concatenate(runs))


def test_the_logits_are_the_floats_of_litert(tab, files, images):
    expected = open_model(files["TFLite"]).predict(normalize(images))
    _, logits, _ = in_javascript(tab, read_network(files["TFLite"]), images)
    np.testing.assert_array_equal(logits, expected)


@pytest.mark.alone
@pytest.mark.parametrize("runtime, how", [RUNTIMES[0], RUNTIMES[-1]])
def test_an_image_takes_less_than_5_ms(tab, files, runtime, how):
    network = read(files, runtime, how)
    median = np.inf
    for _ in range(3):  # other programs may disturb one run, or two
        if median >= 5:
            _, _, times = in_javascript(tab, network, mnist("test").images[:300])
            median = np.median(times)
    assert median < 5


# rounding


def test_ties_go_to_the_even_integer(tab):
    ties = np.arange(-300, 300) / 2
    near = np.nextafter(ties.astype(np.float32), np.float32(1000)).astype(float)
    values = [*ties.tolist(), *near.tolist(), *(2 * ties - near).tolist(), 2.0**23 + 1]
    ours = tab.evaluate("values => values.map(IntegerNetwork.halfToEven)", values)
    np.testing.assert_array_equal(ours, np.rint(values))


def sums_and_multipliers() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Random int32 sums with M0 and n, then ties of each rule, of both signs."""
    rng = np.random.default_rng(0)
    sums = rng.integers(-(2**31), 2**31, 3000)
    m0 = rng.integers(2**30, 2**31, 3000)
    n = rng.integers(31, 60, 3000)
    # M = 2**-k: a sum that is an odd multiple of 2**(k - 1) is a tie
    k = rng.integers(1, 12, 3000)
    odd = 2 * rng.integers(-500, 500, 3000) + 1
    sums = np.concatenate([sums, odd << (k - 1), [-(2**31), 2**31 - 1]])
    m0 = np.concatenate([m0, np.full(3000, 2**30), [2**31 - 1, 2**31 - 1]])
    return sums, m0, np.concatenate([n, 30 + k, [31, 31]])


@pytest.mark.parametrize(
    "rule, theirs",
    [
        ("once", book.once_half_away),
        ("twice", book.twice_half_away),
        ("float32", book.float32_half_even),
    ],
)
def test_a_rule_is_that_of_the_notebook(tab, rule, theirs):
    sums, m0, n = sums_and_multipliers()
    ratio = (m0 / 2.0**n).astype(np.float32)
    layer = {"M0": m0.tolist(), "n": n.tolist(), "M": ratio.astype(float).tolist()}
    ours = tab.evaluate(
        "([rule, sums, layer]) => sums.map((sum, o) => IntegerNetwork.rules[rule](sum, layer, o))",
        [rule, sums.tolist(), layer],
    )
    expected = theirs(sums, SimpleNamespace(m0=m0, n=n, float32=ratio))
    np.testing.assert_array_equal(ours, expected)


def test_a_product_of_62_bits_is_exact(tab):
    sums, m0, n = sums_and_multipliers()
    ours = tab.evaluate(
        "([sums, m0, n]) => sums.map((sum, i) => "
        "IntegerNetwork.multiplyAndShift(sum, m0[i], n[i]))",
        [sums.tolist(), m0.tolist(), n.tolist()],
    )
    numbers = zip(sums.tolist(), m0.tolist(), n.tolist())
    exact = [(a * b + (1 << (c - 1))) >> c for a, b, c in numbers]
    assert [int(value) for value in ours] == exact


# the page


def draw(tab, *strokes: list[tuple[float, float]]) -> str:
    """Draw on the first pad with the mouse, points from 0 to 1, and return the answer."""
    for stroke in strokes:
        draw_stroke(tab, tab.locator(".digit-pad").first, stroke)
    # two frames: in the first one the page shows the drawing
    tab.evaluate("new Promise(go => requestAnimationFrame(() => requestAnimationFrame(go)))")
    return tab.locator(".digit-answer").first.inner_text()


CIRCLE = [(0.5 + 0.2 * np.sin(t), 0.5 - 0.3 * np.cos(t)) for t in np.linspace(0, 6.2, 25)]
ONE = [(0.55, 0.2), (0.5, 0.8)]
SEVEN = [(0.3, 0.25), (0.7, 0.25), (0.45, 0.8)]


@pytest.mark.parametrize("digit, stroke", [(0, CIRCLE), (1, ONE), (7, SEVEN)])
@pytest.mark.parametrize("size, shift", [(1, (0, 0)), (0.3, (0.6, 0.05))])
def test_a_drawing_is_read_wherever_it_is_and_however_large(tab, digit, stroke, size, shift):
    placed = [(size * x + shift[0], size * y + shift[1]) for x, y in stroke]
    assert draw(tab, placed) == f"The network reads a {digit}."
    table = tab.locator(".digit-logits").first
    assert table.locator(".digit-largest th").inner_text() == str(digit)
    assert tab.locator(".digit-answer").nth(1).inner_text() == "Draw a digit."
    tab.get_by_role("button", name="Clear").first.click()
    tab.locator(".digit-answer").first.filter(has_text="Draw a digit.").wait_for()
    assert table.locator(".digit-largest").count() == 0


INPUT = """() => {
  const picture = document.querySelector(".digit-input");
  const { data } = picture.getContext("2d").getImageData(0, 0, 28, 28);
  return [...data].filter((_, i) => i % 4 === 0);
}"""


def test_a_drawing_is_centred_as_in_mnist(tab):
    draw(tab, [(0.6, 0.1), (0.6, 0.5), (0.9, 0.5)])
    grey = np.reshape(tab.evaluate(INPUT), (28, 28)).astype(float)
    pixels = grey - grey.min()
    rows, columns = np.nonzero(pixels > 60)
    assert 19 <= np.ptp(rows) + 1 <= 21
    assert np.ptp(columns) + 1 < 20, "the proportions are kept"
    positions = np.arange(28) + 0.5
    assert (pixels * positions).sum() / pixels.sum() == pytest.approx(14, abs=0.3)
    assert (pixels.T * positions).sum() / pixels.sum() == pytest.approx(14, abs=0.3)


def test_a_dot_is_a_drawing(tab):
    assert draw(tab, [(0.5, 0.5)]).startswith("The network reads")
    assert max(tab.evaluate(INPUT)) > 200


def test_a_stroke_on_a_test_image_begins_a_new_drawing(tab):
    tab.get_by_role("button", name="Try a test image").first.click()
    tab.locator(".digit-answer", has_text="The label is 0").wait_for()
    assert draw(tab, ONE) == "The network reads a 1."


def test_test_images_are_reached_by_keyboard_and_not_changed(tab, files):
    test = mnist("test")
    tab.keyboard.press("Tab")
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.textContent") == "Try a test image"
    network = read_network(files["ONNX, per channel"])
    for digit in range(10):
        tab.keyboard.press("Enter")
        number = int(np.flatnonzero(test.labels == digit)[0])
        tab.locator(".digit-answer", has_text=f"The label is {digit}.").wait_for()
        origin = f"Image number {number} of “{test.source}”."
        assert tab.locator(".digit-file").first.inner_text().startswith(origin)
        integers, _, _ = in_javascript(tab, network, test.images[number : number + 1])
        shown = tab.locator(".digit-logits").first.locator(".digit-integer").all_inner_texts()
        assert [int(text) for text in shown] == integers[0, -10:].tolist()


def test_the_page_loads_its_own_files_only(browser, site):
    tab = browser.new_page()
    requested = []
    tab.on("request", lambda request: requested.append(request.url))
    tab.goto(site.as_uri())
    tab.wait_for_selector(".digit[data-ready]")
    draw(tab, SEVEN)
    tab.get_by_role("button", name="Try a test image").first.click()
    tab.locator(".digit-answer", has_text="The label is").wait_for()
    tab.close()
    own = {path.as_uri() for path in (site.parent.parent / "_static/digit").iterdir()}
    assert len(own) == 5
    assert set(requested) == own | {site.as_uri()}


@pytest.mark.parametrize("width", [320, 390, 1000])
def test_nothing_is_wider_than_the_screen(tab, width):
    tab.set_viewport_size({"width": width, "height": 844})
    assert tab.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_white_and_black_maps_stand_out_from_the_page(tab, theme):
    tab.evaluate("theme => { document.documentElement.dataset.theme = theme; }", theme)
    page = {"light": "white", "dark": "black"}[theme]
    tab.evaluate("colour => { document.body.style.background = colour; }", page)
    maps = tab.locator(".digit-pool1").first
    gap = maps.evaluate("map => map.clientWidth * 12.5 / map.width")  # between the first two
    shown = Image.open(io.BytesIO(maps.screenshot())).convert("L")
    assert 100 < shown.getpixel((round(gap), shown.height // 2)) < 160
    outline = maps.evaluate("map => getComputedStyle(map).boxShadow")
    assert "rgb(128, 128, 128)" in outline


COLOUR = "getComputedStyle(document.querySelector('.digit')).color"


@pytest.mark.parametrize("system", ["light", "dark"])
def test_the_theme_of_the_page_goes_before_the_systems(tab, system):
    tab.emulate_media(color_scheme=system)
    own = tab.evaluate(COLOUR)
    chosen = {}
    for theme in ("light", "dark"):
        tab.evaluate("theme => { document.documentElement.dataset.theme = theme; }", theme)
        chosen[theme] = tab.evaluate(COLOUR)
    assert chosen["light"] != chosen["dark"]
    assert own == chosen[system]


def test_pictures_and_answers_have_names(tab):
    pictures = tab.locator(".digit canvas")
    assert pictures.count() == 2 * 8
    for picture in pictures.all():
        assert picture.get_attribute("role") == "img"
        assert picture.get_attribute("aria-label")
    assert tab.locator(".digit-answer").first.get_attribute("aria-live") == "polite"
