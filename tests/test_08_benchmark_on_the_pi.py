"""Notebook 08 and what it rests on: the files for the Pi, records of a throttled or silent Pi.

Profilers and whole runs, too.
"""

import contextlib
import json
import os
import re
import shutil
import sys
import types
from datetime import UTC, datetime, timedelta
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from notebook_code import code_cells, definitions

from helpers import device, metrics, model_files, results, sustained, timing
from helpers.data import mnist, normalize
from helpers.paths import build_dir, build_path
from helpers.runtimes import open_model
from helpers.timing import Latency, WarmUp
from workbook import book

NAME = "08_benchmark_on_the_pi"
SMALL = {
    "networks": ["mnist_cnn"],
    "thread_counts": [1],
    "rounds": 6,
    "round_s": 0.002,
    "image_count": 50,
    "peak_seconds": 0.02,
    "sustained_s": 1,
    "profiled_calls": 2,
}


@pytest.fixture(scope="module")
def notebook():
    return definitions(NAME)


@pytest.fixture(scope="module")
def build_of_its_own(quick_networks, tmp_path_factory):
    """A build folder with nothing but MnistNet's checkpoint: other tests make files, too."""
    checkpoint = build_path("models", "mnist_cnn.pt")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WORKBOOK_BUILD", str(tmp_path_factory.mktemp("build")))
        shutil.copy(checkpoint, build_path("models", "mnist_cnn.pt"))
        yield


@pytest.fixture(scope="module")
def made(build_of_its_own):
    """MnistNet's files and the two examples, as the laptop makes them."""
    return model_files.build_missing(["mnist_cnn", *model_files.TOY_NETWORKS], batches=[1])


# ---- the files for the Pi


def test_the_files_that_are_made(made):
    of_all_forms = {"mnist_cnn" + suffix for suffix in model_files.VARIANTS}
    assert {path.name for path in made} == of_all_forms | {
        "mnist_cnn_batch1.onnx",
        "mnist_cnn_int8_s8_qoperator.onnx",
        "six_convs_relu.onnx",
        "six_convs_relu_int8_u8.onnx",
        "six_convs_gelu.onnx",
        "six_convs_gelu_int8_u8.onnx",
    }
    assert all(file.exists for file in model_files.files(["mnist_cnn"]))
    assert not any(file.exists for file in model_files.files(["resnet18"]))
    counted = model_files.network_info()["mnist_cnn"]
    assert counted == {
        "parameters": 1_199_882,
        "macs": 11_992_448,
        "input_shape": [1, 1, 28, 28],
        "weights": "trained",
    }
    assert model_files.network_info()["six_convs_relu"]["weights"] == "random"


def test_what_is_there_is_not_made_again_unless_the_network_was_trained_anew(made):
    assert model_files.build_missing(["mnist_cnn", *model_files.TOY_NETWORKS], batches=[1]) == []
    old = build_path("models", "mnist_cnn_int8.mnn")
    checkpoint = build_path("models", "mnist_cnn.pt")
    os.utime(old, (checkpoint.stat().st_mtime - 10,) * 2)
    assert model_files.build_missing(["mnist_cnn"], batches=[1]) == [old]
    os.remove(build_path("models", "mnist_cnn.ncnn.bin"))  # half a model
    half = build_path("models", "mnist_cnn.ncnn.param")
    assert model_files.build_missing(["mnist_cnn"], batches=[1]) == [half]


def test_every_file_reads_the_digits(made):
    test_set = mnist("test")
    x = normalize(test_set.images[:200])
    labels = test_set.labels[:200]
    files = model_files.files(["mnist_cnn"])
    answers = {file: open_model(file.path).predict(x).argmax(1) for file in files}
    reference = next(answer for file, answer in answers.items() if file.precision == "float32")
    assert metrics.accuracy(labels, reference).value > 0.8
    for file, answer in answers.items():
        assert (answer != reference).sum() <= (0 if file.precision == "float32" else 6), file
        model = open_model(file.path)
        assert model.runtime == file.runtime
        assert model.precision == file.precision.split(",")[0].split(" ")[0]


def test_signed_and_unsigned_activations_are_what_they_are_called(made):
    import onnx

    kinds = {}
    for sign in ("u8", "s8"):
        graph = onnx.load(build_path("models", f"mnist_cnn_int8_{sign}.onnx")).graph
        kind_of = {weight.name: weight.data_type for weight in graph.initializer}
        first = next(node for node in graph.node if node.op_type == "QuantizeLinear")
        kinds[sign] = kind_of[first.input[2]]  # its zero point
    assert kinds == {"u8": onnx.TensorProto.UINT8, "s8": onnx.TensorProto.INT8}


