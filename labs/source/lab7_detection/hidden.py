"""Hidden checks of lab 7. Never part of a release, a handout or feedback."""

import numpy as np

from helpers import metrics
from labs.grading.checks import expect, own_work
from labs.grading.checks.questions import Question, Student

# they have functions for what the student writes
LIBRARIES = ("helpers.vision", "helpers.metrics", "cv2", "torchvision", "pycocotools")
PICTURE = (480, 640)  # height and width of the student's own pictures
CLASSES = 3
RECALL = 0.8  # what the student's own threshold has to reach


def _call(student: Student, name: str, *args):
    """The result of the student's function, which must not use a library for it."""
    own_work.check(student, name, LIBRARIES)
    return student.call(name, *args)


def _table(value, shape: tuple, what: str) -> np.ndarray:
    """`value` as an array of `shape`; a list without rows stands for 0 rows of any length."""
    if shape[0] == 0 and np.shape(value) == (0,):
        return np.zeros(shape)
    return expect.array(value, shape, what)


def _indices(value, what: str) -> np.ndarray:
    """`value` as int64, one axis; an empty list has no type and is accepted."""
    if np.shape(value) == (0,):
        return np.zeros(0, np.int64)
    found = np.asarray(value)
    return expect.array(value, (found.size,), what, integers=True).astype(np.int64)


def _boxes(generator, count: int, width: float = 100, height: float = 80) -> np.ndarray:
    """Boxes of many sizes in a picture of width x height."""
    sizes = generator.uniform(0.05, 0.6, (count, 2)) * (width, height)
    corners = generator.uniform(0, 1, (count, 2)) * ((width, height) - sizes)
    return np.hstack([corners, corners + sizes])


# ------------------------------------------------------------------------------------ 1. overlap
def _check_iou(student: Student, a: np.ndarray, b: np.ndarray, what: str) -> None:
    found = _table(_call(student, "iou_matrix", a, b), (len(a), len(b)), what)
    wrong = np.abs(found - metrics.box_iou(a, b)) > 1e-5
    assert not wrong.any(), f"{what}: some values are wrong"


def iou_values(student: Student) -> None:
    generator = np.random.default_rng(1)
    for rows, columns, width, height, dtype in (
        (7, 5, 100, 80, np.float64),
        (1, 30, 2, 2, np.float64),
        (40, 1, 4000, 3000, np.float32),
    ):
        a = _boxes(generator, rows, width, height).astype(dtype)
        b = _boxes(generator, columns, width, height).astype(dtype)
        b[0] = a[0]
        _check_iou(student, a, b, "iou_matrix")
    apart = np.array([[0.0, 0.0, 4.0, 3.0], [6.0, 5.0, 9.0, 9.0], [6.0, 0.0, 9.0, 3.0]])
    _check_iou(student, apart, apart, "iou_matrix, boxes that are apart")


def iou_edges(student: Student) -> None:
    box = np.array([[2.0, 2.0, 6.0, 6.0]])
    touching = np.array([[6.0, 2.0, 8.0, 6.0], [2.0, 0.0, 6.0, 2.0], [6.0, 6.0, 9.0, 9.0]])
    _check_iou(student, box, touching, "iou_matrix, boxes that only touch")
    flat = np.array([[3.0, 3.0, 3.0, 3.0], [2.0, 4.0, 6.0, 4.0], [2.0, 2.0, 2.0, 6.0]])
    _check_iou(student, flat, flat, "iou_matrix, boxes without an area")
    _check_iou(student, box, flat, "iou_matrix, a box with an area and boxes without one")
    none = np.zeros((0, 4))
    for a, b in ((none, touching), (touching, none), (none, none)):
        _check_iou(student, a, b, "iou_matrix, with an empty set")


