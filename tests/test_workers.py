"""A model in a process of its own: timed there, gone afterwards, and clear about what went wrong."""

import os
import signal

import numpy as np
import pytest
import torch

from helpers import convert, timing
from helpers.workers import Worker


@pytest.fixture(scope="module")
def onnx_file(tmp_path_factory):
    from helpers.models import LeNet

    return convert.to_onnx(LeNet(), torch.zeros(1, 1, 28, 28), tmp_path_factory.mktemp("worker") / "net.onnx")


def test_a_worker_is_a_candidate_like_any_other(onnx_file):
    with Worker(onnx_file) as worker:
        assert (worker.runtime, worker.precision, worker.input_shape) == ("ONNX Runtime", "float32", (1, 1, 28, 28))
        measured = timing.benchmark({"there": worker, "here": lambda: None}, rounds=3, min_round_s=0, min_calls=5)
        assert measured["there"].samples_ns.shape == (3, 5) and measured["there"].samples_ns.dtype == np.int64
        assert measured["there"].percentile(50) > measured["here"].percentile(50)
        assert measured["there"].warm_up.calls > 10 and worker.load_ns > 0
        assert 20e6 < worker.peak_rss() < 500e6
        process = worker._process
    assert process.poll() is not None, "the process ends with the block"


def test_the_number_of_threads_goes_along(onnx_file):
    with Worker(onnx_file, threads=2) as worker:
        measured = timing.benchmark({"two": worker}, rounds=2, min_round_s=0, min_calls=3)["two"]
    assert measured.threads == 2 and measured.contention is None


def test_what_a_runtime_prints_does_not_disturb(tmp_path, onnx_file):
    with Worker(convert.to_mnn(onnx_file, tmp_path / "net.mnn")) as worker:  # MNN prints a line when it is imported
        assert worker.runtime == "MNN" and worker.time_calls(3, discard=0)[0].shape == (3,)


def test_bad_files_are_reported_here(tmp_path):
    with pytest.raises(ValueError, match="does not exist"):
        Worker(tmp_path / "none.onnx")
    (tmp_path / "text.onnx").write_text("words")
    with pytest.raises(ValueError, match="cannot be loaded"):
        Worker(tmp_path / "text.onnx")


def test_a_worker_that_dies_says_so(onnx_file):
    with Worker(onnx_file) as worker:
        os.kill(worker._process.pid, signal.SIGKILL)
        worker._process.wait()
        with pytest.raises(RuntimeError, match="died"):
            worker.time_calls(3, discard=0)
