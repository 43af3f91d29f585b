"""open_detector on real files and photographs, and on files that are made here.

Tests marked `data` need the folder that WORKBOOK_DATA names; without it they are skipped.
"""

import contextlib
import functools
import io
import json
import os
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from helpers import convert, data, metrics, vision
from helpers.runtimes import open_model

with_data = pytest.mark.data

# files that are made here: they return a constant, so that shapes and boxes are known


def constant_file(path, input_shape, output, input_type=TensorProto.FLOAT):
    """An .onnx file that returns `output` for any input of this shape."""
    given = helper.make_tensor_value_info("picture", input_type, input_shape)
    made = helper.make_tensor_value_info("raw", TensorProto.FLOAT, output.shape)
    axes = list(range(len(input_shape)))
    value = onnx.numpy_helper.from_array(output.astype(np.float32), "value")
    zero = onnx.numpy_helper.from_array(np.float32(0), "zero")
    nodes = [
        helper.make_node("ReduceMax", ["picture"], ["largest"], axes=axes, keepdims=0),
        helper.make_node("Mul", ["largest", "zero"], ["nothing"]),
        helper.make_node("Add", ["value", "nothing"], ["raw"]),
    ]
    graph = helper.make_graph(nodes, "net", [given], [made], [value, zero])
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    onnx.save(model, path)
    return path


def one_object(shape=(1, 85, 22, 22)):
    """FastestDet's output for one object of class 2 in the middle, a quarter of the picture."""
    raw = np.zeros(shape, np.float32)
    raw[0, 0, 11, 11] = 1
    raw[0, 5 + 2, 11, 11] = 1
    return raw


PICTURES = {"square": (352, 352), "wide": (50, 10_000), "high": (640, 20), "1 x 1": (1, 1)}


@pytest.mark.parametrize("name", PICTURES)
def test_boxes_are_in_pixels_of_the_picture(tmp_path, name):
    path = constant_file(tmp_path / "net.onnx", (1, 3, 352, 352), one_object())
    rows, columns = PICTURES[name]
    found = vision.open_detector(path).detect(np.zeros((rows, columns, 3), np.uint8))
    wanted = np.array([[columns / 4, rows / 4, 3 * columns / 4, 3 * rows / 4]])
    assert found.boxes == pytest.approx(wanted, rel=1e-5)
    assert found.boxes.dtype == found.scores.dtype == np.float32
    assert found.classes.dtype == np.int64 and found.classes.tolist() == [2] and len(found) == 1
    assert found.as_coco(7) == [
        {
            "image_id": 7,
            "category_id": 2,
            "bbox": pytest.approx([columns / 4, rows / 4, columns / 2, rows / 2], rel=1e-5),
            "score": 1.0,
        }
    ]


def test_pictures_of_other_kinds_and_files(tmp_path):
    detector = vision.open_detector(
        constant_file(tmp_path / "net.onnx", (1, 3, 352, 352), one_object())
    )
    grey = np.zeros((40, 60), np.uint8)
    alpha = np.zeros((40, 60, 4), np.uint8)
    for picture in (grey, alpha, grey.astype(np.uint16)):
        assert detector.detect(picture).boxes == pytest.approx(np.array([[15, 10, 45, 30]]))
    with pytest.raises(ValueError, match="for floats"):
        detector.detect(np.zeros((40, 60, 3)))
    with pytest.raises(FileNotFoundError, match="none.jpg"):
        detector.detect(tmp_path / "none.jpg")


def test_thresholds_and_the_limit(tmp_path):
    raw = np.zeros((1, 85, 22, 22), np.float32)
    raw[0, 0] = np.linspace(0.1, 1, 484).reshape(22, 22)  # the last cell is the best
    raw[0, 5] = 1
    raw[0, 3:5] = -4  # small boxes
    detector = vision.open_detector(constant_file(tmp_path / "net.onnx", (1, 3, 352, 352), raw))
    picture = np.zeros((352, 352, 3), np.uint8)
    assert len(detector.detect(picture)) == 100
    assert len(detector.detect(picture, limit=10**6)) == 484
    assert len(detector.detect(picture, confidence=1.0)) == 1
    assert len(detector.detect(picture, confidence=1.1)) == 0
    scores = detector.detect(picture).scores
    assert (np.diff(scores) <= 0).all() and scores[0] == 1


