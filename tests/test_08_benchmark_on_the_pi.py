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

from helpers import device, long_runs, metrics, model_files, profiling, results, sustained, timing
from helpers.bench import entrants, race, standings
from helpers.data import mnist, normalize
from helpers.paths import ROOT, build_dir, build_path
from helpers.runtimes import open_model
from helpers.timing import Latency, WarmUp
from workbook import book

NAME = "08_benchmark_on_the_pi"
SMALL = {
    "networks": ["mnist_cnn"],
    "thread_counts": [1],
    "rounds": 6,
    "round_s": 0.002,
    "pause_s": 0,
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
def test_other_programs_beside_several_threads(others_s, threads, found):
    """Of 10 seconds on two cores: more than a tenth of a core beside two threads is in the way."""
    both = (100.0, 20.0), (115.0 + others_s, 35.0)
    reason = f"other programs used {others_s / 10:.1f} of 2 cores beside 2 threads"
    assert race.others_in_the_way(*both, 10.0, threads, 2) == ([reason] if found else [])
    assert race.others_in_the_way(*both, 10.0, 2, 4) == []


def test_the_processor_time_of_ours_is_part_of_all():
    before = race.processor_s()
    end = before[1] + 0.3
    while race.processor_s()[1] < end:
        sum(range(10_000))
    after = race.processor_s()
    assert after[1] >= end
    assert after[0] - before[0] >= after[1] - before[1] - 0.1  # the clock ticks in hundredths


def test_layers_are_matched_in_order_or_not_at_all():
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
    gains = profiling.layer_gains(whole, small)
    assert gains["gain"].tolist() == [4.0, 0.5]
    assert gains["kind"].tolist() == ["reads the image", "linear"]
    assert profiling.layer_gains(whole, small.iloc[:2]).empty


def test_where_the_time_of_an_int8_file_goes():
    layers = pd.DataFrame(
        {
            "operator": ["QuantizeLinear", "QLinearConv", "Gelu", "DequantizeLinear"],
            "kind": ["to and from int8", "integer", "float32", "to and from int8"],
            "layer": ["-", "3 x 3", "-", "-"],
            "time (µs)": [5, 50, 30, 15],
        }
    )
    assert profiling.time_by_kind(layers) == {
        "integer": "1 (50%)",
        "to and from int8": "2 (20%)",
        "moving": "0 (0%)",
        "float32": "1 (30%)",
        "all (µs)": "100",
        "slowest": "QLinearConv, 3 x 3",
    }
    assert profiling.without_conversions(layers) == pytest.approx(1 / 0.8)


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
    return with_names(results.read_results(path))


def with_names(frame: pd.DataFrame) -> pd.DataFrame:
    """The columns that Race.rows adds."""
    network = frame["model.name"].str.split(r"\.|_int8", regex=True).str[0]
    form = frame["model.precision"].str.replace(" activations|,", "", regex=True)
    return frame.assign(network=network, form=form, **{"p50 (ms)": frame["latency_ns.p50"] / 1e6})


def test_gains_pair_int8_with_float_of_the_same_race(tmp_path):
    frame = stored(
        tmp_path / "a.jsonl",
        net__tflite=("float32", 300, "s"),
        net_int8__tflite=("int8", 100, "s"),
        other_int8__tflite=("int8", 100, "s"),
    )
    gains = standings.gains(frame)
    assert gains[["network", "runtime", "threads", "form", "valid"]].values.tolist() == [
        ["net", "LiteRT", 1, "int8", True]
    ]
    assert gains["gain"][0].value == pytest.approx(3, rel=0.01) and gains["gain"][0].low <= 3.05
    apart = stored(
        tmp_path / "b.jsonl", net__tflite=("float32", 300, "s"), net_int8__tflite=("int8", 100, "t")
    )
    assert standings.gains(apart).empty, "two sessions are no comparison"


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


def made_up_file(name: str, precision: str = "float32") -> entrants.Entrant:
    return entrants.Entrant("made up", "a runtime", precision, Path(name))


def test_a_pi_that_throttles_from_minute_five_gets_record_figure_and_sentence(
    pi, tmp_path, notebook, monkeypatch
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

    nobody = contextlib.nullcontext({})
    monkeypatch.setattr(race, "start_all", lambda starters: nobody)
    monkeypatch.setattr(race, "time", types.SimpleNamespace(monotonic=lambda: clock[0]))
    the_race = race.Race(path, [], {}, {})
    the_race.measure = measure
    names = notebook.as_dict() | {
        "slices": the_race.sustain([made_up_file("first"), made_up_file("second")], 4, 600),
        "longest": 4,
        "one": "made up",
        "recorded": None,
        "name_of_machine": "a made-up Pi",
        "on_a_pi": True,
        "sustained_s": 600,
        "shown": [],
    }
    names |= {"display": names["shown"].append, "sustained": sustained}
    names["textwrap"] = types.SimpleNamespace(fill=lambda text, width: text)
    names["print"] = names["shown"].append
    for part in ("def plot_over_time(", "sustained.ends("):
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


def rows_of(path, **p50_us) -> pd.DataFrame:
    """The rows of one race as the notebook has them, and as results.rank sorts them."""
    return results.rank(
        stored(path, **{name: ("float32", p50, "s") for name, p50 in p50_us.items()})
    )


def test_a_winner_has_an_interval_and_a_tie_is_named(tmp_path):
    clear = standings.podium(rows_of(tmp_path / "a.jsonl", net__onnx=100, net__mnn=150))
    assert (clear["network"], clear["threads"]) == ("net", 1)
    assert (clear["fastest"], clear["next"]) == ("LiteRT, float32", "LiteRT, float32")
    assert re.fullmatch(r"0\.\d+ \[0\.\d+, 0\.\d+\]", clear["p50 (ms)"])
    assert clear["times as fast as the next"] == "1.50 [1.50, 1.50]"
    assert clear["tied with the fastest"] == "none"
    alone = standings.podium(rows_of(tmp_path / "c.jsonl", net__onnx=100))
    assert (alone["next"], alone["tied with the fastest"]) == ("", "none")


def test_only_files_of_one_race_can_be_tied(tmp_path):
    rows = rows_of(tmp_path / "a.jsonl", net__onnx=100, net__mnn=100)
    assert standings.ties(rows.iloc[0], rows) == ["LiteRT, float32"]
    for column, other in (("session_id", "t"), ("network", "x"), ("runtime.threads", 2)):
        apart = rows.assign(**{column: [rows[column][0], other]})
        assert standings.ties(apart.iloc[0], apart) == [], column


@pytest.mark.parametrize(
    "ratio, words",
    [
        ((0.95, 0.93, 1.21), "not measurably faster or slower than Python (0.95 [0.93, 1.21])"),
        ((1.09, 1.04, 1.14), "1.09 [1.04, 1.14] times as fast as Python"),
        ((0.1, 0.08, 0.125), "10.00 [8.00, 12.50] times slower than Python"),
    ],
)
def test_a_ratio_in_words(ratio, words):
    assert standings.in_words(timing.Ratio(*ratio), "Python") == words


def test_races_without_a_valid_row_are_named(tmp_path, capsys):
    frame = stored(
        tmp_path / "a.jsonl",
        net__tflite=("float32", 300, "s"),
        net_int8__tflite=("int8", 100, "s"),
        other__onnx=("float32", 100, "s"),
    )
    frame["valid"] = frame["network"] == "net"
    found = standings.podiums(frame)
    assert found[["network", "fastest"]].values.tolist() == [["net", "LiteRT, int8"]]
    said = "other, 1 thread(s): no valid measurement (0 of 1)\n"
    assert capsys.readouterr().out == said
    assert standings.podiums(frame[frame["network"] == "other"]).empty


def test_rows_are_of_this_session_or_recent_and_of_these_files(tmp_path, monkeypatch):
    """One file in two settings, a record of another file, and one of an earlier session."""
    path = tmp_path / "a.onnx"
    path.write_text("a model")
    floats = entrants.Entrant("net", "LiteRT", "float32", path)
    halves = entrants.Entrant("net", "LiteRT", "half precision", path, (("precision", "low"),))
    the_race = race.Race(tmp_path / "a.jsonl", [floats, halves], {"cores": 2}, {})
    assert the_race.rows().empty
    worker = types.SimpleNamespace(
        input_shape=(1, 1, 28, 28), runtime="LiteRT", version="1", threads=1, peak_rss=lambda: 2**20
    )
    old = {"at": "2026-01-02T03:04:05.000+00:00", "throttled": "0x0"}
    now = {"at": datetime.now(UTC).isoformat(timespec="milliseconds"), "throttled": "0x0"}
    for one, state, session, p50_us in (
        (floats, old, "then", 500),
        (floats, now, "then", 400),
        (halves, old, results.SESSION_ID, 200),
        (halves, old, results.SESSION_ID, 250),
    ):
        monkeypatch.setattr(results, "SESSION_ID", results.SESSION_ID)
        line = the_race.record(one, latency(p50_us), worker, state, state, "SingleStream")
        results.append_result(the_race.store, line | {"session_id": session})
    other = line | {"run_id": "x", "model": line["model"] | {"sha256": "another"}}
    results.append_result(the_race.store, other)
    assert line["runtime"]["options"] == {"precision": "low"}
    rows = the_race.rows()
    assert rows["form"].tolist() == ["half precision"], "what was measured before does not count"
    assert rows["p50 (ms)"].tolist() == pytest.approx([0.25], rel=0.01), "the latest"
    assert rows["p50 (ms)"].tolist() == (rows["latency_ns.p50"] / 1e6).tolist()
    assert rows["memory (MB)"].tolist() == pytest.approx([1.048576])
    assert rows["p90 (ms)"].tolist() == (rows["latency_ns.p90"] / 1e6).tolist()
    both = the_race.rows(reuse_hours=1)
    assert sorted(both["form"]) == ["float32", "half precision"]
    assert both.set_index("form").loc["float32", "p50 (ms)"] == pytest.approx(0.4, rel=0.01)
    assert both["valid"].all() and set(both["network"]) == {"net"}
    results.append_result(
        the_race.store, line | {"run_id": "y", "valid": False, "void_reasons": ["throttled"]}
    )
    latest = the_race.rows().set_index("form")
    assert not latest.loc["half precision", "valid"]
    assert latest.loc["half precision", "void_reasons"] == ["throttled"]


def test_who_takes_part(made, monkeypatch, tmp_path):
    monkeypatch.delenv("ARMNN_DELEGATE", raising=False)
    monkeypatch.setattr(entrants.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(entrants.ctypes.util, "find_library", lambda name: None)
    found = entrants.entrants(["mnist_cnn"])
    halves = [one for one in found if one.precision == "half precision"]
    assert {one.runtime: dict(one.settings) for one in halves} == {
        "ncnn": {"fp16_packed": True, "fp16_storage": True, "fp16_arithmetic": True},
        "MNN": {"precision": "low"},
    }
    assert not [one for one in found if one.delegate]
    monkeypatch.setenv("ARMNN_DELEGATE", "libarmnnDelegate.so")
    [arm_nn] = [one for one in entrants.entrants(["mnist_cnn"]) if one.delegate]
    assert (arm_nn.runtime, arm_nn.delegate) == ("LiteRT + Arm NN", "armnn")
    assert (arm_nn.path.name, arm_nn.precision) == ("mnist_cnn.tflite", "float32")
    qat = build_path("models", "qat", "depthwise_int8.onnx")
    monkeypatch.setitem(model_files.DEPTHWISE, "int8, QAT", ("qat", qat.name))
    shutil.copy(build_path("models", "mnist_cnn_int8_u8.onnx"), qat)
    try:
        last = entrants.entrants(["mnist_cnn"])[-1]
        assert (last.network, last.precision) == ("depthwise", "int8, QAT")
        assert qat in model_files.deployable_files(), "the Pi gets it"
    finally:
        qat.unlink()


@pytest.mark.parametrize(
    "packages, written, taking_part, said",
    [
        ((), ("mnist_cnn.pt2", "mnist_cnn.pte"), [], "torch is not installed (requirements-pi-"),
        (("torch", "executorch"), (), [], "copy mnist_cnn.pte from the laptop's build/models"),
        (("torch",), ("mnist_cnn.torchscript",), ["mnist_cnn.torchscript"], "executorch is not"),
        (
            ("torch", "executorch"),
            ("mnist_cnn.pt2", "mnist_cnn.torchscript", "mnist_cnn.pte"),
            ["mnist_cnn.pt2", "mnist_cnn.pte"],
            "",
        ),
    ],
)
def test_pytorch_and_executorch_take_part_where_they_are_installed(
    tmp_path, capsys, packages, written, taking_part, said
):
    """As on a Pi, which converts nothing."""
    for name in written:
        (tmp_path / name).write_text("")
    names = {
        "is_laptop": False,
        "find_spec": lambda package: package if package in packages else None,
        "build_path": lambda folder, name: tmp_path / name,
        "networks": ["mnist_cnn"],
        "Entrant": entrants.Entrant,
        "files": [],
    }
    cell = next(cell for cell in code_cells(NAME) if "of_pytorch = {" in cell.source)
    exec(cell.source, names)
    assert [file.path.name for file in names["files"]] == taking_part
    assert all(file.precision == "float32" for file in names["files"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 - len(taking_part) and said in " ".join(lines)


@pytest.mark.parametrize("runtime", ["ncnn", "MNN"])
def test_half_precision_answers_as_float32_but_for_rounding(made, runtime):
    """This processor may compute these rows in float32: then nothing differs."""
    found = [one for one in entrants.entrants(["mnist_cnn"]) if one.runtime == runtime]
    images = normalize(mnist("test").images[:50])
    answers = {}
    for one in found:
        if one.precision in ("float32", "half precision"):
            with one.start() as worker:
                answers[one.precision] = worker.predict(images)
    whole, half = answers["float32"], answers["half precision"]
    # a half has 11 bits; sums of thousands of products lose some more
    assert np.abs(whole - half).max() <= 0.01 * np.abs(whole).max()


@pytest.mark.parametrize("number, text", [(123456, "120,000"), (0.0456, "0.046"), (9.96, "10")])
def test_two_digits(number, text):
    assert standings.two_digits(number) == text


# ---- energy, sparsity, published figures, C++


PMIC = """     3V7_WL_SW_A current(0)=0.50000000A
       VDD_CORE_A current(7)=2.00000000A
      3V7_WL_SW_V volt(8)=3.50000000V
       VDD_CORE_V volt(15)=0.90000000V
          EXT5V_V volt(24)=5.10000000V
"""


def test_the_power_of_a_pi_5_is_the_sum_over_its_rails(notebook):
    """EXT5V has no current: it is the supply, and not a rail."""
    assert notebook.board_watts(PMIC) == pytest.approx(0.5 * 3.5 + 2 * 0.9)


def test_the_energy_of_an_inference_is_above_idle(notebook):
    timed = latency(p50_us=1000)
    assert notebook.joules(timed, 3.0, 5.5) == pytest.approx(2.5 * timed.samples_ns.mean() / 1e9)
    assert notebook.joules(timed, 3.0, 5.5) == pytest.approx(0.0025, rel=0.02)
    with pytest.raises(AssertionError, match="3.0 W under load must be more than 3.0 W idle"):
        notebook.joules(timed, 3.0, 3.0)


def test_sparsity_is_the_share_of_weights_that_are_zero(tmp_path, notebook, made):
    np.array([0, 1, 0, 0, 2, 0, 0, 3], np.float32).tofile(tmp_path / "a.bin")
    assert notebook.sparsity(tmp_path / "a.bin") == "62.5 %"
    share = float(notebook.sparsity(build_path("models", "mnist_cnn.ncnn.bin")).rstrip(" %"))
    assert share < 1, "nothing was pruned"


def test_a_row_of_the_big_table(tmp_path, notebook):
    """20 ms per image are 50 images per second."""
    rows = rows_of(tmp_path / "a.jsonl", net__onnx=20_000, net__mnn=20_000)
    file = made_up_file("net.onnx")
    right = {file: metrics.accuracy([1, 2, 3, 4], [1, 2, 3, 5])}
    energy = {("net.onnx", "float32", 1): "50 mJ"}
    names = {"valid": rows, "right": right, "zeros": {"net": "0.0 %"}, "energy": energy}
    notebook.big_row.__globals__.update(names | {"name_of_machine": "a Pi"})
    row = rows[rows["model.name"] == "net.onnx"].iloc[0]
    line = notebook.big_row(row.replace({None: np.nan}))
    assert float(line["latency (ms)"].split()[0]) == pytest.approx(20, rel=0.01)
    assert line["FPS"] == "50" and line["energy"] == "50 mJ" and line["sparsity"] == "0.0 %"
    assert line["accuracy"].startswith("75.0 %") and "tied with LiteRT" in line["comments"]


def test_published_figures_have_a_source_and_a_doubt():
    rows = json.loads((ROOT / "notebooks/figures/08_published.json").read_text())["rows"]
    assert len(rows) == 14
    assert all(row["source"].startswith("https://") and row["doubt"] for row in rows)
    int8 = [row for row in rows if row["precision"] == "int8"]
    assert {row["board"]: row["seconds"] for row in int8} == {
        "Raspberry Pi 4": 0.0547,
        "Raspberry Pi 5": 0.0108,
    }


def test_earlier_races_are_complete():
    rows, _ = long_runs.load_rows(ROOT / "notebooks/figures/08_earlier_races.json")
    frame = pd.DataFrame(rows)
    races = frame.groupby(["date", "time", "machine"])
    assert len(races) >= 6 and set(races.size()) == {24}
    assert frame["machine"].nunique() > 1 and (frame["p50_ms"] > 0).all()


def test_the_int8_ratios_are_float_over_int8(notebook, tmp_path, capsys):
    """The cells that measure the S8 file and the islands, with known times."""
    us = {".onnx": 100, "_u8.onnx": 50, "_s8.onnx": 100, "_qoperator.onnx": 500}

    def fake(workers: dict, **how) -> dict:
        names = {name: Path(getattr(name, "path", name)) for name in workers.values()}
        return {
            key: latency(next(us[end] for end in reversed(us) if path.name.endswith(end)))
            for key, path in zip(workers, names.values())
        }

    (tmp_path / "models").mkdir()
    for name in ("mnist_cnn", "six_convs_relu", "six_convs_gelu"):
        for suffix in (".onnx", "_int8_u8.onnx", "_int8_s8.onnx", "_int8_s8_qoperator.onnx"):
            (tmp_path / "models" / f"{name}{suffix}").write_text("")
    layers = pd.DataFrame({"kind": ["integer"], "time (µs)": [1]})
    names = notebook.as_dict() | {
        "networks": ["mnist_cnn"],
        "how": {},
        "profiled_calls": 1,
        "build_path": lambda *parts: tmp_path.joinpath(*parts),
        "start_all": lambda starters: contextlib.nullcontext(
            {name: starter.args[0] for name, starter in starters.items()}
        ),
        "timing": types.SimpleNamespace(benchmark=fake, speedup=timing.speedup),
        "profiling": types.SimpleNamespace(
            profile_onnxruntime=lambda path, calls: layers,
            time_by_kind=lambda layers: {},
            without_conversions=lambda layers: 1.25,
        ),
        "model_files": types.SimpleNamespace(
            SIGNED_OPERATORS=model_files.SIGNED_OPERATORS,
            TOY_NETWORKS=model_files.TOY_NETWORKS,
            files=lambda names: [
                model_files.ModelFile(
                    names[0], "ONNX Runtime", suffix, tmp_path / "models" / f"{names[0]}{suffix}"
                )
                for suffix in (".onnx", "_int8_u8.onnx")
            ],
        ),
    }
    for part in ("signs = {}", "island_gain = {}"):
        exec(next(cell.source for cell in code_cells(NAME) if part in cell.source), names)
    found = {form: ratio.value for form, ratio in names["signs"]["mnist_cnn"].items()}
    assert found == pytest.approx({"U8": 2, "S8": 1, "S8, integer operators": 0.2}, rel=0.02)
    assert [ratio.value for ratio in names["island_gain"].values()] == pytest.approx(
        [2, 2], rel=0.02
    )
    assert "six_convs_gelu: int8 is 2.0" in capsys.readouterr().out


@pytest.mark.parametrize("shift, equal", [(0.0, True), (0.009, True), (0.02, False)])
def test_python_and_cpp_are_compared_by_their_logits(tmp_path, capsys, shift, equal):
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
    built = {"ncnn": tmp_path / "it"}
    names = {
        "np": np,
        "pd": pd,
        "standings": standings,
        "build_path": lambda *_: tmp_path / "it",
        "cpp_program": lambda runtime: built.get(runtime, tmp_path / "not built"),
        "Worker": Program,
        "images": None,
        "timing": times,
        "rounds": 6,
        "how": {},
    }
    cell = next(cell.source for cell in code_cells(NAME) if "python_cost = {}" in cell.source)
    if equal:
        exec(cell, names)
        assert list(names["python_cost"]) == ["ncnn"]
        assert "Not here: mnn, libtorch. Build the programs (`make cpp`)" in capsys.readouterr().out
    else:
        with pytest.raises(AssertionError, match="not equal, logits of up to 10 differ by 0.02"):
            exec(cell, names)


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
    first_race = frame.query("scenario == 'SingleStream'")
    # ncnn and MNN take part in half precision, too
    assert len(first_race) == len(model_files.VARIANTS) + 2 and not frame["valid"].any()
    assert all("the Pi reported: throttled" in why for why in frame["void_reasons"])
    assert "10 records in" in text and "10 of 10 records are invalid" in text
    assert "the table stays empty" in text
    kept = "From minute 0.0 on the Pi reported: throttled. These slices are kept and marked"
    # the second on a busy machine; lines are wrapped
    words = " ".join(text.split())
    assert kept in words or "Other programs used the processor" in words
    assert frame["throttled_by"].tolist() == [["throttled"]] * len(frame)
    assert set(frame["conditions.after.clock_khz"]) == {1_500_000} and "No load was run" in text
    assert "(`make cpp`)" in text or "C++: times as fast" in text
    assert "run this notebook tomorrow" in text
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
    assert "No recorded run is named" not in text
    again = results.read_results(build_dir("results"))
    race_again = again.query("scenario == 'SingleStream'")
    once = first_race["run_id"].tolist()
    assert race_again["run_id"].tolist() == once, "nothing is measured twice"
    metered = again.query("scenario == 'Metered'").iloc[0]
    above_idle = (5.0 - 3.0) * metered["latency_ns.mean"] / 1e9
    assert metered["energy.joules_per_inference"] == pytest.approx(above_idle)
    millijoules = f"{1e3 * metered['energy.joules_per_inference']:.3g} mJ per inference"
    assert f"{millijoules} (5.0 W less 3.0 W idle)" in text


def test_a_network_that_the_memory_cannot_hold_is_left_out_and_named(made, capsys):
    cell = next(cell for cell in code_cells(NAME) if "rule of thumb" in cell.source)
    files = model_files.files(["mnist_cnn", "six_convs_relu"])
    needed = 60e6 * 9 + 5 * sum(part.stat().st_size for file in files[:8] for part in file.parts)
    facts = {name: {} for name in ("mnist_cnn", "six_convs_relu")}

    def left(free: float) -> list:
        memory = types.SimpleNamespace(virtual_memory=lambda: types.SimpleNamespace(available=free))
        names = {
            "find_spec": lambda name: None,
            "model_files": types.SimpleNamespace(network_info=lambda: facts),
            "entrants": lambda networks: files,
            "psutil": memory,
            "networks": ["mnist_cnn", "six_convs_relu"],
        }
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


def test_the_earlier_races_show_what_the_page_says_about_them():
    """Times differ by machine and day, and int8 is faster on some of them and slower on others."""
    rows, _ = long_runs.load_rows(ROOT / "notebooks/figures/08_earlier_races.json")
    frame = pd.DataFrame(rows).query("network == 'mobilenet_v2' and runtime == 'ONNX Runtime'")
    ms = frame.pivot_table(index=["date", "time"], columns="form", values="p50_ms")
    assert ms["float32"].max() > 1.5 * ms["float32"].min()
    gains = ms["float32"] / ms["int8 U8"]
    assert gains.min() < 1 < gains.max()
