"""The C++ programs: built, as right as Python, timed by the same rule, and clear about errors."""

import json
import re
import shutil
import subprocess
import time
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch

from helpers import convert, metrics, timing
from helpers.data import mnist, normalize
from helpers.paths import ROOT
from helpers.workers import Worker, cpp_program
from workbook import cpp_build

TOOLS = "cmake", "make", "c++"
pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, TOOLS)), reason="needs a compiler: sudo apt install cmake make g++"
)

# A model whose calls are known: it spins or sleeps for a millisecond, and answers how often it was
# called.
KNOWN = """
#include <thread>
#include "bench.hpp"
static bench::Model open_model(const std::string& path, int threads) {
    std::puts("runtimes print all kinds of things");
    if (path.find("shapeless") != std::string::npos) return {"Known", "1.0", {}, nullptr};
    if (path.find("broken") != std::string::npos)
        throw std::runtime_error("not \\"a\\" model\\nof any kind");
    const bool sleeps = path.find("sleep") != std::string::npos;
    auto calls = std::make_shared<int>(0);
    auto run = [=](const float* image, std::vector<float>& logits) {
        const int64_t end = bench::wall_ns() + 1000000;
        if (sleeps) std::this_thread::sleep_for(std::chrono::milliseconds(1));
        while (bench::wall_ns() < end) {}
        float sum = 0;
        for (int i = 0; i < 6; i++) sum += image[i];
        logits = {float(++*calls), sum, float(threads)};
    };
    return {"Known", "1.0", {1, 1, 2, 3}, run};
}
int main(int argc, char** argv) { return bench::serve(argc, argv, open_model); }
"""


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    """The program of the known model."""
    source = tmp_path_factory.mktemp("known") / "known.cpp"
    source.write_text(KNOWN)
    made = source.with_suffix("")
    options = ["-std=c++20", "-O2", "-Wall", "-Wextra", "-pthread", "-I", ROOT / "cpp"]
    subprocess.run(["c++", *options, "-o", made, source], check=True)
    return made


@pytest.fixture
def model(tmp_path):
    """A model file by name; the known model asks for no content."""

    def make(name):
        (tmp_path / name).write_text("")
        return tmp_path / name

    return make


@pytest.fixture(scope="module")
def built():
    """All three programs, built from packages as `make cpp` does.

    This is quick where it was done before.
    """
    skipped = cpp_build.build()
    if skipped:
        pytest.skip("; ".join(skipped.values()))


@pytest.fixture(scope="module")
def files(shared_files):
    """{program: the file that it and Python's runtime both read}, of the same trained network."""
    kinds = {"libtorch": "torchscript", "ncnn": "ncnn.param", "mnn": "mnn"}
    return {program: shared_files.path("mnist_cnn", kind) for program, kind in kinds.items()}


@pytest.mark.alone
@pytest.mark.parametrize("runtime", ["libtorch", "ncnn", "mnn"])
def test_cpp_against_python(built, files, capsys, runtime):
    x = normalize(mnist("test").images)
    with (
        Worker(files[runtime]) as python,
        Worker(files[runtime], program=cpp_program(runtime)) as cpp,
    ):
        here = python.predict(x)
        there = cpp.predict(x)
        assert here.shape == there.shape == (1000, 10)
        assert metrics.largest_difference(here, there) <= 1e-4 * np.abs(here).max()
        if runtime == "mnn":  # the same library, called from two languages
            assert (here == there).all()
        assert cpp.version == python.version
        assert (cpp.input_shape, cpp.precision) == ((1, 1, 28, 28), "float32")
        measured = timing.benchmark({"Python": python, "C++": cpp}, rounds=12)
        ratio = timing.speedup(measured["Python"], measured["C++"])
        # the same kernels: neither is many times faster, even if other programs interrupt
        assert 0.2 < ratio.value < 5
        assert cpp.peak_rss() < python.peak_rss()
    cpp_us = measured["C++"].percentile(50) / 1e3
    with capsys.disabled():
        print(f"\n{runtime}: C++ is {ratio} times as fast as Python, in {cpp_us:.0f} us a call")


