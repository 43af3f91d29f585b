"""Model files that people bring: what they say about themselves is read, by one rule everywhere."""

import sys
import threading

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from helpers import convert, data
from helpers.runtimes import open_model
from helpers.workers import Worker
from modelfiles.runtimes.onnx_file import precision_of

RNG = np.random.default_rng(0)
EXAMPLE = torch.zeros(1, 3, 8, 8)
IMAGES = RNG.standard_normal((6, 3, 8, 8), np.float32)
WEIGHTS = RNG.standard_normal((192, 10)).astype(np.float32)
LOGITS = IMAGES.reshape(6, -1) @ WEIGHTS


class Net(nn.Module):
    """A linear layer over a picture; `answer` makes of its logits what the network returns."""

    def __init__(self, answer, first=lambda x: x):
        super().__init__()
        self.fc = nn.Linear(192, 10, bias=False)
        self.fc.weight = nn.Parameter(torch.from_numpy(WEIGHTS.T.copy()))
        self.answer = answer
        self.first = first

    def forward(self, x):
        return self.answer(self.fc(self.first(x).flatten(1)))


def classes_of(logits):
    return logits.argmax(1)


def two_of(logits):
    return logits, (logits * 2)[:, :4]


def changed_in_place(x):
    x -= 0.5
    return x.relu_()


def export(network, kind, path):
    """Write `network` in one format, ONNX and MNN by way of the same ONNX file."""
    network = network.eval()
    if kind == "pt2":
        return convert.to_pt2(network, EXAMPLE, path)
    if kind == "torchscript":
        return convert.to_torchscript(network, EXAMPLE, path)
    if kind == "tflite":
        return convert.to_tflite(network, EXAMPLE, path)
    if kind == "pte":
        return convert.to_executorch(network, EXAMPLE, path)
    raise ValueError(kind)


def onnx_file(path, nodes, inputs=None, outputs=None, weights=(), **model):
    """A small ONNX file written node by node.

    By default it takes "input" of 1 x 3 x 8 x 8 and gives "logits" of 1 x 10.
    """
    given = inputs or [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, 8, 8])]
    made = outputs or [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 10])]
    stored = [numpy_helper.from_array(array, name) for name, array in dict(weights).items()]
    graph = helper.make_graph(nodes, "net", given, made, stored)
    opsets = model.pop("opset_imports", [helper.make_opsetid("", 17)])
    onnx.save(helper.make_model(graph, ir_version=8, opset_imports=opsets, **model), path)
    return path


def linear_nodes(*more):
    return [
        helper.make_node("Flatten", ["input"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], ["logits"]),
        *more,
    ]


def linear_onnx(path, *more, **change):
    return onnx_file(path, linear_nodes(*more), **{"weights": {"w": WEIGHTS}, **change})


def values(name, kind, shape):
    return helper.make_tensor_value_info(name, kind, shape)


TWO_OUTPUTS = [
    values("logits", TensorProto.FLOAT, [1, 10]),
    values("a_second", TensorProto.FLOAT, [1, 4]),
]
SECOND = [helper.make_node("Slice", ["logits", "start", "end", "axis"], ["a_second"])]
SLICE = {"start": np.array([0]), "end": np.array([4]), "axis": np.array([1])}
NUMBERS = [values("classes", TensorProto.INT64, [1])]
ARGMAX = [helper.make_node("ArgMax", ["logits"], ["classes"], axis=1, keepdims=0)]


