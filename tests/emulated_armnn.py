"""Arm NN's NEON kernels on an emulated Pi 4 and Pi 5: the same answers as here.

Run it with `pytest -s tests/emulated_armnn.py`. It keeps Debian 12 for Arm with PyArmNN under
build/emulated-armnn. Its Python 3.11 looks like a program of this machine, so helpers.workers
starts it as it would start the system's Python on a Pi. Compared are answers, never times.
"""

from pathlib import Path

import emulated_pi
import numpy as np
import pytest

from helpers import convert, metrics
from helpers.data import mnist, normalize
from helpers.paths import ROOT
from helpers.runtimes import open_model
from helpers.workers import Worker
from modelfiles.runtimes import pyarmnn_file

pytestmark = pytest.mark.skipif(bool(emulated_pi.missing()), reason=str(emulated_pi.missing()))
PACKAGES = [*pyarmnn_file.PACKAGES.split(), "libarmnn-cpuacc-backend22"]
# the two folders are where alternatives would link to, had the maintainer scripts run; user and
# local packages of this machine are not for Arm
WRAPPER = (
    "#!/bin/sh\n"
    "export PYTHONNOUSERSITE=1\n"
    'exec "{qemu}" -L "{home}/root" '
    "-E LD_LIBRARY_PATH=/usr/lib/aarch64-linux-gnu/blas:/usr/lib/aarch64-linux-gnu/lapack "
    '"{home}/root/usr/bin/python3.11" "$@"\n'
)
TOLERANCE = 1e-4  # float32 sums in another order


def python() -> Path:
    """A Python for Arm with PyArmNN; the first call makes it (half a minute, 140 MB)."""
    qemu = emulated_pi.python().parents[1] / "root/usr/bin/qemu-aarch64"

    def make(folder: Path, home: Path) -> None:
        root = folder / "root"
        emulated_pi.unpack_debian(root, "bookworm", ",".join(PACKAGES), "arm64")
        # this machine may have such a folder, which an empty one hides
        (root / "usr/local/lib/python3.11/dist-packages").mkdir(parents=True, exist_ok=True)
        (folder / "python").write_text(WRAPPER.format(qemu=qemu, home=home))
        (folder / "python").chmod(0o755)

    recipe = [*PACKAGES, WRAPPER, str(qemu)]
    return emulated_pi.made_once(ROOT / "build/emulated-armnn", recipe, make) / "python"


@pytest.fixture(scope="module")
def files(quick_networks, tmp_path_factory):
    """{network: its .tflite file}; LeNet's dense layers have no bias of their own."""
    import torch

    folder = tmp_path_factory.mktemp("armnn")
    example = torch.zeros(1, 1, 28, 28)
    return {
        name: convert.to_tflite(network, example, folder / f"{name}.tflite")
        for name, network in quick_networks.items()
    }


@pytest.mark.parametrize("name", ["mnist_cnn", "lenet"])
@pytest.mark.parametrize("cpu", emulated_pi.CPUS)
def test_arm_nn_answers_as_here(cpu, name, files, quick_networks, tmp_path, monkeypatch):
    import torch

    monkeypatch.setenv(pyarmnn_file.VARIABLE, str(python()))
    test = mnist("test")
    chosen = [np.flatnonzero(test.labels == digit)[:10] for digit in range(10)]
    x = normalize(test.images[np.concatenate(chosen)])
    with Worker(files[name], delegate="pyarmnn", settings=emulated_pi.settings(cpu)) as worker:
        assert (worker.runtime, worker.version) == ("Arm NN (CpuAcc)", "22.0.0")
        found = worker.predict(x)
    onnx_file = tmp_path / "same.onnx"
    convert.to_onnx(quick_networks[name], torch.zeros(1, 1, 28, 28), onnx_file)
    for here in (files[name], onnx_file):
        model = open_model(here)
        wanted = model.predict(x)
        difference = metrics.largest_difference(found, wanted)
        print(f"\n{cpu} {name}: Arm NN and {model.runtime} here differ by at most {difference:.1e}")
        assert difference <= TOLERANCE
        assert (found.argmax(axis=1) == wanted.argmax(axis=1)).all()