def test_the_slow_file_has_integer_operators_and_signed_activations(made):
    import onnx

    graph = onnx.load(model_files.signed_operators_file("mnist_cnn")).graph
    points = {weight.name: weight.data_type for weight in graph.initializer}
    products = [node for node in graph.node if node.op_type in ("QLinearConv", "QGemm")]
    assert len(products) == 4
    assert not [node for node in graph.node if node.op_type in ("Conv", "Gemm")]
    # both take x, its scale, its zero point, the weights, their scale, their zero point
    kinds = {points[node.input[place]] for node in products for place in (2, 5)}
    assert kinds == {onnx.TensorProto.INT8}
    assert open_model(model_files.signed_operators_file("mnist_cnn")).precision == "int8"


def test_what_goes_to_the_pi(made):
    names = {path.name for path in model_files.deployable_files()}
    assert {
        "mnist_cnn.ncnn.param",
        "mnist_cnn.ncnn.bin",
        "networks.json",
        "mnist_cnn_batch1.onnx",
        "mnist_cnn_int8_s8_qoperator.onnx",
    } <= names
    assert not [name for name in names if name.endswith((".pt", ".pt2", ".pte", ".torchscript"))]
    assert all(path.exists() for path in model_files.deployable_files())


def test_the_pi_gets_the_batches_that_notebook_03_opens():
    cells = [cell.source for cell in code_cells("03_measure_latency")]
    found = re.findall(r"^batches = (.*)$", "\n".join(cells), re.MULTILINE)
    assert found == [str(list(model_files.BATCHES))]


def test_an_unknown_network_and_a_machine_without_pytorch(monkeypatch):
    unknown = "no network is called vgg; there are mnist_cnn, mobilenet_v2, resnet18"
    with pytest.raises(ValueError, match=unknown):
        model_files.files(["vgg"])
    monkeypatch.setitem(sys.modules, "torch", None)
    said = "needs torch: create them on the laptop; `workbook pi` copies"
    with pytest.raises(ImportError, match=said):
        model_files.build_missing(["mnist_cnn"])


def test_a_converter_that_is_not_installed_is_named_and_the_rest_is_made(made, monkeypatch, capsys):
    for suffix in (".tflite", "_int8.tflite", ".mnn"):
        os.remove(build_path("models", f"mnist_cnn{suffix}"))
    with monkeypatch.context() as without:
        for module in ("litert_torch", "ai_edge_quantizer"):
            without.setitem(sys.modules, module, None)
        mnn_file = build_path("models", "mnist_cnn.mnn")
        assert model_files.build_missing(["mnist_cnn"], batches=[1]) == [mnn_file]
    said = capsys.readouterr().out
    assert re.search(r"mnist_cnn.tflite is skipped: .*litert_torch", said)
    reason = "its source mnist_cnn.tflite is missing"
    assert f"mnist_cnn_int8.tflite is skipped: {reason}" in said
    assert len(model_files.build_missing(["mnist_cnn"], batches=[1])) == 2


# ---- a Pi's own word, from its files and its firmware to the ranking


def latency(p50_us=140, threads=1, contention=0.0):
    wall = np.random.default_rng(0).integers(990, 1010, (6, 10)) * p50_us
    cpu = (wall * (1 - contention)).astype(np.int64)
    round_ns = np.stack([wall.sum(1), cpu.sum(1)], 1)
    return Latency(wall, cpu, round_ns, WarmUp(50, 9_000_000, True), threads)