@pytest.fixture(scope="module")
def brought(tmp_path_factory):
    """{(what it answers, runtime): path}."""
    folder = tmp_path_factory.mktemp("brought")
    weights = {"w": WEIGHTS, **SLICE}
    two = linear_onnx(folder / "two.onnx", *SECOND, outputs=TWO_OUTPUTS, weights=weights)
    classes = linear_onnx(folder / "classes.onnx", *ARGMAX, outputs=NUMBERS)
    files = {("two", "onnx"): two, ("classes", "onnx"): classes}
    for name, answer in (("two", two_of), ("classes", classes_of)):
        files[name, "mnn"] = convert.to_mnn(files[name, "onnx"], folder / f"{name}.mnn")
        for kind in ("pt2", "torchscript", "tflite", "pte"):
            files[name, kind] = export(Net(answer), kind, folder / f"{name}.{kind}")
    layers = ["Split split 1 2 flat a b", LINEAR.format("a", "out1"), LINEAR.format("b", "out0")]
    arrays = [WEIGHTS.T[::-1], WEIGHTS.T]
    files["two", "ncnn"] = ncnn_file(folder / "two.ncnn.param", layers, arrays)
    return files


LINEAR = "InnerProduct fc_{1} 1 1 {0} {1} 0=10 1=0 2=1920"


def ncnn_file(path, layers, weights, first="Flatten flatten 1 1 in0 flat"):
    lines = ["Input in0 0 1 in0 0=8 1=8 2=3", first, *layers]
    blobs = {word for line in lines for word in line.split()[4:] if "=" not in word}
    path.write_text("\n".join(["7767517", f"{len(lines)} {len(blobs)}", *lines]) + "\n")
    arrays = [np.ascontiguousarray(array, np.float32) for array in weights]
    raw = b"".join(bytes(4) + array.tobytes() for array in arrays)
    path.with_name(path.name.replace(".param", ".bin")).write_bytes(raw)
    return path


@pytest.mark.parametrize("kind", ["onnx", "mnn", "pt2", "torchscript", "tflite", "pte", "ncnn"])
def test_of_several_outputs_the_first_is_the_answer(brought, kind):
    answer = open_model(brought["two", kind]).predict(IMAGES)
    assert answer.dtype == np.float32 and np.abs(answer - LOGITS).max() < 1e-3


@pytest.mark.parametrize("kind", ["onnx", "mnn", "pt2", "torchscript", "tflite", "pte", "ncnn"])
def test_all_outputs_come_in_the_order_of_the_file(brought, kind):
    first, second = open_model(brought["two", kind]).predict_all(IMAGES)
    wanted = {
        "onnx": LOGITS[:, :4],
        "mnn": LOGITS[:, :4],
        "ncnn": IMAGES.reshape(6, -1) @ WEIGHTS[:, ::-1],
    }.get(kind, 2 * LOGITS[:, :4])
    assert first.dtype == second.dtype == np.float32
    assert np.abs(first - LOGITS).max() < 1e-3 and np.abs(second - wanted).max() < 1e-3


@pytest.mark.parametrize("kind", ["onnx", "mnn", "pt2", "torchscript", "tflite", "pte"])
def test_one_output_is_a_list_of_one(brought, kind):
    (answer,) = open_model(brought["classes", kind]).predict_all(IMAGES)
    assert answer.dtype == np.int64 and answer.tolist() == LOGITS.argmax(1).tolist()


def test_pictures_of_uint8_are_passed_on(tmp_path):
    cast = [
        helper.make_node("Cast", ["picture"], ["input"], to=TensorProto.FLOAT),
        *linear_nodes(),
    ]
    picture = values("picture", TensorProto.UINT8, [1, 8, 8, 3])
    path = onnx_file(tmp_path / "net.onnx", cast, [picture], weights={"w": WEIGHTS})
    model = open_model(path)
    pictures = RNG.integers(0, 256, (4, 8, 8, 3), np.uint8)
    assert model.input_types == ("uint8",) and model.input_shape == (1, 8, 8, 3)
    wanted = pictures.reshape(4, -1).astype(np.float32) @ WEIGHTS
    assert np.abs(model.predict(pictures) - wanted).max() < 1e-2
    with pytest.raises(ValueError, match="net.onnx takes uint8, not float32"):
        model.predict(pictures.astype(np.float32))
    with Worker(path) as worker:  # it passes float32, which is rounded
        assert np.abs(worker.predict(pictures + np.float32(0.3)) - wanted).max() < 1e-2


