"""Arm NN: its delegate, with a stand-in that is compiled here, and Arm NN itself in PyArmNN."""

import os
import shutil
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch

from helpers import convert, metrics
from helpers.data import mnist, normalize
from helpers.errors import DelegateUnavailable
from helpers.runtimes import open_model
from helpers.workers import Worker
from modelfiles.conversion.tflite_biases import add_zero_biases
from modelfiles.integers import open_tflite, packed
from modelfiles.runtimes import pyarmnn_file

# The interface of an external delegate, as Arm NN's library has it: two functions, and the
# structure that the first returns. This one writes down the options and how many layers it was
# offered, and takes none of them.
DELEGATE = r"""
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct { int size; int data[]; } IntArray;
typedef struct Context {
    size_t tensors;
    int (*GetExecutionPlan)(struct Context*, IntArray**);
} Context;
typedef struct Delegate {
    void* data;
    int (*Prepare)(Context*, struct Delegate*);
    int (*unused[2])(void);
    void (*FreeBufferHandle)(void);
    int64_t flags;
    void* builder;
} Delegate;

static void note(const char* what, const char* value) {
    FILE* log = fopen(getenv("DELEGATE_LOG"), "a");
    fprintf(log, "%s=%s\n", what, value);
    fclose(log);
}

static int prepare(Context* context, Delegate* delegate) {
    IntArray* plan;
    char layers[20];
    context->GetExecutionPlan(context, &plan);
    snprintf(layers, sizeof layers, "%d", plan->size);
    note("layers", layers);
    return getenv("DELEGATE_REFUSES") != NULL;
}

Delegate* tflite_plugin_create_delegate(
    char** keys, char** values, size_t n, void (*report)(const char*)
) {
    for (size_t i = 0; i < n; i++) note(keys[i], values[i]);
    if (getenv("DELEGATE_FAILS")) {
        report("no backend of the list is registered");
        return NULL;
    }
    Delegate* made = calloc(1, sizeof(Delegate));
    made->Prepare = prepare;
    return made;
}

void tflite_plugin_destroy_delegate(Delegate* delegate) { free(delegate); }
"""


@pytest.fixture(scope="module")
def tflite_file(tmp_path_factory):
    from helpers.models import LeNet

    path = tmp_path_factory.mktemp("armnn") / "net.tflite"
    return convert.to_tflite(LeNet(), torch.zeros(1, 1, 28, 28), path)


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    if not shutil.which("gcc"):
        pytest.skip("needs a C compiler: sudo apt install gcc")
    source = tmp_path_factory.mktemp("delegate") / "delegate.c"
    source.write_text(DELEGATE)
    made = source.with_name("libarmnnDelegate.so")
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", made, source], check=True)
    return made


@pytest.fixture
def log(library, tmp_path, monkeypatch):
    """What the delegate writes down, once ARMNN_DELEGATE names it."""
    monkeypatch.setenv("ARMNN_DELEGATE", str(library))
    monkeypatch.setenv("DELEGATE_LOG", str(tmp_path / "log"))
    return tmp_path / "log"


def test_the_delegate_is_loaded_with_its_options_and_offered_the_layers(tflite_file, log):
    x = np.random.default_rng(0).standard_normal((3, 1, 28, 28), np.float32)
    model = open_model(tflite_file, threads=2, delegate="armnn")
    noted = dict(line.split("=") for line in log.read_text().splitlines())
    # the network's own layers, before LiteRT hands them to XNNPACK as one
    assert int(noted.pop("layers")) > 5
    assert noted == {
        "backends": "CpuAcc,CpuRef",
        "number-of-threads": "2",
        "logging-severity": "fatal",
    }
    assert model.runtime == "LiteRT + Arm NN" and model.input_shape == (1, 1, 28, 28)
    # it took no layer: LiteRT computes them all
    assert (model.predict(x) == open_model(tflite_file).predict(x)).all()


def test_a_worker_takes_it_along(tflite_file, log):
    with Worker(tflite_file, delegate="armnn") as worker:
        assert worker.runtime == "LiteRT + Arm NN"
        assert worker.time_calls(3, discard=0)[0].shape == (3,)
    assert "layers=" in log.read_text()
    with pytest.raises(ValueError, match="takes no delegate"):
        Worker(tflite_file, program="bench_ncnn", delegate="armnn")


def test_without_it_nothing_is_loaded(tflite_file, log):
    assert open_model(tflite_file).runtime == "LiteRT" and not log.exists()


