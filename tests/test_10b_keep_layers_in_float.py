"""Notebook 10b: the search for layers in float, few bits, half precision, the choice of a file."""

import ast
import contextlib
import json
import types

import numpy as np
import pytest
import torch
from notebook_code import cell_with, code_cells, definitions
from notebook_pages import run_cell

from helpers import convert
from helpers.data import coco, fetch
from helpers.digit_detector import DigitDetector
from helpers.runtimes import open_model
from helpers.vision import Detections
from workbook.diagrams import float_layers

NAME = "10b_keep_layers_in_float"
LESSON = "10_quantize_a_detector"
book = definitions(NAME)
lesson = definitions(LESSON)


# the search


def made_up(bad: set[str], cost: float = 0.2):
    return lambda kept: 1 - cost * len(bad - set(kept))


HARM = {f"layer {i}": 10.0 - i for i in range(10)}
MACS = {f"layer {i}": 10 + i for i in range(10)}


@pytest.mark.parametrize(
    "bad", [set(), {"layer 0"}, {"layer 2"}, {"layer 1", "layer 4"}, {"layer 0", "layer 3"}]
)
def test_the_search_keeps_only_what_does_damage(bad):
    best, points = book.search(HARM, MACS, made_up(bad), target=0.95, most_share=0.5)
    assert best.score >= 0.95 and (set(best.kept) == bad or len(best.kept) <= max(1, len(bad)))
    assert best in points and points[0].kept == ()
    assert all(point.share <= 0.5 for point in points)


def test_the_search_skips_what_is_too_large_and_says_if_it_fails():
    macs = MACS | {"layer 0": 1000}
    best, points = book.search(HARM, macs, made_up({"layer 0"}), target=0.95, most_share=0.2)
    assert best.score < 0.95 and not any("layer 0" in point.kept for point in points)
    best, _ = book.search(HARM, MACS, made_up({"layer 9"}), 0.95, 0.9, most_layers=3)
    assert best.score < 0.95 and len(best.kept) == 3


def test_the_diagram_shows_the_search_of_the_notebook():
    harm = {"a": 5.0, "b": 4.0, "c": 3.0, "d": 2.0}
    _, points = book.search(harm, float_layers.MACS, book.toy_score, float_layers.TARGET, 0.4)
    shown = [(set(kept), score) for _, kept, score in float_layers.STEPS]
    assert shown == [(set(point.kept), pytest.approx(point.score)) for point in points]
    assert sum(float_layers.MACS.values()) == 100


def test_a_search_on_a_case_looks_at_calibration_pictures_and_notes_test_pictures(monkeypatch):
    layers = ("a", "b", "c")
    network = types.SimpleNamespace(
        quantized=lambda ranges, kept, bits: kept,
        layers=dict.fromkeys(layers),
        macs={"a": 10, "b": 10, "c": 80},
    )
    # the target is 0.97 of 0.4; c is too large
    calibration = {(): 0.2, ("b",): 0.375, ("b", "a"): 0.39, ("a",): 0.25}
    test = {(): 0.1, ("b",): 0.3, ("b", "a"): 0.4, ("a",): 0.2}
    case = types.SimpleNamespace(network=network, calibration=calibration, test=test)
    stand_in = types.SimpleNamespace(
        METHODS={"min-max": None},
        watched_case=lambda name: None,
        ranges_of=lambda watched, method: None,
        harm_of_layers=lambda case, ranges, bits: {
            layer: {"boxes": noise, "classes": noise} for layer, noise in zip(layers, (1, 3, 2))
        },
        opened=lambda kept: kept,
        ap=lambda kept, on: on[kept],
        judged=lambda case, kept: {"test": [case.test[kept], 0, 1]},
    )
    for name, value in {
        "cases": {"x": case},
        "lesson": stand_in,
        "in_float": {"x": {"search": 0.4, "test": [0.5, 0, 1]}},
        "wanted": 0.95,
        "margin": 0.02,
        "most_share": 1 / 3,
    }.items():
        monkeypatch.setitem(book.search_row.__globals__, name, value)
    row = book.search_row("x", "min-max")
    assert row == {
        "kept": ["b", "a"],
        "places": [2, 1],
        "share": 0.2,
        "points": [
            [0, 0, 0.2, 0.1],
            [1, 0.1, 0.375, 0.3],
            [2, 0.2, 0.39, 0.4],
            [1, 0.1, 0.25, 0.2],  # without b again
            [1, 0.1, 0.375, 0.3],  # without a
        ],
        "reached": True,
        "test": [0.4, 0, 1],
    }
    assert book.of_float("x", row) == pytest.approx(80)


