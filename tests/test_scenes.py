"""Scenes of digits: the recipe, exact boxes and masks, and that no test digit is trained on."""

import numpy as np
import pytest

from helpers.data import SCENE_SIZE, Images, digit_scenes, scenes
from helpers.metrics import box_iou


@pytest.fixture(scope="module")
def many():
    return scenes(200, seed=0, split="train")


def equal(a, b) -> bool:
    return all(
        np.array_equal(getattr(a, part), getattr(b, part))
        for part in ("image", "boxes", "classes", "masks")
    )


def test_a_scene_holds_what_its_docstring_says(many):
    for scene in many:
        n = len(scene.classes)
        assert 1 <= n <= 5
        assert scene.image.shape == (96, 96) and scene.image.dtype == np.uint8
        assert scene.boxes.shape == (n, 4) and scene.boxes.dtype == np.float32
        assert scene.classes.shape == (n,) and scene.classes.dtype == np.int64
        assert scene.masks.shape == (n, 96, 96) and scene.masks.dtype == bool


def test_all_counts_all_digits_and_all_heights_occur(many):
    assert {len(scene.classes) for scene in many} == {1, 2, 3, 4, 5}
    assert set(np.concatenate([scene.classes for scene in many])) == set(range(10))
    boxes = np.concatenate([scene.boxes for scene in many])
    heights = boxes[:, 3] - boxes[:, 1]
    # a faint first or last row of the enlarged digit is not ink
    assert 12 <= heights.min() <= 16 and 42 <= heights.max() <= 44


def test_boxes_are_in_the_image_and_fit_their_masks(many):
    for scene in many:
        assert scene.boxes.min() >= 0 and scene.boxes.max() <= SCENE_SIZE
        for box, mask in zip(scene.boxes, scene.masks):
            rows = np.flatnonzero(mask.any(axis=1))
            columns = np.flatnonzero(mask.any(axis=0))
            assert box.tolist() == [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]


def test_boxes_overlap_little(many):
    overlaps = [
        box_iou(scene.boxes, scene.boxes)[np.triu_indices(len(scene.boxes), k=1)] for scene in many
    ]
    largest = np.concatenate(overlaps).max()
    assert 0.05 < largest <= 0.15


def test_digits_are_lighter_than_the_ground_and_the_ground_is_noisy(many):
    for scene in many:
        ground = scene.image[~scene.masks.any(axis=0)]
        assert ground.std() > 3
        for mask in scene.masks:
            assert scene.image[mask].mean() > np.median(ground) + 20


def test_the_same_seed_gives_the_same_scenes_and_more_continue_them(many):
    assert all(map(equal, many, scenes(5, seed=0, split="train")))
    others = [scenes(5, seed=1, split="train"), scenes(5, seed=0, split="test")]
    for other in others:
        assert not any(map(equal, many, other))


def test_the_digits_are_those_of_the_split(monkeypatch):
    def labelled(split: str) -> Images:
        number = {"train": 3, "test": 7}[split]
        images = np.zeros((4, 28, 28), np.uint8)
        images[1:, 4:24, 8:20] = 255  # the first image is blank and cannot be used
        return Images(images, np.array([0, number, number, number]), split)

    monkeypatch.setattr(digit_scenes, "mnist", labelled)
    for split, number in (("train", 3), ("test", 7)):
        classes = np.concatenate([scene.classes for scene in scenes(20, seed=0, split=split)])
        assert set(classes) == {number}


@pytest.mark.parametrize(
    ("count", "seed", "split", "message"),
    [
        (0, 0, "train", "count must be a whole number, 1 or more, not 0"),
        (2.0, 0, "train", "count must be a whole number"),
        (True, 0, "train", "count must be a whole number"),
        (1, -1, "train", "seed must be a whole number, 0 or more, not -1"),
        (1, None, "train", "seed must be a whole number"),
        (1, 0, "validation", "split must be 'train' or 'test'"),
    ],
)
def test_what_scenes_cannot_be_made_of(count, seed, split, message):
    with pytest.raises(ValueError, match=message):
        scenes(count, seed, split)
