"""`workbook evaluate --host`: on real SSH servers that stand for Pis, which have no torch."""

import hashlib
import json
import signal
import subprocess
import sysconfig

import emulated_pi
import numpy as np
import pytest
from evaluate_files import digit_detector, product
from ssh_servers import Laptop, needs_sshd, real_python

from helpers import results
from workbook.evaluate import hosts, on_host
from workbook.evaluate.candidates import Candidate
from workbook.evaluate.examples import Examples
from workbook.pi.openssh import PiError
from workbook.pi.setup import LISTS

NO_TORCH = "raise ModuleNotFoundError(\"No module named 'torch'\", name='torch')\n"


def set_up(laptop: Laptop, name: str):
    """A Pi whose environment has the packages of these tests, but no torch."""
    server = laptop.serve(name)
    venv = server.workbook / ".venv"
    command = [real_python(), "-m", "venv", "--without-pip", "--system-site-packages", str(venv)]
    subprocess.run(command, check=True)
    blocked = server.home / "blocked"
    blocked.mkdir()
    for package in ("torch", "tensorflow"):
        (blocked / f"{package}.py").write_text(NO_TORCH.replace("torch", package))
    site = next(venv.glob("lib/python*/site-packages"))
    packages = sysconfig.get_paths()["purelib"]
    (site / "lent.pth").write_text(f"{server.workbook}\n{blocked}\n{packages}\n")
    content = b"".join((laptop.tree / name).read_bytes() for name in LISTS)
    (venv / "ready").write_text(hashlib.sha256(content).hexdigest())
    return server


@pytest.fixture(scope="module")
def laptop(tmp_path_factory):
    laptop = Laptop(tmp_path_factory.mktemp("hosts"))
    yield laptop
    laptop.close()


@pytest.fixture(scope="module")
def garage(laptop):
    return set_up(laptop, "garage")


@pytest.fixture
def files(tmp_path):
    return product(tmp_path)


def start(laptop, *arguments) -> subprocess.Popen:
    return laptop.workbook("evaluate", *arguments, stderr=subprocess.PIPE)


def evaluate(laptop, *arguments) -> tuple[int, str, str]:
    process = start(laptop, *arguments)
    out, errors = process.communicate(timeout=300)
    return process.returncode, out, errors


def records(laptop) -> list[dict]:
    found = []
    for file in (laptop.tree / "build/results").glob("*.jsonl"):
        found += [json.loads(line) for line in file.read_text().splitlines()]
    return found


@needs_sshd
def test_two_pis_one_of_which_does_not_answer(laptop, garage, files, tmp_path):
    status, out, errors = evaluate(
        laptop, *files, "--runtimes", "onnx", "--rounds", 6, "--host", "garage", "no-pi.invalid",
        "--json", "--html", tmp_path / "table.html", "--csv", tmp_path / "table.csv",
    )  # fmt: skip
    assert status == 1, "one of them failed"
    first, second = json.loads(out)
    assert (first["host"], first["state"], first["accuracy"]) == ("garage", "works", 1)
    assert first["p50_ms"] > 0 and first["ratio"] == 1 and first["file"] == "net.onnx"
    assert second["host"] == "no-pi.invalid" and "no machine with this name" in second["why"]
    assert "garage: racing there" in errors and "no machine with this name" in errors
    [record] = records(laptop)
    assert record["model"]["name"] == "net.onnx" and record["method"]["rounds"] == 6
    assert "<h2>garage</h2>" in (tmp_path / "table.html").read_text()
    assert "no machine" in (tmp_path / "table.csv").read_text()
    log = (garage.workbook / ".pi/evaluate.log").read_text()
    assert "racing 1 files" in log, log


@needs_sshd
def test_a_detector_has_the_same_ap_there(laptop, garage, tmp_path):
    model, folder, _ = digit_detector(tmp_path)
    arguments = [model, folder, "--task", "detection", "--runtimes", "onnx", "--rounds", 6]
    status, out, errors = evaluate(laptop, *arguments, "--host", "garage", "--json")
    assert status == 0, errors
    [there] = json.loads(out)
    _, out, _ = evaluate(laptop, *arguments, "--json")
    [here] = json.loads(out)
    assert (there["state"], there["metric"]) == ("works", "AP")
    assert there["quality"] > 0.1, "both would be 0 for a detector that finds nothing"
    assert there["quality"] == pytest.approx(here["quality"], abs=1e-9)
    assert there["others"] == pytest.approx(here["others"], abs=1e-9)


@needs_sshd
def test_the_pi_has_no_torch(garage):
    python = garage.workbook / ".venv/bin/python"
    done = subprocess.run([python, "-c", "import torch"], capture_output=True, text=True)
    assert "No module named 'torch'" in done.stderr