@pytest.mark.parametrize(
    ("reached", "chosen"),
    [([True, True, True], "b"), ([True, False, True], "c"), ([False] * 3, "b")],
)
def test_of_the_searches_with_success_that_with_least_float_arithmetic_is_chosen(
    reached, chosen, monkeypatch
):
    starts = [("x", method, 8) for method in "abc"]
    shares = (0.3, 0.1, 0.2)
    searches = {
        start: {"reached": done, "share": share, "kept": ["layer"]}
        for start, done, share in zip(starts, reached, shares)
    }
    others = {("x", "a", 4): {"reached": True, "share": 0, "kept": []}}
    names = book.chosen_start.__globals__
    monkeypatch.setitem(names, "STARTS", [*starts, *others])
    monkeypatch.setitem(names, "searches", searches | others)
    assert book.chosen_start("x") == ("x", chosen, 8)


# training with the grid in place


def test_a_learned_grid_has_its_marks_and_gradients():
    values = torch.linspace(-2, 2, 41)[None].repeat(3, 1) * torch.tensor([[1.0], [3.0], [0.1]])
    grid = book.LearnedGrid(values, -3, 3, per_row=True)
    on_grid = grid(values)
    assert all(len(row.unique()) <= 7 for row in on_grid)
    assert (on_grid - values).abs().max() < 3 and grid.step.shape == (3, 1)
    on_grid.sum().backward()
    assert grid.step.grad is not None and torch.isfinite(grid.step.grad).all()


def test_the_gradient_of_a_step_is_that_of_the_paper():
    """Esser et al. 2020, equation 3, and section 2.2 for the scale."""
    values = torch.tensor([[0.4, 1.3, -5.0]])
    grid = book.LearnedGrid(values, -3, 3, per_row=True)
    with torch.no_grad():
        grid.step.fill_(1)
    grid(values).sum().backward()
    expected = (-0.4 - 0.3 - 3) / np.sqrt(3 * 3)  # three numbers, three steps on each side
    assert grid.step.grad.item() == pytest.approx(expected, rel=1e-5)


def test_the_first_step_is_that_of_least_square_error():
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(2, 500, generator=generator) * torch.tensor([[1.0], [20.0]])
    grid = book.LearnedGrid(values, -3, 3, per_row=True)
    for row, step in zip(values, grid.step.flatten()):
        steps = torch.linspace(1, 0.1, 46)[:, None] * row.abs().max() / 3
        errors = (((row / steps).round().clamp(-3, 3) * steps - row) ** 2).mean(1)
        assert step.item() == pytest.approx(steps[errors.argmin()].item(), rel=1e-4)


@pytest.mark.parametrize(("bits", "marks"), [(2, 3), (3, 7)])
def test_a_network_with_few_bits_has_as_few_weights_and_activations(bits, marks):
    torch.manual_seed(0)
    images = np.random.default_rng(0).integers(0, 256, (2, 96, 96)).astype(np.uint8)
    network = book.fake_quantized(DigitDetector(), images, bits)
    layers = [m for m in network.modules() if isinstance(m, torch.nn.Conv2d)]
    assert len(layers) == 8
    for layer in layers:
        assert max(len(row.unique()) for row in layer.weight.detach()) <= marks
    inputs = []
    for layer in layers:
        layer.register_forward_pre_hook(lambda _, args: inputs.append(args[0].unique()))
    with torch.inference_mode():
        network(torch.from_numpy(images[:, None] / np.float32(255)))
    assert 2**bits < len(inputs[0]) <= 256, "the image keeps 8 bits"
    assert all(len(values) <= 2**bits for values in inputs[1:])


