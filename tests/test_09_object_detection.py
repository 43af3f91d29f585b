"""Notebook 09: overlaps, suppression, the kinds of mistakes and the matching do what it says."""

from types import SimpleNamespace

import numpy as np
import pytest
from notebook_code import definitions

from helpers import long_runs, metrics, vision
from helpers.data import Scene, scenes
from helpers.paths import ROOT

NAME = "09_object_detection"
notebook = definitions(NAME, {"iou", "our_nms", "judge", "hits", "windows", "by_pycocotools"})
STORED = ROOT / "notebooks" / "figures" / "09_object_detection.json"


def boxes_at_random(count: int, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    corners = generator.uniform(0, 50, (count, 2))
    return np.hstack([corners, corners + generator.uniform(1, 40, (count, 2))])


def found(*rows: tuple) -> SimpleNamespace:
    """Detections from rows of x1, y1, x2, y2, score, digit."""
    table = np.array(rows, float).reshape(-1, 6)
    return SimpleNamespace(boxes=table[:, :4], scores=table[:, 4], classes=table[:, 5].astype(int))


def scene(*rows: tuple) -> Scene:
    """A scene with digits from rows of x1, y1, x2, y2, digit."""
    table = np.array(rows, float).reshape(-1, 5)
    blank = np.zeros((96, 96), np.uint8)
    masks = np.zeros((len(table), 96, 96), bool)
    return Scene(blank, table[:, :4], table[:, 4].astype(int), masks)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ((0, 0, 4, 4), (0, 0, 4, 4), 1),
        ((0, 0, 4, 2), (2, 0, 6, 2), 4 / 12),
        ((0, 0, 2, 6), (0, 4, 2, 10), 4 / 20),
        ((0, 0, 9, 1), (0, 0, 3, 1), 1 / 3),
        ((0, 0, 4, 4), (4, 0, 8, 4), 0),
        ((0, 0, 4, 4), (9, 0, 12, 4), 0),
        ((0, 0, 4, 4), (9, 9, 12, 12), 0),
    ],
)
def test_iou_by_hand(a, b, expected):
    assert notebook.iou(a, b) == pytest.approx(expected)
    assert notebook.iou(b, a) == pytest.approx(expected)


@pytest.mark.parametrize("limit", [0.0, 0.3, 0.5, 0.9])
def test_nms_is_that_of_helpers(limit):
    boxes = boxes_at_random(60)
    scores = np.random.default_rng(1).uniform(size=60).round(1)  # some are equal
    kept = notebook.our_nms(boxes, scores, limit)
    assert kept == vision.nms(boxes, scores, limit).tolist()


def test_nms_keeps_what_overlaps_exactly_as_much_as_the_limit():
    half = np.array([[0, 0, 4, 2], [0, 0, 4, 4]])
    assert notebook.our_nms(half, np.array([0.2, 0.9]), 0.5) == [1, 0]
    assert notebook.our_nms(half, np.array([0.2, 0.9]), 0.49) == [1]


TRUE = (10, 10, 30, 30, 3)
TWO = (60, 10, 80, 30, 5)


@pytest.mark.parametrize(
    ("detections", "kinds", "missed"),
    [
        ([(10, 10, 30, 30, 0.9, 3)], ["right"], [1]),
        ([(10, 10, 30, 30, 0.9, 3), (11, 10, 31, 30, 0.8, 3)], ["right", "doubled"], [1]),
        ([(10, 10, 30, 30, 0.9, 8)], ["wrong class"], [1]),
        ([(20, 10, 40, 30, 0.9, 3)], ["badly placed"], [1]),
        ([(20, 10, 40, 30, 0.9, 8)], ["badly placed"], [1]),
        ([(40, 60, 60, 80, 0.9, 3)], ["on the ground"], [0, 1]),
        ([(10, 10, 30, 30, 0.9, 3), (60, 10, 80, 30, 0.8, 5)], ["right", "right"], []),
        ([], [], [0, 1]),
    ],
)
def test_mistakes_by_kind(detections, kinds, missed):
    assert notebook.judge(scene(TRUE, TWO), found(*detections)) == (kinds, missed)


def test_a_digit_is_found_once_and_only_by_its_own_class(monkeypatch):
    lookups = notebook.hits.__globals__
    detections = found((10, 10, 30, 30, 0.9, 3), (10, 10, 30, 31, 0.8, 3), (60, 10, 80, 30, 0.7, 3))
    monkeypatch.setitem(lookups, "test", [scene(TRUE, TWO), scene()])
    monkeypatch.setitem(lookups, "all_found", [detections, found((0, 0, 9, 9, 0.6, 3))])
    correct, scores, positives = notebook.hits(3, 0.5)
    assert [bool(x) for x in correct] == [True, False, False, False]
    assert scores == [0.9, 0.8, 0.7, 0.6]
    assert positives == 1
    assert notebook.hits(5, 0.5) == ([], [], 1)


def test_the_reference_counts_as_helpers_do(monkeypatch):
    true = [{"image_id": i, "category_id": i % 2, "bbox": [5, 5, 20, 20]} for i in range(4)]
    guessed = [
        {"image_id": i, "category_id": 0, "bbox": [5 + i, 5, 20, 20], "score": 0.9 - i / 10}
        for i in range(4)
    ]
    monkeypatch.setitem(notebook.by_pycocotools.__globals__, "test", range(4))
    theirs = notebook.by_pycocotools(true, guessed)
    ours = metrics.coco_map(true, guessed)
    assert {name: ours[name] for name in theirs} == pytest.approx(theirs)


def test_windows_are_where_their_boxes_are():
    image = scenes(1, seed=3, split="test")[0].image
    inputs, boxes = notebook.windows(image, 28, 17)
    assert inputs.shape == (25, 1, 28, 28) and len(boxes) == 25
    assert boxes[0].tolist() == [0, 0, 28, 28] and boxes[1].tolist() == [17, 0, 45, 28]
    for window, (x1, y1, x2, y2) in zip(inputs.numpy(), boxes):
        pixels = image[y1:y2, x1:x2].astype(float)
        shown = (pixels - pixels.min()) / (pixels.max() - pixels.min())
        np.testing.assert_allclose(window[0] * 0.3081 + 0.1307, shown, atol=1e-4)


def test_the_stored_trainings_are_complete():
    rows, about = long_runs.load_rows(STORED)
    assert [row["seed"] for row in rows] == list(range(len(rows))) and len(rows) >= 3
    assert about["torch"]
    for row in rows:
        assert len(row["objectness"]) == len(row["box"]) == len(row["digit"]) >= 8
        for name in ("AP", "AP50", "AP75"):
            value, low, high = row[name]
            assert 0 < low <= value <= high < 1
        assert row["AP"][0] < row["AP75"][0] < row["AP50"][0]