def test_the_stages_are_what_detect_does(tmp_path):
    detector = vision.open_detector(
        constant_file(tmp_path / "net.onnx", (1, 3, 352, 352), one_object())
    )
    picture = np.zeros((100, 300, 3), np.uint8)
    x, fit = detector.preprocess(picture)
    found = detector.postprocess(detector.network(x), fit)
    assert (found.boxes == detector.detect(picture).boxes).all()


LAYOUTS = {  # name: input, output
    "FastestDet": ((1, 3, 352, 352), (1, 85, 22, 22)),
    "FastestDet of other sizes and classes": ((1, 3, 320, 640), (1, 8, 20, 40)),
    "YOLOX": ((1, 3, 416, 416), (1, 3549, 85)),
    "YOLOv5": ((1, 3, 640, 640), (1, 25200, 85)),
    "YOLOv8": ((1, 3, 640, 640), (1, 84, 8400)),
    "YOLOv8 of one class": ((1, 3, 320, 320), (1, 5, 2100)),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_detectors_are_recognised_by_their_shapes(tmp_path, name):
    given, made = LAYOUTS[name]
    path = constant_file(tmp_path / "net.onnx", given, np.zeros(made, np.float32))
    detector = vision.open_detector(path)
    assert detector.layout.name == name.split()[0]
    assert (detector.height, detector.width) == given[2:]
    assert len(detector.detect(np.zeros((30, 40, 3), np.uint8))) == 0


def test_free_sizes_become_the_usual_ones(tmp_path):
    given = ("n", 3, "h", "w")
    path = constant_file(tmp_path / "net.onnx", given, np.zeros((1, 85, 22, 22), np.float32))
    assert vision.open_detector(path).height == 352


@pytest.mark.parametrize(
    "given, made, message",
    [
        ((1, 3, 224, 224), (1, 1000), r"\(1 x 3 x 224 x 224 to 1 x 1000\)"),
        ((1, 3, 352, 352), (1, 85, 11, 11), "1 x 85 x 11 x 11"),
        ((1, 3, 352, 352), (1, 4, 22, 22), "1 x 4 x 22 x 22"),
        ((1, 1, 28, 28), (1, 10), "1 x 1 x 28 x 28"),
        ((1, 7), (1, 10), "1 x 7"),
        ((4, 3, 352, 352), (4, 85, 22, 22), "4 x 3 x 352 x 352"),
    ],
)
def test_other_networks_get_a_list_of_what_is_known(tmp_path, given, made, message):
    path = constant_file(tmp_path / "net.onnx", given, np.zeros(made, np.float32))
    with pytest.raises(ValueError, match=message) as raised:
        vision.open_detector(path)
    said = str(raised.value)
    assert said.startswith("net.onnx is no detector that is known by its shapes")
    assert all(layout.name in said for layout in vision.LAYOUTS)
    assert "1 x 3 x 352 x 352 to 1 x numbers x 22 x 22" in said


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_output_of_nan_is_said(tmp_path, value):
    raw = one_object()
    raw[0, 1, 3, 3] = value
    path = constant_file(tmp_path / "net.onnx", (1, 3, 352, 352), raw)
    with pytest.raises(ValueError, match="net.onnx returns NaN or infinity"):
        vision.open_detector(path).detect(np.zeros((9, 9, 3), np.uint8))


# the table of files and COCO's photographs


@with_data
def test_the_table_of_files_is_that_of_the_manifest():
    manifest = json.loads(Path(os.environ["WORKBOOK_DATA"], "MANIFEST.json").read_text())
    for entry in manifest:
        folder, _, name = entry["file"].rpartition("/")
        known = data.FILES[name]
        assert known.folder == folder and entry["sha256"] in known.sha256.split()
        assert known.urls == (entry["url"],)
        assert known.licence.split()[0].lower() in entry["licence"].lower()
        assert known.credit and data.credit(name).endswith(")")
        assert known.size == entry["bytes"] or " " in known.sha256
    for name, known in data.FILES.items():
        if known.folder:
            assert data.fetch(name) == Path(os.environ["WORKBOOK_DATA"], known.folder, name)


@with_data
@pytest.mark.parametrize("split, count, objects", [("val", 22, 256), ("train", 45, 498)])
def test_coco_has_boxes_in_pixels_and_classes_in_the_order_of_the_names(split, count, objects):
    coco = data.coco(split)
    names = data.coco_names()
    assert len(coco.photos) == count and len(coco.ground_truth) == objects and len(names) == 80
    folder = Path(os.environ["WORKBOOK_DATA"], "coco", "annotations")
    content = json.loads((folder / f"instances_{split}.json").read_text())
    called = {entry["id"]: entry["name"] for entry in content["categories"]}
    for photo in coco.photos:
        image = vision.read_image(photo.path)
        entries = [entry for entry in content["annotations"] if entry["image_id"] == photo.id]
        size = np.array([*image.shape[1::-1]] * 2)
        assert (photo.boxes >= 0).all() and (photo.boxes <= size + 0.01).all()
        assert (photo.boxes[:, 2:] > photo.boxes[:, :2]).all()
        assert [names[c] for c in photo.classes] == [called[e["category_id"]] for e in entries]
        wanted = [entry["bbox"] for entry in entries]
        assert vision.xyxy_to_xywh(photo.boxes) == pytest.approx(np.array(wanted), abs=1e-3)
        assert photo.is_crowd.tolist() == [bool(entry["iscrowd"]) for entry in entries]
        assert photo.areas.tolist() == [entry["area"] for entry in entries]
        assert ("Flickr" in photo.credit and "CC BY" in photo.credit) or "no known" in photo.credit
    with pytest.raises(ValueError, match="'train' or 'val', not 'test'"):
        data.coco("test")


# FastestDet and YOLOX on the photographs


@pytest.fixture(scope="module")
def coco_val():
    return data.coco("val")


def all_found(detector, coco, **options):
    return [
        entry
        for photo in coco.photos
        for entry in detector.detect(photo.path, **options).as_coco(photo.id)
    ]


@pytest.fixture(scope="module")
def found_by_fastestdet(coco_val):
    """{file: entries in COCO's format}"""
    return {
        name: all_found(vision.open_detector(data.fetch(name)), coco_val, iou=0.45)
        for name in ("fastestdet.onnx", "fastestdet.ncnn.param")
    }


@with_data
def test_fastestdet_scores_what_is_known(coco_val, found_by_fastestdet):
    """AP .179 and AP50 .309 were measured with another program, see its settings in the fixture."""
    scores = [
        metrics.coco_map(coco_val.ground_truth, found) for found in found_by_fastestdet.values()
    ]
    for score in scores:
        print(score)
        assert score["AP"] == pytest.approx(0.179, abs=0.01)
        assert score["AP50"] == pytest.approx(0.309, abs=0.01)
    assert scores[0]["AP"] == pytest.approx(scores[1]["AP"], abs=0.003)
    assert scores[0]["AP50"] == pytest.approx(scores[1]["AP50"], abs=0.003)


@with_data
def test_the_network_in_pytorch_is_the_published_file(tmp_path):
    import torch

    from helpers.vision.published import fastestdet

    network = fastestdet()
    assert metrics.count_parameters(network) == 244_490 and not network.training
    x = np.random.default_rng(0).random((1, 3, 352, 352), np.float32)
    with torch.inference_mode():
        ours = network(torch.from_numpy(x)).numpy()
    theirs = open_model(data.fetch("fastestdet.onnx")).predict(x)
    assert metrics.largest_difference(ours, theirs) < 1e-4


@with_data
@pytest.mark.slow
def test_fastestdet_in_litert_scores_the_same(tmp_path, coco_val, found_by_fastestdet):
    import torch

    from helpers.vision.published import fastestdet

    path = tmp_path / "fastestdet.tflite"
    convert.to_tflite(fastestdet(), torch.zeros(1, 3, 352, 352), path)
    found = all_found(vision.open_detector(path), coco_val, iou=0.45)
    score = metrics.coco_map(coco_val.ground_truth, found)
    theirs = metrics.coco_map(coco_val.ground_truth, found_by_fastestdet["fastestdet.onnx"])
    for name in ("AP", "AP50"):
        assert score[name] == pytest.approx(theirs[name], abs=0.003)


@with_data
def test_yolox_nano_scores_more(coco_val, found_by_fastestdet):
    """AP .305 on other photographs: as many here, within the interval of 22 of them."""
    found = all_found(vision.open_detector(data.fetch("yolox_nano.onnx")), coco_val)
    score = metrics.coco_map(coco_val.ground_truth, found)
    print(score)
    assert 0.25 < score["AP"] < 0.42


def reference(coco, found):
    """The twelve figures of pycocotools."""
    truth = COCO()
    with contextlib.redirect_stdout(io.StringIO()):
        truth.dataset = {
            "info": {},
            "images": [{"id": photo.id} for photo in coco.photos],
            "categories": [{"id": number} for number in range(80)],
            "annotations": coco.ground_truth,
        }
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(found), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


@with_data
def test_coco_map_equals_pycocotools_on_real_detections(coco_val, found_by_fastestdet):
    found = found_by_fastestdet["fastestdet.onnx"]
    theirs = reference(coco_val, found)
    ours = metrics.coco_map(coco_val.ground_truth, found, by_size=True)
    assert any(photo.is_crowd.any() for photo in coco_val.photos)
    assert list(ours.values()) == pytest.approx(theirs.stats[:6].tolist(), abs=1e-9)
    precision = theirs.eval["precision"][:, :, :, 0, 2]
    for number, values in metrics.class_map(coco_val.ground_truth, found).items():
        assert values["AP"] == pytest.approx(precision[:, :, number].mean(), abs=1e-9)


@with_data
@pytest.mark.alone
def test_what_follows_the_network_is_a_small_part_of_its_time(coco_val):
    detector = vision.open_detector(data.fetch("fastestdet.onnx"))
    network = 0.0
    after = {0.01: 0.0, 0.25: 0.0}  # the confidence for AP, and a usual one for a camera
    for photo in coco_val.photos:
        x, fit = detector.preprocess(vision.read_image(photo.path))
        raw = detector.network(x)
        network += least_seconds(functools.partial(detector.network, x))
        for confidence in after:
            stage = functools.partial(detector.postprocess, raw, fit, confidence)
            after[confidence] += least_seconds(stage)
    shares = {confidence: seconds / network for confidence, seconds in after.items()}
    print(f"network {network / len(coco_val.photos) * 1e3:.2f} ms, the share after it: {shares}")
    assert shares[0.25] < 0.15
    assert shares[0.01] < 0.25, "each of the 484 cells is a candidate"


def least_seconds(function, calls=20):
    """The shortest of some calls: other programs may share the processor."""
    times = []
    for _ in range(calls):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


@pytest.mark.alone
def test_a_thousand_boxes_take_a_small_part_of_a_table_of_their_overlaps():
    rng = np.random.default_rng(0)
    size = rng.uniform(10, 200, (1000, 2))
    corner = rng.uniform(0, [640, 480], (1000, 2))
    spread = np.concatenate([corner, corner + size], axis=1)
    crowded = spread[rng.integers(0, 60, 1000)] + np.tile(rng.normal(0, 3, (1000, 2)), 2)
    scores = rng.random(1000)
    # what the simple way computes first, on the same processor: machines differ more than ratios
    table = least_seconds(functools.partial(metrics.box_iou, spread, spread))
    for boxes in (spread, crowded.astype(np.float32)):
        for threshold in (0.45, 0.6):
            suppress = functools.partial(vision.nms, boxes, scores, threshold)
            took = least_seconds(suppress, calls=200)
            print(
                f"{len(suppress())} of 1,000 kept: {took * 1e3:.2f} ms, "
                f"{took / table:.2f} of a table of IoU"
            )
            assert took < table / 4
