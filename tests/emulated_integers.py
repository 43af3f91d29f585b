"""Notebook 05b's integers against the runtimes on an emulated Pi 4, Pi 5 and Haswell.

`make test-all` runs it. Files are made here, with PyTorch. The emulator only runs the
runtimes and hands back what every operator puts out.
Compared are integers, never times.
"""

import json
from functools import partial
from pathlib import Path

import emulated_haswell
import emulated_pi
import numpy as np
import pytest
import torch
from notebook_code import definitions

from helpers import convert
from helpers.data import mnist, normalize
from helpers.models import fold_batch_norm
from modelfiles.integers import (
    KERNELS,
    addition_file,
    exposed_onnx,
    provoke_onnx,
    provoke_tflite,
    read_network,
    with_average_pool,
)

pytestmark = pytest.mark.skipif(bool(emulated_pi.missing()), reason=str(emulated_pi.missing()))
CPUS = [*emulated_pi.CPUS, "haswell"]
IMAGES = 100
DEPTHWISE = "depthwise, U8 x S8"
ONNX = ("U8 x S8, per channel", "U8 x S8, per tensor", "S8 x S8, per channel")

RUN = """
import json, sys
from pathlib import Path
import numpy as np
from modelfiles.integers import run_addition, run_exposed_onnx, run_tflite

folder = Path(sys.argv[1])
images = np.load(folder / "images.npy")
for job in json.loads((folder / "jobs.json").read_text()):
    path = folder / job["file"]
    if job["how"] == "all pairs":
        found = run_addition(path.read_bytes())
    elif path.suffix == ".onnx":
        found = run_exposed_onnx(path.read_bytes(), images, job["how"])
    else:
        found = run_tflite(path, np.load(folder / job["integers"]), job["how"])
    np.savez(folder / job["result"], *found)
"""


@pytest.fixture(scope="module")
def book():
    return definitions("05b_integer_only_inference")


@pytest.fixture(scope="module")
def images():
    return mnist("test").images[:IMAGES]


@pytest.fixture(scope="module")
def files(book, quick_networks, quick_depthwise, tmp_path_factory):
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
    depthwise = convert.to_onnx(
        fold_batch_norm(quick_depthwise), torch.zeros(1, 1, 28, 28), folder / "depthwise.onnx"
    )
    with_skips = convert.to_onnx_int8(
        with_average_pool(depthwise, folder / "depthwise_pool.onnx"),
        folder / "depthwise_int8.onnx",
        calibration,
        qdq=False,
        unsigned_activations=True,
    )
    onnx_files = (made["ONNX, per channel"], made["ONNX, per tensor"], signed)
    real = dict(zip(ONNX, onnx_files, strict=True))
    real[DEPTHWISE] = with_skips
    real["TFLite"] = made["TFLite"]
    found = {}
    for form, path in real.items():
        provoke = provoke_tflite if form == "TFLite" else provoke_onnx
        found["real", form] = path
        found["ties", form] = provoke(path, folder / f"ties_{path.name}")
    return found


@pytest.fixture(scope="module", params=CPUS)
def observed(request, book, files, images, tmp_path_factory):
    """The processor, and {(kind of file, way to run it): (network, integer images, results)}.

    Each addition of a network is run with all pairs of integers as well; then the network is the
    operation, and there are no images.
    """
    cpu = request.param
    folder = tmp_path_factory.mktemp(cpu)
    np.save(folder / "images.npy", normalize(images))
    jobs = []
    networks = {}

    def add(kind: str, way: str, network, q, name: str, how: str) -> None:
        networks[kind, way] = network, q
        job = {"file": name, "how": how, "result": f"result{len(jobs)}.npz"}
        jobs.append(job | {"integers": f"{Path(name).stem}.npy"})

    for number, ((kind, form), path) in enumerate(files.items()):
        network = read_network(path, book.Layer)
        q = book.integer_images(network, images)
        name = f"{number}{path.suffix}"
        if form == "TFLite":
            (folder / name).write_bytes(path.read_bytes())
            np.save(folder / f"{number}.npy", q)
            for kernels in KERNELS:
                add(kind, f"LiteRT, {kernels}", network, q, name, kernels)
            continue
        (folder / name).write_bytes(exposed_onnx(path))
        # ONNX Runtime has no exact kernels for S8 x S8 on x86, and needs none
        ways = {f"{form}, default": "0"}
        if form == DEPTHWISE:
            ways = {f"{form}, exact": "1"}
        elif not form.startswith("S8"):
            ways[f"{form}, exact"] = "1"
        for way, how in ways.items():
            add(kind, way, network, q, name, how)
        for place, operation in enumerate(network.operations):
            if isinstance(operation, book.Addition):
                pairs = f"{number}_{place}.onnx"
                (folder / pairs).write_bytes(addition_file(operation.inputs, operation.output))
                add(kind, f"addition {place}", operation, None, pairs, "all pairs")
    a, b, output = book.TIES
    (folder / "ties.onnx").write_bytes(addition_file((a, b), output))
    with_ties = book.Addition("QLinearAdd", (), "", (a, b), output)
    add("ties", "addition with powers of two", with_ties, None, "ties.onnx", "all pairs")
    (folder / "jobs.json").write_text(json.dumps(jobs))
    run = emulated_haswell.run if cpu == "haswell" else partial(emulated_pi.run, cpu)
    done = run("-c", RUN, folder)
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
        if which == kind
        and not (way.startswith("U8") and way.endswith("default"))
        and not way.startswith("addition")
    }


def fitting(book, observed: dict):
    """The rules of every kind of layer, from the files with ties; every row has exactly one.

    The depthwise network has few ties in some layers, so more than one rule may fit there.
    """
    counts = book.count_by_rule(of(observed, "ties"), book.RULES)
    is_zero = counts[list(book.RULES)] == 0
    rules = counts[list(book.RULES)].idxmin(axis=1)
    for row, fits in is_zero.iterrows():
        if row[0].startswith(DEPTHWISE):
            assert fits["float32, half even"], counts
            rules[row] = "float32, half even"
        else:
            assert fits.sum() == 1, counts
    return rules


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


def fitting_addition(book, observed: dict) -> str:
    """The one rule that gives every sum of every pair, on the real grids and on those with ties."""
    differ = dict.fromkeys(book.ADDITIONS, 0)
    for (_, way), (operation, _, found) in observed.items():
        if way.startswith("addition"):
            a, b, c = found
            for name, rule in book.ADDITIONS.items():
                differ[name] += book.differences(book.added(rule, a, b, operation), c)[0]
    print(f"sums of all pairs that differ: {differ}")
    [name] = [name for name, count in differ.items() if count == 0]
    return name


def test_additions_are_integers_on_arm_and_float32_on_x86(book, observed):
    cpu, found = observed
    expected = "float32, half even" if cpu == "haswell" else "integers, half away"
    assert fitting_addition(book, found) == expected, cpu


def test_every_number_is_ours(book, observed, images):
    cpu, found = observed
    addition = book.ADDITIONS[fitting_addition(book, found)]
    rules: dict = {}
    for (way, layer), rule in fitting(book, found).items():
        new = book.everywhere(book.once_half_up) | {"addition": addition}
        rules.setdefault(way, new)[layer] = book.RULES[rule]
    table = book.compare(of(found, "real"), rules)
    print(f"\n{cpu}\n{table.to_string()}")
    assert len(table) == 7 and table["8-bit numbers"].min() > 6_000 * IMAGES
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
