"""A model in its own process: timing, the end of the process, and errors."""

from functools import partial

import numpy as np
import psutil
import pytest
import torch

from helpers import convert, timing
from helpers.runtimes import open_model
from helpers.workers import Worker, start_all


@pytest.fixture(scope="module")
def onnx_file(tmp_path_factory):
    from helpers.models import LeNet

    path = tmp_path_factory.mktemp("worker") / "net.onnx"
    return convert.to_onnx(LeNet(), torch.zeros(1, 1, 28, 28), path)


def children() -> set[psutil.Process]:
    return set(psutil.Process().children())


def test_a_worker_is_a_candidate_like_any_other(onnx_file):
    before = children()
    with Worker(onnx_file) as worker:
        assert (worker.runtime, worker.precision) == ("ONNX Runtime", "float32")
        assert worker.input_shape == (1, 1, 28, 28)
        candidates = {"there": worker, "here": lambda: None}
        measured = timing.benchmark(candidates, rounds=3, min_round_s=0, min_calls=5)
        assert measured["there"].samples_ns.shape == (3, 5)
        assert measured["there"].samples_ns.dtype == np.int64
        assert measured["there"].percentile(50) > measured["here"].percentile(50)
        assert measured["there"].warm_up.calls > 10 and worker.load_ns > 0
        assert 20e6 < worker.peak_rss() < 500e6
        [process] = children() - before
    assert not process.is_running(), "the process ends with the block"


def test_the_number_of_threads_goes_along(onnx_file):
    with Worker(onnx_file, threads=2) as worker:
        measured = timing.benchmark({"two": worker}, rounds=2, min_round_s=0, min_calls=3)["two"]
    assert measured.threads == 2 and measured.contention is None


def test_what_a_runtime_prints_does_not_disturb(tmp_path, onnx_file):
    path = convert.to_mnn(onnx_file, tmp_path / "net.mnn")
    with Worker(path) as worker:  # MNN prints a line when it is imported
        assert worker.runtime == "MNN" and worker.time_calls(3, discard=0)[0].shape == (3,)


def test_bad_files_are_reported_here(tmp_path):
    with pytest.raises(ValueError, match="does not exist"):
        Worker(tmp_path / "none.onnx")
    (tmp_path / "text.onnx").write_text("words")
    with pytest.raises(ValueError, match="cannot be loaded"):
        Worker(tmp_path / "text.onnx")


def test_several_start_at_once_and_end_together(onnx_file):
    before = children()
    starters = {threads: partial(Worker, onnx_file, threads) for threads in (2, 1)}
    with start_all(starters) as workers:
        assert list(workers) == [2, 1]
        assert [worker.threads for worker in workers.values()] == [2, 1]
        assert len(children() - before) == 2
    assert not children() - before


def test_if_one_cannot_start_the_others_end(onnx_file, tmp_path):
    before = children()
    starters = {
        "good": partial(Worker, onnx_file),
        "bad": partial(Worker, tmp_path / "none.onnx"),
        "last": partial(Worker, onnx_file),
    }
    with pytest.raises(ValueError, match="none.onnx does not exist"), start_all(starters):
        pytest.fail("the block must not run")
    assert not children() - before


def test_what_a_worker_answers_is_what_the_runtime_answers(onnx_file):
    x = np.random.default_rng(1).standard_normal((5, 1, 28, 28), np.float32)
    view = x[:, :, ::-1].transpose(0, 1, 3, 2)
    with Worker(onnx_file) as worker:
        assert (worker.predict(x) == open_model(onnx_file).predict(x)).all()
        assert (worker.predict(view) == worker.predict(view.copy())).all()
        for wrong in (x.astype(float), x[0], x[:, :, 1:], x[:0]):
            with pytest.raises(ValueError, match="takes images as float32 N x 1 x 28 x 28"):
                worker.predict(wrong)
        with pytest.raises(ValueError, match=r"unknown request \['dance', 1\]"):
            worker._ask("dance", 1)
        assert worker.time_calls(2, discard=0)[0].shape == (2,), "the worker keeps running"


def test_a_program_that_is_missing_or_no_program(onnx_file, tmp_path):
    said = r"bench_none cannot be started \(No such file or directory\): `make cpp` builds it"
    with pytest.raises(RuntimeError, match=said):
        Worker(onnx_file, program=tmp_path / "bench_none")
    (tmp_path / "bench_text").write_bytes(b"\x7fELF of another machine")
    (tmp_path / "bench_text").chmod(0o755)
    with pytest.raises(RuntimeError, match=r"\(Exec format error\): `make cpp` builds it"):
        Worker(onnx_file, program=tmp_path / "bench_text")
    (tmp_path / "bench_mute").write_text("#!/bin/sh\necho missing library >&2; exit 127\n")
    (tmp_path / "bench_mute").chmod(0o755)
    with pytest.raises(RuntimeError, match=r"ended \(exit status 127: missing library\)"):
        Worker(onnx_file, program=tmp_path / "bench_mute")


def test_a_worker_that_dies_says_so(onnx_file):
    before = children()
    with Worker(onnx_file) as worker:
        [process] = children() - before
        process.kill()
        with pytest.raises(RuntimeError, match=r"net.onnx ended \(signal 9: "):
            worker.time_calls(3, discard=0)