@pytest.mark.parametrize("runtime", ["libtorch", "ncnn", "mnn"])
def test_what_is_not_a_model(built, files, tmp_path, runtime):
    program = cpp_program(runtime)
    suffix = "".join(files[runtime].suffixes)
    with pytest.raises(ValueError, match=f"^none{suffix} does not exist$"):
        Worker(tmp_path / f"none{suffix}", program=program)
    (tmp_path / f"text{suffix}").write_text("these are words, not a network\n" * 20)
    with pytest.raises(ValueError, match="cannot load the file: is it damaged"):
        Worker(tmp_path / f"text{suffix}", program=program)
    raw = files[runtime].read_bytes()
    (tmp_path / f"half{suffix}").write_bytes(raw[: len(raw) // 2])
    with pytest.raises(ValueError, match="cannot load the file: is it damaged"):
        Worker(tmp_path / f"half{suffix}", program=program)


def test_an_ncnn_layer_that_was_skipped(built, tmp_path):
    network = torch.nn.Sequential(OrderedDict(conv=torch.nn.Conv2d(1, 8, 3), gelu=torch.nn.GELU()))
    convert.to_ncnn(network, torch.zeros(1, 1, 28, 28), tmp_path / "gelu.ncnn.param")
    said = r"are its layers among those of cpp/CMakeLists\.txt"
    with pytest.raises(ValueError, match=said):
        Worker(tmp_path / "gelu.ncnn.param", program=cpp_program("ncnn"))


def test_several_channels_whose_rows_ncnn_would_align(built, tmp_path):
    torch.manual_seed(0)
    layers = OrderedDict(conv=torch.nn.Conv2d(3, 5, 3), relu=torch.nn.ReLU())
    network = torch.nn.Sequential(layers).eval()
    path = convert.to_ncnn(network, torch.zeros(1, 3, 7, 9), tmp_path / "odd.ncnn.param")
    x = np.random.default_rng(0).standard_normal((4, 3, 7, 9), np.float32)
    with Worker(path, program=cpp_program("ncnn")) as cpp:
        expected = network(torch.from_numpy(x)).detach().numpy().reshape(4, -1)
        assert metrics.largest_difference(cpp.predict(x), expected) <= 1e-5


@pytest.mark.alone
def test_calls_are_timed_by_the_rule_of_timing(known, model):
    def spin():
        end = time.perf_counter_ns() + 1_000_000
        while time.perf_counter_ns() < end:
            pass

    with (
        Worker(model("spin"), program=known) as spins,
        Worker(model("sleep"), program=known) as sleeps,
    ):
        candidates = {"spin": spins, "sleep": sleeps, "here": spin}
        measured = timing.benchmark(candidates, rounds=6, min_round_s=0.01)
    for name in ("spin", "sleep"):
        assert measured[name].samples_ns.min() >= 1e6 and measured[name].samples_ns.shape == (6, 10)
        # the discarded call counts in the round
        assert (measured[name].round_ns[:, 0] >= 11 * 1e6).all()
    # the same millisecond here and there: the units and the median are the same
    assert 0.5 < timing.speedup(measured["here"], measured["spin"]).value < 2
    assert measured["sleep"].contention > 0.5, "asleep is not on the CPU"
    assert measured["sleep"].cpu_ns.mean() < 0.5e6
    assert measured["spin"].cpu_ns.max() <= measured["spin"].samples_ns.max() + 1e5


def test_as_many_calls_as_asked_for(known, model):
    x = np.arange(12, dtype=np.float32).reshape(2, 1, 2, 3)
    with Worker(model("spin"), threads=3, program=known) as worker:
        # images in their order, and the threads
        assert worker.predict(x).tolist() == [[1, 15, 3], [2, 51, 3]]
        wall, cpu, whole = worker.time_calls(5, discard=2)
        assert wall.shape == cpu.shape == (5,) and whole[0] >= wall.sum() + 2e6
        assert worker.predict(x[:1])[0, 0] == 2 + 7 + 1
        start = time.perf_counter()
        warm = worker.warm_up()
        assert time.perf_counter() - start >= 0.2
        assert warm.first_call_ns >= 1e6
        # windows of 10 calls, or fewer where another program made the first call a long one
        window = max(1, min(10, int(timing.MAX_WINDOW_NS / warm.first_call_ns)))
        assert warm.calls % window == 1 % window
        assert worker.predict(x[:1])[0, 0] == 10 + warm.calls + 1
        assert 1e6 < worker.peak_rss() < 50e6
        assert (worker.runtime, worker.version) == ("Known", "1.0")
        assert (worker.precision, worker.input_shape) == ("float32", (1, 1, 2, 3))


def test_what_a_program_says_about_a_bad_file(known, model):
    with pytest.raises(ValueError, match='^not "a" model$'):
        Worker(model("broken"), program=known)
    with pytest.raises(ValueError, match="does not contain its input shape"):
        Worker(model("shapeless"), program=known)
    assert Worker(model("spin_int8.onnx"), program=known).precision == "int8"


@pytest.mark.parametrize(
    "line",
    [
        "",
        "words",
        "[]",
        "{}",
        '"warm_up"',
        '["warm_up"',
        '["warm_up"] and more',
        '["warm_up", 1]',
        '["time_calls", 1]',
        '["time_calls", -1, 0]',
        '["time_calls", 1.5, 0]',
        '["time_calls", 99999999999999999999, 0]',
        '["time_calls", "1", 0]',
        '["time_calls", 1, 0,]',
        '["dance"]',
        r'["image", "\u0041"]',
        '["image", "unfinished',
        '["image", "/nowhere/at all"]',
        '["predict", "/nowhere/at all", "/nowhere/else"]',
    ],
)
def test_a_bad_request_is_refused_and_the_next_one_answered(known, model, line):
    done = subprocess.run(
        [known, model("spin"), "1"],
        input=f'{line}\n["peak_rss"]\n',
        capture_output=True,
        text=True,
        timeout=20,
    )
    hello, refusal, memory = map(json.loads, done.stdout.splitlines())
    assert hello["runtime"] == "Known" and list(refusal) == ["error"] and isinstance(memory, int)
    assert "runtimes print" in done.stderr, "what a runtime prints is no answer"


def test_images_of_another_size_and_places_of_odd_names(known, model, tmp_path):
    folder = tmp_path / 'an "odd" place \\ with ümlauts'
    folder.mkdir()
    images = folder / "images"
    logits = folder / "logits"
    requests = []
    for floats in (5, 6, 7):
        np.ones(floats, np.float32).tofile(folder / f"{floats}")
        requests.append(["image", str(folder / f"{floats}")])
    np.ones(12, np.float32).tofile(images)
    requests += [
        ["image", str(images)],
        ["predict", str(images), str(logits)],
        ["predict", str(images), "/nowhere/logits"],
    ]
    done = subprocess.run(
        [known, model("spin"), "1"],
        capture_output=True,
        text=True,
        timeout=20,
        input="\n".join(json.dumps(r, ensure_ascii=False) for r in requests),
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()[1:]]
    five, six, seven, two, predicted, nowhere = answers
    assert "does not contain float32 images of [1, 1, 2, 3]" in five["error"]
    assert "images of" in seven["error"]
    assert six is None and "one image, not several" in two["error"]
    assert predicted is None and np.fromfile(logits, np.float32).tolist() == [1, 6, 1, 2, 6, 1]
    assert "cannot write /nowhere/logits" in nowhere["error"]


def test_started_by_hand_it_says_how_it_is_started(known):
    done = subprocess.run([known, "model"], capture_output=True, text=True)
    assert done.returncode == 2 and "usage" in done.stderr and done.stdout == ""


def test_the_ncnn_source_is_that_of_the_pinned_package():
    pinned = re.search(r"^ncnn==(\S+)", (ROOT / "requirements.txt").read_text(), re.MULTILINE)[1]
    # workbook/cpp_build.py: the SHA-256 of the source distribution
    assert list(cpp_build.NCNN_SHA256) == [pinned]


def test_the_interface_of_mnn_is_that_of_the_pinned_package():
    pinned = re.search(r"^mnn==(\S+)", (ROOT / "requirements.txt").read_text(), re.MULTILINE)[1]
    # cpp/mnn_wheel: compare it with the headers of the new version
    assert pinned == cpp_build.MNN_VERSION


def test_another_mnn_than_the_program_was_built_for(built, files, tmp_path):
    """The program checks the version by itself: the package may be replaced after the build."""
    found = cpp_build._mnn_package()
    package = Path(found["MNN_PACKAGE"])
    places = [package.parent, package.parent / "mnn.libs", Path(found["PYTHON_LIBRARY"]).parent]
    options = ["-std=c++20", '-DMNN_VERSION="1.0"', f"-I{ROOT / 'cpp'}"]
    options += [f"-I{ROOT / 'cpp/mnn_wheel'}", "-Wl,--no-as-needed", "-Wl,--allow-shlib-undefined"]
    options += [f"-Wl,-rpath,{place}" for place in places]
    libraries = [package, found["PYTHON_LIBRARY"]]
    old = [*options, "-o", tmp_path / "old", ROOT / "cpp/bench_mnn.cpp", *libraries]
    subprocess.run(["c++", *old], check=True)
    with pytest.raises(ValueError, match=r"built for MNN 1\.0, and MNN \S+ is installed"):
        Worker(files["mnn"], program=tmp_path / "old")


@pytest.mark.parametrize(
    "name, replaced, said",
    [
        ("importlib.metadata.version", lambda name: "9.9", r"the interface of MNN 9\.9 is unknown"),
        ("sysconfig.get_config_vars", lambda *names: ["/nowhere", None, "libpython3.so"], "sudo"),
        ("sysconfig.get_config_vars", lambda *names: ["/usr/lib", "", "libpython3.a"], "sudo apt"),
        ("sys.platform", "darwin", "only on Linux"),
        ("importlib.util.find_spec", lambda name: None, "does not contain its library"),
    ],
)
def test_why_mnn_is_skipped(monkeypatch, name, replaced, said):
    monkeypatch.setattr(name, replaced)
    with pytest.raises((OSError, ValueError, ImportError), match=said):
        cpp_build._mnn_package()


def test_a_source_that_was_tampered_with_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(cpp_build, "CPP_FOLDER", tmp_path)
    (version,) = cpp_build.NCNN_SHA256
    (tmp_path / f"ncnn-{version}.tar.gz").write_bytes(b"words")
    with pytest.raises(ValueError, match="its SHA-256 differs.: delete it"):
        cpp_build._ncnn_source()
    assert len(list(tmp_path.iterdir())) == 1, "nothing was unpacked"


def test_without_an_index_it_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(cpp_build, "CPP_FOLDER", tmp_path)
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("UV_NO_CACHE", "1")
    with pytest.raises(OSError, match=r"connect to the Internet, or copy ncnn-.*\.tar\.gz into"):
        cpp_build._ncnn_source()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match="pip install uv, or copy"):
        cpp_build._ncnn_source()


def test_without_a_compiler_it_says_what_to_install(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(RuntimeError, match="sudo apt install cmake make g"):
        cpp_build.build()


def test_a_program_that_does_not_compile_is_reported_by_its_first_error(tmp_path, monkeypatch):
    monkeypatch.setattr(cpp_build, "CPP_FOLDER", tmp_path)
    (tmp_path / "wrong.cpp").write_text("#warning only a warning\nint main() { return nothing; }\n")
    said = r"c\+\+ failed: .*nothing.* was not declared.* \(log\.txt has the full output\)"
    with pytest.raises(RuntimeError, match=said):
        cpp_build._run("c++", "-o", str(tmp_path / "wrong"), str(tmp_path / "wrong.cpp"))
