"""Notebook 05's integers against the runtimes on an emulated Pi 4, Pi 5 and Haswell.

`make test-all` runs it. Files are made here, with PyTorch. The emulator only runs the
runtimes, with the notebook's own functions for that, and hands back what every operator puts out.
Compared are integers, never times.
"""

import json
from pathlib import Path

import emulated_haswell
import emulated_pi
import numpy as np
import pytest
from notebook_code import definitions

from helpers import convert
from helpers.data import mnist, normalize

pytestmark = pytest.mark.skipif(bool(emulated_pi.missing()), reason=str(emulated_pi.missing()))
CPUS = [*emulated_pi.CPUS, "haswell"]
IMAGES = 100
ONNX = ("U8 x S8, per channel", "U8 x S8, per tensor", "S8 x S8, per channel")

RUN = """
import json, sys
from pathlib import Path
import numpy as np
sys.path.insert(0, "tests")
from notebook_code import definitions

book = definitions("05_affine_quantization", only={"run_exposed_onnx", "run_tflite"})
folder = Path(sys.argv[1])
images = np.load(folder / "images.npy")
for job in json.loads((folder / "jobs.json").read_text()):
    if job["file"].endswith(".onnx"):
        found = book.run_exposed_onnx((folder / job["file"]).read_bytes(), images, job["how"])
    else:
        found = book.run_tflite(folder / job["file"], np.load(folder / job["integers"]), job["how"])
    np.savez(folder / job["result"], *found)
"""


@pytest.fixture(scope="module")
def book():
    return definitions("05_affine_quantization")


@pytest.fixture(scope="module")
def images():
    return mnist("test").images[:IMAGES]


@pytest.fixture(scope="module")
def files(book, quick_networks, tmp_path_factory):
    """The model files, real ones and ones that provoke ties: {(real or ties, form): path}."""
    folder = tmp_path_factory.mktemp("files")
    calibration = normalize(mnist("train").images[:300])
    made = book.quantized_files("lenet", calibration)
    signed = convert.to_onnx_int8(
        made["TFLite"].with_name("lenet.onnx"),
        folder / "signed.onnx",
        calibration,
        qdq=False,
        unsigned_activations=False,
    )
    onnx_files = (made["ONNX, per channel"], made["ONNX, per tensor"], signed)
    real = dict(zip(ONNX, onnx_files, strict=True))
    real["TFLite"] = made["TFLite"]
    found = {}
    for form, path in real.items():
        provoke = book.provoke_tflite if form == "TFLite" else book.provoke_onnx
        found["real", form] = path
        found["ties", form] = provoke(path, folder / f"ties_{path.name}")
    return found


@pytest.fixture(scope="module", params=CPUS)
def observed(request, book, files, images, tmp_path_factory):
    """The processor, and {(kind of file, way to run it): (network, integer images, results)}."""
    cpu = request.param
    folder = tmp_path_factory.mktemp(cpu)
    np.save(folder / "images.npy", images)
    jobs = []
    networks = {}
    for number, ((kind, form), path) in enumerate(files.items()):
        network = (book.read_tflite if form == "TFLite" else book.read_onnx)(path)
        q = book.integer_images(network, images)
        ways = {f"LiteRT, {kernels}": kernels for kernels in book.KERNELS}
        if form == "TFLite":
            (folder / f"{number}.tflite").write_bytes(path.read_bytes())
            np.save(folder / f"{number}.npy", q)
        else:
            (folder / f"{number}.onnx").write_bytes(book.exposed_onnx(path))
            ways = {f"{form}, default": "0"}
            # ONNX Runtime has no exact kernels for S8 x S8 on x86, and needs none
            if not form.startswith("S8"):
                ways[f"{form}, exact"] = "1"
        for way, how in ways.items():
            networks[kind, way] = network, q
            jobs.append(
                {
                    "file": f"{number}{path.suffix}",
                    "integers": f"{number}.npy",
                    "how": how,
                    "result": f"result{len(jobs)}.npz",
                }
            )
    (folder / "jobs.json").write_text(json.dumps(jobs))
    if cpu == "haswell":
        done = emulated_haswell.run("-c", RUN, folder)
    else:
        done = emulated_pi.run(cpu, "-c", RUN, folder)
    assert done.returncode == 0, done.stderr
    return cpu, {
        key: (*networks[key], loaded(folder / job["result"]))
        for key, job in zip(networks, jobs, strict=True)
    }


def loaded(path: Path) -> list[np.ndarray]:
    with np.load(path) as arrays:
        return [arrays[f"arr_{i}"] for i in range(len(arrays))]


def of(observed: dict, kind: str) -> dict:
    """What was observed of one kind of file (real, ties), without the sums that may saturate."""
    return {
        way: what
        for (which, way), what in observed.items()
        if which == kind and not (way.startswith("U8") and way.endswith("default"))
    }


def fitting(book, observed: dict):
    """The rules of every kind of layer, from the files with ties; every row has exactly one."""
    counts = book.count_by_rule(of(observed, "ties"), book.RULES)
    assert ((counts[list(book.RULES)] == 0).sum(axis=1) == 1).all(), counts
    return counts[list(book.RULES)].idxmin(axis=1)


def test_each_runtime_follows_one_rule(book, observed):
    cpu, found = observed
    rules = fitting(book, found)
    print(f"\n{cpu}\n{rules.unstack(sort=False).to_string()}")
    expected = {
        "depthwise": "twice, half away",
        "dense": "twice, half up",
        "convolution": "twice, half up" if cpu == "haswell" else "once, half up",
    }
    assert rules["LiteRT, optimized"].to_dict() == expected
    assert rules["LiteRT, reference"].to_dict() == {
        "depthwise": "twice, half away",
        "convolution": "twice, half away",
        "dense": "once, half away",
    }
    assert set(rules.drop(["LiteRT, optimized", "LiteRT, reference"])) == {"float32, half even"}


def test_every_number_is_ours(book, observed, images):
    cpu, found = observed
    rules: dict = {}
    for (way, layer), rule in fitting(book, found).items():
        rules.setdefault(way, book.everywhere(book.once_half_up))[layer] = book.RULES[rule]
    table = book.compare(of(found, "real"), rules, mnist("test").labels[:IMAGES])
    print(f"\n{cpu}\n{book.readable(table).to_string()}")
    assert len(table) == 6 and table["8-bit numbers"].min() > 6_000 * IMAGES
    assert table["differ"].sum() == 0, table


def test_the_default_sums_saturate_where_there_is_no_vnni_and_nowhere_else(book, observed):
    cpu, found = observed
    for kind in ("real", "ties"):
        for form in ONNX:
            table = book.against_both(*found[kind, f"{form}, default"], book.float32_half_even)
            print(f"\n{cpu}, {kind}, {form}\n{table.to_string()}")
            if cpu == "haswell" and form.startswith("U8"):
                assert table["differ from exact sums"].sum() > 0
                assert table["differ from saturating sums"].sum() == 0
            else:
                assert table["differ from exact sums"].sum() == 0