# ---------------------------------------------------------------------------------- 2. letterbox
def fit_values(student: Student) -> None:
    what = "letterbox_fit"
    for height, width, network_height, network_width, kind in (
        (375, 500, 416, 416, "a wide picture"),
        (1280, 720, 416, 416, "a tall picture"),
        (200, 500, 416, 416, "a wide picture"),
        (60, 50, 352, 352, "a picture smaller than the network's input"),
        (300, 400, 320, 640, "an input that is no square"),
        (1000, 900, 192, 320, "an input that is no square"),
        (96, 96, 96, 96, "a picture of the input's size"),
        (2000, 1, 64, 64, "a picture of one column"),
    ):
        scale = min(network_height / height, network_width / width)
        left = (network_width - max(1, round(width * scale))) // 2
        top = (network_height - max(1, round(height * scale))) // 2
        found = _call(student, what, height, width, network_height, network_width)
        found_scale, found_left, found_top = expect.parts(found, 3, what)
        assert abs(expect.number(found_scale, what) - scale) <= 1e-6 * scale, (
            f"{what}: the scale is wrong for {kind}"
        )
        offsets = (expect.whole(found_left, what), expect.whole(found_top, what))
        assert offsets == (left, top), f"{what}: left or top is wrong for {kind}"


FITS = ((0.65, 0, 52), (2.5, 17, 0), (0.325, 91, 3))  # scale, left, top


def to_network_values(student: Student) -> None:
    what = "to_network"
    generator = np.random.default_rng(2)
    for count, (scale, left, top) in zip((9, 1, 0), FITS):
        boxes = _boxes(generator, count, 640, 480)
        found = _table(_call(student, what, boxes, scale, left, top), boxes.shape, what)
        expect.close(found, boxes * scale + (left, top, left, top), what, relative=1e-5)


def to_picture_values(student: Student) -> None:
    what = "to_picture"
    generator = np.random.default_rng(3)
    height, width = PICTURE
    ends = (width, height, width, height)
    for count, (scale, left, top) in zip((9, 1, 0), FITS):
        inside = _boxes(generator, count, width, height)
        found = _call(
            student, what, inside * scale + (left, top, left, top), scale, left, top, height, width
        )
        found = _table(found, inside.shape, f"{what}, boxes inside of the picture")
        expect.close(found, inside, f"{what}, boxes inside of the picture", relative=1e-5)
    beyond = np.array(
        [
            [-30.0, 20.0, 50.0, 470.0],
            [600.0, -9.0, 700.0, 30.0],
            [500.0, 400.0, 650.0, 490.0],
            [-90.0, 10.0, -20.0, 60.0],  # outside of it: no area is left
            [-50.0, -40.0, 900.0, 700.0],
        ]
    )
    scale, left, top = FITS[0]
    moved = beyond * scale + (left, top, left, top)
    found = _call(student, what, moved, scale, left, top, height, width)
    found = _table(found, beyond.shape, f"{what}, boxes that reach beyond the picture")
    wrong = np.abs(found - beyond.clip(0, ends)) > 1e-2
    assert not wrong.any(), f"{what}: wrong for boxes that reach beyond the picture"


# ---------------------------------------------------------------------- 3. non-maximum suppression
def _kept(overlaps, scores, classes, limit) -> np.ndarray:
    kept = []
    for i in np.argsort(-scores, kind="stable"):
        if all(classes[k] != classes[i] or overlaps[k, i] <= limit for k in kept):
            kept.append(i)
    return np.array(kept, np.int64)


def _check_nms(student: Student, what: str, *args) -> None:
    found = _indices(_call(student, "nms", *args), what)
    expected = _kept(*args)
    assert sorted(found) == sorted(expected), f"{what}: other boxes should be kept"
    assert np.array_equal(found, expected), f"{what}: the kept boxes are not in the right order"


