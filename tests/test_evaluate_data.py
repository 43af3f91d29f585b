"""`workbook evaluate`: DATA in folders, tasks, and how good answers are."""

import contextlib
import gzip
import io
import json

import numpy as np
import pytest
from evaluate_files import digit_detector
from PIL import Image
from sklearn import metrics as reference

from helpers.data import normalize
from helpers.vision import LAYOUTS, Fit
from workbook.evaluate import coco_folder, detection, examples, pictures, quality

GENERATOR = np.random.default_rng(0)

# ---- IDX


def write_idx(path, array, packed=False):
    head = bytes([0, 0, 8, array.ndim]) + b"".join(int(n).to_bytes(4, "big") for n in array.shape)
    content = head + array.tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content) if packed else content)


@pytest.fixture
def idx(tmp_path):
    """A folder with 5 test and 7 training images, as MNIST's sites have them; and the images."""
    images = {}
    for prefix, count in (("t10k", 5), ("train", 7)):
        images[prefix] = GENERATOR.integers(0, 256, (count, 28, 28)).astype(np.uint8)
        labels = np.arange(count, dtype=np.uint8)
        folder = tmp_path / "MNIST" / "raw"
        write_idx(folder / f"{prefix}-images-idx3-ubyte.gz", images[prefix], packed=True)
        write_idx(folder / f"{prefix}-labels-idx1-ubyte", labels)
    return tmp_path, images


def test_idx_images_become_what_the_networks_of_the_book_take(idx):
    folder, images = idx
    found = examples.read(folder)
    assert (found.x == normalize(images["t10k"])).all() and found.y.tolist() == [0, 1, 2, 3, 4]
    for place in (folder, folder / "MNIST" / "raw"):
        training = examples.read(place, split="train")
        assert (training.x == normalize(images["train"])).all() and len(training.y) == 7


@pytest.mark.parametrize(
    "pixels, black, white", [("unit", 0, 1), ("signed", -1, 1), ("raw", 0, 255)]
)
def test_pixels_become_what_a_network_takes(tmp_path, pixels, black, white):
    write_idx(tmp_path / "images-idx3-ubyte", np.array([[[0, 255]]], np.uint8))
    write_idx(tmp_path / "labels-idx1-ubyte", np.array([3], np.uint8))
    found = examples.read(tmp_path, pixels=pixels)
    assert found.x.tolist() == [[[[black, white]]]] and found.x.dtype == np.float32


def test_pixels_of_imagenet_have_a_mean_for_each_channel():
    images = np.full((1, 3, 1, 1), 255, np.uint8)
    wanted = [(1 - 0.485) / 0.229, (1 - 0.456) / 0.224, (1 - 0.406) / 0.225]
    assert pictures.scaled(images, "imagenet").ravel() == pytest.approx(wanted, rel=1e-6)
    with pytest.raises(examples.DataError, match="is for images of 3 channels, not 1"):
        pictures.scaled(images[:, :1], "imagenet")


def test_idx_files_that_cannot_be_used(tmp_path):
    images = tmp_path / "t10k-images-idx3-ubyte"
    write_idx(images, np.zeros((2, 4, 4), np.uint8))
    with pytest.raises(examples.DataError, match="no labels next to it: put t10k-labels-idx1-u"):
        examples.read(tmp_path)
    write_idx(tmp_path / "t10k-labels-idx1-ubyte", np.zeros(3, np.uint8))
    with pytest.raises(examples.DataError, match=r"arrays of \(2, 4, 4\) and \(3,\)"):
        examples.read(tmp_path)
    images.write_bytes(images.read_bytes()[:20])
    with pytest.raises(examples.DataError, match="its header requires another size"):
        examples.read(tmp_path)


# ---- layouts


def test_nhwc_is_for_images_only(tmp_path):
    np.savez(tmp_path / "a.npz", x_data=np.zeros((2, 5)), y_data=np.zeros(2))
    with pytest.raises(examples.DataError, match=r"--layout nhwc is for images, .* \(2, 5\)"):
        examples.read(tmp_path / "a.npz", "nhwc")


