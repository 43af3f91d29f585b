"""helpers.vision.own_pictures: a folder of pictures with labels.json in COCO's format."""

import copy
import json

import numpy as np
import pytest
from PIL import Image

from helpers import vision

CONTENT = {
    "info": {"description": "other keys are ignored"},
    "images": [
        {"id": 1, "file_name": "desk.jpg", "width": 64, "height": 48},
        {"id": 2, "file_name": "wall.png"},
    ],
    "categories": [{"id": 3, "name": "mug"}, {"id": 7, "name": "pen"}],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 7, "bbox": [10, 20, 30, 8], "iscrowd": 0},
        {"id": 2, "image_id": 1, "category_id": 3, "bbox": [-0.6, 0, 20.5, 48.2]},
    ],
}


@pytest.fixture
def folder(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    for name in ("desk.jpg", "wall.png"):
        Image.fromarray(noise).save(tmp_path / name)
    write(tmp_path, CONTENT)
    return tmp_path


def write(folder, content, encoding="utf-8"):
    (folder / "labels.json").write_text(json.dumps(content), encoding=encoding)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_pictures_boxes_and_names(folder, encoding):
    write(folder, CONTENT, encoding)
    (desk, wall), names = vision.read_own_pictures(folder)
    assert names == ["mug", "pen"]
    assert desk.path == folder / "desk.jpg"
    assert desk.boxes.tolist() == [[10, 20, 40, 28], pytest.approx([0, 0, 19.9, 48])]
    assert desk.classes.tolist() == [1, 0]
    assert desk.boxes.dtype == np.float32 and desk.classes.dtype == np.int64
    assert wall.boxes.shape == (0, 4) and wall.classes.shape == (0,), "a picture without objects"


def test_ids_that_are_strings(folder):
    content = copy.deepcopy(CONTENT)
    content["images"][0]["id"] = "one"
    for entry in content["annotations"]:
        entry["image_id"] = "one"
    write(folder, content)
    assert len(vision.read_own_pictures(folder)[0][0].boxes) == 2


# what is changed in CONTENT: a list, a position in it, a key, another value
WRONG = {
    "category out of range": (
        ["annotations", 0, "category_id"],
        5,
        "annotation 0 .*5 is no id .*3, 7",
    ),
    "category is a list": (["annotations", 0, "category_id"], [3], "is no id of a category"),
    "unknown picture": (["annotations", 1, "image_id"], 9, "annotation 1 .*no picture .*the id 9"),
    "no area": (["annotations", 0, "bbox"], [10, 20, 0, 8], "with a size above 0, not .10, 20, 0"),
    "three numbers": (["annotations", 0, "bbox"], [10, 20, 5], "must be x1, y1, width, height"),
    "words": (["annotations", 0, "bbox"], "10 20 5 5", "must be x1, y1, width, height"),
    "no box": (["annotations", 0, "bbox"], None, "must be x1, y1, width, height"),
    "not finite": (["annotations", 0, "bbox"], [10, 20, float("nan"), 8], "with a size above 0"),
    "outside": (
        ["annotations", 0, "bbox"],
        [60, 20, 30, 8],
        "box of desk.jpg is outside of its 64 x 48",
    ),
    "file is missing": (["images", 1, "file_name"], "door.png", "lists door.png, which is not in"),
    "no file name": (["images", 1, "file_name"], None, 'of "images" .*lacks "id" or "file_name"'),
    "an id twice": (["categories", 1, "id"], 3, 'the id 3 appears twice in "categories"'),
    "no pictures": (["images"], [], '"images" in labels.json is empty'),
    "no labels": (["annotations"], [], '"annotations" in labels.json is empty'),
    "no list": (["categories"], "mug", 'labels.json has no list "categories"'),
}


@pytest.mark.parametrize("name", WRONG)
def test_labels_that_would_spoil_a_training(folder, name):
    keys, value, message = WRONG[name]
    content = copy.deepcopy(CONTENT)
    place = content
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    write(folder, content)
    with pytest.raises(ValueError, match=message):
        vision.read_own_pictures(folder)


def test_folders_without_usable_files(folder, tmp_path):
    jpeg = (folder / "desk.jpg").read_bytes()
    (folder / "desk.jpg").write_bytes(jpeg[: len(jpeg) // 2])
    with pytest.raises(ValueError, match="desk.jpg is damaged or incomplete"):
        vision.read_own_pictures(folder)
    whole = (folder / "labels.json").read_text()
    for text in (whole[:100], "no JSON", ""):
        (folder / "labels.json").write_text(text)
        with pytest.raises(ValueError, match="labels.json is no JSON or is cut off"):
            vision.read_own_pictures(folder)
    (folder / "labels.json").write_text("[]")
    with pytest.raises(ValueError, match='has no list "images"'):
        vision.read_own_pictures(folder)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="the folder empty contains no labels.json"):
        vision.read_own_pictures(tmp_path / "empty")
    with pytest.raises(ValueError, match="nowhere is not a folder"):
        vision.read_own_pictures(tmp_path / "nowhere")
