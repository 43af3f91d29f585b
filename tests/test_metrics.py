"""helpers.metrics against the libraries that set the standard.

They are scikit-learn, scipy and pycocotools.
"""

import collections
import contextlib
import io
import time

import numpy as np
import pytest
import scipy.optimize
import sklearn.metrics
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from scipy.stats import binomtest
from torch import nn

from helpers import metrics
from helpers.models import LeNet, MnistNet, torchvision_model

RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 10, 2000)
ANSWERS = {  # name: labels, predictions, number of classes
    "random": (LABELS, np.where(RNG.random(2000) < 0.9, LABELS, RNG.integers(0, 10, 2000)), 10),
    "all right": (LABELS, LABELS, 10),
    "all wrong": (LABELS, (LABELS + 1) % 10, 10),
    "always the same answer": (LABELS, np.full(2000, 3), 10),
    "a class that never occurs": (LABELS % 4, RNG.integers(0, 6, 2000), 7),
    "one image": (np.array([2]), np.array([0]), 3),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_classification_equals_scikit_learn(name):
    labels, predictions, classes = ANSWERS[name]
    every = {"labels": range(classes), "zero_division": 0}
    matrix = metrics.confusion_matrix(labels, predictions, classes)
    expected = sklearn.metrics.confusion_matrix(labels, predictions, labels=range(classes))
    assert np.array_equal(matrix, expected)
    got = metrics.precision_recall_f1(matrix)
    wanted = sklearn.metrics.precision_recall_fscore_support(labels, predictions, **every)
    for ours, theirs in zip((got.precision, got.recall, got.f1), wanted):
        assert np.abs(ours - theirs).max() <= 1e-12
    macro = sklearn.metrics.precision_recall_fscore_support(
        labels, predictions, average="macro", **every
    )
    assert list(got.macro.values()) == pytest.approx(macro[:3], abs=1e-12)
    assert list(got.macro) == ["precision", "recall", "f1"]
    accuracy = sklearn.metrics.accuracy_score(labels, predictions)
    assert metrics.accuracy(labels, predictions).value == accuracy


def test_rows_of_the_confusion_matrix_are_the_true_classes():
    assert metrics.confusion_matrix([0, 0, 1], [1, 1, 1]).tolist() == [[0, 2], [0, 1]]
    assert metrics.confusion_matrix([0], [0], classes=3).shape == (3, 3)


@pytest.mark.parametrize(
    "labels, predictions, classes, message",
    [
        ([1, 2, 3], [1, 2], None, r"\(3,\) and predictions \(2,\)"),
        ([1, 2], [[0.1, 0.9], [0.8, 0.2]], None, "argmax"),
        ([], [], None, "are empty"),
        ([0, 3], [0, 1], 3, "from 0 to 2, but one is 3"),
        ([0, 1], [0, -1], 3, "but one is -1"),
        ([0.0, 1.0], [0.0, 1.0], None, "integers, not float64"),
    ],
)
def test_what_is_not_a_list_of_class_numbers_is_refused(labels, predictions, classes, message):
    with pytest.raises(ValueError, match=message):
        metrics.confusion_matrix(labels, predictions, classes)
    if classes is None:
        with pytest.raises(ValueError, match=message):
            metrics.accuracy(labels, predictions)


@pytest.mark.parametrize(
    "matrix, message",
    [
        (np.ones((2, 3)), "square"),
        (np.full((2, 2), -1), "counts"),
        (np.full((2, 2), np.nan), "counts"),
        ([["1", "2"], ["3", "4"]], "counts"),
    ],
)
def test_what_is_no_confusion_matrix_has_no_scores(matrix, message):
    with pytest.raises(ValueError, match=message):
        metrics.precision_recall_f1(matrix)


@pytest.mark.parametrize(
    "labels, classes, message",
    [
        ([0, 1], 0, "at least 1, not 0"),
        ([0, 1], -2, "at least 1"),
        ([0, 1], True, "not True"),
        ([0, 1], 2.0, "not 2.0"),
        ([0, 1], "2", "not '2'"),
        ([0, 10**9], None, "up to 19,999"),
        ([True, False], None, "integers, not bool"),
        (["0", "1"], None, "integers"),
        ([0, None], None, "integers, not object"),
    ],
)
def test_labels_and_numbers_of_classes_that_are_none(labels, classes, message):
    with pytest.raises(ValueError, match=message):
        metrics.confusion_matrix(labels, labels, classes)


def paired(lost, gained, both_right, both_wrong):
    """Labels and the predictions of two models with these counts, in a random order."""
    a = np.repeat([0, 1, 0, 1], (lost, gained, both_right, both_wrong))
    b = np.repeat([1, 0, 0, 2], (lost, gained, both_right, both_wrong))
    order = np.random.default_rng(0).permutation(len(a))
    return np.zeros(len(a), int), a[order], b[order]


def score_of(lost, gained, n, difference):
    """Tango's statistic with the constrained maximum of the likelihood found numerically."""
    counts = np.array([gained, lost, n - gained - lost])

    def minus_log_likelihood(p_lost):
        p = np.array([p_lost + difference, p_lost, 1 - 2 * p_lost - difference])
        return -(counts[counts > 0] * np.log(np.maximum(p[counts > 0], 1e-300))).sum()

    bounds = (max(0.0, -difference), (1 - difference) / 2)
    found = scipy.optimize.minimize_scalar(
        minus_log_likelihood, bounds=bounds, method="bounded", options={"xatol": 1e-12}
    )
    variance = n * (2 * found.x + difference * (1 - difference))
    return (gained - lost - n * difference) / np.sqrt(variance)


def test_mcnemar_equals_scipy_and_its_interval_is_where_the_score_test_rejects():
    rng = np.random.default_rng(0)
    for _ in range(100):
        n = int(rng.integers(1, 400))
        lost, gained, *rest = map(int, rng.multinomial(n, rng.dirichlet([0.5, 0.5, 2, 1])))
        got = metrics.mcnemar(*paired(lost, gained, *rest))
        assert (got.lost, got.gained, got.n) == (lost, gained, n)
        assert got.value == pytest.approx((gained - lost) / n)
        wanted_p = binomtest(lost, lost + gained).pvalue if lost + gained else 1.0
        assert got.p == pytest.approx(wanted_p, abs=1e-12)
        assert -1 <= got.low <= got.value <= got.high <= 1
        for end, z in ((got.low, 1.959964), (got.high, -1.959964)):
            if abs(end) < 1:
                assert score_of(lost, gained, n, end) == pytest.approx(z, abs=1e-3)


def test_mcnemar_without_changes_and_with_nothing_but_changes():
    same = metrics.mcnemar(*paired(0, 0, 90, 10))
    assert (same.p, same.value) == (1.0, 0.0)
    assert 0.03 < same.high < 0.04 and same.low == pytest.approx(-same.high)
    worse = metrics.mcnemar(*paired(100, 0, 0, 0))
    assert (worse.value, worse.low) == (-1.0, -1.0) and worse.p == 2 / 2**100 and worse.high < -0.9
    assert str(metrics.mcnemar(*paired(2, 9, 980, 9))) == (
        "2 lost, 9 gained of 1,000: +0.7 points (95 % interval +0.1 to +1.5), p = 0.0654"
    )
    a = [1, 1, 0]
    b = [1, 0, 0]
    labels = [1, 1, 1]
    assert metrics.mcnemar(labels, a, b).lost == 1, "b against a"
    assert metrics.mcnemar(labels, b, a).lost == 0


@pytest.mark.parametrize(
    "labels, a, b", [([1, 2], [1, 2], [1]), ([1.0], [1], [1]), ([], [], []), ([[1]], [[1]], [[1]])]
)
def test_mcnemar_of_other_things_than_class_numbers(labels, a, b):
    with pytest.raises(ValueError):
        metrics.mcnemar(labels, a, b)


@pytest.mark.parametrize(
    "successes, n", [(988, 1000), (9880, 10000), (0, 1), (1, 1), (0, 50), (50, 50), (1, 3)]
)
def test_the_wilson_interval_equals_scipy(successes, n):
    wanted = binomtest(successes, n).proportion_ci(method="wilson")
    found = metrics.wilson_interval(successes, n)
    assert found == pytest.approx((wanted.low, wanted.high), abs=1e-12)


def test_accuracy_carries_its_interval_and_prints_it():
    labels = np.arange(1000) % 10
    result = metrics.accuracy(labels, np.where(np.arange(1000) < 988, labels, 11))
    assert (result.value, result.n) == (0.988, 1000)
    assert (result.low, result.high) == metrics.wilson_interval(988, 1000)
    assert str(result) == "98.8 % (95 % interval 97.9 to 99.3 %, n = 1,000)"


@pytest.mark.parametrize("successes, n", [(0, 0), (3, 2), (-1, 5)])
def test_no_proportion_no_interval(successes, n):
    with pytest.raises(ValueError, match="between 0 and n"):
        metrics.wilson_interval(successes, n)


def test_changed_predictions_are_counted_not_changed_logits():
    a = np.array([[1.0, 2.0], [2.0, 1.0], [0.0, 5.0]])
    assert metrics.count_disagreements(a, a + 100) == 0
    assert metrics.count_disagreements(a, a[:, ::-1]) == 3
    assert metrics.count_disagreements(a, np.array([[1.0, 2.0], [1.0, 1.1], [0.0, 0.1]])) == 1


def test_changed_predictions_refuses_what_has_no_argmax():
    with pytest.raises(ValueError, match="NaN"):
        metrics.count_disagreements(np.array([[1.0, np.nan]]), np.array([[1.0, 2.0]]))
    with pytest.raises(ValueError, match="same shape"):
        metrics.count_disagreements(np.ones((2, 3)), np.ones((2, 4)))
    with pytest.raises(ValueError, match="N x classes"):
        metrics.count_disagreements(np.ones(3), np.ones(3))


def test_largest_difference():
    assert metrics.largest_difference(np.float32([[1, -2]]), np.float32([[1.5, -5]])) == 3.0
    # unsigned numbers do not wrap around
    assert metrics.largest_difference(np.uint8([0]), np.uint8([255])) == 255.0
    assert np.isnan(metrics.largest_difference([1.0, np.nan], [1.0, 2.0]))
    with pytest.raises(ValueError, match="same shape"):
        metrics.largest_difference([], [])
    with pytest.raises(ValueError, match="same shape"):
        metrics.largest_difference(np.ones((2, 1)), np.ones((1, 2)))  # no silent broadcasting


def test_box_iou_by_hand():
    square = [[0, 0, 10, 10]]
    others = [[0, 0, 10, 10], [5, 0, 15, 10], [10, 0, 20, 10], [2, 2, 7, 6], [3, 3, 3, 3]]
    assert metrics.box_iou(square, others).tolist() == [[1.0, 50 / 150, 0.0, 20 / 100, 0.0]]
    assert metrics.box_iou(np.empty((0, 4)), square).shape == (0, 1)
    assert metrics.box_iou([[3, 3, 3, 3]], [[3, 3, 3, 3]]).tolist() == [[0.0]]
    with pytest.raises(ValueError, match="N x 4"):
        metrics.box_iou([0, 0, 10, 10], square)
    for wrong in ([[0, 0, -10, 10]], [[0, np.nan, 10, 10]], [[0, np.inf, 10, 10]]):
        with pytest.raises(ValueError, match="box 0 has a negative size or a number that is not"):
            metrics.box_iou(square, wrong)


def test_the_precision_recall_curve_equals_scikit_learn():
    scores = RNG.random(500)  # no two alike: scikit-learn gives equal scores one common point
    correct = RNG.random(500) < scores
    precision, recall, ordered = metrics.precision_recall_curve(correct, scores, int(correct.sum()))
    theirs = sklearn.metrics.precision_recall_curve(correct, scores)
    wanted_precision, wanted_recall, thresholds = theirs
    assert np.abs(precision[::-1] - wanted_precision[:-1]).max() <= 1e-12
    assert np.abs(recall[::-1] - wanted_recall[:-1]).max() <= 1e-12
    assert np.array_equal(ordered[::-1], thresholds)


def test_average_precision_by_hand():
    # found, missed, found, of three objects: precision 1 up to recall 1/3, 2/3 up to 2/3, then 0
    found = metrics.average_precision([True, True, False], [0.9, 0.7, 0.8], 3)
    assert found == pytest.approx((34 + 33 * 2 / 3) / 101)
    assert metrics.average_precision([], [], 3) == 0.0
    assert metrics.average_precision([True, True], [0.5, 0.5], 2) == 1.0


@pytest.mark.parametrize(
    "correct, scores, positives, message",
    [
        ([True], [0.5, 0.4], 1, "one entry per detection"),
        ([True], [np.nan], 1, "NaN"),
        ([True, True], [0.5, 0.4], 1, "2 correct detections of 1 objects"),
        ([], [], 0, "recall is not defined"),
    ],
)
def test_what_has_no_curve_is_refused(correct, scores, positives, message):
    with pytest.raises(ValueError, match=message):
        metrics.average_precision(correct, scores, positives)


def detection(image: int, category: int, box, score: float) -> dict:
    return {"image_id": image, "category_id": category, "bbox": list(box), "score": score}


def scene(
    images=60, classes=4, seed=0, objects=8, extra=4, tied=False, image_ids=None, whole_pixels=False
):
    """Objects on `images` images of 640 x 480, and what an imperfect detector might find there."""
    rng = np.random.default_rng(seed)
    truth = []
    found = []

    def box():
        size = rng.uniform(10, 200, 2)
        values = np.concatenate([rng.uniform(0, [640, 480] - size), size])
        return values.round(-1) if whole_pixels else values

    def category():
        return int(rng.integers(1, classes + 1))

    def score():
        return float(rng.choice([0.3, 0.6, 0.9]) if tied else rng.beta(4, 2))

    def moved(values):
        shift = rng.normal(0, 0.06, 4) * np.tile(values[2:], 2)
        return values + shift * (not whole_pixels)

    if image_ids is None:
        image_ids = range(1, images + 1)
    for image in image_ids:
        for _ in range(rng.integers(0, objects)):
            values = box()
            name = category()
            truth.append({"image_id": image, "category_id": name, "bbox": values.tolist()})
            if rng.random() < 0.8:
                near = moved(values)
                called = name if rng.random() < 0.9 else category()
                near[2:] = np.maximum(near[2:], 2)
                found.append(detection(image, called, near.tolist(), score()))
        for _ in range(rng.integers(0, extra + 1)):
            found.append(detection(image, category(), box().tolist(), score()))
    return truth, [found[i] for i in rng.permutation(len(found))]


def evaluated(truth, found):
    """COCOeval after its work, which it prints about."""
    names = {entry["category_id"] for entry in truth + found} | {1}
    numbers = dict.fromkeys(entry["image_id"] for entry in truth + found) or [1]
    images = [{"id": number} for number in numbers]
    full = COCO()
    result = COCO()
    for target, entries in ((full, truth), (result, found)):
        target.dataset = {
            "images": images,
            "categories": [{"id": name} for name in names],
            "annotations": [
                {"iscrowd": 0, "area": entry["bbox"][2] * entry["bbox"][3], **entry, "id": i}
                for i, entry in enumerate(entries, 1)
            ],
        }
        with contextlib.redirect_stdout(io.StringIO()):
            target.createIndex()
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(full, result, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


SIZED = ("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large")


def reference(truth, found):
    """AP, AP50, AP75 by pycocotools."""
    return dict(zip(SIZED[:3], evaluated(truth, found).stats.tolist()))


def crowded():
    """More than a hundred detections of one class in an image, the good ones among the weakest."""
    truth, found = scene(images=3, classes=1, seed=5, objects=20)
    rng = np.random.default_rng(6)
    for _ in range(150):
        box = [*rng.uniform(0, 400, 2), 30.0, 30.0]
        found.append(detection(1, 1, box, float(rng.uniform(0.4, 0.9))))
    assert sum(entry["image_id"] == 1 for entry in found) > metrics.MAX_DETECTIONS
    return truth, found


def equal_overlaps():
    """The first detection overlaps both objects alike.

    The second one finds its object only if the first took the other.
    """
    truth = [{"image_id": 1, "category_id": 1, "bbox": [x, 0, 10, 10]} for x in (0, 4)]
    found = [detection(1, 1, [2, 0, 10, 10], 0.9), detection(1, 1, [0, 0, 10, 10], 0.8)]
    return truth, found


def without_class_2(entries: list[dict]) -> list[dict]:
    return [entry for entry in entries if entry["category_id"] != 2]


SCENES = {
    "equal overlaps": equal_overlaps,
    "ordinary": lambda: scene(),
    "no detections": lambda: (scene()[0], []),
    "no ground truth": lambda: ([], scene()[1]),
    "neither": lambda: ([], []),
    "a class without ground truth": lambda: (without_class_2(scene()[0]), scene()[1]),
    "a class without detections": lambda: (scene()[0], without_class_2(scene()[1])),
    "images without objects": lambda: ([e for e in scene()[0] if e["image_id"] % 3], scene()[1]),
    "tied scores": lambda: scene(seed=1, tied=True),
    "tied scores and overlaps": lambda: scene(
        seed=2, tied=True, whole_pixels=True, classes=1, objects=30, extra=20
    ),
    "image numbers out of order": lambda: scene(
        seed=3, tied=True, image_ids=RNG.permutation(1000)[:60].tolist()
    ),
    "more than 100 in an image": crowded,
    "perfect": lambda: (scene()[0], [{**e, "score": 0.5} for e in scene()[0]]),
}


@pytest.mark.parametrize("name", SCENES)
def test_coco_map_equals_pycocotools(name):
    truth, found = SCENES[name]()
    assert metrics.coco_map(truth, found) == pytest.approx(reference(truth, found), abs=1e-9)


def test_the_scenes_tell_different_rules_apart():
    """Each rule that a scene is there for changes the figure: a broken rule cannot pass unseen."""

    def average_precision(truth, found):
        return pytest.approx(metrics.coco_map(truth, found)["AP"], abs=1e-9)

    truth, found = SCENES["image numbers out of order"]()
    turned = [[{**e, "image_id": -e["image_id"]} for e in entries] for entries in (truth, found)]
    assert metrics.coco_map(*turned)["AP"] != average_precision(truth, found)
    truth, found = SCENES["tied scores"]()
    assert metrics.coco_map(truth, found[::-1])["AP"] != average_precision(truth, found)
    truth, found = crowded()
    best = sorted((e for e in found if e["image_id"] == 1), key=lambda e: -e["score"])[:50]
    fewer = best + [e for e in found if e["image_id"] != 1]
    assert metrics.coco_map(truth, fewer)["AP"] != average_precision(truth, found)


def random_scene(seed):
    """Crowds, areas that are not those of the boxes, ties, empty images, crowded images."""
    rng = np.random.default_rng(seed)
    truth, found = scene(
        images=int(rng.integers(1, 12)),
        classes=int(rng.integers(1, 4)),
        seed=seed,
        objects=int(rng.integers(1, 25)),
        extra=int(rng.choice([0, 5, 150], p=[0.4, 0.4, 0.2])),
        tied=bool(seed % 2),
        whole_pixels=seed % 3 == 0,
    )
    for entry in truth:
        if rng.random() < 0.15:
            entry["iscrowd"] = 1
        if rng.random() < 0.7:
            entry["area"] = float(entry["bbox"][2] * entry["bbox"][3] * rng.uniform(0.3, 1))
    for entry in truth + found:  # at the limits of the ranges of sizes
        if rng.random() < 0.1:
            entry["bbox"][2:] = [float(rng.choice([32, 96]))] * 2
    return truth, found


def test_coco_map_equals_pycocotools_on_200_random_scenes():
    seen = {"crowd": 0, "more than 100": 0, "empty": 0, "sizes": 0}
    for seed in range(200):
        truth, found = random_scene(seed)
        evaluation = evaluated(truth, found)
        got = metrics.coco_map(truth, found, by_size=True)
        assert tuple(got) == SIZED
        assert list(got.values()) == pytest.approx(evaluation.stats[:6].tolist(), abs=1e-9), seed
        precision = evaluation.eval["precision"][:, :, :, 0, 2]
        by_class = metrics.class_map(truth, found)
        for k, name in enumerate(evaluation.params.catIds):
            if name in by_class:
                wanted = precision[:, :, k]
                assert by_class[name]["AP"] == pytest.approx(wanted.mean(), abs=1e-9)
                assert by_class[name]["AP50"] == pytest.approx(wanted[0].mean(), abs=1e-9)
        assert set(by_class) == {entry["category_id"] for entry in truth}
        counts = collections.Counter((e["image_id"], e["category_id"]) for e in found)
        seen["crowd"] += any(entry.get("iscrowd", 0) for entry in truth)
        seen["more than 100"] += max(counts.values(), default=0) > 100
        seen["empty"] += not truth or not found
        seen["sizes"] += min(got.values()) > 0
    assert all(seen.values()), seen


def test_crowds_and_sizes_change_the_figures():
    """A rule that is not followed cannot pass unseen."""
    truth, found = random_scene(4)
    without = [{**entry, "iscrowd": 0} for entry in truth]
    assert metrics.coco_map(truth, found) != metrics.coco_map(without, found)
    of_boxes = [{key: entry[key] for key in entry if key != "area"} for entry in truth]
    sized = metrics.coco_map(truth, found, by_size=True)
    assert sized != metrics.coco_map(of_boxes, found, by_size=True)
    assert sized["AP"] == metrics.coco_map(of_boxes, found)["AP"]


def test_a_detection_inside_a_crowd_is_neither_right_nor_wrong():
    one = {"image_id": 1, "category_id": 1, "bbox": [0, 0, 10, 10]}
    crowd = {"image_id": 1, "category_id": 1, "bbox": [100, 0, 100, 100], "iscrowd": 1}
    inside = [detection(1, 1, [110 + 20 * i, 10, 15, 15], 0.9) for i in range(4)]
    found = [*inside, {**one, "score": 0.5}]
    assert metrics.coco_map([one, crowd], found)["AP"] == 1.0
    assert metrics.coco_map([one, {**crowd, "iscrowd": 0}], found)["AP"] < 0.2
    assert metrics.coco_map([crowd], inside)["AP"] == -1.0, "a class of crowds only"
    assert metrics.class_map([crowd], inside) == {1: dict.fromkeys(("AP", "AP50", "AP75"), -1.0)}


def test_three_definitions_of_average_precision_on_the_known_example():
    """24 detections of 15 objects in seven images, from github.com/rafaelpadilla."""
    # fmt: off
    scores = [.95, .95, .91, .88, .84, .80, .78, .74, .71, .70, .67, .62,
              .54, .48, .45, .45, .44, .44, .43, .38, .35, .23, .18, .14]
    # fmt: on
    correct = [score in (0.91, 0.70, 0.62, 0.54, 0.48, 0.18) for score in scores]
    correct[0] = True
    of = [metrics.average_precision(correct, scores, 15, points) for points in (None, 11, 101)]
    assert of[:2] == pytest.approx([0.2457, 0.2684], abs=5e-5)
    assert of[2] == metrics.average_precision(correct, scores, 15)
    assert of[2] == pytest.approx(0.2457, abs=0.01)


def drawn_again(entries, images):
    """The entries of each image of a list; an image that is drawn twice becomes two images."""
    return [
        {**entry, "image_id": position}
        for position, image in enumerate(images)
        for entry in entries
        if entry["image_id"] == image
    ]


def test_the_bootstrap_computes_what_coco_map_would_for_each_resample():
    truth, found = scene(images=12, seed=3)
    images = range(1, 13)
    draws = np.random.default_rng(0).multinomial(12, [1 / 12] * 12, 40)
    values = [
        list(metrics.coco_map(drawn_again(truth, chosen), drawn_again(found, chosen)).values())
        for chosen in (np.repeat(images, draw) for draw in draws)
    ]
    got = metrics.bootstrap_map(truth, found, images, resamples=40)
    once = np.array(list(metrics.coco_map(truth, found).values()))
    low, high = 2 * once - np.quantile(values, [0.975, 0.025], axis=0)
    assert list(got) == ["AP", "AP50", "AP75"]
    assert [one.low for one in got.values()] == pytest.approx(low, abs=1e-9)
    assert [one.high for one in got.values()] == pytest.approx(high, abs=1e-9)
    assert {name: one.value for name, one in got.items()} == metrics.coco_map(truth, found)


def test_the_interval_of_a_difference_is_that_of_the_same_resamples():
    truth, found = scene(images=40, seed=3)
    images = range(1, 41)
    same = metrics.bootstrap_map(truth, found, images, baseline=found)["AP"]
    assert (same.value, same.low, same.high) == (0, 0, 0)
    fewer = [entry for entry in found if entry["image_id"] % 4]
    worse = metrics.bootstrap_map(truth, fewer, images, baseline=found)["AP"]
    assert worse.low <= worse.value <= worse.high < 0
    more = [*found, {**truth[0], "score": 0.0}]
    better = metrics.bootstrap_map(truth, more, images, baseline=found)["AP"]
    alone = metrics.bootstrap_map(truth, found, images)["AP"]
    assert better.high - better.low < 0.3 * (alone.high - alone.low), "the images are the same"
    with pytest.raises(ValueError, match="image_id 40 is not in `images`"):
        metrics.bootstrap_map(truth, found, range(1, 40))
    # resamples without any object are skipped
    one = [entry for entry in truth if entry["image_id"] == 1]
    assert one and metrics.bootstrap_map(one, one_score(one), images)["AP"].low == 1.0


def one_score(entries):
    return [{**entry, "score": 0.5} for entry in entries]


@pytest.mark.alone
def test_the_bootstrap_over_500_images_takes_seconds():
    truth, found = scene(images=500, classes=10, seed=7)
    start = time.process_time()
    metrics.bootstrap_map(truth, found, range(1, 501))
    took = time.process_time() - start
    print(f"{len(truth)} objects, {len(found)} detections, 1,000 resamples: {took:.1f} s")
    assert took < 20


@pytest.mark.alone
def test_coco_map_is_not_slower_than_pycocotools():
    truth, found = scene(images=200, classes=5)
    start = time.process_time()
    metrics.coco_map(truth, found)
    ours = time.process_time() - start
    start = time.process_time()
    reference(truth, found)
    theirs = time.process_time() - start
    print(
        f"{len(truth)} objects, {len(found)} detections: {ours * 1e3:.0f} ms, "
        f"pycocotools {theirs * 1e3:.0f} ms"
    )
    assert ours < 2 * theirs


@pytest.mark.parametrize(
    "change, message",
    [
        ({"bbox": [0, 0, 10, "wide"]}, "four numbers"),
        ({"bbox": [0, 0, 10]}, "four numbers"),
        ({"bbox": [5]}, "four numbers"),
        ({"bbox": None}, "four numbers"),
        ({"bbox": [0, 0, -1, 10]}, "negative size"),
        ({"bbox": [0, np.nan, 1, 10]}, "not finite"),
    ],
)
def test_boxes_that_coco_map_refuses(change, message):
    good = {"image_id": 1, "category_id": 1, "bbox": [0, 0, 10, 10]}
    with pytest.raises(ValueError, match=f"ground truth box 1 .*{message}"):
        metrics.coco_map([good, {**good, **change}], [])
    with pytest.raises(ValueError, match=f"detection 0 .*{message}"):
        metrics.coco_map([good], [{**good, "score": 0.5, **change}])


AS_NUMBERS = {"numpy": np.int32, "float": float, "numpy float": np.float64}
NOT_AS_NUMBERS = {
    "text": str,
    "tensor": torch.tensor,
    "a list": lambda value: [value],
    "bool": bool,
    "half": lambda value: value + 0.5,
    "none": lambda value: None,
    "not a number": lambda value: float("nan"),
}


@pytest.mark.parametrize("name", ["image_id", "category_id"])
def test_ids_of_another_type_match_or_are_refused(name):
    truth = [{"image_id": 1, "category_id": 1, "bbox": [0, 0, 10, 10]}]
    found = [{**truth[0], "score": 0.9}]
    for change in AS_NUMBERS.values():
        assert metrics.coco_map(truth, [{**found[0], name: change(1)}])["AP"] == 1.0
        assert metrics.coco_map([{**truth[0], name: change(1)}], found)["AP"] == 1.0
    for kind, change in NOT_AS_NUMBERS.items():
        said = f"{name} is int in the ground truth and str" if kind == "text" else name
        with pytest.raises(ValueError, match=said):
            metrics.coco_map(truth, [{**found[0], name: change(1)}])
    texts = [[{**entry, name: "a"} for entry in entries] for entries in (truth, found)]
    assert metrics.coco_map(*texts)["AP"] == 1.0
    assert metrics.coco_map(truth, [])["AP"] == 0.0 and metrics.coco_map([], found)["AP"] == -1.0


def test_coco_map_says_what_is_missing():
    good = {"image_id": 1, "category_id": 1, "bbox": [0, 0, 10, 10]}
    with pytest.raises(ValueError, match="detection 0 needs .*score"):
        metrics.coco_map([good], [good])
    with pytest.raises(ValueError, match='is "annotations"'):
        metrics.coco_map({"annotations": [good]}, [])


NETWORKS = {  # name: how it is made, input shape, MACs, parameters
    "mnist_cnn": (MnistNet, (1, 1, 28, 28), 11_992_448, 1_199_882),
    "lenet": (LeNet, (1, 1, 28, 28), None, 44_190),
    "mobilenet_v2": (
        lambda: torchvision_model("mobilenet_v2"),
        (1, 3, 224, 224),
        300_774_272,
        3_504_872,
    ),
    "resnet18": (
        lambda: torchvision_model("resnet18"),
        (1, 3, 224, 224),
        1_814_073_344,
        11_689_512,
    ),
    "groups, strides, batch of 3": (
        lambda: nn.Sequential(
            nn.Conv2d(4, 8, 3, stride=2, groups=2, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Flatten(2),
            nn.Linear(16, 5),
        ),
        (3, 4, 8, 8),
        None,
        None,
    ),
}


def macs_by_shapes(model: nn.Module, shape: tuple[int, ...]) -> int:
    """Each number that a convolution or a linear layer puts out takes one row of its weights."""
    counts = []

    def count(layer, inputs, output) -> None:
        counts.append(output.numel() * layer.weight[0].numel())

    for layer in model.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            layer.register_forward_hook(count)
    with torch.inference_mode():
        model.eval()(torch.zeros(shape))
    return sum(counts)


@pytest.mark.parametrize("name", NETWORKS)
def test_macs_and_parameters(name):
    make, shape, macs, parameters = NETWORKS[name]
    torch.set_num_threads(1)
    model = make().train()
    got = metrics.count_macs(model, shape)
    assert got == macs_by_shapes(model, shape)
    assert macs in (got, None)
    assert parameters in (metrics.count_parameters(model), None)


def test_functions_that_a_forward_method_calls_are_counted():
    class Product(nn.Module):
        def forward(self, x):
            return nn.functional.linear(x, torch.ones(5, 3)) @ torch.ones(5, 2)

    assert metrics.count_macs(Product(), (1, 3)) == 3 * 5 + 5 * 2


def test_counting_leaves_the_model_as_it_was():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    metrics.count_macs(model, (2, 1, 5, 5))
    assert model.training and not model[0]._forward_hooks
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_layer_used_twice_counts_twice_and_its_weights_once():
    layer = nn.Linear(4, 4, bias=False)
    model = nn.Sequential(layer, nn.ReLU(), layer)
    assert (metrics.count_macs(model, (1, 4)), metrics.count_parameters(model)) == (32, 16)


@pytest.mark.parametrize(
    "layer",
    [
        nn.LSTM(3, 3),
        nn.GRUCell(3, 3),
        nn.Bilinear(3, 3, 3),
        nn.TransformerEncoderLayer(3, 1, batch_first=True),
    ],
)
def test_layers_that_would_be_missed_are_refused(layer):
    with pytest.raises(ValueError, match="cannot count (LSTM|GRUCell|Bilinear|MultiheadAttention)"):
        metrics.count_macs(nn.Sequential(nn.Linear(3, 3), layer), (1, 3))