# half precision


def test_files_in_half_precision_are_half_as_large_and_compute_the_same(tmp_path):
    torch.manual_seed(0)
    network = DigitDetector().eval()
    example = torch.zeros(1, 1, 96, 96)
    x = np.random.default_rng(0).random((2, 1, 96, 96), np.float32)
    whole = {
        "onnx": convert.to_onnx(network, example, tmp_path / "a.onnx"),
        "ncnn": convert.to_ncnn(network, example, tmp_path / "a.ncnn.param"),
        "tflite": convert.to_tflite(network, example, tmp_path / "a.tflite"),
    }
    whole["mnn"] = convert.to_mnn(whole["onnx"], tmp_path / "a.mnn")
    half = {
        "ncnn": convert.to_ncnn(network, example, tmp_path / "b.ncnn.param", half=True),
        "tflite": convert.to_tflite_half(whole["tflite"], tmp_path / "b.tflite"),
        "mnn": convert.to_mnn(whole["onnx"], tmp_path / "b.mnn", weight_bits=16),
    }
    exact = open_model(whole["onnx"]).predict(x)
    for name, file in half.items():
        sizes = [
            sum(part.stat().st_size for part in (path, path.with_suffix(".bin")) if part.exists())
            for path in (file, whole[name])
        ]
        assert 0.45 < sizes[0] / sizes[1] < 0.6, name
        model = open_model(file)
        assert model.precision == "float16"
        assert np.abs(model.predict(x) - exact).max() < 0.02 * np.abs(exact).max(), name


# what is compared


def found(*boxes: tuple, number: int = 3) -> Detections:
    """Detections of one class with sure scores."""
    of_class = np.full(len(boxes), number)
    return Detections(np.array(boxes, float).reshape(-1, 4), np.ones(len(boxes)), of_class)


def as_detector(detections: Detections):
    """A detector that finds the same in every picture."""
    return types.SimpleNamespace(
        network=lambda x: x, postprocess=lambda raw, fit, confidence: detections
    )


@pytest.mark.parametrize(("name", "size"), [("a.ncnn.param", 43), ("a.onnx", 7)])
def test_the_size_of_a_detector_is_that_of_all_its_files(tmp_path, name, size):
    for file, length in {"a.ncnn.param": 3, "a.ncnn.bin": 40, "a.onnx": 7}.items():
        (tmp_path / file).write_bytes(bytes(length))
    detector = types.SimpleNamespace(model=types.SimpleNamespace(path=tmp_path / name))
    assert book.bytes_of(detector) == size


@pytest.mark.parametrize(("int8_ms", "truth"), [(5, "yes"), (20, "no")])
def test_speed_is_compared_with_float32(int8_ms, truth):
    latency = {"float32, ONNX": 10, "int8, ONNX": int8_ms}
    file = types.SimpleNamespace(model=types.SimpleNamespace(path="a file"))
    scored = []
    stand_in = types.SimpleNamespace(
        benchmark=lambda workers, **_: latency,
        speedup=lambda base, candidate: types.SimpleNamespace(value=base / candidate),
    )
    variables = {
        "cases": ["digits"],
        "files": {("digits", kind): file for kind in latency},
        "start_all": contextlib.nullcontext,
        "timing": stand_in,
        "rounds": 1,
        "score": lambda *given: scored.append(given),
    }
    after = run_cell(NAME, "speed = {}", **{**book.as_dict(), **variables})
    assert scored == [("10b-faster", truth)]
    assert after["speed"]["digits", "int8, ONNX"].value == 10 / int8_ms