class FakeWorker:
    """What inputs_for reads of a Worker."""

    def __init__(self, path, shape, rounds=False):
        self.path = path
        self.input_shape = shape
        self.rounds = rounds


def test_a_file_that_takes_nhwc_gets_nhwc(tmp_path):
    x = np.arange(2 * 3 * 4 * 5, dtype=np.float32).reshape(2, 3, 4, 5)
    data = examples.Examples(x, np.zeros(2))
    same = data.inputs_for(FakeWorker(tmp_path, (1, 3, 4, 5)))
    turned = data.inputs_for(FakeWorker(tmp_path, (1, 4, 5, 3)))
    assert (same == x).all() and (turned == x.transpose(0, 2, 3, 1)).all()
    assert turned.flags.c_contiguous
    assert data.inputs_for(FakeWorker(tmp_path, (1, 9, 9, 9))) is x  # the Worker reports it


def test_fractions_for_a_file_that_rounds_are_an_error(tmp_path):
    worker = FakeWorker(tmp_path / "net.onnx", (1, 2), rounds=True)
    fractions = examples.Examples(np.array([[0.2, 1.0]], np.float32), np.zeros(1))
    with pytest.raises(examples.DataError, match="net.onnx takes whole numbers.* --pixels raw"):
        fractions.inputs_for(worker)
    whole = examples.Examples(np.array([[2.7, 200.0]], np.float32), np.zeros(1))
    assert whole.inputs_for(worker) is whole.x


# ---- COCO folders


def labels(**changes):
    content = {
        "images": [{"id": 7, "file_name": "a.png"}, {"id": 9, "file_name": "gone.png"}],
        "categories": [{"id": 30, "name": "dog"}, {"id": 4, "name": "cat"}],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 30, "bbox": [1, 2, 3, 4], "area": 9},
            {"id": 2, "image_id": 9, "category_id": 4, "bbox": [1, 2, 3, 4]},
        ],
    }
    return content | changes


def coco(folder, content, name="labels.json"):
    (folder / "photos").mkdir(exist_ok=True)
    Image.new("RGB", (20, 10), (200, 0, 0)).save(folder / "photos" / "a.png")
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_a_coco_folder(tmp_path):
    file = coco(tmp_path, labels())
    for place in (tmp_path, file):
        found = coco_folder.read(place)
        assert found.photos == {7: tmp_path / "photos" / "a.png"} and found.missing == 1
        assert found.names == ["cat", "dog"]  # in the order of their ids, as COCO's tools
        [entry] = found.truth
        assert entry == {
            "id": 1, "area": 9, "image_id": 7, "bbox": [1, 2, 3, 4], "category_id": 1,
        }  # fmt: skip


def test_of_several_files_of_labels_one_is_chosen(tmp_path):
    coco(tmp_path, labels(categories=[{"id": 30, "name": "x"}]), "annotations/instances_train.json")
    coco(tmp_path, labels(), "annotations/instances_val.json")
    coco(tmp_path, labels(), "annotations/person_keypoints_val.json")
    assert coco_folder.read(tmp_path).names == ["cat", "dog"]
    with pytest.raises(examples.DataError, match="is no id of a category"):
        outside = {"id": 3, "image_id": 7, "category_id": 4, "bbox": [0, 0, 1, 1]}
        changed = labels(categories=[{"id": 30, "name": "x"}], annotations=[outside])
        coco(tmp_path, changed, "annotations/instances_train.json")
        coco_folder.read(tmp_path, "train")
    coco(tmp_path, labels(), "annotations/instances_val_2.json")
    with pytest.raises(examples.DataError, match="has several files of labels"):
        coco_folder.read(tmp_path)


def test_photographs_outside_of_the_folder_are_not_read(tmp_path):
    inside = tmp_path / "data"
    inside.mkdir()
    Image.new("RGB", (2, 2)).save(tmp_path / "secret.png")
    listed = [{"id": 7, "file_name": "../secret.png"}]
    (inside / "labels.json").write_text(json.dumps(labels(images=listed)))
    with pytest.raises(examples.DataError, match="none of the 1 images .* is in data"):
        coco_folder.read(inside)


