"""The doctor on this machine, on made-up Pis, and in environments that lack something."""

import subprocess
import sys

import pytest
from test_project import WITHOUT_TORCH

from helpers.paths import ROOT
from workbook import packages


def doctor(code: str = "") -> subprocess.CompletedProcess:
    """`workbook doctor` in a process of its own, after `code`."""
    start = f"{code}\nimport sys; from workbook.cli import main; sys.exit(main(['doctor']))"
    return subprocess.run([sys.executable, "-c", start], capture_output=True, text=True, cwd=ROOT)


def failed(done: subprocess.CompletedProcess) -> str:
    """What the doctor printed if it found problems, and nothing else went wrong."""
    assert done.returncode == 1 and not done.stderr, done.stderr
    return done.stdout


def test_the_doctor_is_content_here(build_folder, monkeypatch):
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")  # it prints a degree sign
    done = doctor()
    assert done.returncode == 0 and "All checks passed." in done.stdout, done.stdout + done.stderr
    assert "torch 2.13.0" in done.stdout and "onnxruntime" in done.stdout and done.stderr == ""


def test_the_doctor_says_what_to_do():
    done = doctor(WITHOUT_TORCH)
    assert done.returncode == 1 and "FAIL  torch" in done.stdout
    assert "torch: pip install -r requirements" in done.stdout.split("To do:")[1]


def test_the_doctor_runs_the_model_files(monkeypatch, tmp_path):
    import torch

    from helpers import convert
    from helpers.models import LeNet

    monkeypatch.setenv("WORKBOOK_BUILD", str(tmp_path))
    convert.to_onnx(LeNet(), torch.zeros(1, 1, 28, 28), tmp_path / "models" / "mnist_cnn.onnx")
    (tmp_path / "models" / "mnist_cnn.tflite").write_text("damaged")
    done = doctor(WITHOUT_TORCH)
    assert "ok    running mnist_cnn.onnx" in done.stdout
    assert "FAIL  running mnist_cnn.tflite" in done.stdout
    assert "is it damaged" in done.stdout.split("To do:")[1]


def test_the_doctor_without_the_environment():
    code = "import sys; sys.modules['psutil'] = None"
    done = doctor(code)
    assert done.returncode == 1
    assert "environment is incomplete" in done.stdout
    assert done.stderr == ""


ON_A_PI = """
import os, sys
from pathlib import Path
root = Path({root!r})
for name, text in {files!r}.items():
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text)
from helpers import device
describe, conditions = device.describe, device.conditions
device.describe = lambda: describe(root)
device.conditions = lambda: conditions(root, run=lambda command: {throttled!r} + chr(10))
"""
PI_FILES = {
    "proc/device-tree/model": "Raspberry Pi 5 Model B Rev 1.0\0",
    "etc/os-release": 'PRETTY_NAME="Debian GNU/Linux 13 (trixie)"\n',
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "ondemand\n",
    "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
    "sys/class/thermal/thermal_zone0/temp": "48500\n",
}


# PyTorch's own build for GPUs, and its versions 2.6 and 2.10, end so on a Pi 4
ILLEGAL_INSTRUCTION = """
import platform
from workbook import packages
platform.machine = lambda: "aarch64"
code = "import os, signal; os.kill(os.getpid(), signal.SIGILL)"
packages.TRIALS["torch"] = ("PyTorch", code)
"""


