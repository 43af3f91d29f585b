"""Notebook 02: its functions measure what they say, and the committed page fits its sentences."""

import json
import subprocess
import sys
import time
import urllib.request
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from notebook_code import definitions
from notebook_pages import as_numbers, numbers, printed, run_cell, table

from helpers.runtimes import open_model
from modelfiles.programs import run_program

NAME = "02_export_to_every_runtime"
book = definitions(NAME)
names = book.size_on_disk.__globals__
KINDS = ["pt2", "onnx", "tflite", "ncnn.param", "mnn", "pte"]


# functions


@pytest.mark.parametrize(
    "opened, parts, size",
    [
        ("a.ncnn.param", {"a.ncnn.param": 3, "a.ncnn.bin": 40, "b.ncnn.bin": 500}, 43),
        ("a.onnx", {"a.onnx": 7, "a.ncnn.bin": 40}, 7),
    ],
)
def test_the_size_is_that_of_all_files_of_a_model(tmp_path, opened, parts, size):
    for name, length in parts.items():
        (tmp_path / name).write_bytes(bytes(length))
    assert book.size_on_disk(tmp_path / opened) == size


def test_a_wrong_file_is_seen():
    names["reference"] = np.float32([[3, 1], [0, 2], [5, 4]])
    assert list(book.against_pytorch(names["reference"]).values()) == [0, 0]
    found = book.against_pytorch(np.float32([[3, 1.5], [9, 2], [5, 4]]))
    assert list(found.values()) == [1, 9]


def test_the_outputs_of_convolutions_are_side_by_side():
    torch.manual_seed(0)
    network = book.Convolutions(((1, 1), (3, 2), (5, 1)))
    x = torch.randn(2, 16, 9, 9)
    parts = network(x).split([32 * 9 * 9, 32 * 4 * 4, 32 * 5 * 5], dim=1)
    for layer, part in zip(network.layers, parts):
        torch.testing.assert_close(part, layer(x).flatten(1))


def test_inverts_has_a_branch():
    network = book.Inverts()
    weights, bias = network.layer.weight, network.layer.bias
    for sign in (-1, 1):
        image = sign * torch.ones(1, 4)
        torch.testing.assert_close(network(image)[0], bias - weights.sum(1))


def test_the_program_reports_milliseconds_and_megabytes(shared_files):
    path = shared_files.path("lenet", "onnx")
    start = time.perf_counter()
    output = run_program([sys.executable, "-c", book.PROGRAM, str(path)], "the process")
    whole_ms = 1e3 * (time.perf_counter() - start)
    first_ms, again_ms, peak_mb = json.loads(output.splitlines()[-1])
    assert first_ms + again_ms < whole_ms
    assert first_ms > 1, "ONNX Runtime is some MB of code: importing it takes longer"
    assert 0 < again_ms < first_ms
    if sys.platform == "linux":
        assert 20 < peak_mb < 2000


def test_netron_serves_the_graph_on_this_machine_only(shared_files):
    netron = pytest.importorskip("netron")
    path = shared_files.path("lenet", "onnx")
    address = netron.start(str(path), address=("127.0.0.1", None), browse=False)
    try:
        assert address[0] == "127.0.0.1"
        url = f"http://127.0.0.1:{address[1]}"
        page = urllib.request.urlopen(url, timeout=60).read().decode()
        assert "/data/lenet.onnx" in page
        served = urllib.request.urlopen(f"{url}/data/lenet.onnx", timeout=60).read()
        assert served == path.read_bytes()
    finally:
        netron.stop(address)


def test_a_single_mnn_file_may_differ_by_what_the_notebook_allows(shared_files):
    """The limit of the notebook: a thousandth of the largest logit."""
    source, path = (shared_files.path("lenet", kind) for kind in ("onnx", "mnn"))
    x = np.random.default_rng(0).standard_normal((20, 1, 28, 28), np.float32)
    wanted = open_model(source).predict(x)
    assert np.abs(open_model(path).predict(x) - wanted).max() < 1e-3 * np.abs(wanted).max()


def test_cpu_time_includes_the_converters_processes():
    before = book.cpu_seconds()
    loop = "import time\nwhile time.process_time() < 0.3: pass"
    subprocess.run([sys.executable, "-c", loop], check=True)
    assert book.cpu_seconds() - before > 0.29