def direct(path, x):
    """All outputs by LiteRT alone, dequantized; `x` as the file takes it."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path))
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    interpreter.invoke()
    answers = []
    for entry in interpreter.get_output_details():
        answer = interpreter.get_tensor(entry["index"])
        scale, zero_point = entry["quantization"]
        answers.append((answer - np.float32(zero_point)) * scale if scale else answer)
    return answers


PUBLISHED = {  # name: what it takes besides float32, its picture
    "mobilenet_v2_1.0_224_quant.tflite": ("uint8", 224),
    "mobilenet_v1_0.25_128_quant.tflite": ("uint8", 128),
    "vww_96_int8.tflite": ("int8", 96),
    "vww_96_float.tflite": (None, 96),
    "deeplabv3_mnv2_dm05_pascal_quant.tflite": ("uint8", 513),
}


@pytest.mark.data
@pytest.mark.parametrize("name", PUBLISHED)
def test_published_files_with_pictures_channels_last(name):
    kind, size = PUBLISHED[name]
    model = open_model(data.fetch(name))
    assert model.input_shape[1:] == (3, size, size)
    assert model.input_types == (("float32", kind) if kind else ("float32",))
    pixels = RNG.integers(0, 128, (1, 3, size, size)).astype(kind or np.float32)
    last = np.ascontiguousarray(pixels.transpose(0, 2, 3, 1))
    wanted = direct(model.path, last)
    for ours, theirs in zip(model.predict_all(pixels), wanted, strict=True):
        assert ours.shape == theirs.shape and np.abs(ours - theirs).max() < 1e-5
    assert np.abs(model.predict(pixels) - wanted[0]).max() < 1e-5
    if kind:
        from ai_edge_litert.interpreter import Interpreter

        details = Interpreter(str(model.path)).get_input_details()[0]
        scale, zero_point = details["quantization"]
        in_float = ((pixels.astype(np.float32) - zero_point) * scale).astype(np.float32)
        assert np.abs(model.predict(in_float) - wanted[0]).max() < 1e-5, "quantized as before"


@pytest.mark.parametrize("kind", ["onnx", "mnn", "pt2", "torchscript", "tflite", "pte"])
def test_class_numbers_come_back_as_class_numbers(brought, kind):
    answer = open_model(brought["classes", kind]).predict(IMAGES)
    assert answer.dtype == np.int64 and answer.tolist() == LOGITS.argmax(1).tolist()


def test_a_worker_follows_the_same_rule(brought):
    with Worker(brought["classes", "onnx"]) as worker:
        answer = worker.predict(IMAGES)
        assert answer.dtype == np.int64 and answer.tolist() == LOGITS.argmax(1).tolist()
        with pytest.raises(ValueError, match="NaN or infinity"):
            worker.predict(np.full_like(IMAGES, np.nan))
        with pytest.raises(ValueError, match="not list"):
            worker.predict(IMAGES.tolist())


OTHER_TYPES = {
    "float64": (TensorProto.DOUBLE, np.float32),
    "float16": (TensorProto.FLOAT16, np.float32),
    "bool": (TensorProto.BOOL, np.int64),
    "uint8": (TensorProto.UINT8, np.int64),
    "int32": (TensorProto.INT32, np.int64),
}


@pytest.mark.parametrize("name", OTHER_TYPES)
def test_every_type_of_answer_becomes_float32_or_int64(tmp_path, name):
    kind, wanted = OTHER_TYPES[name]
    cast = helper.make_node("Cast", ["logits"], ["answer"], to=kind)
    path = linear_onnx(tmp_path / "net.onnx", cast, outputs=[values("answer", kind, [1, 10])])
    answer = open_model(path).predict(np.abs(IMAGES) * 0)
    assert answer.dtype == wanted and answer.shape == (6, 10) and not answer.any()


def test_answers_that_are_not_one_for_each_image(tmp_path):
    squeeze = helper.make_node("Squeeze", ["logits"], ["answer"])
    flat = values("answer", TensorProto.FLOAT, [10])
    path = linear_onnx(tmp_path / "net.onnx", squeeze, outputs=[flat])
    said = (
        r"returns an array of shape \(10,\) for 1 image\(s\); "
        "the first axis must be the batch"
    )
    for images in (IMAGES, IMAGES[:1]):
        with pytest.raises(ValueError, match=said):
            open_model(path).predict(images)
    text = helper.make_node("Cast", ["logits"], ["answer"], to=TensorProto.STRING)
    words = values("answer", TensorProto.STRING, [1, 10])
    path = linear_onnx(tmp_path / "text.onnx", text, outputs=[words])
    with pytest.raises(ValueError, match="float and integer outputs"):
        open_model(path).predict(IMAGES)


@pytest.mark.parametrize(
    "inputs, message",
    [
        (
            [values("input", TensorProto.FLOAT16, [1, 3, 8, 8])],
            r"takes tensor\(float16\); only float32",
        ),
        ([values("input", TensorProto.INT32, [1, 3, 8, 8])], r"takes tensor\(int32\)"),
        (
            [values("input", TensorProto.FLOAT, [1, 3, 8, 8]), values("b", TensorProto.FLOAT, [1])],
            r"has 2 inputs \(input, b\)",
        ),
    ],
)
def test_inputs_that_cannot_be_fed(tmp_path, inputs, message):
    nodes = [helper.make_node("Cast", ["input"], ["logits"], to=TensorProto.FLOAT)]
    outputs = [values("logits", TensorProto.FLOAT, None)]
    path = onnx_file(tmp_path / "net.onnx", nodes, inputs, outputs)
    with pytest.raises(ValueError, match=f"net.onnx {message}"):
        open_model(path)


def test_weights_among_the_inputs_are_no_inputs(tmp_path):
    """As files from before 2019 list them."""
    weight = values("w", TensorProto.FLOAT, [192, 10])
    image = values("input", TensorProto.FLOAT, [1, 3, 8, 8])
    path = linear_onnx(tmp_path / "old.onnx", inputs=[weight, image])
    assert np.abs(open_model(path).predict(IMAGES) - LOGITS).max() < 1e-4


@pytest.mark.parametrize(
    "shape, wanted",
    [
        ([None, 3, 8, 8], (None, 3, 8, 8)),
        (["n", 3, "h", "w"], (None, 3, None, None)),
        ([-1, 3, -1, 8], (None, 3, None, 8)),
        ([1, 3, 8, 8], (1, 3, 8, 8)),
    ],
)
def test_free_sizes_of_onnx_files_are_none(tmp_path, shape, wanted):
    path = linear_onnx(tmp_path / "net.onnx", inputs=[values("input", TensorProto.FLOAT, shape)])
    model = open_model(path)
    assert model.input_shape == wanted
    assert np.abs(model.predict(IMAGES) - LOGITS).max() < 1e-4
    if None in wanted[1:]:
        with pytest.raises(ValueError, match="does not contain its input shape"):
            Worker(path)
    else:
        with Worker(path) as worker:  # one image a call
            assert worker.input_shape == (1, 3, 8, 8)


def test_a_free_size_that_the_layers_do_not_take_is_said(tmp_path):
    image = values("input", TensorProto.FLOAT, ["n", 3, "h", "w"])
    path = linear_onnx(tmp_path / "net.onnx", inputs=[image])
    with pytest.raises(ValueError, match=r"net.onnx cannot compute an input of \(1, 3, 9, 9\): "):
        open_model(path).predict(np.zeros((1, 3, 9, 9), np.float32))


def test_free_sizes_of_other_files(tmp_path):
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 1)).eval()
    batch = torch.export.Dim("n", min=1, max=64)
    example = EXAMPLE.repeat(4, 1, 1, 1)
    program = torch.export.export(network, (example,), dynamic_shapes=({0: batch},))
    torch.export.save(program, tmp_path / "free.pt2")
    conv = helper.make_node("Conv", ["input", "w"], ["logits"])
    weight = network[0].weight.detach().numpy()
    onnx_file(
        tmp_path / "free.onnx",
        [conv],
        [values("input", TensorProto.FLOAT, [1, 3, "h", "w"])],
        [values("logits", TensorProto.FLOAT, [1, 4, "h2", "w2"])],
        {"w": weight},
    )
    convert.to_mnn(tmp_path / "free.onnx", tmp_path / "free.mnn")
    pt2 = open_model(tmp_path / "free.pt2")
    mnn = open_model(tmp_path / "free.mnn")
    assert pt2.input_shape == (None, 3, 8, 8) and mnn.input_shape == (1, 3, None, None)
    with torch.no_grad():
        for count in (1, 6):
            wanted = network(torch.from_numpy(IMAGES[:count])).numpy()
            assert np.abs(pt2.predict(IMAGES[:count]) - wanted).max() < 1e-5
        for size in ((20, 24), (8, 8), (20, 24)):
            x = RNG.standard_normal((2, 3, *size), np.float32)
            wanted = nn.functional.conv2d(torch.from_numpy(x), network[0].weight).numpy()
            assert np.abs(mnn.predict(x) - wanted).max() < 1e-3
    with pytest.raises(ValueError, match="cannot compute an input of"):
        pt2.predict(np.zeros((100, 3, 8, 8), np.float32))  # the file allows 64
    with Worker(tmp_path / "free.pt2") as worker:
        assert worker.input_shape == (1, 3, 8, 8)
    with pytest.raises(ValueError, match="does not contain its input shape"):
        Worker(tmp_path / "free.mnn")


@pytest.mark.parametrize("shape", [(12, 100, 1), (4, 8, 3), (2, 1, 40), (3, 5, 1)])
@pytest.mark.parametrize("first", ["conv", "flatten"])
def test_narrow_images_in_tflite_files_stay_nchw(tmp_path, shape, first):
    layers = [nn.Conv2d(shape[0], shape[0], 1), nn.ReLU()] if first == "conv" else []
    network = nn.Sequential(*layers, nn.Flatten(), nn.Linear(int(np.prod(shape)), 5)).eval()
    model = open_model(convert.to_tflite(network, torch.zeros(1, *shape), tmp_path / "net.tflite"))
    x = RNG.standard_normal((3, *shape), np.float32)
    assert model.input_shape == (1, *shape)
    with torch.no_grad():
        assert np.abs(model.predict(x) - network(torch.from_numpy(x)).numpy()).max() < 1e-4


@pytest.mark.parametrize("kind", ["pt2", "torchscript"])
def test_a_network_that_writes_on_its_input_leaves_the_images_alone(tmp_path, kind):
    path = export(Net(lambda logits: logits, changed_in_place), kind, tmp_path / f"net.{kind}")
    model = open_model(path)
    x = IMAGES.copy()
    answer = model.predict(x)
    assert (x == IMAGES).all()
    assert np.abs(answer - np.maximum(IMAGES - 0.5, 0).reshape(6, -1) @ WEIGHTS).max() < 1e-3


@pytest.mark.parametrize(
    "first",
    ["ReLU first 1 1 in0 a", "BinaryOp first 1 1 in0 a 0=1 1=1 2=0.5", "Dropout first 1 1 in0 a"],
)
def test_an_ncnn_network_whose_first_layer_works_in_place(tmp_path, first):
    """It would write on the caller's images, or end the process."""
    path = ncnn_file(
        tmp_path / "net.ncnn.param",
        ["Flatten flatten 1 1 a b", LINEAR.format("b", "out0")],
        [WEIGHTS.T],
        first,
    )
    changed = {"R": np.maximum(IMAGES, 0), "B": IMAGES - np.float32(0.5), "D": IMAGES}[first[0]]
    model = open_model(path)
    x = IMAGES.copy()
    for _ in range(3):
        assert np.abs(model.predict(x) - changed.reshape(6, -1) @ WEIGHTS).max() < 1e-3
    assert (x == IMAGES).all()