@pytest.mark.parametrize(
    "content, message",
    [
        ('{"images": [', "is no JSON or is cut off"),
        (labels(categories=3), 'has no list "categories"'),
        (labels(images=[{"id": 1}]), "an entry of labels.json has no 'file_name'"),
        (labels(annotations=[{"image_id": 7, "category_id": 4}]), "has no 'bbox'"),
        (labels(annotations=[]), "has no objects for the 1 images"),
        (
            labels(annotations=[{"image_id": 7, "category_id": 4, "bbox": [0, 0, -1, 2]}]),
            "is not x, y, width and height",
        ),
    ],
)
def test_labels_that_cannot_be_used(tmp_path, content, message):
    coco(tmp_path, content)
    with pytest.raises(examples.DataError, match=message):
        coco_folder.read(tmp_path)


# ---- detection


def raw_output(boxes, classes, scores, size=352, names=3):
    """FastestDet's output for boxes x1 y1 x2 y2, one in a cell."""
    cells = size // 16
    raw = np.zeros((1, 5 + names, cells, cells), np.float32)
    for (left, top, right, bottom), number, score in zip(boxes, classes, scores):
        x = (left + right) / 2 / size * cells
        y = (top + bottom) / 2 / size * cells
        column = int(x)
        row = int(y)
        wide = (right - left) / size
        high = (bottom - top) / size
        cell = raw[0, :, row, column]
        cell[0] = score
        cell[1:3] = np.arctanh([x - column, y - row])
        cell[3:5] = [np.log(wide / (1 - wide)), np.log(high / (1 - high))]
        cell[5 + number] = score
    return raw


def some_boxes(count):
    corners = GENERATOR.uniform(0, 250, (count, 2))
    return np.concatenate([corners, corners + GENERATOR.uniform(20, 100, (count, 2))], axis=1)