@pytest.mark.parametrize(
    "part, variables, right",
    [
        (
            "check(answer, 128 * row_length",
            {"chain": [("Relu", [1, 64, 12, 12]), ("Reshape", [1, 9216]), ("Gemm", [1, 128])]},
            9216 * 128,
        ),
        ("check(answer, difference.idxmax()", {"difference": pd.Series({"a": 1, "b": 2})}, "b"),
        ("check(answer, fused", {"text": {"ncnn": ["0=1 9=1", "0=9 2=1", "1=1 9=1"]}}, 2),
        ("check(answer, weights_mb", {"weights_mb": 4.799528}, 4.8),
        ("check(answer, int(quantize", {}, -1),
    ],
)
def test_right_answers_are_right(capsys, part, variables, right):
    for answer, said in ((right, "Right."), (None, "No answer yet."), (7, "Not yet")):
        run_cell(NAME, part, **{**names, **variables, "answer": answer})
        assert capsys.readouterr().out.startswith(said)


@pytest.mark.parametrize(
    "part, variables, scored",
    [
        (
            "difference < limit",
            {
                "reference": np.float32([[3, -90]]),
                "parity": pd.DataFrame(
                    {"changed answers": [1, 2], "largest logit difference": [0.01, 0.08]}
                ),
            },
            ("02-changed", 3),
        ),
        (
            'score("02-memory"',
            {"costs": pd.DataFrame({"memory (MB)": [70.0, 40.0, np.nan]})},
            ("02-memory", 40),
        ),
        (
            "share.median()),",
            {"int8": pd.DataFrame({"of float32 (%)": [25, 26, 28]})},
            ("02-int8", 26),
        ),
    ],
)
def test_guesses_are_scored_with_the_truth(part, variables, scored):
    given = []
    score = {"score": lambda *truth, **_: given.append(truth)}
    run_cell(NAME, part, **{**names, **variables, **score})
    assert given == [scored]


def test_a_file_that_computes_something_else_stops_the_notebook():
    differences = pd.DataFrame({"changed answers": [0], "largest logit difference": [0.1]})
    variables = {"reference": np.float32([[3, -90]]), "parity": differences}
    with pytest.raises(AssertionError, match="computes something else"):
        run_cell(NAME, "difference < limit", **{**names, **variables})


def opens(answers: dict):
    """Stands in for open_model: a file is its name, and predict returns its answers."""
    return lambda name: SimpleNamespace(predict=lambda x: np.float32(answers[name]))


def test_a_gap_is_that_of_the_largest_logit(capsys):
    variables = {"reference": np.float32([[8, -100]]), "difference": pd.Series({"onnx": 2**-16})}
    run_cell(NAME, "gap = np.spacing(", **{**names, **variables})
    shown = capsys.readouterr().out
    assert f"the gap there is {2.0**-17:.1e}" in shown and "2 gaps" in shown


def test_the_error_of_a_layer_is_relative_to_its_largest_output():
    variables = {
        "convolutions": SimpleNamespace(layers=[torch.nn.Identity(), torch.nn.Identity()]),
        "noise": torch.tensor([[10.0, 2.0]]),
        "single": {"onnx": "a file"},
        "open_model": opens({"a file": [[10, 2, 11, 1.5]]}),
        "forms": ((1, 1), (3, 2)),
    }
    errors = run_cell(NAME, "exact = [layer.double()", **{**names, **variables})["errors"]
    assert errors["onnx"] == pytest.approx([0, 0.1])


def test_lost_images_were_right_in_float32():
    right, wrong = [1, 0], [0, 1]
    variables = {
        "labels": np.zeros(4, int),
        "reference": np.float32([right, right, right, wrong]),
        "small": {"onnx": "int8"},
        "path": {"onnx": "float32"},
        "open_model": opens({"int8": [wrong, wrong, right, right]}),
        "size_on_disk": {"int8": 30, "float32": 120}.get,
        "x": np.zeros(4),
    }
    after = run_cell(NAME, "small_logits = {kind", **{**names, **variables})
    assert list(after["int8"].loc["onnx"]) == [25, 2, 1, 1]


def test_logits_that_an_int8_file_cannot_express_are_counted(capsys, monkeypatch):
    grid = SimpleNamespace(get_output_details=lambda: [{"quantization": (0.5, 28)}])
    monkeypatch.setattr("ai_edge_litert.interpreter.Interpreter", lambda path: grid)
    reference = np.float32([[-80, -78], [3, 49.5], [52, 60]])  # the grid goes from -78 to 49.5
    variables = {
        "reference": reference,
        "small": {"tflite": "int8"},
        "small_logits": {"tflite": np.float32([[-78, -78], [3.25, 49.5], [49.5, 49.5]])},
    }
    run_cell(NAME, 'grid["quantization"]', **{**names, **variables})
    shown = capsys.readouterr().out
    assert "logits from -78.0 to 49.5 exist" in shown
    assert "3 of 6 logits are outside" in shown
    assert "largest error there 10.50, elsewhere 0.25" in shown


