"""COCO's mean average precision: of all classes, of each class, with an interval over images."""

from collections.abc import Sequence

import numpy as np

from helpers.intervals import Interval
from helpers.metrics.detection import RECALL_POINTS
from helpers.metrics.matching import (
    ALL_SIZES,
    IOU_THRESHOLDS,
    SIZE_RANGES,
    Groups,
    Matched,
    by_class_and_image,
    check_same_kind_of_ids,
    image_ids,
    match_class,
)

NAMES = ("AP", "AP50", "AP75")


def coco_map(
    ground_truth: list[dict], detections: list[dict], by_size: bool = False
) -> dict[str, float]:
    """Mean average precision over classes, as pycocotools computes it.

    The result has "AP" (the mean over IoU 0.50 to 0.95), "AP50" and "AP75"; with `by_size` also
    "AP_small", "AP_medium" and "AP_large", for objects below 32 x 32, up to 96 x 96, and above.

    Both arguments are lists as in COCO's files: dicts with image_id, category_id and bbox
    [x, y, width, height]; detections also have score. Objects may have area (the box has another
    one than the object) and iscrowd: a detection inside a crowd is not counted. The best 100
    detections of each class in an image are evaluated. A class without ground truth is skipped;
    without any ground truth all values are -1. Ids are whole numbers or strings.

    ValueError for ids that are strings in one list and numbers in the other, because no detection
    would match.
    """
    truth, found = _grouped(ground_truth, detections)
    positions = _positions(truth, found)
    result = _summary(_mean(_precisions(truth, found, positions)))
    if by_size:
        for name, size_range in SIZE_RANGES.items():
            means = _mean(_precisions(truth, found, positions, size_range))
            result[name] = _summary(means)["AP"]
    return result


def class_map(
    ground_truth: list[dict], detections: list[dict]
) -> dict[int | str, dict[str, float]]:
    """{class: {"AP", "AP50", "AP75"}} for each class of the ground truth; see coco_map.

    The values are -1 for a class of which all objects are crowds.
    """
    truth, found = _grouped(ground_truth, detections)
    positions = _positions(truth, found)
    return {
        name: _summary(_mean(_precisions({name: truth[name]}, found, positions)))
        for name in sorted(truth)
    }


def bootstrap_map(
    ground_truth: list[dict],
    detections: list[dict],
    images: Sequence[int | str],
    baseline: list[dict] | None = None,
    resamples: int = 1000,
) -> dict[str, Interval]:
    """The values of coco_map, each with its 95 % interval over images.

    `images` has the id of every image that the detector was run on. Each resample draws as many of
    them, with repetition. Matching happens once, because images do not influence each other. With
    the detections of another detector as `baseline`, the result is how much higher `detections`
    score, in the same resamples. ValueError for entries in other images.

    AP is too high on few images, because it takes the best precision from each recall on. Resamples
    have fewer different images, so they are too high by about as much again. The interval is
    therefore the mirrored one, from 2 * AP - 97.5 % to 2 * AP - 2.5 %: it contains the AP of many
    images more often.
    """
    truth, found = _grouped(ground_truth, detections)
    compared = None
    if baseline is not None:
        _, compared = _grouped(ground_truth, baseline)
    positions = {image: position for position, image in enumerate(sorted(set(images)))}
    for groups in (truth, found, compared or {}):
        other = image_ids(groups) - set(positions)
        if other:
            raise ValueError(f"image_id {min(other)!r} is not in `images`")
    count = len(positions)
    drawn = np.random.default_rng(0).multinomial(count, [1 / count] * count, resamples)
    has_objects = drawn[:, [positions[image] for image in image_ids(truth)]].any(axis=1)
    weights = np.concatenate([np.ones((1, count)), drawn[has_objects]])

    def values(found: Groups) -> np.ndarray:
        means = _mean(_precisions(truth, found, positions, ALL_SIZES, weights))
        return np.stack([means.mean(axis=1), means[:, 0], means[:, 5]], axis=1)

    resampled = values(found)
    if compared is not None:
        resampled = resampled - values(compared)
    ends = 2 * resampled[0] - np.quantile(resampled[1:], [0.975, 0.025], axis=0)
    return {
        name: Interval(float(value), float(low), float(high))
        for name, value, low, high in zip(NAMES, resampled[0], *ends)
    }


def _grouped(ground_truth: list[dict], detections: list[dict]) -> tuple[Groups, Groups]:
    truth = by_class_and_image(ground_truth, "ground truth box", scored=False)
    found = by_class_and_image(detections, "detection", scored=True)
    check_same_kind_of_ids(truth, found)
    return truth, found


def _positions(truth: Groups, found: Groups) -> dict[int | str, int]:
    images = sorted(image_ids(truth) | image_ids(found))
    return {image: position for position, image in enumerate(images)}


def _precisions(
    truth: Groups,
    found: Groups,
    positions: dict,
    size_range: tuple[float, float] = ALL_SIZES,
    weights: np.ndarray | None = None,
) -> np.ndarray:
    """Average precisions, classes x R x T; NaN where no object of a class is counted.

    `weights`, R x images, is how often each resample contains each image.
    """
    if weights is None:
        weights = np.ones((1, len(positions)))
    found_precisions = [
        _weighted(match_class(boxes, found.get(name, {}), positions, size_range), weights)
        for name, boxes in truth.items()
    ]
    return np.array(found_precisions).reshape(-1, len(weights), len(IOU_THRESHOLDS))


def _weighted(matched: Matched, weights: np.ndarray) -> np.ndarray:
    """The average precision of one class, R x T, as detection.average_precision computes it.

    A repeated image repeats its detections and its objects. So its detections count as often in
    the cumulative sums, and the sums over other resamples are computed at once.
    """
    positives = weights @ matched.positives
    precisions = np.full((len(weights), len(IOU_THRESHOLDS)), np.nan)
    for t, (correct, ignored) in enumerate(zip(matched.correct, matched.ignored)):
        counts = weights[:, matched.image[~ignored]]
        hits = np.flatnonzero(correct[~ignored])  # recall and the best precisions change only here
        found = np.cumsum(counts[:, hits], axis=1)
        seen = np.cumsum(counts, axis=1)[:, hits]
        precision = found / np.maximum(seen, 1)
        best_from_here = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        recall = found / np.maximum(positives, 1)[:, None]
        reached = np.searchsorted(RECALL_POINTS, recall, side="right")
        share = np.diff(reached, axis=1, prepend=0) / len(RECALL_POINTS)
        precisions[:, t] = (best_from_here * share).sum(axis=1)
    precisions[positives == 0] = np.nan
    return precisions


def _mean(precisions: np.ndarray) -> np.ndarray:
    """The mean over classes, R x T; -1 without a class that has objects."""
    is_counted = ~np.isnan(precisions)
    total = np.where(is_counted, precisions, 0.0).sum(axis=0)
    classes = is_counted.sum(axis=0)
    return np.divide(total, classes, out=np.full(total.shape, -1.0), where=classes > 0)


def _summary(means: np.ndarray) -> dict[str, float]:
    """NAMES of the first resample."""
    return dict(zip(NAMES, map(float, (means[0].mean(), means[0, 0], means[0, 5]))))