def by_pycocotools(truth, found):
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        known = COCO()
        known.dataset = {
            "images": [{"id": image} for image in sorted({entry["image_id"] for entry in truth})],
            "categories": [{"id": number} for number in range(3)],
            "annotations": [
                {"id": i + 1, "iscrowd": 0, "area": e["bbox"][2] * e["bbox"][3], **e}
                for i, e in enumerate(truth)
            ],
        }
        known.createIndex()
        evaluation = COCOeval(known, known.loadRes(found), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats[:3].tolist()


def test_average_precision_of_raw_outputs_equals_pycocotools():
    layout = LAYOUTS[0]
    truth = []
    found = []
    answers = []
    for image in range(1, 7):
        boxes = some_boxes(4)
        classes = GENERATOR.integers(0, 3, 4)
        for (x1, y1, x2, y2), number in zip(boxes.tolist(), classes.tolist()):
            box = [2 * x1, y1, 2 * (x2 - x1), y2 - y1]  # in a picture that is twice as wide
            truth.append({"image_id": image, "category_id": number, "bbox": box})
        moved = boxes + GENERATOR.uniform(-6, 6, boxes.shape)
        raw = raw_output(moved, classes, GENERATOR.uniform(0.2, 1, 4))
        answers.append(raw)
    fit = Fit(352, 704, 0.5, 1.0)
    kind = detection.Kind(layout, 352, 352)
    images = list(range(1, 7))
    known = detection.Truth(kind, [fit] * 6, images, truth, classes=3)
    stacked = np.concatenate(answers)
    for image, raw in zip(images, answers):
        found += detection._detections(raw, kind, fit).as_coco(image)
    result = quality.of("detection", stacked, known)
    wanted = by_pycocotools(truth, found)
    assert 0.1 < wanted[0] < 0.99  # neither perfect nor nothing
    assert result.value == pytest.approx(wanted[0], abs=1e-12)
    assert list(result.others.values()) == pytest.approx(wanted[1:], abs=1e-12)
    assert result.metric == "AP" and result.n == 6 and result.low <= result.high
    few = detection.Truth(kind, [fit] * 6, images, truth, classes=2)
    with pytest.raises(quality.AnswersError, match="knows more classes than the 2 categories"):
        detection.quality(stacked, few)
    with pytest.raises(quality.AnswersError, match="are no boxes"):
        detection.quality(stacked[:, :, 0], known)


# ---- quality


def test_class_numbers_of_pixels():
    y = np.array([[[0, 1], [2, 1]]])
    found = quality.of("classification", np.array([[[0, 1], [1, 1]]]), y)
    assert (found.metric, found.value, found.low) == ("pixel accuracy", 0.75, None)
    with pytest.raises(quality.AnswersError, match=r"\(1, 2, 2\); y_data has \(1, 2\)"):
        quality.of("classification", np.zeros((1, 2, 2), np.int64), y[:, 0])


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_answers_that_are_not_numbers(task):
    with pytest.raises(quality.AnswersError, match="contain NaN or infinity"):
        quality.of(task, np.array([[np.nan, 1.0]]), np.array([1]))


def test_softmax_changes_no_class_and_overflows_nowhere():
    answers = GENERATOR.standard_normal((50, 4)) * 1000
    shares = quality.compared("classification", answers)
    assert (shares.argmax(1) == answers.argmax(1)).all() and np.isfinite(shares).all()
    assert shares.sum(axis=1) == pytest.approx(np.ones(50))
    for task, given in (("regression", answers), ("classification", np.array([3, 1]))):
        assert quality.compared(task, given) is given


@pytest.mark.parametrize(
    "y",
    [[0.0, 0.0, 0.0], [1e-30, -1e30, 5.0], [-3.0, 2.0, 2.0], [1, 2, 3]],
    ids=["zeros", "extremes", "negative", "integers"],
)
def test_edge_cases_of_regression_equal_scikit_learn(y):
    y = np.array(y)
    for answers in (y.astype(np.float64), y + 1.5, -y.astype(np.float64)):
        found = quality.of("regression", answers[:, None], y)
        assert found.value == pytest.approx(reference.mean_squared_error(y, answers), rel=1e-12)
        wanted = reference.mean_absolute_percentage_error(y, answers)
        assert found.others["MAPE"] == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize(
    "labels, best",
    [([0, 0, 0], [0, 0, 0]), ([0, 1, 2], [2, 2, 2]), ([3], [0]), ([1, 1, 4], [1, 0, 4])],
    ids=["one class", "one answer", "one example", "classes without examples"],
)
def test_edge_cases_of_classification_equal_scikit_learn(labels, best):
    y = np.array(labels)
    answers = np.eye(5, dtype=np.float32)[best]
    found = quality.of("classification", answers, y)
    wanted = reference.precision_recall_fscore_support(y, best, average="macro", zero_division=0)
    assert list(found.others.values()) == pytest.approx(wanted[:3], abs=1e-12)
    assert found.value == pytest.approx(reference.accuracy_score(y, best), abs=1e-12)


def test_detection_from_end_to_end(tmp_path, capsys, monkeypatch):
    """The digit detector: its file gives the AP that helpers.vision finds with it."""
    from helpers.metrics import coco_map
    from helpers.vision import open_detector
    from workbook import cli

    monkeypatch.setenv("WORKBOOK_BUILD", str(tmp_path / "build"))
    detector, folder, objects = digit_detector(tmp_path)
    capsys.readouterr()  # the digits report where they come from
    arguments = [detector, str(folder), "--task", "detection"]
    status = cli.main(
        ["evaluate", *arguments, "--runtimes", "onnx", "mnn", "--rounds", "6", "--json"]
    )
    shown = capsys.readouterr()
    assert status == 0 and "net is a digit detector of 96 x 96" in shown.err
    reference = open_detector(tmp_path / "build" / "evaluate" / "net.onnx")
    found = []
    for number, path in enumerate(sorted(folder.glob("*.png"))):
        found += reference.detect(path).as_coco(number)
    wanted = coco_map(objects, found)
    rows = json.loads(shown.out)
    assert [row["runtime"] for row in rows] == ["ONNX Runtime", "MNN"]
    for row in rows:
        assert row["state"] == "works" and row["metric"] == "AP"
    assert rows[0]["quality"] == pytest.approx(wanted["AP"], abs=1e-12)
    assert rows[0]["others"]["AP50"] == pytest.approx(wanted["AP50"], abs=1e-12)
