"""Which detections find which objects: entries in COCO's format, matched by COCO's rules.

The rules are those of pycocotools. An object that is not counted (a crowd, or one of another size)
makes the detections that match it neither right nor wrong.
"""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from helpers.metrics.overlap import TINY, areas, intersections, is_no_box

# COCO averages over these; AP50 is the first, AP75 the sixth
IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
MAX_DETECTIONS = 100  # COCO evaluates the best hundred of an image and class
ALL_SIZES = (0.0, 1e10)
SIZE_RANGES = {  # smallest and largest area in square pixels
    "AP_small": (0.0, 32.0**2),
    "AP_medium": (32.0**2, 96.0**2),
    "AP_large": (96.0**2, 1e10),
}

Groups = dict[int | str, dict[int | str, np.ndarray]]


@dataclass(frozen=True)
class Matched:
    """The D detections of one class in all images, best first, at T thresholds of IoU.

    `correct` and `ignored` are bool T x D: it finds an object; it is not counted. `image` has the
    position of each detection's image in the list of images, `positives` the number of objects that
    are counted in each image of that list.
    """

    correct: np.ndarray
    ignored: np.ndarray
    image: np.ndarray
    positives: np.ndarray


def match_class(
    truth: dict, found: dict, positions: dict, size_range: tuple[float, float] = ALL_SIZES
) -> Matched:
    """Match the detections of one class with its objects, image by image.

    `truth` and `found` are {image: rows}, as by_class_and_image returns them. `positions` is
    {image: its position} for every image that is evaluated.
    """
    scores = [np.empty(0)]
    correct = [np.empty((len(IOU_THRESHOLDS), 0), bool)]
    ignored = correct.copy()
    image_of = [np.empty(0, int)]
    positives = np.zeros(len(positions))
    # the order decides between equal scores: pycocotools goes by image number
    for image in sorted({*truth, *found}):
        objects = truth.get(image, NO_ROWS)
        uncounted = (objects[:, CROWD] > 0) | _outside(objects, size_range)
        positives[positions[image]] = (~uncounted).sum()
        if image in found:
            order = np.argsort(-found[image][:, SCORE], kind="stable")
            best = found[image][order[:MAX_DETECTIONS]]
            hits, excused = _match(_overlaps(best, objects), uncounted, objects[:, CROWD] > 0)
            scores.append(best[:, SCORE])
            correct.append(hits)
            ignored.append(excused | (~hits & _outside(best, size_range)))
            image_of.append(np.full(len(best), positions[image]))
    order = np.argsort(-np.concatenate(scores), kind="stable")
    return Matched(
        np.concatenate(correct, axis=1)[:, order],
        np.concatenate(ignored, axis=1)[:, order],
        np.concatenate(image_of)[order],
        positives,
    )


def _outside(rows: np.ndarray, size_range: tuple[float, float]) -> np.ndarray:
    low, high = size_range
    return (rows[:, AREA] < low) | (rows[:, AREA] > high)


def _overlaps(found: np.ndarray, objects: np.ndarray) -> np.ndarray:
    """IoU, detections x objects; for a crowd, the part of the detection that is inside it."""
    common = intersections(found[:, None], objects[None])
    beyond = np.where(objects[:, CROWD] > 0, 0.0, areas(objects) - common)
    union = areas(found)[:, None] + beyond
    return common / np.maximum(union, TINY)