@needs_sshd
def test_ctrl_c_here_and_the_same_command_again(laptop, garage, files):
    arguments = (*files, "--runtimes", "onnx", "--rounds", 250, "--host", "garage")
    process = start(laptop, *arguments)
    for line in process.stderr:
        if "round " in line:
            break
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130 and "still running on the Pi" in errors, errors
    before = len(records(laptop))
    status, out, errors = evaluate(laptop, *arguments)
    assert status == 0, errors
    assert "still running" in errors or "finished in the meantime" in errors
    assert "ONNX Runtime" in out and out.startswith("garage: ")
    assert len(records(laptop)) == before + 1


@needs_sshd
def test_a_pi_that_cannot_open_the_file_says_so(laptop, garage, files, tmp_path):
    (tmp_path / "torn.onnx").write_bytes(b"")
    arguments = (tmp_path / "torn.onnx", files[1], "--runtimes", "onnx", "--host", "garage")
    status, out, errors = evaluate(laptop, *arguments)
    assert "cannot be loaded" in out and "Traceback" not in errors, out + errors
    assert status == 1, "as here, if no file works"


@needs_sshd
@pytest.mark.slow
def test_other_work_there_is_named(laptop, garage, files):
    arguments = (*files, "--runtimes", "onnx", "--host", "garage", "--rounds")
    running = start(laptop, *arguments, 300)
    for line in running.stderr:
        if "round " in line:
            break
    status, _, errors = evaluate(laptop, *arguments, 7)
    assert status == 1 and "it is evaluating other files: wait, or stop it" in errors, errors
    status, output = laptop.pi("stop", "garage")
    assert status == 0, output
    _, errors = running.communicate(timeout=60)
    assert running.returncode == 1 and "it was stopped by `workbook pi stop`" in errors


@needs_sshd
@pytest.mark.slow
def test_tuning_there(laptop, garage, files):
    status, out, errors = evaluate(
        laptop, *files, "--runtimes", "onnx", "--tune", "--rounds", 6, "--host", "garage"
    )
    assert status == 0, errors
    assert out.startswith("garage:\nnet.onnx: ") and "trying" in errors


def test_files_that_need_torch_do_not_go_to_a_pi(tmp_path):
    zeros = np.zeros((2, 4), np.float32)
    x = Examples(zeros, zeros)
    file = Candidate("executorch", False, tmp_path / "net.pte")
    with pytest.raises(PiError, match="none of the files can run on a Pi"):
        hosts.run(["x"], [file], x, task="regression", threads=1, rounds=6, tune=False, say=print)


def what_was_sent(folder):
    """A folder as a Pi gets it."""
    folder.mkdir(parents=True)
    product(folder)
    request = {
        "files": [
            {
                "runtime": "onnx",
                "is_int8": False,
                "is_half": False,
                "is_source": True,
                "is_given": False,
                "name": "net.onnx",
            }
        ],
        "task": "classification",
        "threads": 1,
        "rounds": 6,
        "tune": False,
    }
    (folder / on_host.REQUEST).write_text(json.dumps(request))


def test_what_runs_there_writes_an_answer(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBOOK_BUILD", str(tmp_path / "build"))
    folder = tmp_path / "build/evaluate/abc"
    what_was_sent(folder)
    old = tmp_path / "build/evaluate/old"
    old.mkdir()
    on_host.work(folder)
    answer = json.loads((folder / on_host.ANSWER).read_text())
    assert answer["rows"][0]["accuracy"] == 1 and answer["machine"]["cores"] >= 1
    assert not old.exists(), "what earlier commands sent is deleted"
    assert len(results.read_results(tmp_path / "build/results")) == 1


@pytest.mark.slow
@pytest.mark.skipif(bool(emulated_pi.missing()), reason=str(emulated_pi.missing()))
@pytest.mark.parametrize("cpu", emulated_pi.CPUS)
def test_it_runs_on_an_emulated_pi(cpu, tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBOOK_BUILD", str(tmp_path / "build"))
    folder = tmp_path / "build/evaluate/abc"
    what_was_sent(folder)
    code = (
        "import sys; from pathlib import Path; from workbook.evaluate import on_host\n"
        "on_host.work(Path(sys.argv[1])); print('torch' in sys.modules)"
    )
    done = emulated_pi.run(cpu, "-c", code, folder)
    assert done.returncode == 0 and done.stdout == "False\n", done.stdout + done.stderr
    answer = json.loads((folder / on_host.ANSWER).read_text())
    assert answer["machine"]["arch"] == "aarch64" and answer["rows"][0]["accuracy"] == 1
