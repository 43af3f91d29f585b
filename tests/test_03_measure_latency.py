"""Notebook 03: units, ratios and percentiles of its functions, and the sentences of its page."""

import types

import numpy as np
import pandas as pd
import psutil
import pytest
from notebook_code import definitions
from notebook_pages import as_numbers, numbers, run_cell, table

from helpers import timing
from helpers.paths import build_path

NAME = "03_measure_latency"
book = definitions(NAME)
names = book.describe.__globals__  # what the notebook's cells set at run time is set here


def latency(times_us: np.ndarray, threads: int = 1, waiting: float = 0) -> timing.Latency:
    """Rounds x calls of these times; others take the share `waiting` of the rounds' time."""
    wall = (1e3 * np.asarray(times_us)).astype(np.int64)
    whole = wall.sum(axis=1)
    rounds = np.stack([whole / (1 - waiting), whole], axis=1).astype(np.int64)
    return timing.Latency(wall, wall, rounds, timing.WarmUp(1, 1, True), threads)


def constant(us: float, threads: int = 1) -> timing.Latency:
    return latency(np.full((8, 50), us), threads)


# units and ratios


@pytest.mark.parametrize("latency_ns, images", [(1e6, 1000), (4e5, 2500), (1e9, 1)])
def test_images_per_second(latency_ns, images):
    assert book.per_second(latency_ns) == pytest.approx(images)


def test_the_statistics_of_a_latency():
    times_us = np.arange(1, 1001).reshape(10, 100)
    found = book.describe(latency(times_us, waiting=0.5))
    assert found["p50"] == pytest.approx(501, abs=1) and found["p90"] == pytest.approx(901, abs=1)
    assert found["p99"] == pytest.approx(991, abs=1)
    assert found["CPU time p50"] == pytest.approx(500.5, abs=1)
    # twice the time of the calls, of 100 calls and the one that is thrown away in each round
    assert found["mean"] == pytest.approx(2 * 500.5 * 100 / 101)
    assert found["contention (%)"] == pytest.approx(50)


def test_the_spread_of_a_percentile():
    uniform = np.linspace(0, 1000, 100_001)
    # the median of n uniform numbers has the standard deviation 1 / (2 sqrt(n + 2))
    for n in (10, 100):
        assert book.spread(uniform, n, 50) == pytest.approx(3.92 * 500 / np.sqrt(n + 2), rel=0.2)
    assert book.spread(uniform, 1000, 99) < book.spread(uniform, 1000, 50)
    assert book.spread(np.full(10, 7.0), 5, 90) == 0


def test_a_candidate_calls_as_often_as_it_says(monkeypatch):
    calls = []
    monkeypatch.setitem(names, "model", types.SimpleNamespace(run=calls.append))
    monkeypatch.setitem(names, "image", "image")
    book.times(5)()
    assert calls == ["image"] * 5


def test_both_ways_give_the_ratio_of_the_second_to_the_first(monkeypatch):
    cost_us = {"a": 100, "b": 125}

    def time_calls(candidate, calls, discard):
        wall = np.full(calls, 1e3 * cost_us[candidate])
        wall[-1] += 1e6  # one call is interrupted: the mean sees it, the median does not
        return wall, wall, np.array([wall.sum(), wall.sum()])

    def benchmark(candidates, rounds, **settings):
        return {name: constant(cost_us[name]) for name in candidates}

    stub = types.SimpleNamespace(
        time_calls=time_calls, benchmark=benchmark, speedup=timing.speedup, Ratio=timing.Ratio
    )
    monkeypatch.setitem(names, "timing", stub)
    monkeypatch.setitem(names, "calls_each", 10)
    monkeypatch.setitem(names, "rounds", 8)
    mean, median = book.one_after_the_other("a", "b")
    assert median == pytest.approx(1.25) and mean == pytest.approx(2250 / 2000)
    assert book.in_turn("a", "b", seed=0).value == pytest.approx(1.25)


