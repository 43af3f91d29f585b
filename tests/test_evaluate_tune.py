"""`workbook evaluate --tune`: it finds what is there, and reports nothing that is not."""

import contextlib
import json
import os
import sys
import time

import numpy as np
import psutil
import pytest
from evaluate_files import evaluate, product
from ssh_servers import write_program

from helpers.timing import WarmUp
from helpers.workers import Worker
from workbook.evaluate import settings, tune
from workbook.evaluate.candidates import Candidate
from workbook.evaluate.settings import Setting

DEFAULT = Setting()
PLACES = [DEFAULT, Setting(cores=(0,)), Setting(cores=(1,)), Setting(2), Setting(2, cores=(0, 1))]


class Simulated:
    """A process whose calls take `ns`, by a clock that no machine disturbs.

    As real processes do, each one is slower or faster than another by some fraction for as long as
    it lives, and its calls scatter.
    """

    def __init__(self, ns, threads, generator):
        self.threads = threads
        self.ns = ns * (1 + 0.004 * generator.standard_normal())
        self.generator = generator

    def warm_up(self):
        return WarmUp(10, int(self.ns), True)

    def time_calls(self, calls, discard):
        drift = 1 + 0.01 * self.generator.standard_normal()
        noise = 1 + 0.02 * self.generator.standard_normal(calls)
        wall = (self.ns * drift * noise).astype(np.int64)
        return wall, wall, np.array([wall.sum()] * 2)


def simulated(seed, speeds):
    """tune.tune with processes that are `speeds` {setting: factor} times as fast as the default."""
    generator = np.random.default_rng(seed)

    def start(setting):
        ns = 1e6 / speeds.get(setting, 1)
        return contextlib.nullcontext(Simulated(ns, setting.threads, generator))

    return tune.tune(
        DEFAULT,
        PLACES,
        lambda base: settings.variants("onnx", base),
        start,
        rounds=20,
        say=lambda line: None,
        min_round_s=0,
    )


def test_where_nothing_helps_no_gain_is_reported():
    found = [simulated(seed, {}) for seed in range(20)]
    assert sum(one.is_gain for one in found) <= 2
    for one in found:
        assert str(one).startswith("no gain: of ") and one.low <= one.ratio <= one.high
    assert any(one.best != DEFAULT for one in found), "the luckiest of many always looks better"


@pytest.mark.parametrize("gain", [1.05, 1.5])
def test_what_helps_is_found_with_its_size(gain):
    best = Setting(2, cores=(0, 1), options=(("spinning", False),))
    speeds = {best: gain}
    # as a setting of threads must win first, the places with two threads help a little
    speeds |= {PLACES[4]: 1.04 if gain < 1.1 else 1.2}
    found = [simulated(seed, speeds) for seed in range(10)]
    right = [one for one in found if one.is_gain and one.best == best]
    assert len(right) >= 8
    for one in right:
        assert one.low <= gain <= one.high * 1.01 and abs(one.ratio / gain - 1) < 0.02
        assert "2 threads, on cores 0, 1, spinning=False: 1." in str(one)


def test_what_is_slower_is_no_gain():
    found = simulated(0, dict.fromkeys(PLACES[1:], 0.5))
    assert not found.is_gain and found.best.cores is None and found.best.threads == 1


def test_a_setting_that_cannot_be_started_is_skipped():
    def start(setting):
        if setting.cores:
            raise ValueError("core 7 is missing")
        return contextlib.nullcontext(Simulated(1e6, 1, np.random.default_rng(0)))

    skipped = []
    best = tune.halving(PLACES, start, skipped, lambda line: None, 0)
    assert best.cores is None and len(skipped) == 3 and "core 7 is missing" in skipped[0]


@pytest.mark.parametrize(
    "cores, texts",
    [
        ([0], ["1 thread"]),
        ([2, 5], ["1 thread", "1 thread, on core 2", "1 thread, on core 5", "2 threads",
                  "2 threads, on cores 2, 5"]),
    ],
)  # fmt: skip
def test_places_are_threads_and_cores(cores, texts):
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("this system has no affinity")
    assert [str(one) for one in settings.placements(DEFAULT, cores)] == texts