def test_a_delegate_that_fails_or_refuses(tflite_file, log, monkeypatch):
    monkeypatch.setenv("DELEGATE_FAILS", "1")
    said = r"libarmnnDelegate\.so cannot be loaded.*no backend of the list is registered"
    with pytest.raises(ImportError, match=said):
        open_model(tflite_file, delegate="armnn")
    monkeypatch.delenv("DELEGATE_FAILS")
    monkeypatch.setenv("DELEGATE_REFUSES", "1")
    with pytest.raises(ValueError, match="not supported by Arm NN"):
        open_model(tflite_file, delegate="armnn")


def test_a_library_that_is_missing_or_another_one(tflite_file, tmp_path, monkeypatch):
    monkeypatch.delenv("ARMNN_DELEGATE", raising=False)
    monkeypatch.setattr("ctypes.util.find_library", lambda name: None)
    with pytest.raises(ImportError, match="set ARMNN_DELEGATE to the path"):
        open_model(tflite_file, delegate="armnn")
    monkeypatch.setenv("ARMNN_DELEGATE", str(tmp_path / "none.so"))
    with pytest.raises(ImportError, match=r"none\.so, which does not exist"):
        open_model(tflite_file, delegate="armnn")
    (tmp_path / "text.so").write_text("words")
    monkeypatch.setenv("ARMNN_DELEGATE", str(tmp_path / "text.so"))
    said = r"text\.so cannot be loaded: is it built for this processor"
    with pytest.raises(ImportError, match=said):
        open_model(tflite_file, delegate="armnn")


def test_a_library_that_is_no_delegate(tflite_file, library, tmp_path, monkeypatch):
    source = tmp_path / "other.c"
    made = source.with_suffix(".so")
    source.write_text("int something(void) { return 1; }")
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", made, source], check=True)
    monkeypatch.setenv("ARMNN_DELEGATE", str(made))
    with pytest.raises(ImportError, match="cannot be loaded.*tflite_plugin_create_delegate"):
        open_model(tflite_file, delegate="armnn")


def test_other_files_and_other_names_are_refused(tflite_file, tmp_path):
    with pytest.raises(ValueError, match=r"supports only \.tflite files"):
        open_model(tmp_path / "net.onnx", delegate="armnn")
    with pytest.raises(ValueError, match='no delegate is called "coral"; there are armnn, pyarmnn'):
        open_model(tflite_file, delegate="coral")


def test_the_messages_are_one_sentence_and_nothing_follows_them(tflite_file, tmp_path):
    """In a process of its own: the delegate class may complain once more when it is collected."""
    code = f"""
        from helpers.runtimes import open_model
        try:
            open_model({str(tflite_file)!r}, delegate="armnn")
        except ImportError as error:
            print(error)
    """
    (tmp_path / "text.so").write_text("words")
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        env=os.environ | {"ARMNN_DELEGATE": str(tmp_path / "text.so")},
    )
    assert done.stderr == ""
    assert done.stdout.count("\n") == 1
    assert done.stdout.startswith("Arm NN's delegate text.so")


# ---- PyArmNN: Arm NN itself, from Debian's packages


@pytest.fixture(scope="module")
def pyarmnn():
    """Skip without PyArmNN in the system's Python."""
    try:
        pyarmnn_file.python()
    except DelegateUnavailable as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def book_files(shared_files, tmp_path_factory):
    """MnistNet and its int8 and float16 forms as .tflite files."""
    folder = tmp_path_factory.mktemp("book")
    made = shared_files.path("mnist_cnn", "tflite")
    calibration = normalize(mnist("train").images[:20])
    return {
        "float32": made,
        "int8": convert.to_tflite_int8(made, folder / "mnist_cnn_int8.tflite", calibration),
        "float16": convert.to_tflite_half(made, folder / "mnist_cnn_half.tflite"),
    }


@pytest.fixture(scope="module")
def without_biases(tflite_file):
    """LeNet as the converter leaves it: dense layers have no third input, the bias."""
    from ai_edge_litert.schema_py_generated import BuiltinOperator

    model = open_tflite(tflite_file)
    for layer in model.subgraphs[0].operators:
        kind = model.operatorCodes[layer.opcodeIndex].builtinCode
        if kind == BuiltinOperator.FULLY_CONNECTED:
            layer.inputs = [*layer.inputs[:2], -1]
    path = tflite_file.with_name("without_biases.tflite")
    path.write_bytes(packed(model))
    return path