def test_two_threads_that_are_twice_as_fast():
    times_us = np.tile(np.arange(100, 200), (8, 1))
    row = book.scaling_row(latency(times_us), latency(times_us / 2, threads=2))
    assert row["1 thread, p50 (µs)"] == pytest.approx(150, abs=1)
    assert row["1 thread, p90 (µs)"] == pytest.approx(190, abs=1)
    assert row["2 threads, p90 (µs)"] == pytest.approx(95, abs=1)
    assert row["gain"].value == pytest.approx(2, rel=0.02)


def test_seconds_for_some_calls():
    def time_calls(calls, discard):
        assert discard == 0, "the first call belongs to the first pass"
        return np.full(calls, 2_000_000), None, None

    assert book.seconds_for(types.SimpleNamespace(time_calls=time_calls), 100) == 0.2


def test_a_ranking_begins_with_the_fastest():
    seconds = pd.Series({"slow": 3.0, "none": np.nan, "fast": 1.5})
    assert book.ranking(seconds) == "fast 1.00, slow 2.00"


def test_the_time_of_the_arithmetic():
    assert book.arithmetic_ns(12_000_000, 240e9) == pytest.approx(100_000)


def test_an_interval_is_shown_in_microseconds():
    assert book.in_us(timing.Interval(123_400, 120_000, 130_000)) == "123 [120, 130]"
    assert book.in_us(None) == "-"


def test_labels_are_apart_and_no_lower_than_their_marks():
    marks = [5.0, 1.0, 1.1, 1.05, 9.0]
    moved = book.apart(marks, 0.5)
    assert (moved >= marks).all()
    assert np.diff(np.sort(moved)).min() >= 0.5 - 1e-9
    assert (np.argsort(moved) == np.argsort(marks)).all()
    assert moved[0] == 5 and moved[4] == 9


def test_the_files_of_a_batch():
    assert book.file_of("onnx") == build_path("models", "mnist_cnn.onnx")
    assert book.file_of("mnn", 10) == build_path("models", "mnist_cnn_batch10.mnn")


def test_without_files_it_says_what_to_do(tmp_path):
    variables = with_definitions(
        kinds=("onnx", "mnn"), file_of=lambda kind: tmp_path / f"mnist_cnn.{kind}"
    )
    with pytest.raises(AssertionError, match="`workbook pi` on the laptop copies them"):
        run_cell(NAME, "needs = {", **variables)


def test_busy_programs_end_with_the_block():
    def children() -> int:
        return len(psutil.Process().children())

    before = children()
    with book.busy(2):
        assert children() == before + 2
    assert children() == before


# cells, with results that are known


def with_definitions(**variables) -> dict:
    return {**names, **variables}


def test_times_as_long():
    assert book.times_as_long([300, 100, 200], [50, 50, 400]) == 4


def test_a_load_that_doubles_every_time():
    rows = {"as it was": {"mean": 3.0, "p50": 2.0}, "busy": {"mean": 12.0, "p50": 4.0}}
    after = run_cell(
        NAME,
        'score("03-busy"',
        **with_definitions(comparison=pd.DataFrame(rows).T, score=lambda *_, **__: None),
    )
    assert after["ratios"].to_dict() == {"mean": 4, "p50": 2}


def test_errors_of_known_ratios(capsys):
    found = {"means": [1.5, 0.9], "medians": [0.8, 1.0], "in turn": [1.0, 1.01]}
    found |= {"low": [0.99, 1.005], "high": [1.02, 1.03]}
    columns = dict.fromkeys(("means", "medians", "in turn"))
    run_cell(NAME, "covered =", **with_definitions(found=pd.DataFrame(found), columns=columns))
    said = capsys.readouterr().out
    assert "means    worst of 2 answers off by 50.0 %" in said
    assert "medians  worst of 2 answers off by 20.0 %" in said
    assert "in turn  worst of 2 answers off by 1.0 %" in said
    assert "contained the truth 1 of 2 times" in said