def test_an_answer_is_not_the_callers_memory(tmp_path):
    path = export(nn.Flatten(), "pt2", tmp_path / "flat.pt2")
    x = IMAGES[:1].copy()
    open_model(path).predict(x)[:] = 7
    assert (x == IMAGES[:1]).all()


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda raw: raw + bytes(4), r"need 7,684 of the 7,688 bytes there"),
        (lambda raw: raw[:-4], "need more than the 7,680 bytes"),
        (lambda raw: b"", "need more than the 0 bytes"),
        (lambda raw: raw * 2, "another network"),
    ],
)
def test_ncnn_weights_of_another_network(tmp_path, change, message):
    path = ncnn_file(tmp_path / "net.ncnn.param", [LINEAR.format("flat", "out0")], [WEIGHTS.T])
    assert np.abs(open_model(path).predict(IMAGES) - LOGITS).max() < 1e-3
    weights = tmp_path / "net.ncnn.bin"
    weights.write_bytes(change(weights.read_bytes()))
    with pytest.raises(ValueError, match=f"net.ncnn.param does not fit net.ncnn.bin.*{message}"):
        open_model(path)


@pytest.mark.parametrize(
    "tag, dtype, precision", [(0x01306B47, np.float16, "float16"), (0, np.float32, "float32")]
)
def test_the_precision_of_ncnn_files_is_that_of_the_weights(tmp_path, tag, dtype, precision):
    path = ncnn_file(tmp_path / "net_int8.ncnn.param", [LINEAR.format("flat", "out0")], [WEIGHTS.T])
    raw = tag.to_bytes(4, "little") + WEIGHTS.T.astype(dtype).tobytes()
    (tmp_path / "net_int8.ncnn.bin").write_bytes(raw)
    assert open_model(path).precision == precision, "not that of the name"