def _clusters(generator, count: int) -> np.ndarray:
    """The IoU of `count` boxes, many of which are moved copies of others."""
    originals = _boxes(generator, max(1, count // 4), 300, 200)
    copies = originals[generator.integers(0, len(originals), count)]
    sizes = np.tile(copies[:, 2:] - copies[:, :2], 2)
    return metrics.box_iou(*2 * [copies + generator.uniform(-0.15, 0.15, (count, 4)) * sizes])


def nms_values(student: Student) -> None:
    generator = np.random.default_rng(4)
    for count, limit in ((1, 0.5), (12, 0.5), (60, 0.3), (200, 0.7)):
        scores = generator.permutation(np.linspace(0.05, 0.95, count))
        classes = np.full(count, 3)
        _check_nms(student, "nms", _clusters(generator, count), scores, classes, limit)
    # b overlaps a and c, which do not overlap: a removes b, so c stays
    chain = np.array([[1, 0.6, 0.2], [0.6, 1, 0.6], [0.2, 0.6, 1]])
    what = "nms, where a removed box overlaps others"
    _check_nms(student, what, chain, np.array([0.9, 0.8, 0.7]), np.zeros(3, int), 0.5)


def nms_classes(student: Student) -> None:
    generator = np.random.default_rng(5)
    for count, classes in ((20, 2), (150, 5)):
        scores = generator.permutation(np.linspace(0.05, 0.95, count))
        labels = 7 * generator.integers(0, classes, count)
        what = "nms, with boxes of several classes"
        _check_nms(student, what, _clusters(generator, count), scores, labels, 0.4)


def nms_edges(student: Student) -> None:
    generator = np.random.default_rng(6)
    scores = generator.integers(1, 4, 80) / 4
    what = "nms, with equal scores"
    _check_nms(student, what, _clusters(generator, 80), scores, np.zeros(80, int), 0.5)
    overlaps = np.array([[1, 0.5, 0.75], [0.5, 1, 0.25], [0.75, 0.25, 1]])
    what = "nms, with an IoU of exactly the limit"
    for limit in (0.5, 0.75, 0.25):
        _check_nms(student, what, overlaps, np.array([0.3, 0.2, 0.1]), np.zeros(3, int), limit)
    none = np.zeros(0)
    _check_nms(student, "nms, without boxes", np.zeros((0, 0)), none, none.astype(int), 0.5)


# --------------------------------------------------------------------------------------- 4. match
def _matched(overlaps, scores, limit) -> np.ndarray:
    result = np.full(len(scores), -1)
    free = set(range(overlaps.shape[1]))
    for i in np.argsort(-scores, kind="stable"):
        candidates = [j for j in free if overlaps[i, j] >= limit]
        if candidates:
            result[i] = max(candidates, key=lambda j: overlaps[i, j])
            free.remove(result[i])
    return result


def _check_match(student: Student, what: str, *args) -> None:
    found = _indices(_call(student, "match", *args), what)
    expected = _matched(*args)
    assert found.shape == expected.shape, f"{what}: one number per detection was expected"
    expect.equal(found, expected, what)


def match_values(student: Student) -> None:
    """No two detections compete for an object."""
    generator = np.random.default_rng(7)
    for count, limit in ((1, 0.5), (9, 0.5), (40, 0.75)):
        overlaps = generator.uniform(0, 0.9 * limit, (count, 3 * count))
        own = generator.permutation(3 * count).reshape(count, 3)
        overlaps[np.arange(count)[:, None], own] = generator.uniform(0.5, 1, (count, 3))
        scores = generator.permutation(np.linspace(0.1, 0.9, count))
        _check_match(student, "match, where no two detections compete", overlaps, scores, limit)
    exact = np.array([[0.5, 0.0], [0.0, 0.4375]])
    what = "match, with an IoU of exactly the limit"
    _check_match(student, what, exact, np.array([0.9, 0.8]), 0.5)
    what = "match, without objects or without detections"
    _check_match(student, what, np.zeros((3, 0)), np.array([0.9, 0.8, 0.7]), 0.5)
    _check_match(student, what, np.zeros((0, 3)), np.zeros(0), 0.5)


def match_once(student: Student) -> None:
    generator = np.random.default_rng(8)
    for detections, objects, limit in ((3, 1, 0.5), (12, 4, 0.5), (30, 20, 0.6), (15, 15, 0.3)):
        overlaps = generator.uniform(0, 1, (detections, objects))
        scores = generator.permutation(np.linspace(0.1, 0.9, detections))
        what = "match, where detections compete for objects"
        _check_match(student, what, overlaps, scores, limit)
        what = "match, where detections with equal scores compete"
        _check_match(student, what, overlaps, np.round(2 * scores) / 2, limit)
    # the best object of both is the first; the second one is good enough for the worse detection
    second_best = np.array([[0.7, 0.6], [0.9, 0.2]])
    what = "match, where the best object is taken already"
    _check_match(student, what, second_best, np.array([0.5, 0.8]), 0.5)


# ---------------------------------------------------------------------------- 5. average precision
def _check_ap(student: Student, what: str, correct, scores, objects: int) -> None:
    name = "average_precision"
    found = expect.number(_call(student, name, correct, scores, objects), what)
    expected = metrics.average_precision(correct, scores, objects)
    assert abs(found - expected) <= 1e-5, f"{what}: a wrong value"


def ap_values(student: Student) -> None:
    generator = np.random.default_rng(9)
    # with these numbers of objects, no recall between 0 and 1 is a whole hundredth: either side of
    # a tie would be right
    for detections, objects, share in ((6, 7, 0.5), (60, 37, 0.4), (400, 263, 0.6), (30, 11, 0.3)):
        scores = generator.permutation(np.linspace(0.01, 0.99, detections))
        correct = generator.random(detections) < share * (0.4 + scores)
        correct[np.cumsum(correct) > objects] = False
        _check_ap(student, "average_precision", correct, scores, objects)
    late = np.array([0, 0, 0, 1, 1, 0, 1], bool)  # precision rises with recall
    _check_ap(student, "average_precision", late, np.linspace(0.9, 0.3, 7), 3)


def ap_edges(student: Student) -> None:
    none = np.zeros(0)
    what = "average_precision, without detections"
    _check_ap(student, what, none.astype(bool), none, 3)
    what = "average_precision, with no correct detection"
    _check_ap(student, what, np.zeros(4, bool), np.linspace(0.9, 0.2, 4), 3)
    what = "average_precision, with equal scores"
    for position in (0, 1, 4, 299):
        correct = np.arange(300) == position
        _check_ap(student, what, correct, np.full(300, 0.5), 1)


# -------------------------------------------------------------------------- 6. the student's own
def _own_pictures(seed: int) -> list[dict]:
    """As own_pictures in the notebook draws them; the order of drawing matters."""
    generator = np.random.default_rng(seed)
    pictures = []
    for _ in range(60):
        count = generator.integers(2, 9)
        sizes = generator.uniform((60, 40), (200, 160), (count, 2))
        corners = generator.uniform(0, 1, (count, 2)) * ((640, 480) - sizes)
        objects = np.hstack([corners, corners + sizes])
        object_classes = generator.integers(0, CLASSES, count)
        clarity = generator.beta(3, 1, count)
        seen = np.repeat(np.arange(count), generator.integers(1, 5, count))
        jitter = generator.normal(0, 0.09, (len(seen), 4)) * np.tile(sizes[seen], 2)
        is_confused = generator.random(len(seen)) < 0.1
        scores = clarity[seen] * generator.uniform(0.6, 1, len(seen))
        false_count = generator.integers(0, 6)
        centres = generator.uniform((0, 0), (640, 480), (false_count, 2))
        half = generator.uniform(20, 80, (false_count, 2))
        false_scores = generator.beta(1.5, 3, false_count)
        false_classes = generator.integers(0, CLASSES, false_count)
        boxes = np.vstack([objects[seen] + jitter, np.hstack([centres - half, centres + half])])
        classes = np.concatenate([(object_classes[seen] + is_confused) % 3, false_classes])
        picture = {"objects": objects, "object_classes": object_classes, "classes": classes}
        picture |= {"boxes": boxes.clip(0, (640, 480, 640, 480))}
        picture |= {"scores": np.concatenate([scores, false_scores])}
        pictures.append(picture)
    return pictures


def _own_result(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """scores, classes, correct: of all kept detections. And the classes of all objects."""
    columns = []
    pictures = _own_pictures(seed)
    for picture in pictures:
        overlaps = metrics.box_iou(picture["boxes"], picture["boxes"])
        kept = _kept(overlaps, picture["scores"], picture["classes"], 0.5)
        boxes, scores, classes = (picture[name][kept] for name in ("boxes", "scores", "classes"))
        correct = np.zeros(len(kept), bool)
        for c in range(CLASSES):
            true = picture["objects"][picture["object_classes"] == c]
            mine = classes == c
            correct[mine] = _matched(metrics.box_iou(boxes[mine], true), scores[mine], 0.5) >= 0
        columns.append((scores, classes, correct))
    scores, classes, correct = map(np.concatenate, zip(*columns))
    return scores, classes, correct, np.concatenate([p["object_classes"] for p in pictures])


def own_ap(student: Student) -> None:
    stored = expect.json_of(student.file("my_detector.json"), "ap50")
    scores, classes, correct, objects = _own_result(student.seed)
    expected = np.mean(
        [
            metrics.average_precision(
                correct[classes == c], scores[classes == c], int((objects == c).sum())
            )
            for c in range(CLASSES)
        ]
    )
    found = expect.number(stored["ap50"], "ap50 in my_detector.json")
    assert abs(found - expected) <= 1e-3, (
        "my_detector.json: the AP50 is not that of your pictures, the mean over three classes"
    )


def own_threshold(student: Student) -> None:
    names = ("threshold", "precision", "recall")
    stored = expect.json_of(student.file("my_detector.json"), *names)
    threshold, precision, recall = (
        expect.number(stored[name], f"{name} in my_detector.json") for name in names
    )
    scores, _, correct, objects = _own_result(student.seed)
    order = np.argsort(-scores, kind="stable")
    recalls = np.cumsum(correct[order]) / len(objects)
    last = int(np.argmax(recalls >= RECALL))
    # a threshold may lie anywhere between this score and the next lower one, or be rounded
    low, high = scores[order][last + 1], scores[order][last]
    what = "my_detector.json"
    assert threshold > low, f"{what}: a higher threshold also finds 80 % of your objects"
    assert threshold <= high, f"{what}: with this threshold, fewer than 80 % of them are found"
    assert abs(recall - recalls[last]) <= 1e-3, f"{what}: the recall is not that of the threshold"
    assert abs(precision - correct[order][: last + 1].mean()) <= 1e-3, (
        f"{what}: the precision is not that of the threshold"
    )


QUESTIONS = {
    "iou_values": Question(1, iou_values, needs="function iou_matrix"),
    "iou_edges": Question(1, iou_edges, needs="function iou_matrix"),
    "fit_values": Question(1, fit_values, needs="function letterbox_fit"),
    "to_network_values": Question(1, to_network_values, needs="function to_network"),
    "to_picture_values": Question(1, to_picture_values, needs="function to_picture"),
    "nms_values": Question(1, nms_values, needs="function nms"),
    "nms_classes": Question(1, nms_classes, needs="function nms"),
    "nms_edges": Question(1, nms_edges, needs="function nms"),
    "match_values": Question(1, match_values, needs="function match"),
    "match_once": Question(1, match_once, needs="function match"),
    "ap_values": Question(1, ap_values, needs="function average_precision"),
    "ap_edges": Question(1, ap_edges, needs="function average_precision"),
    "own_ap": Question(1, own_ap, needs="file my_detector.json"),
    "own_threshold": Question(1, own_threshold, needs="file my_detector.json"),
}