def test_the_table_of_the_experiment():
    logits = np.eye(10)[[3, 4, 5, 6]] * 8
    wrong = logits.copy()
    wrong[0] = np.roll(wrong[0], 1)
    taken = [
        ("A", 1, 0, 9.0),
        ("A", 1, 1, 2.0),
        ("A", 1, 2, 4.0),
        ("B", 1, 0, 1.0),
        ("B", 1, 1, 1.0),
    ]
    taken += [("A", 2, 0, 7.0), ("A", 2, 1, 5.0), ("A", 2, 2, 5.0)]
    after = run_cell(
        NAME,
        "experiment = pd.DataFrame",
        **with_definitions(
            one_thread={"A": None, "B": None},
            taken=pd.DataFrame(taken, columns=["runtime", "batch", "pass", "seconds"]),
            answers={("A", 1): logits, ("A", 2): logits, ("B", 1): wrong},
            labels=np.array([3, 4, 5, 6]),
            images=np.zeros(4),
            batches=[1, 2],
            theirs=pd.Series({"B": 0.5}),
        ),
    )
    rows = after["experiment"]
    assert rows.loc["A", "4 x 1: first (s)"] == 9 and rows.loc["A", "4 x 1: warm (s)"] == 3
    assert rows.loc["A", "2 x 2: first (s)"] == 7 and np.isnan(rows.loc["B", "2 x 2: warm (s)"])
    assert rows.correct.to_dict() == {"A": 4, "B": 3}
    assert rows["largest difference to A"].to_dict() == {"A": 0, "B": 8}
    assert rows.iloc[1, 4] == 0.5


def test_the_time_of_an_image_in_a_batch():
    warm = pd.DataFrame({1: [0.5], 10: [0.25]}, index=["ONNX Runtime"])
    after = run_cell(
        NAME,
        'score("03-batch"',
        **with_definitions(
            order=["ONNX Runtime"], warm=warm, images=np.zeros(1000), score=lambda *_: None
        ),
    )
    [line] = after["ax"].lines
    np.testing.assert_allclose(line.get_ydata(), [500, 250])


def test_the_columns_of_the_table():
    raced = {"PyTorch": constant(400), "ncnn": latency(np.tile(np.arange(50, 150), (8, 1)))}
    lines = pd.DataFrame(
        {
            "latency_ns.p50": [times.percentile(50) for times in raced.values()],
            "latency_ns.p90": [times.percentile(90) for times in raced.values()],
            "model.bytes": 4_800_000,
            "valid": [False, True],
            "void_reasons": [["throttled", "contended"], []],
        },
        index=list(raced),
    )
    store = types.SimpleNamespace(query=lambda text: store, set_index=lambda column: lines)
    variables = with_definitions(
        one_thread=raced,
        results=types.SimpleNamespace(read_results=lambda path: store),
        store=None,
        facts={"PyTorch": {"memory": 300e6}, "ncnn": {"memory": None}},
        absolute={"PyTorch": None, "ncnn": timing.Interval(90_000, 80_000, 100_000)},
        limit_ns=50_000,
        parameters=1_200_000,
    )
    after = run_cell(NAME, "speedups =", **variables)
    row = after["table"].loc["ncnn"]
    assert list(after["table"].index) == ["ncnn", "PyTorch"], "an invalid row is last"
    assert row["p50 (µs)"] == pytest.approx(100, abs=1)
    assert row["p90 (µs)"] == pytest.approx(140, abs=1)
    assert row["images per second"] == pytest.approx(10_000, rel=0.01)
    assert row["times PyTorch"].value == pytest.approx(4, rel=0.01)
    assert row["of arithmetic peak (%)"] == pytest.approx(50, rel=0.01)
    assert row["file (MB)"] == pytest.approx(4.8) and np.isnan(row["memory (MB)"])
    assert row["p50 of sessions (µs)"] == "90 [80, 100]" and row["is valid"] == "yes"
    assert after["table"].loc["PyTorch", "memory (MB)"] == 300
    assert after["table"].loc["PyTorch", "is valid"] == "throttled; contended"
    # the notebook's own checks of a row, and what they notice
    run_cell(NAME, "p50_s =", **after)
    for column, factor in (("images per second", 1e-3), ("file (MB)", 1e3), ("p90 (µs)", 0.1)):
        wrong = after["table"].copy()
        wrong[column] *= factor
        with pytest.raises(AssertionError):
            run_cell(NAME, "p50_s =", **(after | {"table": wrong}))