def own_operator():
    """A file with a function of the network's own, named like an operator of ONNX Runtime."""
    onnx_17 = helper.make_opsetid("", 17)
    body = [helper.make_node("MatMul", ["x", "y"], ["z"])]
    function = helper.make_function("mine", "QLinearMatMul", ["x", "y"], ["z"], body, [onnx_17])
    flatten = helper.make_node("Flatten", ["input"], ["flat"])
    call = helper.make_node(
        "QLinearMatMul", ["flat", "w"], ["logits"], name="QuantizeLinear_1", domain="mine"
    )
    return {
        "nodes": [flatten, call],
        "functions": [function],
        "opset_imports": [onnx_17, helper.make_opsetid("mine", 1)],
    }


def quantized_weights():
    nodes = [helper.make_node("DequantizeLinear", ["w8", "scale"], ["w"]), *linear_nodes()]
    return {"nodes": nodes, "weights": {"w8": WEIGHTS.astype(np.int8), "scale": np.float32(1)}}


def half_weights():
    nodes = [helper.make_node("Cast", ["w16"], ["w"], to=TensorProto.FLOAT), *linear_nodes()]
    return {"nodes": nodes, "weights": {"w16": WEIGHTS.astype(np.float16)}}


@pytest.mark.parametrize(
    "name, made, precision",
    [
        ("net_int8.onnx", lambda: {"nodes": linear_nodes()}, "float32"),
        ("QLinear.onnx", own_operator, "float32"),
        ("net.onnx", quantized_weights, "int8"),
        ("net.onnx", half_weights, "float16"),
    ],
)
def test_the_precision_of_onnx_files_is_that_of_the_operators(tmp_path, name, made, precision):
    path = onnx_file(tmp_path / name, **{"weights": {"w": WEIGHTS}, **made()})
    model = open_model(path)
    assert model.precision == precision and model.predict(IMAGES).shape == (6, 10)