def test_a_pytorch_that_the_processor_cannot_run(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBOOK_BUILD", str(tmp_path))
    output = failed(doctor(ILLEGAL_INSTRUCTION))
    assert (
        "FAIL  torch, for training and conversion: this build of PyTorch needs a newer Armv8 than "
        "the processor has: the Cortex-A72 of a Pi 4 has Armv8.0"
    ) in output
    assert "- torch: pip install -r requirements.txt" in output
    assert "executorch" not in output and "litert-torch" not in output, "they would crash, too"
    assert "ok    onnxruntime" in output, "and the doctor itself did not end"
    pi = ON_A_PI.format(root=str(tmp_path / "pi"), files=PI_FILES, throttled="throttled=0x0")
    output = failed(doctor(pi + ILLEGAL_INSTRUCTION))
    assert "- torch: pip install -r requirements-pi-torch.txt" in output


@pytest.mark.parametrize(
    "architecture, sentence",
    [
        ("aarch64", "needs a newer Armv8 than the processor has: the Cortex-A72 of a Pi 4"),
        ("x86_64", "this build of PyTorch needs instructions that the processor does not have"),
    ],
)
def test_an_illegal_instruction_in_words(architecture, sentence):
    assert sentence in packages.illegal_instruction("PyTorch", architecture)


@pytest.mark.parametrize(
    "code, sentence",
    [
        ("pass", None),
        ("raise ImportError('libtorch.so is missing')", "ImportError: libtorch.so is missing"),
        ("import os; os.kill(os.getpid(), 11)", "signal 11: no output"),
        ("import time; time.sleep(60)", "PyTorch does not respond within 0.2 s"),
    ],
)
def test_a_trial_says_how_it_ended(monkeypatch, capsys, code, sentence):
    monkeypatch.setitem(packages.TRIALS, "torch", ("PyTorch", code))
    if "sleep" in code:
        monkeypatch.setattr(packages, "TRIAL_S", 0.2)
    found = packages.trial("torch")
    assert found == sentence or sentence in found
    assert packages.main(["torch"]) == int(sentence is not None)
    assert (sentence or "") in capsys.readouterr().out
    monkeypatch.setattr(packages, "find_spec", lambda name: None)
    assert packages.trial("torch") is None, "without it, there is nothing to try"
    assert packages.main(["torch"]) == 1 and "torch is not installed" in capsys.readouterr().out


def test_a_pi_needs_no_pytorch_and_checks_one_that_is_there(monkeypatch):
    names = {package.name for package in packages.wanted(on_a_pi=True)}
    assert {"torch", "torchvision", "executorch", "ncnn"} <= names, "they are installed here"
    assert not names & {"onnx", "pnnx", "tensorflow-cpu"}
    monkeypatch.setattr(packages, "find_spec", lambda name: None)
    names = {package.name for package in packages.wanted(on_a_pi=True)}
    assert not names & {"torch", "torchvision", "executorch"} and "ncnn" in names


def test_the_doctor_on_a_pi(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBOOK_BUILD", str(tmp_path))
    code = WITHOUT_TORCH + ON_A_PI.format(
        root=str(tmp_path / "pi"), files=PI_FILES, throttled="throttled=0x50000"
    )
    output = failed(doctor(code))
    assert output.startswith("Raspberry Pi 5 Model B Rev 1.0, ")
    assert "torch" not in output
    for line in (
        "ok    Debian GNU/Linux 13 (trixie)",
        "governor ondemand; before you measure: echo performance | sudo tee",
        "48.5 °C",
        "under-voltage since boot, throttled since boot",
        "camera (optional): picamera2 is not found: sudo apt install python3-picamera2",
        "FAIL  0 files of MnistNet",
    ):
        assert line in output, output
    todo = output.split("To do:")[1]
    assert "use the official power supply" in todo
    assert "run `make pi` on the laptop" in todo
    assert "camera" not in todo


def test_the_doctor_on_an_old_pi(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBOOK_BUILD", str(tmp_path))
    files = PI_FILES | {"etc/os-release": 'PRETTY_NAME="Raspbian GNU/Linux 11 (bullseye)"\n'}
    code = ON_A_PI.format(root=str(tmp_path / "pi"), files=files, throttled="error")
    output = failed(doctor(WITHOUT_TORCH + code))
    assert "FAIL  Raspbian GNU/Linux 11 (bullseye)" in output
    assert "throttling unknown" in output
    code = "import sys\nsys.maxsize, sys.modules['psutil'] = 2**31 - 1, None"
    output = failed(doctor(code))
    assert output.splitlines()[-1] == (
        "- the workbook needs a 64-bit Python 3.11, 3.12 or 3.13; on a Pi, install "
        "the 64-bit Raspberry Pi OS"
    )