def test_calibration_images_come_one_by_one_and_channels_last():
    calibration = np.random.default_rng(0).random((3, 2, 4, 5), np.float32)
    names["calibration"] = calibration
    given = [list(call) for call in book.representative()]
    assert [len(call) for call in given] == [1, 1, 1]
    for [image], wanted in zip(given, calibration):
        assert image.shape == (1, 4, 5, 2) and image.dtype == np.float32
        np.testing.assert_array_equal(image[0].transpose(2, 0, 1), wanted)


@pytest.mark.parametrize(
    "lost, verdict", [(0, "show no difference"), (3, "show no"), (9, "differ")]
)
def test_few_changed_images_are_no_difference(capsys, lost, verdict):
    labels = np.zeros(50, int)
    keras = np.arange(50) < lost
    scored = []
    variables = {
        **names,
        "labels": labels,
        "read": {"from PyTorch": labels, "from Keras": keras.astype(int)},
        "score": lambda *given, **others: scored.append(given),
    }
    run_cell(NAME, "between = metrics.mcnemar(", **variables)
    assert f"the two ways {verdict}" in capsys.readouterr().out
    assert scored == [("02-route", lost)]


def test_weights_are_counted_in_megabytes():
    network = torch.nn.Linear(1000, 500, bias=False)
    assert book.saved_mb(network) == pytest.approx(2, rel=0.01)


@pytest.fixture(scope="module")
def mobilenet():
    """What the notebook's cell makes: the network, its inputs, and its answers in float32."""
    return run_cell(NAME, "torchvision = import_torchvision()", **names)


@pytest.mark.filterwarnings("ignore")  # PyTorch has deprecated this way to int8
@pytest.mark.parametrize("engine, grids", [("qnnpack", 1), ("x86", 32)])
def test_an_engine_computes_what_float32_computes(mobilenet, engine, grids):
    """Measured: correlations of .97, a quarter of the size; random numbers would have about 0."""
    if engine not in torch.backends.quantized.supported_engines:
        pytest.skip(f"PyTorch has no engine {engine} on this processor")
    before = torch.backends.quantized.engine
    try:
        network = book.quantized(mobilenet["mobilenet"], engine, mobilenet["pixels"])
        with torch.inference_mode():
            found = network(mobilenet["pixels"]).numpy()
    finally:
        torch.backends.quantized.engine = before
    assert np.corrcoef(found.ravel(), mobilenet["wanted"].ravel())[0, 1] > 0.9
    assert book.grid_count(network.features[0][0]) == grids
    assert 0.2 < book.saved_mb(network) / book.saved_mb(mobilenet["mobilenet"]) < 0.35


def test_the_statistics_of_batch_normalization_are_those_of_its_inputs(mobilenet):
    first = mobilenet["mobilenet"].features[0]
    with torch.inference_mode():
        outputs = first[1](first[0](mobilenet["pixels"]))
    means = outputs.mean((0, 2, 3))
    assert means.abs().max() < 1e-3, "normalized"
    assert (outputs.std((0, 2, 3)) - 1).abs().max() < 1e-2


def test_an_engine_is_compared_with_float32():
    network = SimpleNamespace(features=[["first layer"]])
    variables = {
        "in_torch": {"float32": network, "x86": network},
        "wanted": np.float32([[0, 1], [1, 0]]),
        "logits_of": {"float32": np.float32([[0, 1], [1, 0]]), "x86": np.float32([[1, 0], [1, 0]])},
        "saved_mb": lambda network: 3.0,
        "grid_count": lambda layer: 32,
        "taken": {"float32": 60, "x86": 20},
        "timing": SimpleNamespace(speedup=lambda base, candidate: base / candidate),
        "pixels": [0, 1],
    }
    rows = run_cell(NAME, '"weights (MB)": f', **{**names, **variables})["rows"]
    assert list(rows["float32"].values()) == ["3.0", "-", "1.000", 2, "1.0"]
    assert list(rows["x86"].values()) == ["3.0", 32, "0.000", 1, "3.0"]


# the committed page


def test_six_files_give_the_same_answers():
    rows = table(NAME, "runtime", "changed answers", "largest logit difference")
    assert list(rows.index) == KINDS
    assert as_numbers(rows["changed answers"]).sum() == 0
    difference = as_numbers(rows["largest logit difference"])
    assert difference.max() < 1e-3
    others = difference.drop("mnn")
    assert difference.mnn > 5 * others.max(), "MNN's difference is far larger"
    [gap] = numbers(NAME, r"the gap there is (\S+)")
    assert others.max() < 30 * gap, "another order of addition: a few gaps"


