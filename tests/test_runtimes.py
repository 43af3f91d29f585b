"""Every file of the book: converted, opened, run, compared with PyTorch, and fed with bad input."""

import subprocess
import sys
import textwrap
from itertools import product

import numpy as np
import pytest
import torch
from claims import check
from forms import FLOAT, INT8
from shared_files import EXAMPLE

from helpers import convert, metrics
from helpers.data import mnist, normalize
from helpers.quiet import quiet
from helpers.runtimes import OPENERS, dequantize, open_model, quantize
from helpers.training import predict
from helpers.workers import Worker


@pytest.fixture(scope="module")
def files(shared_files, quick_networks):
    """{(network, form): path} of every conversion."""
    pairs = product(quick_networks, (*FLOAT, *INT8))
    return {(name, form): shared_files.path(name, form) for name, form in pairs}


@pytest.fixture(scope="module")
def sample(quick_networks):
    """Test images as float32 input, and each network's logits."""
    images = mnist("test").images
    logits = {name: predict(network, images) for name, network in quick_networks.items()}
    return normalize(images), logits


@pytest.mark.parametrize("kind", FLOAT)
@pytest.mark.parametrize("name", ["lenet", "mnist_cnn"])
def test_float_files_compute_what_pytorch_computes(files, sample, name, kind):
    x, reference = sample
    model = open_model(files[name, kind])
    logits = model.predict(x)
    wanted = reference[name]
    assert logits.shape == (1000, 10) and logits.dtype == np.float32
    assert metrics.largest_difference(logits, wanted) <= 1e-3 * np.abs(wanted).max()
    assert model.precision == "float32"
    assert model.input_shape == (1, 1, 28, 28)
    assert model.version[0].isdigit()


@pytest.mark.parametrize("form", INT8)
@pytest.mark.parametrize("name", ["lenet", "mnist_cnn"])
def test_int8_files_are_small_and_nearly_as_good(files, sample, name, form):
    x, reference = sample
    model = open_model(files[name, form])
    labels = mnist("test").labels
    in_float = metrics.accuracy(labels, reference[name].argmax(1)).value
    in_int8 = metrics.accuracy(labels, model.predict(x).argmax(1)).value
    check(f"accuracy that int8 changes, {name}", abs(in_float - in_int8))
    assert model.precision == "int8"
    assert model.path.stat().st_size < 0.35 * files[name, form.removeprefix("int8 ")].stat().st_size