BOX = (0, 0, 10, 10)
SHIFTED = (2, 0, 12, 10)  # an IoU of 2 / 3


@pytest.mark.parametrize(
    ("now", "changed"),
    [
        (found(BOX, SHIFTED), 0),
        (found(BOX), 1),
        (found(), 2),
        (found(BOX, SHIFTED, number=4), 2),
        (found((0, 0, 10, 10.5), SHIFTED), 0),
    ],
)
def test_a_box_is_unchanged_if_one_of_its_class_covers_nine_tenths(now, changed):
    test = types.SimpleNamespace(inputs=[0, 0], fits=[0, 0])
    case = types.SimpleNamespace(detector=as_detector(found(BOX, SHIFTED)), test=test)
    assert book.changed_boxes(case, as_detector(now)) == {"boxes": 4, "changed": 2 * changed}


def test_the_fastest_file_that_keeps_the_ap_ships():
    names = book.decisions.__globals__
    ap = {
        "float32, ONNX": 0.4,
        "float16, ONNX": 0.4,
        "float16, ncnn": 0.39,
        "int8, ONNX": 0.1,
        "int8 and float, ONNX": 0.385,
    }
    times_as_fast = dict(zip(ap, (1, 1.1, 0.9, 4, 2)))
    names |= {
        "wanted": 0.95,
        "files": {("x", kind): None for kind in ap},
        "scores": {("x", kind): {"test": [value, 0, 1]} for kind, value in ap.items()},
        "speed": {("x", kind): types.SimpleNamespace(value=times_as_fast[kind]) for kind in ap},
    }
    assert book.allowed("x") == [
        "int8 and float, ONNX", "float16, ONNX", "float32, ONNX", "float16, ncnn",
    ]  # fmt: skip
    assert book.decisions("x") == {
        "laptop": "int8 and float, ONNX",
        "Pi 5": "float16, ncnn",
        "Pi 4": "int8 and float, ONNX",
        "does not ship": "int8, ONNX",
    }


# what is stored


@pytest.fixture(scope="module")
def stored():
    return {row["name"]: row["figures"] for row in json.loads(book.STORED.read_text())["rows"]}


@pytest.mark.parametrize("name", book.NAMES)
def test_a_search_reaches_the_accuracy_with_a_third_of_the_macs_at_most(stored, name):
    rows = {start: stored[f"search, {start}"] for start in book.STARTS if start[0] == name}
    exact = stored[f"{name}, float"]["test"][0]
    assert all(row["share"] <= 1 / 3 for row in rows.values())
    reached = [row for row in rows.values() if row["reached"]]
    assert any(row["test"][0] >= 0.95 * exact for row in reached)
    for row in rows.values():
        assert len(row["points"]) >= 1 and all(len(point) == 4 for point in row["points"])


def test_few_bits_need_training(stored):
    exact = stored["digits, float"]["test"][0]
    two = stored["digits, QAT, 2 bits"]
    assert two["before"][0] < 0.5 * exact < two["after"][0]


STORED_CELLS = (
    "in_float = {",
    "check(answer, 1 + 20",
    "fewer, _ = search",
    "searches = {",
    "found = pd.DataFrame",
    "chosen = {",
    "stem_kept = ",
    "qat = {",
    "check(answer, 2 * top",
    "np.spacing(np.float16",
    "check(answer, wanted",
)