def test_a_bias_of_zeros_changes_no_bit(without_biases, tflite_file, book_files, tmp_path):
    filled = tmp_path / "filled.tflite"
    filled.write_bytes(without_biases.read_bytes())
    add_zero_biases(filled)
    x = normalize(mnist("test").images[:200])
    wanted = open_model(without_biases).predict(x)
    for file in (filled, tflite_file):
        assert (open_model(file).predict(x) == wanted).all(), file.name
    # quantized, the bias is a zero as well
    calibration = normalize(mnist("train").images[:20])
    int8 = [
        convert.to_tflite_int8(file, tmp_path / f"int8_{file.name}", calibration)
        for file in (without_biases, tflite_file)
    ]
    bare, with_zeros = (open_model(file).predict(x) for file in int8)
    assert (bare == with_zeros).all() and np.ptp(bare) > 0
    # where no bias is missing, no byte is written
    for file in (filled, tflite_file, book_files["float32"]):
        before = file.read_bytes()
        add_zero_biases(file)
        assert file.read_bytes() == before


def test_arm_nn_answers_the_digits(pyarmnn, book_files):
    """On x86 with CpuRef, Arm's reference: two images of each digit, a second per image."""
    test = mnist("test")
    chosen = np.concatenate([np.flatnonzero(test.labels == digit)[:2] for digit in range(10)])
    x = normalize(test.images[chosen])
    wanted = open_model(book_files["float32"]).predict(x)
    with Worker(book_files["float32"], delegate="pyarmnn") as worker:
        found = worker.predict(x)
        assert worker.runtime in ("Arm NN (CpuRef)", "Arm NN (CpuAcc)")
        assert (worker.version, worker.precision) == ("22.0.0", "float32")
        assert worker.input_shape == (1, 1, 28, 28)
        assert worker.time_calls(2, discard=0)[0].shape == (2,)
    difference = metrics.largest_difference(found, wanted)
    print(f"Arm NN and LiteRT differ by at most {difference:.1e}")
    assert difference <= 1e-4
    assert (found.argmax(1) == wanted.argmax(1)).all()


def test_arm_nn_takes_a_network_without_biases(pyarmnn, tflite_file):
    x = normalize(mnist("test").images[:20])
    wanted = open_model(tflite_file).predict(x)
    with Worker(tflite_file, delegate="pyarmnn") as worker:
        assert metrics.largest_difference(worker.predict(x), wanted) <= 1e-4


def test_files_that_its_parser_does_not_support(pyarmnn, book_files, without_biases, tmp_path):
    (tmp_path / "text.tflite").write_text("words, not a network")
    for path, said in {
        without_biases: "has a layer without a bias, .* convert.to_tflite writes a bias of zeros",
        book_files["int8"]: "has an empty buffer, as the present converters write",
        book_files["float16"]: "takes for another one, .* into files with float16 weights$",
        tmp_path / "text.tflite": "is it damaged, or not supported by Arm NN",
    }.items():
        with pytest.raises(ValueError, match=said) as refused:
            Worker(path, delegate="pyarmnn")
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "said, meaning",
    [
        (
            "Failed to parse operator #3 within subgraph #0 error: Operator not supported. "
            "subgraph:0 operator:3 opcode_index:3 opcode:< / PADV2  at function Parse",
            "has the operator PADV2, which Arm NN's parser does not support",
        ),
        (
            "Failed to parse operator #1 within subgraph #0 error: Unsupported data type  = INT64",
            "has numbers of a type that Arm NN's parser does not support",
        ),
        ("Buffer doesn't conform to the expected Tensorflow Lite flatbuffers format.", None),
    ],
)
def test_what_the_parser_says_about_other_files(said, meaning):
    """ResNet-18 and FastestDet, 16-bit activations, and a damaged file: what it said there."""
    assert pyarmnn_file.refusal(said) == meaning


def test_without_pyarmnn_it_says_what_to_install(tflite_file, monkeypatch):
    monkeypatch.setenv("PYARMNN_PYTHON", "/nowhere/python3")
    with pytest.raises(ImportError, match="sudo apt install python3-pyarmnn"):
        Worker(tflite_file, delegate="pyarmnn")
    with pytest.raises(ImportError, match="PyArmNN is not in this Python"):
        open_model(tflite_file, delegate="pyarmnn")