def test_the_pt2_file_needs_no_class_of_ours(files):
    code = (
        "import torch\n"
        f"network = torch.export.load({str(files['lenet', 'pt2'])!r}).module()\n"
        "print(network(torch.zeros(1, 1, 28, 28)).shape)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd="/")
    assert "[1, 10]" in done.stdout, done.stderr


def test_answers_are_not_overwritten_by_the_next_call(files, sample):
    x, _ = sample
    for kind in FLOAT:
        model = open_model(files["lenet", kind])
        first = model.run(x[:1])
        kept = first.copy()
        model.run(x[1:2])
        assert (first == kept).all(), kind


@pytest.mark.parametrize("kind", FLOAT)
def test_views_are_read_in_their_own_order(files, sample, kind):
    x, _ = sample
    model = open_model(files["mnist_cnn", kind])
    transposed = x[:20].transpose(0, 1, 3, 2)
    flipped = x[:20, :, ::-1]
    every_second = x[:40:2]
    for view in (transposed, flipped, every_second):
        assert (model.predict(view) == model.predict(view.copy())).all()
    with pytest.raises(ValueError, match="N x channels"):
        model.predict(x[:0])


def test_a_file_with_a_free_batch(quick_networks, sample, tmp_path):
    x, reference = sample
    batch = torch.export.Dim("n", min=1, max=64)
    with quiet():
        torch.onnx.export(
            quick_networks["lenet"],
            (EXAMPLE.repeat(2, 1, 1, 1),),
            tmp_path / "free.onnx",
            dynamo=True,
            external_data=False,
            verbose=False,
            dynamic_shapes=({0: batch},),
        )
    model = open_model(tmp_path / "free.onnx")
    assert model.input_shape == (None, 1, 28, 28)
    assert metrics.largest_difference(model.predict(x[:7]), reference["lenet"][:7]) <= 1e-4
    with pytest.raises(ValueError, match="takes images of 1 x 28 x 28"):
        model.predict(np.zeros((1, 1, 32, 32), np.float32))
    with Worker(tmp_path / "free.onnx") as worker:
        assert worker.input_shape == (1, 1, 28, 28)  # one image a call


def test_a_runtime_that_is_installed_and_does_not_load(tmp_path, monkeypatch):
    def fails(*_):
        raise ImportError("libgomp.so.1")

    (tmp_path / "model.onnx").write_bytes(b"x")
    monkeypatch.setitem(OPENERS, ".onnx", (fails, "onnxruntime"))
    with pytest.raises(ImportError, match="installed but cannot be loaded: libgomp"):
        open_model(tmp_path / "model.onnx")


def test_a_file_with_a_batch(quick_networks, sample, tmp_path):
    x, reference = sample
    four = torch.zeros(4, 1, 28, 28)
    model = open_model(convert.to_onnx(quick_networks["lenet"], four, tmp_path / "four.onnx"))
    assert model.input_shape[0] == 4
    assert metrics.largest_difference(model.predict(x[:12]), reference["lenet"][:12]) <= 1e-4
    with pytest.raises(ValueError, match="batches of 4"):
        model.predict(x[:6])


def test_channels_last_files_are_fed_channels_last(quick_networks, sample, tmp_path):
    import litert_torch

    x, reference = sample
    network = quick_networks["lenet"]
    path = tmp_path / "last.tflite"
    with quiet():
        turned = litert_torch.to_channel_last_io(network, args=[0])
        litert_torch.convert(turned, (torch.zeros(1, 28, 28, 1),)).export(str(path))
    logits = open_model(path).predict(x[:50])
    assert metrics.largest_difference(logits, reference["lenet"][:50]) <= 1e-4


def test_quantize_rounds_and_clips():
    values = np.array([2.7, -0.010, -9.0, 0.0093, 1e9], np.float32)
    # 2.7 / 0.0186 - 14 = 131: a cast would wrap it
    assert quantize(values, np.int8, 0.0186, -14).tolist() == [127, -15, -128, -14, 127]
    assert quantize(np.float32([-1, 300]), np.uint8, 1.0, 3).tolist() == [2, 255]
    halves = quantize(np.float32([0.5, 1.5, 2.5]), np.int8, 1.0, 0)
    assert halves.tolist() == [0, 2, 2], "half to even"
    assert quantize(values, np.float32, 0.0, 0) is values
    q = np.arange(-128, 128).astype(np.int8)
    assert (quantize(dequantize(q, 0.0186, -14), np.int8, 0.0186, -14) == q).all()


def test_predict_on_int8_clips_what_would_wrap(files, sample):
    x, _ = sample
    model = open_model(files["lenet", "int8 tflite"])
    # far outside the calibrated range: saturates, does not wrap
    bright = model.predict(x[:20] * 50)
    saturated = model.predict(np.clip(x[:20] * 50, x.min(), x.max()))
    assert metrics.count_disagreements(bright, saturated) == 0


@pytest.mark.parametrize("suffix", OPENERS)
def test_what_is_not_there_and_what_is_not_a_model(tmp_path, suffix):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        open_model(tmp_path / f"none{suffix}")
    path = tmp_path / f"text{suffix}"
    path.write_text("these are words, not a network\n" * 20)
    (tmp_path / "text.ncnn.bin").write_bytes(b"")
    with pytest.raises(ValueError, match="cannot be loaded as a"):
        open_model(path)


def test_a_truncated_model(files, tmp_path):
    for kind in ("pt2", "torchscript", "onnx", "tflite", "mnn", "pte"):
        path = tmp_path / f"half.{kind}"
        raw = files["mnist_cnn", kind].read_bytes()
        path.write_bytes(raw[: len(raw) // 2])
        # in a process of its own: not every runtime survives a file that ends early
        code = f"from helpers.runtimes import open_model; open_model({str(path)!r})"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.returncode == 1, (kind, done.returncode)
        assert "cannot be loaded as a" in done.stderr, (kind, done.stderr[-300:])


def test_an_unknown_ending(tmp_path):
    with pytest.raises(ValueError, match=r"\.onnx, \.tflite"):
        open_model(tmp_path / "model.h5")


@pytest.mark.parametrize("kind", FLOAT)
def test_images_of_another_shape_or_type(files, kind):
    model = open_model(files["lenet", kind])
    with pytest.raises(ValueError, match="takes images of 1 x 28 x 28"):
        model.predict(np.zeros((1, 3, 28, 28), np.float32))
    with pytest.raises(ValueError, match="takes images of 1 x 28 x 28"):
        model.predict(np.zeros((1, 1, 32, 32), np.float32))
    with pytest.raises(ValueError, match="N x channels"):
        model.predict(np.zeros((28, 28), np.float32))
    with pytest.raises(ValueError, match="takes float32"):
        model.predict(np.zeros((1, 1, 28, 28)))


@pytest.mark.parametrize(
    "suffix, module, package",
    [
        (".onnx", "onnxruntime", "onnxruntime"),
        (".tflite", "ai_edge_litert", "ai-edge-litert"),
        (".ncnn.param", "ncnn", "ncnn"),
        (".mnn", "MNN", "MNN"),
        (".pte", "executorch.runtime", "executorch"),
        (".pt2", "torch", "torch"),
        (".torchscript", "torch", "torch"),
    ],
)
def test_a_runtime_that_is_not_installed(tmp_path, monkeypatch, suffix, module, package):
    path = tmp_path / f"model{suffix}"
    path.write_bytes(b"x")
    monkeypatch.setitem(sys.modules, module, None)  # what Python itself does for "no such module"
    with pytest.raises(ImportError, match=f"pip install {package}"):
        open_model(path)


@pytest.mark.slow
def test_converting_prints_nothing_and_starts_no_installer(quick_networks, tmp_path):
    """All conversions in a fresh process whose pip, network and standard output are watched."""
    code = textwrap.dedent(f"""
        import socket, subprocess, os, sys
        started, called = [], []
        def watched(event, arguments):
            if event in ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn"):
                started.append(str(arguments[:2]))
            if event in ("socket.getaddrinfo", "socket.gethostbyname") or (
                    event == "socket.connect" and not isinstance(arguments[1], (str, bytes))):
                called.append(str(arguments[:2]))
        sys.addaudithook(watched)
        import numpy as np, torch
        from helpers import convert
        from helpers.models import LeNet
        from pathlib import Path
        folder, example = Path({str(tmp_path)!r}), torch.zeros(1, 1, 28, 28)
        net, images = LeNet(), np.zeros((4, 1, 28, 28), np.float32)
        convert.to_onnx(net, example, folder / "a.onnx")
        convert.to_mnn(folder / "a.onnx", folder / "a.mnn")
        convert.to_mnn(folder / "a.onnx", folder / "b.mnn", weight_bits=8)
        convert.to_tflite(net, example, folder / "a.tflite")
        convert.to_ncnn(net, example, folder / "a.ncnn.param")
        convert.to_executorch(net, example, folder / "a.pte")
        convert.to_onnx_int8(folder / "a.onnx", folder / "b.onnx", images)
        convert.to_tflite_int8(folder / "a.tflite", folder / "b.tflite", images)
        convert.to_pt2(net, example, folder / "a.pt2")
        convert.to_torchscript(net, example, folder / "a.torchscript")
        convert.to_executorch_int8(net, folder / "b.pte", images)
        print("started:", [s for s in started if "pip" in s.replace("pipe", "")], "called:", called)
    """)
    assert not list(tmp_path.iterdir())
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.stderr == "", done.stderr[-2000:]
    assert done.stdout == "started: [] called: []\n"
    made = {"a.onnx", "a.mnn", "a.tflite", "a.ncnn.param", "a.ncnn.bin", "a.pte", "a.pt2"}
    made |= {"a.torchscript", "b.onnx", "b.mnn", "b.tflite", "b.pte"}
    assert {path.name for path in tmp_path.iterdir()} == made, "left-overs"


def test_a_failed_conversion_leaves_nothing_and_tells_why(tmp_path):
    class Odd(torch.nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x  # depends on the data: cannot be traced

    with pytest.raises(Exception) as raised:
        convert.to_onnx(Odd(), EXAMPLE, tmp_path / "odd.onnx")
    assert "Last lines" in "".join(raised.value.__notes__)
    with pytest.raises(ValueError, match=r"NAME\.ncnn\.param"):
        convert.to_ncnn(torch.nn.Identity(), EXAMPLE, tmp_path / "odd.param")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("qdq", [True, False])
@pytest.mark.parametrize("unsigned", [True, False])
def test_int8_sums_do_not_saturate_on_any_processor(tmp_path, unsigned, qdq):
    """Weights and inputs as large as int8 allows.

    A pair of products exceeds 16 bits, at which some kernels saturate.
    """
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 3, bias=False)).eval()
    network[1].weight.data[:] = torch.tensor([[1.0], [-1.0], [0.5]])
    path = convert.to_onnx(network, torch.zeros(1, 1, 8, 8), tmp_path / "sums.onnx")
    levels = np.linspace(0, 1, 128, dtype=np.float32).reshape(-1, 1, 1, 1)
    calibration = levels * np.ones((1, 1, 8, 8), np.float32)
    options = {"qdq": qdq, "unsigned_activations": unsigned}
    small = convert.to_onnx_int8(path, tmp_path / "sums_int8.onnx", calibration, **options)
    logits = open_model(small).predict(np.ones((1, 1, 8, 8), np.float32))
    np.testing.assert_allclose(logits, [[64, -64, 32]], rtol=0.02)


def test_int8_sums_are_exact_where_layers_share_their_zero_points(quick_depthwise, tmp_path):
    """PyTorch's quantized graphs give layers of one size the same zero points.

    The file is right all the same.
    """
    x = normalize(mnist("train").images[:50])
    quantized = convert.quantize_pt2e(quick_depthwise, x)
    model = open_model(convert.to_onnx(quantized, EXAMPLE, tmp_path / "depthwise_int8.onnx"))
    with torch.no_grad():
        answers = [quantized(image).numpy() for image in torch.from_numpy(x).split(1)]
    simulated = np.concatenate(answers)
    step = np.diff(np.unique(simulated)).min()
    # saturated sums are off by 20 steps and more
    assert metrics.largest_difference(model.predict(x), simulated) <= 4 * step