def test_quantized_operators_in_a_branch_are_found():
    quantize = helper.make_node("DynamicQuantizeLinear", ["a"], ["b", "c", "d"])
    branch = helper.make_graph([quantize], "then", [], [])
    choose = helper.make_node("If", ["x"], ["y"], then_branch=branch, else_branch=branch)
    graph = helper.make_graph([choose], "net", [], [])
    assert precision_of(helper.make_model(graph).SerializeToString()) == "int8"
    assert precision_of(b"") == "float32"


def test_the_precision_of_other_files(tmp_path, brought):
    assert open_model(brought["two", "mnn"]).precision == "float32"
    small = convert.to_mnn(brought["two", "onnx"], tmp_path / "small.mnn", weight_bits=8)
    assert open_model(small).precision == "int8", "also under a name without _int8"
    program = torch.export.export(Net(two_of).half().float().eval(), (EXAMPLE,))
    torch.export.save(program, tmp_path / "net_int8.pt2")
    assert open_model(tmp_path / "net_int8.pt2").precision == "float32"


THREADS = [
    0,
    -1,
    257,
    10**9,
    True,
    False,
    1.0,
    2.5,
    "2",
    None,
    float("nan"),
    np.float32(1),
    np.bool_(True),
]


@pytest.mark.parametrize("threads", THREADS, ids=repr)
def test_numbers_of_threads_that_are_none(tmp_path, threads):
    path = linear_onnx(tmp_path / "net.onnx")
    for use in (open_model, Worker):
        with pytest.raises(ValueError, match="^threads must be a whole number from 1 to 256, not"):
            use(path, threads)
    # asked before the file is read
    for suffix in (".pt2", ".torchscript", ".tflite", ".ncnn.param", ".mnn", ".pte"):
        with pytest.raises(ValueError, match="^threads must be"):
            open_model(tmp_path / f"none{suffix}", threads)


