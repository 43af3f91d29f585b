"""`workbook networks`: sizes that are counted, published figures apart, and claims judged."""

import re

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from helpers import metrics
from helpers.models import import_torchvision
from helpers.paths import ROOT
from workbook import cli
from workbook.commands import claims, networks, table_rows
from workbook.commands.table_rows import NETWORKS, SIZES
from workbook.evaluate import bars, named, page, published
from workbook.evaluate.published import Published

DOCUMENT = ROOT / "workbook" / "commands" / "README.md"
BY_NAME = {network.name: network for network in NETWORKS}


def documented() -> dict[str, list[str]]:
    """{network: the cells of its row} of the table in README.md."""
    text = DOCUMENT.read_text(encoding="utf-8")
    text = text.partition("## The networks of the measurement table")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (?!network|---)(.+?) \|$", text, re.MULTILINE)
    return {row.split(" | ")[0]: row.split(" | ") for row in rows}


def test_every_row_has_a_network_a_file_or_a_reason():
    for network in NETWORKS:
        ways = [network.build is not None, bool(network.file), bool(network.why)]
        assert sum(ways) == 1, network.name
        reason = network.why
        assert not reason or re.match(r"not here, because|comes with chapter 1\d", reason)


def counted(name: str) -> tuple[str, str]:
    parameters, macs = networks._size(BY_NAME[name], BY_NAME[name].build())
    return f"{parameters / 1e6:.3f}", f"{macs / 1e9:.2f}"


@pytest.mark.parametrize(
    "name",
    [
        "resnet18",
        "mobilenet_v2",
        "mobilenet_v3_small_075",
        *(pytest.param(n, marks=pytest.mark.slow) for n in ("resnet50", "efficientnet_b0")),
        *(pytest.param(n, marks=pytest.mark.slow) for n in ("FCOS", "CLIP")),
    ],
)
def test_the_document_has_the_counted_sizes(name):
    assert tuple(documented()[name][2:4]) == counted(name)


def test_the_document_has_all_rows():
    shown = "\n".join(documented())
    for network in NETWORKS:
        assert network.name in shown


def test_published_sizes_are_those_of_torchvision():
    models = import_torchvision().models
    for name, weights in (
        ("resnet18", models.ResNet18_Weights.IMAGENET1K_V1),
        ("CLIP", models.ViT_B_32_Weights.IMAGENET1K_V1),
        ("FCOS", models.detection.FCOS_ResNet50_FPN_Weights.COCO_V1),
    ):
        [size] = [size for size in SIZES if size.name == name]
        assert size.parameters_m == pytest.approx(weights.meta["num_params"] / 1e6, rel=0.001)
        assert size.gmacs == pytest.approx(weights.meta["_ops"], rel=0.005)
        [quality] = weights.meta["_metrics"].values()
        best = quality.get("acc@1") or quality["box_map"]
        assert f"{best:.1f}" in size.quality


@pytest.mark.parametrize("shape, classes", [((64, 16, 32, 2), 7), ((32, 16, 16, 1), 3)])
def test_the_macs_of_a_transformer_by_hand(shape, classes):
    """A network of the same products, which the counter can count."""
    import torch
    from torch import nn

    side, patch, width, layers = shape

    class Transformer(nn.Module):
        def __init__(self):
            super().__init__()
            self.patches = nn.Conv2d(3, width, patch, patch)
            self.layers = nn.ModuleList(
                nn.ModuleDict(
                    {
                        "qkv": nn.Linear(width, 3 * width),
                        "out": nn.Linear(width, width),
                        "up": nn.Linear(width, 4 * width),
                        "down": nn.Linear(4 * width, width),
                    }
                )
                for _ in range(layers)
            )
            self.head = nn.Linear(width, classes)

        def forward(self, x):
            x = self.patches(x).flatten(2).transpose(1, 2)
            x = torch.cat([x[:, :1], x], 1)  # the token of the class
            for layer in self.layers:
                q, k, v = layer["qkv"](x).chunk(3, 2)
                x = layer["out"]((q @ k.transpose(1, 2)).softmax(2) @ v)
                x = layer["down"](layer["up"](x))
            return self.head(x[:, 0])

    wanted = metrics.count_macs(Transformer(), (1, 3, side, side))
    assert table_rows.vit_macs(side, patch, width, layers, classes) == wanted


