"""PyTorch and ExecuTorch on an emulated Pi 4 and Pi 5: the same answers as here, or why not.

`make test-all` runs it, and keeps what it installs for Arm under build/emulated-torch. The build
that requirements-pi-torch.txt names is in PyTorch's own index only. Where that does not answer, the
same version's build for GPUs takes its place: 5 GB, and the same code for the processor. Compared
are answers, never times.
"""

import hashlib
import re
import shutil
import sys
import urllib.error
import urllib.request
from pathlib import Path

import emulated_pi
import numpy as np
import pytest

from helpers import convert, metrics
from helpers.data import mnist, normalize
from helpers.paths import ROOT
from helpers.runtimes import open_model

pytestmark = pytest.mark.skipif(bool(emulated_pi.missing()), reason=str(emulated_pi.missing()))
INDEX = "https://download.pytorch.org/whl/cpu/torch/"
FLOAT = ("lenet.pt2", "lenet.torchscript", "lenet.pte")
INT8 = "lenet_int8.pte"

ANSWERS = """
import sys
import numpy as np
from helpers.runtimes import open_model
images, answers, *files = sys.argv[1:]
found = {}
for file in files:
    model = open_model(file)
    found[model.path.name] = model.predict(np.load(images))
np.savez(answers, **found)
"""


def site(*packages: str) -> Path:
    """A folder with `packages` for the emulated Pi, beside those of requirements-pi.txt."""
    recipe = "\n".join([*packages, (ROOT / "requirements.txt").read_text()])
    home = ROOT / "build/emulated-torch" / hashlib.sha256(recipe.encode()).hexdigest()[:12]
    if not home.exists():
        part = home.with_suffix(".part")
        shutil.rmtree(part, ignore_errors=True)
        command = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--no-config"]
        command += ["--python-platform", "aarch64-manylinux_2_28", "--python-version", "3.13"]
        command += ["--only-binary", ":all:", "--no-binary", "antlr4-python3-runtime"]
        emulated_pi.call("installing for Arm", *command, "--target", part, *packages)
        part.rename(home)
    return home


def index_answers() -> bool:
    try:
        with urllib.request.urlopen(INDEX, timeout=5):
            return True
    except (urllib.error.URLError, TimeoutError):
        return False


@pytest.fixture(scope="module")
def listed():
    """The folder with what requirements-pi-torch.txt lists."""
    path = ROOT / "requirements-pi-torch.txt"
    if index_answers():
        return site("-r", str(path))
    lines = re.findall(r"^\w\S+==\S+", path.read_text(), re.MULTILINE)
    return site("numpy==2.4.6", *(line.replace("+cpu", "") for line in lines))


@pytest.fixture(scope="module")
def files(quick_networks, tmp_path_factory):
    """The folder of the model files and of 100 images, and the answers here {file: logits}."""
    import torch

    folder = tmp_path_factory.mktemp("torch")
    network = quick_networks["lenet"]
    example = torch.zeros(1, 1, 28, 28)
    x = normalize(mnist("test").images[:100])
    for file, write in zip(FLOAT, (convert.to_pt2, convert.to_torchscript, convert.to_executorch)):
        write(network, example, folder / file)
    convert.to_executorch_int8(network, folder / INT8, normalize(mnist("train").images[:100]))
    np.save(folder / "images.npy", x)
    return folder, {file: open_model(folder / file).predict(x) for file in (*FLOAT, INT8)}


@pytest.mark.parametrize("cpu", emulated_pi.CPUS)
def test_pytorch_and_executorch_answer_as_here(cpu, listed, files, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(listed))
    folder, here = files
    places = [folder / "images.npy", tmp_path / "answers.npz", *(folder / file for file in here)]
    done = emulated_pi.run(cpu, "-c", ANSWERS, *places)
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "answers.npz") as there:
        for file, logits in here.items():
            difference = metrics.largest_difference(there[file], logits)
            print(f"{cpu} {file:20} largest difference {difference:.2g}")
            if file != INT8:
                assert difference <= 1e-3 * np.abs(logits).max()
            assert (there[file].argmax(axis=1) == logits.argmax(axis=1)).mean() >= 0.99


@pytest.mark.parametrize(
    "cpu, status, sentence",
    [
        (
            "cortex-a72",
            1,
            "this build of PyTorch needs a newer Armv8 than the processor has: the Cortex-A72 of "
            "a Pi 4 has Armv8.0\n",
        ),
        ("cortex-a76", 0, ""),
    ],
)
def test_an_illegal_instruction_is_told_from_other_failures(cpu, status, sentence, monkeypatch):
    """PyTorch 2.10.0 uses atomic instructions of Armv8.1 (pytorch #174344)."""
    monkeypatch.setenv("PYTHONPATH", str(site("torch==2.10.0")))
    done = emulated_pi.run(cpu, "-m", "workbook.packages", "torch")
    assert (done.returncode, done.stdout) == (status, sentence), done.stderr