def test_a_number_of_threads_from_numpy(tmp_path):
    model = open_model(linear_onnx(tmp_path / "net.onnx"), np.int64(2))
    assert model.threads == 2 and type(model.threads) is int


def spoiled(image, value):
    images = IMAGES.copy()
    images[image, 0, 3, 3] = value
    return images


NOT_IMAGES = {
    "a list": [[1.0]],
    "a tensor": EXAMPLE,
    "float64": IMAGES.astype(float),
    "another byte order": IMAGES.astype(">f4"),
    "float16": IMAGES.astype(np.float16),
    "none": IMAGES[:0],
    "no width": IMAGES[..., :0],
    "one axis less": IMAGES[0],
    "one more": IMAGES[None],
    "NaN": spoiled(2, np.nan),
    "infinity": spoiled(1, -np.inf),
    "channels last": IMAGES.transpose(0, 2, 3, 1),
}


@pytest.mark.parametrize("name", NOT_IMAGES)
def test_what_is_not_an_array_of_images(tmp_path, name):
    model = open_model(linear_onnx(tmp_path / "net.onnx"))
    messages = {
        "NaN": "image 2 for net.onnx contains NaN",
        "infinity": "image 1 for net.onnx contains NaN",
    }
    with pytest.raises(ValueError, match=messages.get(name, "net.onnx takes")):
        model.predict(NOT_IMAGES[name])