def test_the_size_of_an_onnx_file_by_hand(tmp_path):
    weights = numpy_helper.from_array(np.zeros((4, 3, 3, 3), np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"])],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 10, 10])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4, 8, 8])],
        [weights],
    )
    onnx.save(helper.make_model(graph), tmp_path / "net.onnx")
    assert table_rows.onnx_size(tmp_path / "net.onnx") == (4 * 3 * 9, 4 * 3 * 9 * 64)


@pytest.mark.data
def test_yolox_nano_from_its_published_file(capsys):
    assert cli.main(["networks", "yolox-nano"]) == 0
    [row] = [line for line in capsys.readouterr().out.splitlines() if "3x416x416" in line]
    document = documented()["YOLOX-nano"]
    assert document[2] in row and document[3] in row
    [size] = [size for size in SIZES if size.name == "YOLOX-nano"]
    assert float(document[2]) == pytest.approx(size.parameters_m, rel=0.02)
    assert float(document[3]) == pytest.approx(size.gmacs, rel=0.05)


def test_the_command_measures_and_keeps_published_figures_apart(capsys, monkeypatch):
    monkeypatch.delenv("WORKBOOK_DATA", raising=False)
    names = ["mobilenet_v3_small_075", "YOLOX-s", "YOLOv8n", "LLM"]
    assert cli.main(["networks", *names, "--time", "--rounds", "6"]) == 0
    here, _, theirs = capsys.readouterr().out.partition("Published sizes, not measured here:")
    [row] = [line for line in here.splitlines() if line.startswith("mobilenet_v3_small_075")]
    p50_ms = float(row.split()[4])
    assert 0.1 < p50_ms < 10_000
    assert "yolox_s.onnx is not in the folder models of WORKBOOK_DATA" in here
    assert "AGPL-3.0" in here and "comes with chapter 15" in here
    assert "115.0" in theirs and "115.0" not in here and "Source: " in theirs


def test_an_unknown_row_is_named(capsys):
    assert cli.main(["networks", "yolox-m"]) == 2
    assert "no row is called yolox-m; there are resnet18" in capsys.readouterr().err


# ---- claims


def figure(precision: str, ms: float, machine: str = "Raspberry Pi 5") -> Published:
    return Published("net", machine, "TFLite", precision, ms, "a table")


@pytest.mark.parametrize(
    "figures, count",
    [
        ([figure("float32", 115), figure("int8", 115)], 1),
        ([figure("float32", 115), figure("int8", 60)], 0),
        ([figure("float32", 115), figure("int8", 115, "Raspberry Pi 4")], 0),
        ([figure("float32", 115), figure("float32", 115)], 0),
    ],
)
def test_a_copied_row_is_found(figures, count):
    assert len(claims.copied(figures)) == count


def test_one_published_row_is_a_copy():
    [pair] = claims.copied()
    assert {one.network for one in pair} == {"YOLOv8n"}
    assert {one.precision for one in pair} == {"float32", "int8"}


def test_the_face_detector_by_hand():
    assert claims.needed_rate() == pytest.approx(65 * 0.0862)
    # 0.301 GMACs in 85.1 ms at 1,500 MHz; 0.0862 of them at 1,950 MHz
    tflite = next(r for r in claims.rates() if r.name == "MobileNetV2, TFLite, float32")
    assert tflite.fps == pytest.approx(0.301 / 0.0851 * 1.3 / 0.0862, rel=1e-6)
    assert claims.authors_fps(4) == pytest.approx(1 / 0.0095 * 1.3)
    assert claims.authors_fps(1) < claims.FACE_FPS < claims.authors_fps(4)
    rates = [found.fps for found in claims.rates()]
    assert min(rates) < claims.FACE_FPS < max(rates)


def test_the_macs_behind_the_claims_are_counted():
    assert f"{claims.MOBILENET_GMACS:.2f}" == documented()["mobilenet_v2"][3]


def test_the_document_has_the_arithmetic(capsys):
    assert cli.main(["networks", "--claims"]) == 0
    shown = capsys.readouterr().out
    text = DOCUMENT.read_text(encoding="utf-8").partition("### Two claims, judged")[2]
    rates = sorted(found.fps for found in claims.rates() if "PyTorch" not in found.name)
    for said in (
        f"needs {claims.needed_rate():.1f} GMACs per second",
        f"imply {rates[0]:.0f} to {rates[-1]:.0f} frames per second",
        f"{claims.authors_fps(1):.0f} on one core and {claims.authors_fps(4):.0f} on four",
    ):
        assert said in " ".join(text.split())
    assert "115 ms in float32 and 115 ms in int8: a copied row" in shown
    assert f"{claims.needed_rate():.1f} GMACs per second" in shown


# ---- one chart per network


def test_a_narrow_network_has_three_quarters_of_the_channels(monkeypatch):
    monkeypatch.setenv("WORKBOOK_OFFLINE", "1")
    source, said = named.source("mobilenet_v3_small_075")
    assert "torchvision has no weights for this width" in said
    widths = [
        [layer.out_channels for layer in network.modules() if hasattr(layer, "out_channels")]
        for network in (source.network, named.untrained("mobilenet_v3_small"))
    ]
    narrow, whole = (np.array(width[:-1]) for width in widths)
    assert len(narrow) == len(whole) and 0.7 < narrow.sum() / whole.sum() < 0.8


def widths_of(chart: str) -> list[float]:
    return [float(width) for width in re.findall(r'<rect [^>]*width="([\d.]+)"', chart)]


def test_bars_are_as_long_as_their_times():
    chart = bars.published([figure("float32", 100), figure("int8", 25)])
    long, short = widths_of(chart)
    assert short == pytest.approx(long / 4, rel=0.01)
    assert "not measured here" in chart and ">100</text>" in chart and ">25</text>" in chart
    assert bars.published([]) == bars.measured([]) == ""


def test_a_page_has_published_figures_in_a_section_of_their_own():
    text = page.page([], "net", published=published.of_network("mobilenet_v2"))
    head, _, tail = text.partition("<h2>Published by others, not measured here</h2>")
    assert len(widths_of(tail)) == 10 and not widths_of(head)
    assert "threads not stated" in tail
    assert "Published by others" not in page.page([], "net")
