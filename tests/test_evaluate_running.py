"""`workbook evaluate`: progress, plan, conversions that are kept, Ctrl-C, a full disk."""

import json
import os
import resource
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from evaluate_files import command, evaluate, product

from helpers.paths import ROOT
from helpers.timing import WarmUp
from helpers.workers import Worker
from modelfiles.runtimes.options import VARIABLE
from workbook.evaluate import (
    candidates,
    interleaved,
    kept,
    opening,
    pieces,
    progress,
    race,
    reuse,
)
from workbook.evaluate.candidates import Candidate
from workbook.evaluate.examples import Examples
from workbook.evaluate.rows import FAILS, WORKS
from workbook.evaluate.source import Source
from workbook.evaluate.watched import WatchedWorker

# ---- the first line


def test_the_command_line_loads_nothing_heavy():
    code = (
        "import sys, workbook.cli; workbook.cli._parser()\n"
        "print({'numpy', 'torch', 'pandas', 'helpers'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "set()\n", done.stdout + done.stderr


def test_the_first_line_comes_at_once(tmp_path):
    start = time.monotonic()
    process = subprocess.Popen(
        command("none.onnx", "none.npz"), cwd=ROOT, stderr=subprocess.PIPE, text=True
    )
    first = process.stderr.readline()
    print(f"the first line of progress after {time.monotonic() - start:.2f} s")
    _, rest = process.communicate()
    assert first == "reading none.npz ...\n" and "none.npz does not exist" in rest
    assert process.returncode == 1


def test_rounds_are_reported_with_the_time_that_is_left():
    now = 0.0
    said = []
    rounds = progress.Rounds(20, said.append, lambda: now)
    for number in range(1, 21):
        now += 2
        rounds.finished(number)
    assert said[0] == "round 2 of 20, about 36 s left"
    assert said[-1].startswith("round 18 of 20") and len(said) == 9


# ---- the race


class Fake:
    """A worker with fixed times that runs `event` in its rounds."""

    threads = 1

    def __init__(self, ns, event=lambda number: None):
        self.ns = ns
        self.event = event
        self.calls = 0

    def warm_up(self):
        return WarmUp(10, self.ns, True)

    def time_calls(self, calls, discard):
        self.event(self.calls)
        self.calls += 1
        wall = np.full(calls, self.ns, np.int64)
        return wall, wall, np.array([calls * self.ns] * 2)


def interrupt(at):
    def event(number):
        if number == at:
            raise KeyboardInterrupt

    return event


def test_complete_rounds_survive_ctrl_c():
    seen = []
    workers = {"a": Fake(1000), "b": Fake(2000, interrupt(8))}
    found, done = interleaved.measure(workers, 20, seen.append, min_round_s=0)
    assert done == 7 and seen == list(range(1, 8))
    assert {name: one.samples_ns.shape for name, one in found.items()} == dict.fromkeys(
        "ab", (7, 10)
    )
    assert found["b"].percentile(50) == 2000 and found["b"].warm_up.first_call_ns == 2000


def test_too_few_rounds_are_no_measurement():
    workers = {"a": Fake(1000), "b": Fake(2000, interrupt(5))}
    with pytest.raises(KeyboardInterrupt):
        interleaved.measure(workers, 20, lambda done: None, min_round_s=0)


def test_a_process_that_ends_is_named():
    def end(number):
        if number == 3:
            raise RuntimeError("the process of b ended")

    workers = {"a": Fake(1000), "b": Fake(2000, end)}
    with pytest.raises(interleaved.WorkerEnded, match="of b ended") as caught:
        interleaved.measure(workers, 20, lambda done: None, min_round_s=0)
    assert caught.value.name == "b"


def simulated(generator, of_process=0.01, of_round=0.005):
    """A worker whose process is slower or faster by some fraction for as long as it lives."""
    ns = 100_000 * (1 + of_process * generator.standard_normal())

    class Simulated(Fake):
        def time_calls(self, calls, discard):
            self.ns = int(ns * (1 + of_round * generator.standard_normal()))
            return super().time_calls(calls, discard)

    return Simulated(int(ns))


def simulated_race(generator, rounds=20, names="ab"):
    def start():
        return {name: simulated(generator) for name in names}

    return pieces.run(start(), start, rounds, lambda done: None)


def test_identical_files_tie_although_their_processes_differ():
    """By Student's t, 1 in 20 intervals is beside 1; over the rounds of one process, most are."""
    generator = np.random.default_rng(0)
    held = held_by_rounds = 0
    for _ in range(200):
        found, _ = simulated_race(generator)
        ratio = pieces.speedup(found["a"], found["b"])
        held += ratio.low <= 1 <= ratio.high
        one, _ = simulated_race(generator, rounds=17)
        by_rounds = pieces.speedup(one["a"], one["b"])
        held_by_rounds += by_rounds.low <= 1 <= by_rounds.high
    assert 180 <= held <= 198
    assert held_by_rounds < 80


def test_each_piece_has_fresh_processes_and_the_same_number_of_calls():
    starts = []

    def start():
        # a later process seems to be faster, and would get more calls in a round
        starts.append(len(starts))
        ns = 1_000_000 // (1 + len(starts))
        return {"a": Fake(ns), "b": Fake(2 * ns)}

    seen = []
    found, done = pieces.run(start(), start, 20, seen.append)
    assert len(starts) == 6 and done == 20 and seen == list(range(1, 21))
    assert [len(one.samples_ns) for one in found["a"].pieces] == [4, 4, 3, 3, 3, 3]
    assert found["a"].whole.samples_ns.shape == (20, 40)
    ratio = pieces.speedup(found["b"], found["a"])
    assert np.allclose([ratio.value, ratio.low, ratio.high], 2), "the drift cancels out"
    across = found["a"].across_pieces
    assert across.low < across.value < across.high


def test_a_short_race_is_one_piece():
    def no_restart():
        raise AssertionError("a short race starts its processes once")

    found, done = pieces.run({"a": Fake(1000), "b": Fake(2000)}, no_restart, 17, lambda n: None)
    assert done == 17 and len(found["a"].pieces) == 1 and found["a"].across_pieces is None
    assert pieces.speedup(found["a"], found["b"]).value == 0.5


@pytest.mark.parametrize(("at", "rounds", "complete"), [(3, 10, 2), (1, 8, 2), (0, 8, 2)])
def test_an_interrupted_race_keeps_its_rounds(at, rounds, complete):
    started = []

    def start():
        started.append(True)
        event = interrupt(at) if len(started) == 3 else interrupt(None)
        return {"a": Fake(2_000_000), "b": Fake(4_000_000, event)}

    found, done = pieces.run(start(), start, 20, lambda number: None)
    assert done == rounds and found["b"].whole.samples_ns.shape == (rounds, 10)
    assert len(found["b"].pieces) == complete and len(started) == 3
    assert pieces.speedup(found["a"], found["b"]).value == 0.5


def test_a_race_interrupted_while_processes_start_again():
    def restart():
        raise KeyboardInterrupt

    workers = {"a": Fake(2_000_000), "b": Fake(4_000_000)}
    found, done = pieces.run(workers, restart, 60, lambda number: None)
    assert done == 10 and found["a"].whole.samples_ns.shape[0] == 10
    with pytest.raises(KeyboardInterrupt):
        pieces.run({"a": Fake(2_000_000), "b": Fake(4_000_000)}, restart, 20, lambda number: None)


def test_a_process_that_does_not_start_again_is_named():
    with pytest.raises(interleaved.WorkerEnded, match="b did not start again") as caught:
        pieces.run(
            {"a": Fake(2_000_000), "b": Fake(4_000_000)}, lambda: {"a": Fake(2_000_000)}, 20, print
        )
    assert caught.value.name == "b"


def dying(path, *arguments, **options):
    """A Worker whose process ends in the race if its file is called dying.onnx."""
    worker = WatchedWorker(path, *arguments, **options)
    if path.name == "dying.onnx":
        worker.warm_up = lambda: (worker._process.kill(), worker._ask("warm_up"))
    return worker


def test_the_others_go_on_without_a_process_that_ends(tmp_path, monkeypatch):
    model, data = product(tmp_path)
    (tmp_path / "dying.onnx").write_bytes(model.read_bytes())
    (tmp_path / "torn.onnx").write_bytes(b"")
    monkeypatch.setattr(opening, "WatchedWorker", dying)
    names = ["dying.onnx", "net.onnx", "torn.onnx"]
    files = [Candidate("onnx", False, tmp_path / name) for name in names]
    with np.load(data) as arrays:
        examples = Examples(arrays["x_data"], arrays["y_data"])
    said = []
    store = tmp_path / "results.jsonl"
    found = race.run(
        files, examples, task="classification", threads=1, rounds=6, store=store, say=said.append
    )
    assert [one.state for one in found] == [FAILS, WORKS, FAILS]
    assert "signal 9" in found[0].why and "cannot be loaded" in found[2].why
    assert any("starts again without it" in line for line in said)
    assert len(store.read_text().splitlines()) == 1


def test_ctrl_c_half_way_keeps_the_records_of_complete_rounds(tmp_path):
    model, data = product(tmp_path)
    process = subprocess.Popen(
        command(model, data, "--runtimes", "onnx", "--rounds", 3000),
        cwd=ROOT,
        env=os.environ | {"WORKBOOK_BUILD": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    for line in process.stderr:
        if line.startswith("round "):
            break
    os.killpg(process.pid, signal.SIGINT)  # what a terminal does
    out, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "of 3000 rounds. 1 records of these rounds are in" in errors.replace("\n", " ")
    assert "Traceback" not in errors and "ONNX Runtime" in out
    [records] = (tmp_path / "results").glob("*.jsonl")
    [record] = map(json.loads, records.read_text().splitlines())
    assert 6 <= record["method"]["rounds"] < 3000


def test_a_disk_that_is_full_is_one_sentence_and_the_table_is_printed(tmp_path):
    model, data = product(tmp_path)
    done = subprocess.run(
        command(model, data, "--runtimes", "onnx", "--rounds", 6),
        cwd=ROOT,
        env=os.environ | {"WORKBOOK_BUILD": str(tmp_path)},
        capture_output=True,
        text=True,
        # a record has some 10 kB: what follows 6,000 bytes of a file is not stored
        preexec_fn=lambda: (
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN),
            resource.setrlimit(resource.RLIMIT_FSIZE, (6000, 6000)),
        ),
    )
    assert done.returncode == 1 and "ONNX Runtime" in done.stdout, done.stderr
    assert "was not saved" in done.stderr and "is the disk full?" in done.stderr
    assert "(0 of 1 records were saved)" in done.stderr and "Traceback" not in done.stderr


# ---- conversions that are kept


def test_a_kept_file_is_used_until_anything_changes(tmp_path):
    source = tmp_path / "net.onnx"
    source.write_bytes(b"source")
    made = tmp_path / "net.mnn"
    made.write_bytes(b"converted")
    recipe = kept.recipe("mnn", source, shape=[1, 4])
    assert not kept.is_current(made, recipe), "nothing is known about it"
    kept.remember(made, recipe, 2.5)
    assert kept.is_current(made, kept.recipe("mnn", source, shape=[1, 4]))
    assert kept.seconds_of(made) == 2.5 and kept.seconds_of(source) is None
    assert not kept.is_current(made, kept.recipe("mnn", source, shape=[1, 5]))
    assert not kept.is_current(made, recipe | {"versions": {"MNN": "0"}})
    assert not kept.is_current(made, recipe | {"code": "other"})
    made.write_bytes(b"edited")
    assert not kept.is_current(made, recipe)
    made.write_bytes(b"converted")
    assert kept.is_current(made, recipe)
    source.write_bytes(b"another source")
    assert not kept.is_current(made, kept.recipe("mnn", source, shape=[1, 4]))
    (tmp_path / "net.mnn.made.json").write_text("{")
    assert not kept.is_current(made, recipe) and kept.seconds_of(made) is None


def test_both_files_of_ncnn_are_checked(tmp_path):
    for name in ("net.pt2", "net.ncnn.param", "net.ncnn.bin"):
        (tmp_path / name).write_bytes(b"x")
    path = tmp_path / "net.ncnn.param"
    recipe = kept.recipe("ncnn", tmp_path / "net.pt2")
    kept.remember(path, recipe, 1)
    assert kept.is_current(path, recipe)
    (tmp_path / "net.ncnn.bin").write_bytes(b"y")
    assert not kept.is_current(path, recipe)
    (tmp_path / "net.ncnn.bin").unlink()
    assert not kept.is_current(path, recipe)


def test_what_was_converted_is_not_converted_again(tmp_path, monkeypatch):
    model = tmp_path / "net.pt2"
    model.write_bytes(b"network")
    converted = []

    def prepare(source, runtimes, example, folder, calibration, say, half):
        for runtime in runtimes:
            converted.append(runtime)
            path = folder / f"net.{runtime}"
            if runtime == "torch":
                yield Candidate("torch", False, model)
            elif runtime == "ncnn":
                yield Candidate("ncnn", False, None, "no such operator")
            else:
                path.write_bytes(b"made")
                yield Candidate(runtime, False, path)

    monkeypatch.setattr(candidates, "prepare", prepare)
    said = []
    names = ["onnx", "ncnn", "torch", "tflite"]

    def source():
        return Source("net", model)

    def find():
        x = np.zeros((1, 4), np.float32)
        return reuse.find(str(model), source, names, x, tmp_path, None, said.append)

    first = find()
    assert [one.runtime for one in first] == ["torch", "onnx", "ncnn", "tflite"]
    assert converted == ["onnx", "ncnn", "tflite"] and not said
    assert find() == first
    assert converted[3:] == ["ncnn"], "only what is missing"
    assert said == ["2 converted files are used again: their source and converters are the same"]
    (tmp_path / "net.onnx").write_bytes(b"edited")
    find()
    assert converted[4:] == ["onnx", "ncnn"]


# ---- the plan


def test_a_plan_says_what_would_run_and_runs_nothing(tmp_path):
    model, data = product(tmp_path)
    done = evaluate(tmp_path / "build", model, data, "--plan", "--calibration", data)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "4 files, 32 examples, 20 rounds, 1 thread(s) each"
    assert lines[1] == "  onnx: MODEL itself" and "convert to net_int8.onnx" in lines[2]
    assert "convert to net.mnn" in lines[3]
    assert "Time, an estimate:" in lines[5] and "a call of net.onnx took" in lines[5]
    assert "Memory, an estimate:" in lines[6] and "MB are free" in lines[6]
    assert not list((tmp_path / "build").glob("evaluate/*"))
    assert not (tmp_path / "build/results").exists()


def test_a_plan_that_does_not_fit_into_memory(tmp_path):
    from workbook.evaluate import plan

    x = np.zeros((3, 4), np.float32)
    said = plan.plan("net.py:Net", None, ["onnx", "ncnn"], x, None, tmp_path, 1, 20, 50_000_000)
    assert "only 50 MB are free, so it does not fit: name fewer --runtimes" in said
    assert "a call is assumed to take 10 ms: MODEL was not run" in said


# ---- options of the runtimes


def test_a_worker_has_the_settings_that_it_is_given(tmp_path):
    model, data = product(tmp_path)
    with np.load(data) as arrays:
        x = arrays["x_data"]
    with Worker(model) as worker:
        wanted = worker.predict(x)
    options = {"spinning": False, "denormals_as_zero": True, "memory_arena": False}
    with Worker(model, 2, settings={VARIABLE: json.dumps(options)}) as worker:
        assert worker.predict(x) == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--max-ms", "0"], "--max-ms must be above 0"),
        (["--max-mb", "nan"], "--max-mb must be above 0"),
        (["--min-accuracy", "98"], "--min-accuracy is a fraction"),
        (["--plan", "--tune"], "not allowed with argument"),
        (["--host", "pi@x", "--plan"], "--host races or tunes"),
        (["--tune", "--csv", "a.csv"], "--tune makes no table"),
    ],
)
def test_options_that_do_not_fit(tmp_path, arguments, message):
    done = evaluate(tmp_path, "net.onnx", "data.npz", *arguments)
    assert done.returncode == 2 and message in done.stderr and not done.stdout