def test_a_network_for_vectors(tmp_path):
    node = helper.make_node("MatMul", ["input", "w"], ["logits"])
    path = onnx_file(
        tmp_path / "net.onnx",
        [node],
        [values("input", TensorProto.FLOAT, [1, 192])],
        weights={"w": WEIGHTS},
    )
    assert np.abs(open_model(path).predict(IMAGES.reshape(6, -1)) - LOGITS).max() < 1e-4
    with pytest.raises(ValueError, match="takes arrays of 2 axes"):
        open_model(path).predict(IMAGES.reshape(6, 192, 1, 1))


NAMES = ["net[1].onnx", "net 100%s.onnx", "сеть µ.onnx", "NET.ONNX", "net{0}.Onnx", "net'\"*.onnx"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows allows fewer names")
@pytest.mark.parametrize("name", NAMES)
def test_names_of_files(tmp_path, name):
    folder = tmp_path / "models [new] µ"
    folder.mkdir()
    stem = name[:-5]
    plain = convert.to_mnn(linear_onnx(folder / "a.onnx"), folder / "a.mnn")
    paths = (
        linear_onnx(folder / name),
        plain.rename(folder / f"{stem}.MNN"),
        ncnn_file(folder / f"{stem}.ncnn.param", [LINEAR.format("flat", "out0")], [WEIGHTS.T]),
    )
    for path in paths:
        assert np.abs(open_model(path).predict(IMAGES) - LOGITS).max() < 1e-3
    with Worker(folder / name) as worker:
        assert np.abs(worker.predict(IMAGES) - LOGITS).max() < 1e-3


def test_a_folder_is_no_model(tmp_path):
    (tmp_path / "saved.onnx").mkdir()
    with pytest.raises(ValueError, match="saved.onnx is a folder"):
        open_model(tmp_path / "saved.onnx")


@pytest.mark.parametrize("kind", ["onnx", "mnn", "pt2", "torchscript", "tflite", "pte", "ncnn"])
def test_one_model_in_two_threads(brought, kind):
    model = open_model(brought["two", kind])
    wrong = []
    x = np.tile(IMAGES, (30, 1, 1, 1))

    def use(images):
        wanted = images.reshape(len(images), -1) @ WEIGHTS
        wrong.append(float(np.abs(model.predict(images) - wanted).max()))

    threads = [threading.Thread(target=use, args=(x * np.float32(sign),)) for sign in (1, -1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(wrong) == 3 and max(wrong) < 1e-2


def test_models_that_are_loaded_in_two_threads_leave_standard_output_alone(brought, capfd):
    loaded = []

    def load(path):
        loaded.append(open_model(path))

    paths = 3 * [brought["two", "mnn"], brought["two", "tflite"], brought["two", "onnx"]]
    threads = [threading.Thread(target=load, args=(path,)) for path in paths]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print("still here")
    assert len(loaded) == 9 and capfd.readouterr().out == "still here\n"


def test_two_models_in_pytorch_keep_their_own_numbers_of_threads(brought):
    one = open_model(brought["two", "pt2"], 1)
    two = open_model(brought["two", "pt2"], 2)
    for model in (one, two, one):
        model.run(IMAGES[:1])
        assert torch.get_num_threads() == model.threads


def test_two_models_in_executorch_with_other_numbers_of_threads_are_told(brought):
    """Its programs keep the thread pool that they were loaded with, one for the whole process."""
    first = open_model(brought["two", "pte"], 1)
    assert np.abs(first.predict(IMAGES) - LOGITS).max() < 1e-3
    same = open_model(brought["two", "pte"], 1)
    assert (same.predict(IMAGES) == first.predict(IMAGES)).all()
    other = open_model(brought["two", "pte"], 2)
    assert np.abs(other.predict(IMAGES) - LOGITS).max() < 1e-3
    with pytest.raises(RuntimeError, match="two.pte was opened with 1 thread.*open the file again"):
        first.predict(IMAGES)
    assert np.abs(open_model(brought["two", "pte"], 1).predict(IMAGES) - LOGITS).max() < 1e-3