def test_one_option_changes_at_a_time():
    alone = settings.variants("ncnn", DEFAULT)
    assert alone[0] == DEFAULT and all(len(one.options) == 1 for one in alone[1:])
    assert not any("blocktime" in str(one) or one.wait for one in alone), "no threads wait"
    two = settings.variants("ncnn", Setting(2))
    assert {one.wait for one in two} == {None, "active", "passive"}
    assert settings.variants("executorch", DEFAULT) == [DEFAULT]
    names = Setting(2, (0, 1), "passive", (("winograd", False),))
    assert names.variables()["OMP_WAIT_POLICY"] == "passive"
    assert json.loads(names.variables()["WORKBOOK_RUNTIME_OPTIONS"]) == {"winograd": False}
    facts = {"winograd": False, "cores": [0, 1], "OMP_WAIT_POLICY": "passive"}
    assert names.facts() == facts and DEFAULT.facts() == {}


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity")
def test_a_worker_runs_on_its_cores_and_this_process_does_not(tmp_path):
    model, _ = product(tmp_path)
    before = os.sched_getaffinity(0)
    core = max(before)
    with settings.pinned([core]):
        worker = Worker(model)
    with worker:
        assert os.sched_getaffinity(worker._process._process.pid) == {core}
        assert os.sched_getaffinity(0) == before


def rests(process: psutil.Process) -> bool:
    """Whether the process stops soon: the system delivers the signal when it finds time."""
    until = time.monotonic() + 30
    while process.status() != psutil.STATUS_STOPPED and time.monotonic() < until:
        time.sleep(0.01)
    return process.status() == psutil.STATUS_STOPPED


def test_a_setting_that_changes_the_answers_is_not_used(tmp_path):
    model, data = product(tmp_path)
    with np.load(data) as arrays:
        x = arrays["x_data"]
    file = Candidate("onnx", False, model)
    with Worker(model) as worker:
        wanted = worker.predict(x)
    with tune.starter(file, x, wanted)(Setting(options=(("memory_arena", False),))) as worker:
        assert worker.threads == 1
        process = psutil.Process(worker._process._process.pid)
        assert rests(process), "it rests while others have their turn"
        assert len(worker.time_calls(3, discard=0)[0]) == 3
    with pytest.raises(ValueError, match="its answers differ by"):
        tune.starter(file, x, wanted + 1)(DEFAULT)


def test_the_command_tunes_a_file_and_stores_the_finals(tmp_path):
    model, data = product(tmp_path)
    done = evaluate(
        tmp_path / "build", model, data, "--runtimes", "onnx", "--tune", "--rounds", 6, "--json"
    )
    assert done.returncode == 0, done.stderr
    [found] = json.loads(done.stdout)
    assert found["default"] == {"threads": 1} and found["tried"] >= 4
    assert found["ratio_low"] <= found["ratio"] <= found["ratio_high"]
    assert found["gain"] == (found["ratio_low"] > tune.LEAST_GAIN)
    assert "trying" in done.stderr and ("no gain" in found["text"]) != found["gain"]
    if found["best"] != found["default"]:
        [file] = (tmp_path / "build/results").glob("*.jsonl")
        records = [json.loads(line) for line in file.read_text().splitlines()]
        assert len(records) == 2 * tune.PAIRS
        options = [one["runtime"]["options"] for one in records]
        assert options.count(None) in (tune.PAIRS, 2 * tune.PAIRS)


# a program with the protocol of a Worker, whose calls take a fixed time of the processor
BUSY = """
import json, sys, time
import numpy as np
from functools import partial
from helpers import timing
print(json.dumps({{"runtime": "busy", "version": "1", "precision": "float32",
                   "input_shape": [1, 4], "load_ns": 1}}), flush=True)
def call():
    end = time.perf_counter_ns() + 300_000
    while time.perf_counter_ns() < end:
        pass
for line in sys.stdin:
    match json.loads(line):
        case ["warm_up"]:
            answer = vars(timing.warm_up(call))
        case ["time_calls", calls, discard]:
            answer = [part.tolist() for part in timing.time_calls(call, calls, discard)]
        case _:
            answer = None
    print(json.dumps(answer), flush=True)
"""


@pytest.mark.slow
@pytest.mark.alone
def test_real_processes_where_nothing_helps(tmp_path):
    (tmp_path / "busy.py").write_text(BUSY.format())
    write_program(tmp_path / "busy", f'exec {sys.executable} {tmp_path / "busy.py"} "$@"')

    def start(setting):
        with settings.pinned(setting.cores):
            return Worker(tmp_path / "busy.py", program=tmp_path / "busy")

    places = [DEFAULT, *(Setting(cores=(core,)) for core in settings.cores_here()[:2])]
    gains = []
    for _ in range(10):
        found = tune.tune(
            DEFAULT,
            places,
            lambda base: settings.variants("onnx", base),
            start,
            rounds=20,
            say=lambda line: None,
        )
        print(found)
        gains.append(found.is_gain)
    assert sum(gains) <= 1