def _match(
    overlaps: np.ndarray, uncounted: np.ndarray, crowd: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Which detections (rows of `overlaps`, best first) find an object (a column) that is counted.

    And which match one that is not counted. Each detection gets the object that it overlaps most,
    among those that are not taken yet; a crowd is never taken. An object that is counted comes
    before any that is not. The results are bool, thresholds x N.
    """
    detections, objects = overlaps.shape
    correct = np.zeros((len(IOU_THRESHOLDS), detections), bool)
    ignored = correct.copy()
    free = np.ones((len(IOU_THRESHOLDS), objects), bool)
    for detection in np.flatnonzero((overlaps >= IOU_THRESHOLDS[0]).any(axis=1)):
        is_candidate = free & (overlaps[detection] >= IOU_THRESHOLDS[:, None])
        counted = is_candidate & ~uncounted
        is_candidate = np.where(counted.any(axis=1, keepdims=True), counted, is_candidate)
        overlap = np.where(is_candidate, overlaps[detection], -1.0)
        # of equal overlaps the last, as in pycocotools
        choice = objects - 1 - overlap[:, ::-1].argmax(axis=1)
        hit = np.flatnonzero(overlap[np.arange(len(overlap)), choice] > 0)
        ignored[hit, detection] = uncounted[choice[hit]]
        correct[hit, detection] = ~uncounted[choice[hit]]
        free[hit, choice[hit]] = crowd[choice[hit]]
    return correct, ignored


# the columns of a row after its box, x1 y1 x2 y2
SCORE = 4
AREA = 5
CROWD = 6
NO_ROWS = np.empty((0, 7))


def by_class_and_image(entries: list[dict], what: str, scored: bool) -> Groups:
    """{class: {image: float64 N x 7}}: box (x1, y1, x2, y2), score, area, crowd, in their order.

    If `scored` is False the score is 1. Otherwise the entries are detections: their area is that
    of the box, and none is a crowd.
    """
    if isinstance(entries, dict):
        raise ValueError(
            f'pass a list with one dict per {what}; in a COCO file it is "annotations"'
        )
    groups: dict = defaultdict(lambda: defaultdict(list))
    values = np.ones((len(entries), 7))
    for i, entry in enumerate(entries):
        try:
            x, y, width, height = entry["bbox"]
            score = entry["score"] if scored else 1
            area = width * height if scored else entry.get("area", width * height)
            crowd = 0 if scored else bool(entry.get("iscrowd"))
            values[i] = x, y, x + width, y + height, score, area, crowd
            category, image = (_plain_id(entry, name) for name in ("category_id", "image_id"))
            groups[category][image].append(i)
        except (KeyError, TypeError, ValueError) as error:
            needed = "image_id and category_id (numbers or strings), bbox of four numbers"
            if scored:
                needed += ", score"
            raise ValueError(f"{what} {i} needs {needed}, but is {entry}") from error
    wrong = np.flatnonzero(is_no_box(values))
    if len(wrong):
        raise ValueError(
            f"{what} {wrong[0]} has a negative size or a number that is not finite: "
            f"{entries[wrong[0]]}"
        )
    return {
        name: {image: values[rows] for image, rows in images.items()}
        for name, images in groups.items()
    }


def _plain_id(entry: dict, name: str) -> int | str:
    """entry[name] as a whole number or a string. TypeError for other types, such as a tensor."""
    value = entry[name]
    if isinstance(value, str):
        return value
    is_whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    # tables with gaps, and some JSON writers, turn 42 into 42.0
    if is_whole or (isinstance(value, (float, np.floating)) and value.is_integer()):
        return int(value)
    raise TypeError(f"{name} is a {type(value).__name__}")


def check_same_kind_of_ids(truth: Groups, found: Groups) -> None:
    """ValueError for ids that are strings in one and numbers in the other, or mixed."""
    for name, ids in (("category_id", set), ("image_id", image_ids)):
        kinds = [{type(value).__name__ for value in ids(groups)} for groups in (truth, found)]
        if len(kinds[0] | kinds[1]) > 1:
            theirs, ours = (" and ".join(sorted(kind)) or "none" for kind in kinds)
            raise ValueError(
                f"{name} is {theirs} in the ground truth and {ours} in the detections: "
                "convert one of them, or no detection matches"
            )


def image_ids(groups: Groups) -> set:
    """The images of all classes."""
    return set().union(*groups.values())