@pytest.fixture(scope="module")
def page(stored):
    """What the cells that read the stored run make of it: variables, truths, right answers."""
    names = definitions(NAME).search.__globals__
    own = definitions(LESSON)
    own.result.__globals__.update(rows=stored, train_everything=False)
    truths = {}
    right = []
    names |= {"lesson": own, "train_everything": False, "wanted": 0.95, "answer": None}
    names["toy_harm"] = {"a": 5, "b": 4, "c": 3, "d": 2}
    names["toy_macs"] = {"a": 10, "b": 20, "c": 5, "d": 65}
    names["score"] = lambda guess, truth, **_: truths.update({guess: truth})
    names["check"] = lambda answer, expected, *_, **__: right.append(expected)
    for part in STORED_CELLS:
        exec(compile(cell_with(NAME, part), f"{NAME}: {part}", "exec"), names)
    return types.SimpleNamespace(names=names, truths=truths, right=right)


def test_the_truths_of_the_guesses_are_those_of_the_stored_run(page, stored):
    exact = {name: stored[f"{name}, float"]["test"][0] for name in book.NAMES}
    points = stored["search, ('YOLOX-nano', 'min-max', 8)"]["points"]
    with_two = 100 * points[2][3] / exact["YOLOX-nano"]
    two_bits = stored["digits, QAT, 2 bits"]["after"][0]
    assert points[2][0] == 2
    assert page.truths == {
        "10b-two": pytest.approx(with_two, abs=0.5),
        "10b-qat": pytest.approx(100 * two_bits / exact["digits"], abs=0.5),
    }
    rows = {start: stored[f"search, {start}"] for start in book.STARTS}
    found = page.names["found"]
    for (_, line), ((name, _, bits), row) in zip(found.iterrows(), rows.items()):
        assert (line["network"], line["bits"]) == (name, bits)
        assert line["in float"] == len(row["kept"]) == len(row["places"])
        assert line["MACs, %"] == pytest.approx(100 * row["share"])
        assert line["of float's, %"] == pytest.approx(100 * row["test"][0] / exact[name])
    layers = stored["YOLOX-nano, float"]["layers"]
    assert page.names["depth"] == pytest.approx(100 * max(page.names["row"]["places"]) / layers)


def test_the_right_answers_are_right(page, stored):
    exact = stored["YOLOX-nano, float"]["test"][0]
    assert page.right == [41, "a", 3, 0.5, pytest.approx(0.95 * exact)]
    fields = np.finfo(np.float16)
    assert 2.0 ** (9 - fields.nmant) == 0.5, "1000 is between 2 to the 9 and 2 to the 10"


# the page


@pytest.mark.parametrize("name", [NAME, f"solutions/{LESSON}", f"solutions/{NAME}"])
def test_what_it_takes_from_notebook_10_is_there(name):
    nodes = [node for cell in code_cells(name) for node in ast.walk(ast.parse(cell.source))]
    used = {
        node.attr
        for node in nodes
        if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "lesson"
    }
    assert len(used) > 5
    assert used - set(lesson.as_dict()) <= {"cases"}, "the page itself sets these"


def test_the_page_measures_before_it_says():
    """The search that prose describes is the one that runs; no figure of it is typed."""
    source = "\n".join(cell.source for cell in code_cells(NAME))
    for name in ("search_row", "qat_row"):
        assert f"partial({name}" in source


@pytest.mark.data
def test_two_layers_in_float_cure_yolox_nano():
    val = coco("val")
    train = coco("train")
    parts = [({p.id: p.path for p in s.photos}, s.ground_truth) for s in (train, val)]
    case = lesson.case_of("YOLOX-nano", fetch("yolox_nano.onnx"), *parts)
    watched = lesson.watch(case.network, case.calibration.inputs[::4])
    ranges = lesson.ranges_of(watched, lesson.min_max)
    convolutions = [layer for layer, macs in case.network.macs.items() if macs]
    exact = lesson.ap(case.detector, case.test)
    all_int8 = lesson.ap(lesson.opened(case.network.quantized(ranges)), case.test)
    cured = lesson.ap(lesson.opened(case.network.quantized(ranges, convolutions[:2])), case.test)
    assert 0.28 < exact < 0.32
    assert all_int8 < 0.8 * exact and cured > 0.9 * exact
