"""The light environment on an emulated Pi 4 and Pi 5: runtimes compute what they do on the laptop.

Compared are answers, never times: emulated times say nothing about a Pi.
"""

import json

import emulated_pi
import numpy as np
import pytest

from helpers import metrics
from helpers.data import mnist, normalize
from helpers.runtimes import open_model

pytestmark = pytest.mark.skipif(bool(emulated_pi.missing()), reason=str(emulated_pi.missing()))
FLOAT = ["onnx", "tflite", "ncnn.param", "mnn"]
INT8 = ["onnx", "tflite", "mnn"]  # mnn: int8 weights, float32 arithmetic
FILES = [f"{network}.{kind}" for network in ("lenet", "mnist_cnn") for kind in FLOAT]
FILES += [f"{network}_int8.{kind}" for network in ("lenet", "mnist_cnn") for kind in INT8]

ANSWERS = """
import sys
import numpy as np
from helpers.runtimes import open_model
images, answers, *files = sys.argv[1:]
x, found = np.load(images), {}
for file in files:
    model = open_model(file)
    found[model.path.name] = model.predict(x)
    print(model.runtime, model.precision, model.input_shape)
np.savez(answers, **found)
"""


@pytest.fixture(scope="module")
def files(shared_files, quick_networks):
    """The folder of the model files, the images, and the laptop's answers {file: logits}.

    The images are three of each digit, in float32.
    """
    for name in quick_networks:
        for form in (*FLOAT, *(f"int8 {kind}" for kind in INT8)):
            shared_files.path(name, form)
    folder = shared_files.folder
    test = mnist("test")
    chosen = [np.flatnonzero(test.labels == digit)[:3] for digit in range(10)]
    x = normalize(test.images[np.concatenate(chosen)])
    assert len(x) == 30
    return folder, x, {file: open_model(folder / file).predict(x) for file in FILES}


# a Pi 4 in every run: it lacks the dot product that x86 machines have, too
CPUS = ["cortex-a72", pytest.param("cortex-a76", marks=pytest.mark.slow)]


@pytest.fixture(scope="module", params=CPUS)
def answers(request, files, tmp_path_factory):
    """(cpu, {file: logits}, what was printed) of all files on one emulated processor."""
    folder, x, _ = files
    mine = tmp_path_factory.mktemp(request.param)
    np.save(mine / "images.npy", x)
    places = [mine / "images.npy", mine / "answers.npz", *(folder / file for file in FILES)]
    done = emulated_pi.run(request.param, "-c", ANSWERS, *places)
    assert done.returncode == 0, done.stderr
    with np.load(mine / "answers.npz") as found:
        return request.param, dict(found), done.stdout


def test_every_file_gives_the_same_answers(answers, files):
    cpu, found, said = answers
    assert len(said.splitlines()) == len(FILES) == len(found)
    for file, here in files[2].items():
        there = found[file]
        difference = metrics.largest_difference(there, here)
        print(f"{cpu} {file:20} largest difference {difference:.2g}")
        if "_int8" in file and not file.endswith(".mnn"):
            assert (there == here).all(), f"{file}: int8 is whole numbers, so every bit must agree"
        assert difference <= 1e-3 * np.abs(here).max(), file


@pytest.mark.parametrize("cpu, dot_product", [("cortex-a72", 0), ("cortex-a76", 1)])
def test_the_runtimes_see_which_pi_it_is(files, cpu, dot_product):
    code = (
        "import MNN, sys; MNN.Interpreter(sys.argv[1]).createSession({'backend': 'CPU'})\n"
        "import json; from helpers import device; print(json.dumps(device.describe()))"
    )
    done = emulated_pi.run(cpu, "-c", code, files[0] / "lenet.mnn")
    assert done.returncode == 0, done.stderr
    assert f"i8sdot:{dot_product}" in done.stdout, done.stdout
    machine = json.loads(done.stdout.splitlines()[-1])
    assert machine["arch"] == "aarch64"
    assert machine["cpu"] == cpu.title()
    assert machine["python"].startswith("3.13.")
    assert "asimd" in machine["features"]
    assert ("asimddp" in machine["features"]) == bool(dot_product)


@pytest.mark.slow
def test_the_doctor_on_a_pi(files, monkeypatch, tmp_path):
    (tmp_path / "models").mkdir()
    for file in ("onnx", "tflite", "ncnn.param", "ncnn.bin", "mnn"):
        (tmp_path / "models" / f"mnist_cnn.{file}").symlink_to(files[0] / f"mnist_cnn.{file}")
    monkeypatch.setenv("WORKBOOK_BUILD", str(tmp_path))
    done = emulated_pi.run("cortex-a72", "-m", "workbook", "doctor")
    assert "Cortex-A72" in done.stdout.splitlines()[0], done.stdout + done.stderr
    packages = ["Python 3.13", "onnxruntime", "ai-edge-litert", "ncnn", "MNN", "jupyterlab"]
    for name in [*packages, *(f"running mnist_cnn.{kind}" for kind in FLOAT)]:
        assert f"ok    {name}" in done.stdout, name
    assert "FAIL  torch" in done.stdout, "no torch on a Pi"


@pytest.mark.slow
def test_a_worker_process_starts_on_a_pi(files):
    code = (
        "import sys\nfrom helpers.workers import Worker\n"
        "with Worker(sys.argv[1]) as worker: print(worker.runtime, sys.executable)"
    )
    done = emulated_pi.run("cortex-a76", "-c", code, files[0] / "lenet.onnx")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"ONNX Runtime {emulated_pi.python()}\n"


def test_what_a_pi_has_to_install_is_small():
    size = emulated_pi.unpacked_bytes() / 1e6
    print(f"requirements-pi.txt, unpacked: {size:.0f} MB")
    assert 300 < size < 850  # 700 without OpenCV and Pillow


def test_what_is_half_made_is_not_used(monkeypatch, tmp_path):
    for name in ("requirements.txt", "requirements-pi.txt"):
        (tmp_path / name).write_text("")
    monkeypatch.setattr(emulated_pi, "ROOT", tmp_path)
    monkeypatch.setattr(emulated_pi, "WRAPPER", "#!/bin/sh\n")
    really_call = emulated_pi.call
    calls = []

    def call(what, *command):
        calls.append(what)
        if what.startswith("getting"):
            command[-1].touch()
        elif what.startswith("installing"):
            if calls.count(what) == 1:
                really_call(what, "sh", "-c", "echo the disk is full >&2; exit 1")
            command[command.index("--target") + 1].mkdir(parents=True)

    monkeypatch.setattr(emulated_pi, "call", call)
    said = "installing requirements-pi.txt for Arm failed: the disk is full"
    with pytest.raises(RuntimeError, match=said):
        emulated_pi.python()
    assert not list((tmp_path / "build" / "emulated-pi").iterdir()), "nothing half-made stays"
    assert emulated_pi.python().exists() and len(calls) == 6, "made again from the start"
    assert emulated_pi.python().exists() and len(calls) == 6, "and then kept"
    (tmp_path / "requirements-pi.txt").write_text("numpy\n")
    assert emulated_pi.python().exists() and len(calls) == 9, "created again for another list"