def test_winograd_is_where_the_page_says():
    errors = table(NAME, "onnx", "mnn").apply(as_numbers)
    with_winograd = [row for row in errors.index if "stride 1" in row and "1 x 1" not in row]
    assert len(with_winograd) == 2
    without = errors.mnn.drop(with_winograd)
    assert errors.mnn[with_winograd].min() > 10 * max(without.max(), errors.onnx.max())


def test_every_file_reads_the_drawn_digit():
    rows = table(NAME, "reads", "largest logit", "difference to pt2")
    assert list(rows.index) == KINDS and rows.reads.nunique() == 1
    assert as_numbers(rows["difference to pt2"]).max() < 1e-2


def test_a_trace_loses_the_branch():
    off = table(NAME, "dark image", "bright image").apply(as_numbers)
    assert off["dark image"].max() == 0
    assert off.loc["trace", "bright image"] > 0.1 and off.loc["script", "bright image"] == 0
    text = " ".join(printed(NAME).split())  # the page wraps its lines
    assert "torch.export: Could not guard on data-dependent expression" in text
    assert "a trace keeps only the branch of the example" in text


def test_pnnx_fuses_layers_and_halves_the_weights():
    [before] = numbers(NAME, r"mnist_cnn\.pnnx\.param, (\d+) layers")
    [after] = numbers(NAME, r"mnist_cnn\.ncnn\.param, (\d+) layers")
    assert after < before
    [whole] = numbers(NAME, r"([\d,]+) bytes  mnist_cnn\.pnnx\.bin")
    [half] = numbers(NAME, r"([\d,]+) bytes  mnist_cnn\.ncnn\.bin")
    assert half == pytest.approx(whole / 2, rel=0.01)
    assert "nn.Conv2d" in printed(NAME) and " 9=1" in printed(NAME)


def test_costs_are_as_the_page_says():
    costs = table(NAME, "file (MB)", "import and load (ms)", "load again (ms)", "memory (MB)")
    costs = costs.apply(as_numbers)
    assert costs["file (MB)"].between(4.7, 4.9).all(), "1,199,882 weights of four bytes"
    heavy = costs["memory (MB)"][["pt2", "pte"]]
    light = costs["memory (MB)"].drop(["pt2", "pte"])
    assert heavy.min() > 2 * light.max() and light.min() > 4.8, "the runtime weighs more"
    first = costs["import and load (ms)"]
    again = costs["load again (ms)"]
    assert first[["pt2", "pte"]].min() > 3 * first.drop(["pt2", "pte"]).max()
    assert again.pte < first.pte / 10, "its slow start is an import"


def test_int8_is_as_the_page_says():
    rows = table(NAME, "of float32 (%)", "images lost", "gained", "largest logit difference")
    rows = rows.apply(as_numbers)
    assert rows["of float32 (%)"].between(24, 27).all()
    assert rows["images lost"].max() <= 10 and rows.gained.max() <= 10
    difference = rows["largest logit difference"]
    assert difference.idxmin() == "mnn" and difference.drop("mnn").min() > 0.1
    [scale] = numbers(NAME, r"scale (\S+), zero point")
    outside, elsewhere = numbers(NAME, r"largest error there (\S+), elsewhere (\S+)")
    assert outside > elsewhere > scale / 2
    assert elsewhere < 12 * scale, "a few steps"
    [careless] = numbers(NAME, r"accuracy: ([\d.]+) %")
    assert careless < 30, "little better than guesses"


def test_both_ways_to_int8_are_compared_image_by_image():
    rows = table(NAME, "file (kB)", "images lost", "gained", "p")
    assert list(rows.index) == ["from PyTorch", "from Keras"]
    size = as_numbers(rows["file (kB)"])
    assert size.between(1190, 1260).all() and abs(size.diff().iloc[1]) < 50, "the same kind of file"
    assert (as_numbers(rows["images lost"]) <= 10).all()
    lost, gained, n = numbers(
        NAME, r"from Keras against from PyTorch: (\d+) lost, (\d+) gained of ([\d,]+)"
    )
    assert n == 1000 and lost + gained <= 10
    assert "the two ways show no difference" in printed(NAME)


def test_the_engines_are_as_the_page_says():
    rows = table(NAME, "weights (MB)", "grids of layer 1", "correlation", "same label", "speed-up")
    assert list(rows.index) == ["float32", "qnnpack", "x86"]
    assert list(rows["grids of layer 1"]) == ["-", "1", "32"]
    size = as_numbers(rows["weights (MB)"])
    assert (size.drop("float32") / size.float32).between(0.2, 0.35).all(), "a quarter"
    correlation = as_numbers(rows.correlation)
    assert correlation.float32 == 1 and correlation.min() > 0.9
    assert as_numbers(rows["same label"]).drop("float32").max() < 8, "labels say little"