@pytest.mark.parametrize(
    "part, variables, right",
    [
        ("check(answer, per_second", {"settled": 5e5}, 2000),
        ("check(answer, 30 * 60", {}, 18),
        ('check(answer, "unknown"', {}, "Unknown"),
        ("check(answer, 500", {}, 500),
        ("check(answer, lightest", {"costs": pd.DataFrame({"memory (MB)": {"a": 2, "b": 1}})}, "b"),
    ],
)
def test_right_answers_are_right(capsys, part, variables, right):
    for answer, said in ((right, "Right."), (None, "No answer yet."), (7, "Not yet")):
        run_cell(NAME, part, **with_definitions(answer=answer, **variables))
        assert capsys.readouterr().out.startswith(said)


# the committed page


def test_other_programs_change_the_mean_and_hardly_the_median():
    mean, p50 = numbers(NAME, r"the mean is (\S+) times as long, p50 (\S+) times")
    assert mean > 1.5 and p50 < 1.4 and mean > 1.3 * p50
    rows = table(NAME, "mean", "p50", "p90", "p99").apply(as_numbers)
    assert rows.loc["busy", "contention (%)"] > 30


def test_more_calls_give_a_steadier_percentile():
    rows = table(NAME, "p50", "p90", "p99", row="10 calls").apply(as_numbers)
    assert list(rows.index) == ["10 calls", "100 calls", "1,000 calls"]
    assert rows.p50.is_monotonic_decreasing and rows.p90.is_monotonic_decreasing


def test_the_experiment_of_the_first_source():
    rows = table(NAME, "correct", "1,000 x 1: warm (s)", "1 x 1,000: first (s)")
    for column in rows.columns:
        rows[column] = as_numbers(rows[column])
    assert {"PyTorch", "ONNX Runtime", "LiteRT", "ncnn", "MNN", "ExecuTorch"} == set(rows.index)
    assert rows.correct.min() >= 980 and rows.correct.max() - rows.correct.min() <= 1
    largest = rows[rows.columns[-1]]
    assert largest.drop("MNN").max() < 1e-3 and largest.MNN < 1e-2
    theirs = rows["theirs, Pi 4: first (s)"].dropna()
    assert theirs.to_dict() == {"PyTorch": 2.42, "ONNX Runtime": 1.42, "MNN": 2.11}
    for calls in ("1,000 x 1", "100 x 10", "1 x 1,000"):
        first = rows[f"{calls}: first (s)"].dropna()
        warm = rows[f"{calls}: warm (s)"].dropna()
        assert list(first.index) == list(warm.index)
        assert ("ncnn" in first.index) == (calls == "1,000 x 1"), "one image per call"
        assert first.between(0.01, 60).all() and warm.between(0.01, 60).all()


def test_the_figures_of_a_row_fit_together():
    rows = table(NAME, "p50 (µs)", "p90 (µs)", "images per second", "memory (MB)")
    p50 = as_numbers(rows["p50 (µs)"])
    assert (as_numbers(rows["p90 (µs)"]) >= p50).all()
    assert np.allclose(as_numbers(rows["images per second"]) * p50, 1e6, rtol=0.01)
    ratio = rows["times PyTorch"].str.extract(r"([\d.]+) \[")[0].astype(float)
    assert np.allclose(ratio * p50, p50["PyTorch"], rtol=0.01)
    assert as_numbers(rows["memory (MB)"]).between(20, 2000).all()
    assert rows["is valid"].eq("yes").all(), "execute the notebook on a quiet machine"
    assert as_numbers(rows["of arithmetic peak (%)"]).between(1, 300).all()


def test_every_runtime_times_the_drawn_digit():
    found = set()
    for name in ("PyTorch", "ONNX Runtime", "LiteRT", "ncnn", "MNN", "ExecuTorch"):
        digit, us = numbers(NAME, rf"{name} +reads a (\d) in +(\d+) µs")
        found.add(digit)
        assert us > 0
    assert len(found) == 1