@pytest.fixture
def pi(tmp_path, monkeypatch):
    """A made-up Pi: a tree of files, and a vcgencmd on the PATH.

    vcgencmd prints the flags that `pi.says` was last given. The measured clock is 1.5 GHz while a
    flag of now is up, else 2.4 GHz.
    """

    class Pi:
        root = tmp_path / "root"

        def write(self, name: str, text: str) -> None:
            (self.root / name).parent.mkdir(parents=True, exist_ok=True)
            (self.root / name).write_text(text)

        def says(self, bits: int) -> dict:
            (tmp_path / "bits").write_text(f"throttled={bits:#x}\n")
            hertz = 1_500_000_000 if bits & 0xF else 2_400_000_000
            (tmp_path / "clock").write_text(f"frequency(0)={hertz}\n")
            return device.conditions(self.root)

    command = tmp_path / "bin" / "vcgencmd"
    command.parent.mkdir()
    command.write_text(
        f'#!/bin/sh\n[ "$1" = get_throttled ] && exec cat "{tmp_path}/bits"\n'
        f'[ "$*" = "measure_clock arm" ] && exec cat "{tmp_path}/clock"\n'
    )
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{command.parent}{os.pathsep}{os.environ['PATH']}")
    made_up = Pi()
    made_up.write("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "ondemand\n")
    made_up.write("sys/class/thermal/thermal_zone0/type", "cpu-thermal\n")
    made_up.write("sys/class/thermal/thermal_zone0/temp", "52582\n")
    return made_up


def ranked(path, before: dict, after: dict) -> tuple[list, list]:
    """Store one record between two states, and an undisturbed slower one.

    Returns the names of the ranked records, and the reasons of the rest.
    """
    host = {"board": "made up for a test", "machine_id": "01234567"}
    quiet = {"at": "2026-01-02T03:04:05.000+00:00", "throttled": "0x0"}
    for name, p50_us, states in (("it", 100, (before, after)), ("slower", 200, (quiet, quiet))):
        line = results.record(
            latency(p50_us),
            before=states[0],
            after=states[1],
            host=host,
            model={"name": name},
            runtime={"name": "ncnn"},
        )
        results.append_result(path, line)
    frame = results.rank(results.read_results(path))
    return frame["model.name"].tolist(), [row["reasons"] for row in frame.attrs["invalid"]]


@pytest.mark.parametrize("when", ["before", "after", "both"])
@pytest.mark.parametrize("bit", [0, 1, 2, 3, 16, 17, 18, 19])
def test_every_throttling_bit_from_the_firmware_to_the_ranking(pi, tmp_path, bit, when):
    before = pi.says(1 << bit if when in ("before", "both") else 0)
    after = pi.says(1 << bit if when in ("after", "both") else 0)
    assert (before["governor"], before["temp_c"]) == ("ondemand", 52.582)
    names, void = ranked(tmp_path / "pi.jsonl", before, after)
    # a bit of now speaks against it whenever it is up, a bit of since-boot only if it came up
    # meanwhile
    counts = bit >= 16 and when != "after"
    assert names == (["it", "slower"] if counts else ["slower"])
    if not counts:
        meanwhile = " at some time during the measurement" if bit >= 16 else ""
        assert void == [[f"the Pi reported: {device.THROTTLE_BITS[bit % 16]}{meanwhile}"]]


def test_several_bits_give_several_reasons(pi, tmp_path):
    names, void = ranked(tmp_path / "pi.jsonl", pi.says(0x50000), pi.says(0xF0005))
    assert names == ["slower"]
    assert void == [
        [
            "the Pi reported: under-voltage",
            "the Pi reported: frequency capped at some time during the measurement",
            "the Pi reported: throttled",
            "the Pi reported: soft temperature limit at some time during the measurement",
        ]
    ]


@pytest.mark.parametrize(
    "missing, field",
    [
        ("sys/devices/system/cpu/cpu0/cpufreq", "governor"),
        ("sys/class/thermal/thermal_zone0", "temp_c"),
    ],
)
def test_a_missing_governor_or_thermal_zone_is_unknown_and_counts(
    pi, tmp_path, notebook, missing, field
):
    shutil.rmtree(pi.root / missing)
    state = pi.says(0)
    assert state[field] is None and state["throttled"] == "0x0"
    path = tmp_path / "pi.jsonl"
    names, void = ranked(path, state, pi.says(0))
    assert names == ["it", "slower"] and void == []
    assert json.loads(path.read_text().splitlines()[0])["conditions"]["before"][field] is None
    table = notebook.fitness(state, 0).set_index("what")["now"]
    expected = {"governor": "ondemand", "temperature": "53 °C"}
    expected["governor" if field == "governor" else "temperature"] = "not reported"
    assert table[list(expected)].to_dict() == expected
    _, void = ranked(tmp_path / "hot.jsonl", state, pi.says(0x4))
    assert void == [["the Pi reported: throttled"]], "what else is unknown does not hide it"


def test_a_pi_whose_firmware_does_not_answer(pi, tmp_path, notebook, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    state = pi.says(0xF000F)
    assert state["throttled"] is None
    assert ranked(tmp_path / "pi.jsonl", state, state)[0] == ["it", "slower"]
    table = notebook.fitness(state, 3.2).set_index("what")["now"]
    assert (table["throttling"], table["clock, measured"]) == ("not reported", "not reported")
    assert (table["clock, requested"], table["other load"]) == ("not reported", "3 % of all cores")


def test_a_fit_and_an_unfit_machine_in_words(pi, notebook):
    pi.write("sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq", "2400000\n")
    pi.write("sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq", "2400000\n")
    table = notebook.fitness(pi.says(0x50005), 0).set_index("what")
    assert table.loc["clock, measured", "now"] == "1.50 GHz", "not what Linux asked for"
    assert table.loc["clock, requested", "now"] == "2.40 GHz"
    assert "2.40 GHz" in table.loc["clock, measured", "should be"]
    assert "80 °C" in table.loc["temperature", "should be"]
    throttling = "under-voltage, throttled, under-voltage since boot, throttled since boot"
    assert table.loc["throttling", "now"] == throttling
    assert notebook.fitness(pi.says(0), 0).set_index("what").loc["throttling", "now"] == "none"


# ---- the notebook's own functions


@pytest.mark.parametrize(
    "others_s, threads, found",
    [(0.0, 2, False), (0.9, 2, False), (1.5, 2, True), (1.5, 1, False), (9.0, 2, True)],
)
def test_other_programs_beside_several_threads(notebook, others_s, threads, found):
    """Of 10 seconds on two cores: more than a tenth of a core beside two threads is in the way."""
    notebook.others_in_the_way.__globals__["cores"] = 2
    got = notebook.others_in_the_way((100.0, 20.0), (115.0 + others_s, 35.0), 10.0, threads)
    reason = f"other programs used {others_s / 10:.1f} of 2 cores beside 2 threads"
    assert got == ([reason] if found else [])
    notebook.others_in_the_way.__globals__["cores"] = 4
    assert notebook.others_in_the_way((100.0, 20.0), (115.0 + others_s, 35.0), 10.0, 2) == []


def test_the_processor_time_of_ours_is_part_of_all(notebook):
    before = notebook.processor_s()
    end = before[1] + 0.3
    while notebook.processor_s()[1] < end:
        sum(range(10_000))
    after = notebook.processor_s()
    assert after[1] - before[1] == pytest.approx(0.3, abs=0.1)  # the clock ticks in hundredths
    assert after[0] - before[0] >= after[1] - before[1] - 0.1


def test_layers_are_matched_in_order_or_not_at_all(notebook):
    whole = pd.DataFrame(
        {
            "operator": ["Conv", "MaxPool", "Gemm"],
            "MACs": [100.0, np.nan, 50.0],
            "layer": ["3 x 3", "-", "linear"],
            "time (µs)": [40, 9, 8],
        }
    )
    small = pd.DataFrame(
        {"operator": ["QuantizeLinear", "QLinearConv", "QGemm"], "time (µs)": [5, 10, 16]}
    )
    gains = notebook.layer_gains(whole, small)
    assert gains["gain"].tolist() == [4.0, 0.5]
    assert gains["kind"].tolist() == ["reads the image", "linear"]
    assert notebook.layer_gains(whole, small.iloc[:2]).empty


def stored(path, **files) -> pd.DataFrame:
    """Records with one thread; a file is given as (precision, p50 in µs, session)."""
    state = {"at": "2026-01-02T03:04:05.000+00:00", "throttled": "0x0"}
    for name, (precision, p50_us, session) in files.items():
        line = results.record(
            latency(p50_us),
            before=state,
            after=state,
            host={"board": "made up for a test"},
            session_id=session,
            model={"name": name.replace("__", "."), "precision": precision},
            runtime={"name": "LiteRT"},
        )
        results.append_result(path, line)
    return results.read_results(path)


def test_gains_pair_int8_with_float_of_the_same_race(tmp_path, notebook):
    frame = stored(
        tmp_path / "a.jsonl",
        net__tflite=("float32", 300, "s"),
        net_int8__tflite=("int8", 100, "s"),
        other_int8__tflite=("int8", 100, "s"),
    )
    gains = notebook.gains_of(frame)
    assert gains[["network", "runtime", "form", "counts"]].values.tolist() == [
        ["net", "LiteRT", "int8", True]
    ]
    assert gains["gain"][0].value == pytest.approx(3, rel=0.01) and gains["gain"][0].low <= 3.05
    apart = stored(
        tmp_path / "b.jsonl", net__tflite=("float32", 300, "s"), net_int8__tflite=("int8", 100, "t")
    )
    assert notebook.gains_of(apart).empty, "two sessions are no comparison"


# ---- a sustained run


START = datetime(2026, 1, 2, 3, tzinfo=UTC)


def slices(path, state, seconds: int, times, spoiled=()) -> pd.DataFrame:
    """Records of two files in slices of ten seconds.

    `state(second)` is the Pi's state, `times(second)` the p50 of both in µs. In the slices of
    `spoiled` other programs used the processor.
    """
    for second in range(0, seconds, 10):
        before = state(second)
        after = state(second + 10)
        for name, p50_us in zip(("first.onnx", "second.ncnn.param"), times(second)):
            line = results.record(
                latency(p50_us, threads=4),
                before=before,
                after=after,
                scenario="Sustained",
                host={"board": "made up for a test"},
                model={"name": name, "precision": "float32"},
                runtime={"name": "ONNX Runtime" if name == "first.onnx" else "ncnn"},
            )
            if second in spoiled:
                line |= {"valid": False, "void_reasons": ["other programs used 2.0 of 4 cores"]}
            results.append_result(path, line)
    return results.read_results(path)


def at(second: int, throttled="0x0") -> dict:
    return {
        "at": (START + timedelta(seconds=second)).isoformat(timespec="milliseconds"),
        "throttled": throttled,
        "temp_c": 50 + second / 20,
    }


def heating(pi):
    """The state of a simulated Pi that throttles from minute five on."""

    def state(second: int) -> dict:
        pi.write("sys/class/thermal/thermal_zone0/temp", f"{min(85_000, 50_000 + 100 * second)}\n")
        return pi.says(0x60006 if second > 300 else 0) | {"at": at(second)["at"]}

    return state


def made_up_file(name: str) -> model_files.ModelFile:
    return model_files.ModelFile("made up", "a runtime", "float32", Path(name))


def test_a_pi_that_throttles_from_minute_five_gets_record_figure_and_sentence(
    pi, tmp_path, notebook
):
    """The notebook's own cells, on a Pi whose clock falls to 1.5 GHz after five minutes."""
    path = tmp_path / "pi.jsonl"
    state = heating(pi)
    clock = [0]

    def measure(workers: dict, scenario: str, **how) -> list[str]:
        slower = 1.6 if clock[0] >= 300 else 1
        one = slices(
            tmp_path / f"{clock[0]}.jsonl",
            lambda second: state(clock[0] + second),
            10,
            lambda second: (int(100 * slower), int(120 * slower)),
        )
        with path.open("ab") as store:
            store.write((tmp_path / f"{clock[0]}.jsonl").read_bytes())
        clock[0] += 10
        return one["run_id"].tolist()

    names = dict(vars(notebook)) | {
        "measure": measure,
        "start_all": lambda starters: contextlib.nullcontext(dict.fromkeys(starters)),
        "store": path,
        "time": types.SimpleNamespace(monotonic=lambda: clock[0]),
        "round_calls": 3,
        "contestants": [made_up_file("first"), made_up_file("second")],
        "longest": 4,
        "network": "made up",
        "recorded": None,
        "name_of_machine": "a made-up Pi",
        "on_a_pi": True,
        "sustained_s": 600,
        "shown": [],
    }
    names |= {"display": names["shown"].append, "Markdown": names["shown"].append}
    for part in (
        "def sustain(",
        "slices = sustain(",
        "plot_over_time(sustained",
        "sustained.ends(",
        "sustained_said =",
    ):
        exec(next(cell.source for cell in code_cells(NAME) if part in cell.source), names)

    frame = results.read_results(path)
    hot = frame[pd.to_datetime(frame["conditions.before.at"]) >= START + timedelta(minutes=5)]
    assert len(frame) == 120 and len(hot) == 60
    assert hot["throttled_by"].tolist() == [["frequency capped", "throttled"]] * 60
    assert not hot["valid"].any()
    assert set(hot["conditions.after.clock_khz"]) == {1_500_000}
    assert hot["conditions.after.temp_c"].min() > 80
    cool = set(frame["run_id"]) - set(hot["run_id"])
    assert set(results.rank(frame)["run_id"]) == cool, "throttled rows are kept and never ranked"

    table, sentence = names["shown"]
    assert table.data["change"].tolist() == pytest.approx([1.6, 1.6], rel=0.01)
    assert set(table.data["the Pi reported"]) == {"frequency capped, throttled"}
    assert sentence == (
        "After 10.0 minutes under load, p50 is 1.60 to 1.60 times that of the beginning. "
        "From minute 5.0 on the Pi reported: frequency capped, throttled. These slices are kept "
        "and marked, because the slower clock is the result; like all throttled rows, they are "
        "not ranked."
    )

    axes = plt.gcf().axes
    assert [ax.get_ylabel() for ax in axes] == ["p50 (ms)", "°C", "GHz"]
    hollow = [line for line in axes[0].lines if line.get_markerfacecolor() == "white"]
    assert [len(line.get_xdata()) for line in hollow] == [30, 30]
    assert min(hollow[0].get_xdata()) == pytest.approx(5 + 1 / 6)
    bands = [patch.get_x() for patch in axes[0].patches]
    assert len(bands) == 30 and min(bands) == pytest.approx(5)
    assert axes[0].get_legend().get_texts()[-1].get_text() == "throttled: not ranked"
    plt.close("all")


def test_slices_that_other_programs_disturbed_are_not_shown(tmp_path):
    def run(name: str, spoiled) -> pd.DataFrame:
        return slices(tmp_path / f"{name}.jsonl", at, 600, lambda second: (100, 120), spoiled)

    busy = run("end", range(540, 600, 10))
    trace = sustained.over_time(busy)
    assert len(trace) == 2 * 54 and trace["minute"].max() == 9 and set(trace["minutes"]) == {10}
    disturbed = "Other programs used the processor at the beginning or at the end"
    assert sustained.report(busy).startswith(disturbed), "minute 9 is not the end"
    assert len(sustained.tenth(trace, last=False)) == 2 * 6
    assert sustained.report(run("middle", range(100, 500, 10))).startswith("After 10.0 minutes")
    why = [["other programs used 2.0 of 4 cores"]] * len(busy)
    nothing = busy.assign(valid=False, void_reasons=why)
    assert sustained.report(nothing).startswith(disturbed)
    assert sustained.over_time(nothing).empty and sustained.ends(sustained.over_time(nothing)).empty


def test_files_change_places_only_if_both_ends_are_certain(tmp_path):
    def report(name: str, times, state=at) -> str:
        return sustained.report(slices(tmp_path / f"{name}.jsonl", state, 120, times))

    swapped = report("swapped", lambda second: (100 + second, 120))
    changed = "Files that changed places: "
    expected = f"The Pi reported no throttling. {changed}first.onnx and second.ncnn.param."
    assert swapped.endswith(expected)
    slower = report("slower", lambda second: (100 + second, 120 + second))
    assert f"{changed}none that can be measured." in slower
    tied = report("tied", lambda second: (100, 100) if second < 60 else (100, 120))
    assert "none that can be measured" in tied, "at the beginning no file was significantly first"

    def throttling(second: int) -> dict:
        return at(second, "0x4" if second > 60 else "0x0")

    hot = report("hot", lambda second: (100 + second, 120), throttling)
    assert "changed places" not in hot and "From minute 1.0 on the Pi reported: throttled." in hot
    silent = report("silent", lambda second: (100, 120), lambda second: at(second, None))
    assert "This machine does not report throttling." in silent


def test_flags_that_come_and_go_are_counted(tmp_path):
    def state(second: int) -> dict:
        return at(second, "0x8" if second in (60, 300) else "0x0")

    frame = slices(tmp_path / "a.jsonl", state, 600, lambda second: (100, 120))
    # a flag is seen at the end of one slice and at the beginning of the next
    said = sustained.report(frame)
    assert "In 7% of the slices, the first at minute 0.8, the Pi reported: soft temperature" in said


def test_a_sustained_run_recorded_before_there_was_a_measured_clock(tmp_path):
    frame = slices(tmp_path / "a.jsonl", at, 120, lambda second: (100, 120))
    trace = sustained.over_time(frame.assign(schema_version=2).drop(columns="throttled_by"))
    assert trace["GHz"].isna().all() and trace["°C"].max() == 56
    assert (trace["throttled"] == "").all()


# ---- winners, ratios, energy, C++


def race(path, **p50_us) -> pd.DataFrame:
    """The rows of one race as the notebook has them."""
    frame = stored(path, **{name: ("float32", p50, "s") for name, p50 in p50_us.items()})
    p50_ms = frame["latency_ns.p50"] / 1e6
    return results.rank(frame.assign(network="net", **{"p50 (ms)": p50_ms}))


def test_a_winner_has_an_interval_and_a_tie_is_named(tmp_path, notebook):
    clear = notebook.podium(race(tmp_path / "a.jsonl", a__onnx=100, b__mnn=150, c__tflite=200))
    assert (clear["fastest"], clear["next"]) == ("a.onnx", "b.mnn")
    assert clear["tied with the fastest"] == "none"
    assert re.fullmatch(r"0\.\d+ \[0\.\d+, 0\.\d+\]", clear["p50 (ms)"])
    assert clear["times as fast as the next"] == "1.50 [1.50, 1.50]"
    tied = notebook.podium(race(tmp_path / "b.jsonl", a__onnx=100, b__mnn=100, c__tflite=200))
    assert tied["tied with the fastest"] in ("a.onnx", "b.mnn")
    alone = notebook.podium(race(tmp_path / "c.jsonl", a__onnx=100))
    assert (alone["next"], alone["tied with the fastest"]) == ("", "none")


def test_only_files_of_one_race_can_be_tied(tmp_path, notebook):
    rows = race(tmp_path / "a.jsonl", a__onnx=100, b__mnn=100)
    assert len(notebook.ties(rows.iloc[0], rows)) == 1
    for column, other in (("session_id", "t"), ("network", "x"), ("runtime.threads", 2)):
        apart = rows.assign(**{column: [rows[column][0], other]})
        assert notebook.ties(apart.iloc[0], apart) == [], column


@pytest.mark.parametrize(
    "ratio, words",
    [
        ((0.95, 0.93, 1.21), "not measurably faster or slower than Python (0.95 [0.93, 1.21])"),
        ((1.09, 1.04, 1.14), "1.09 [1.04, 1.14] times as fast as Python"),
        ((0.1, 0.08, 0.125), "10.00 [8.00, 12.50] times slower than Python"),
    ],
)
def test_a_ratio_in_words(notebook, ratio, words):
    assert notebook.in_words(timing.Ratio(*ratio), "Python") == words


def test_what_gelu_costs_apart_from_its_conversions(notebook):
    layers = pd.DataFrame(
        {
            "kind": ["integer", "to and from int8", "float32", "to and from int8"],
            "time (µs)": [50, 5, 30, 15],
        }
    )
    said = notebook.gelu_report(layers, timing.Ratio(1.8, 1.7, 1.9), timing.Ratio(2.5, 2.4, 2.6))
    assert "the conversions take 20% of the time" in said
    assert "about 2.25 instead of 1.80; with ReLU it is 2.50" in said
    assert "GELU itself takes 30% of the time" in said


def test_the_energy_of_an_inference_is_above_idle(notebook):
    timed = latency(p50_us=1000)
    assert notebook.joules(timed, 3.0, 5.5) == pytest.approx(2.5 * timed.samples_ns.mean() / 1e9)
    with pytest.raises(AssertionError, match="3.0 W under load must be more than 3.0 W idle"):
        notebook.joules(timed, 3.0, 3.0)


@pytest.mark.parametrize("shift, equal", [(0.0, True), (0.009, True), (0.02, False)])
def test_python_and_cpp_are_compared_by_their_logits(tmp_path, notebook, shift, equal):
    """All shifts leave the same class first."""

    class Program:
        runtime = "ncnn"

        def __init__(self, path, program=None) -> None:
            self.logits = np.array([[0, 10, 1]], np.float32) + (shift if program else 0)

        def predict(self, images):
            return self.logits

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

    (tmp_path / "it").write_text("")
    times = types.SimpleNamespace(
        benchmark=lambda pair, **_: {name: latency() for name in pair}, speedup=timing.speedup
    )
    names = {
        "np": np,
        "in_cpp": {"ncnn": "it"},
        "build_path": lambda *_: tmp_path / "it",
        "cpp_program": lambda runtime: tmp_path / "it",
        "Worker": Program,
        "images": None,
        "timing": times,
        "rounds": 6,
        "round_s": 0,
        "round_calls": 1,
    }
    cell = next(cell.source for cell in code_cells(NAME) if "python_cost, settings" in cell.source)
    if equal:
        exec(cell, names)
        assert names["python_cost"][0]["runtime"] == "ncnn"
    else:
        with pytest.raises(AssertionError, match="not equal, logits of up to 10 differ by 0.02"):
            exec(cell, names)


def test_nothing_that_counts_is_an_empty_ranking_and_a_sentence(tmp_path, notebook, capsys):
    frame = stored(tmp_path / "a.jsonl", net__tflite=("float32", 300, "s")).assign(valid=False)
    assert notebook.ranking(frame).empty
    assert capsys.readouterr().out == "no ranking: no valid measurement (0 of 1)\n"


# ---- whole runs


def shown(executed) -> str:
    texts = []
    for cell in executed.cells:
        for output in cell.get("outputs", []):
            assert output.get("name") != "stderr", output["text"]
            texts.append(output.get("text", ""))
            data = output.get("data", {})
            texts += [text for kind, text in data.items() if kind.startswith("text/")]
    return "\n".join(texts)


@pytest.mark.slow
def test_on_a_throttled_pi_without_pytorch_and_again_after_a_break(made, pi, tmp_path, monkeypatch):
    """Only what deployable_files() names is there; vcgencmd says "throttled".

    Then the same again, continued, with a replay.
    """
    copied = tmp_path / "build"
    (copied / "models").mkdir(parents=True)
    for path in model_files.deployable_files():
        shutil.copy(path, copied / "models")
    monkeypatch.setenv("WORKBOOK_BUILD", str(copied))
    absent = ["torch", "torchvision", "tensorflow", "executorch", "litert_torch", "torchao", "onnx"]
    (tmp_path / "sitecustomize.py").write_text(
        "import sys, importlib.util as util\nfind = util.find_spec\n"
        f"util.find_spec = lambda name, *rest: None if name in {absent} else find(name, *rest)\n"
        f"sys.modules.update(dict.fromkeys({absent}))\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    pi.says(0x4)
    text = shown(book.execute(NAME, SMALL))
    frame = results.read_results(build_dir("results"))
    race = frame.query("scenario == 'SingleStream'")
    assert len(race) == len(model_files.VARIANTS) and not frame["valid"].any()
    assert all("the Pi reported: throttled" in why for why in frame["void_reasons"])
    assert "no valid measurement (0 of 8)" in text and "the table stays empty" in text
    assert "None is, so nothing is ranked" in text and "Fastest:" not in text
    kept = "From minute 0.0 on the Pi reported: throttled. These slices are kept and marked"
    # the second on a busy machine
    assert kept in text or "Other programs used the processor" in text
    assert frame["throttled_by"].tolist() == [["throttled"]] * len(frame)
    assert set(frame["conditions.after.clock_khz"]) == {1_500_000} and "No load was run" in text
    assert "(`make cpp`)" in text or "C++: times as fast" in text
    assert set(frame["scenario"]) == {"SingleStream", "Sustained"}

    pi.says(0)
    recording = tmp_path / "recorded.jsonl"
    for file in build_dir("results").glob("*.jsonl"):
        lines = [json.loads(line) for line in file.read_text().splitlines()]
        for line in lines:
            line["host"]["board"] = "Raspberry Pi 5 (made up for a test)"
        recording.write_text("".join(json.dumps(line) + "\n" for line in lines))
    continued = {
        "sustained_s": 0,
        "reuse_hours": 1,
        "replay": str(recording),
        "watts_loaded": 5.0,
        "watts_idle": 3.0,
        "meter_s": 0.1,
    }
    text = shown(book.execute(NAME, SMALL | continued))
    assert "mnist_cnn, 1 thread(s): measured before, kept" in text
    assert "replaying recorded.jsonl: Raspberry Pi 5 (made up for a test)" in text
    assert "No Pi here" not in text
    again = results.read_results(build_dir("results"))
    race_again = again.query("scenario == 'SingleStream'")
    assert race_again["run_id"].tolist() == race["run_id"].tolist(), "nothing is measured twice"
    metered = again.query("scenario == 'Metered'").iloc[0]
    above_idle = (5.0 - 3.0) * metered["latency_ns.mean"] / 1e9
    assert metered["energy.joules_per_inference"] == pytest.approx(above_idle)
    assert "mJ per inference (5.0 W by a meter less 3.0 W idle)" in text


def test_a_network_that_the_memory_cannot_hold_is_left_out_and_named(made, capsys):
    cell = next(cell for cell in code_cells(NAME) if "rule of thumb" in cell.source)
    files = model_files.files(["mnist_cnn", "six_convs_relu"])
    needed = 60e6 * 9 + 5 * sum(part.stat().st_size for file in files[:8] for part in file.parts)

    def left(free: float) -> list:
        memory = types.SimpleNamespace(virtual_memory=lambda: types.SimpleNamespace(available=free))
        names = {"psutil": memory, "networks": ["mnist_cnn", "six_convs_relu"], "files": files}
        exec(cell.source, names)
        assert {file.network for file in names["files"]} == set(names["networks"])
        return names["networks"]

    assert left(needed) == ["mnist_cnn", "six_convs_relu"] and capsys.readouterr().out == ""
    assert left(needed - 1) == ["six_convs_relu"]
    said = "mnist_cnn is skipped: it needs about 0.7 GB of memory, 0.7 GB are free\n"
    assert capsys.readouterr().out == said
    with pytest.raises(AssertionError, match="close other programs"):
        left(1e6)


def test_without_the_files_it_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBOOK_BUILD", str(tmp_path))
    cell = next(cell for cell in code_cells(NAME) if "build_missing" in cell.source)
    names = {"find_spec": lambda name: None, "model_files": model_files, "networks": ["mnist_cnn"]}
    with pytest.raises(AssertionError, match="`workbook pi` on the laptop copies them"):
        exec(cell.source, names)
