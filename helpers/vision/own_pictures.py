"""Your own labelled pictures: a folder with the pictures and one file of labels, labels.json.

labels.json has COCO's format, which labelling tools such as CVAT, Label Studio and Roboflow export:

    {"images": [{"id": 1, "file_name": "desk.jpg"}],
     "categories": [{"id": 1, "name": "mug"}],
     "annotations": [{"image_id": 1, "category_id": 1, "bbox": [40, 60, 120, 90]}]}

A bbox is x1, y1, width, height in pixels. Other keys are ignored.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from helpers.vision.boxes import clip_boxes, xywh_to_xyxy
from helpers.vision.images import read_image

LABELS = "labels.json"
TOLERANCE = 1.5  # pixels that a box may be outside: tools round differently


@dataclass(frozen=True)
class OwnPicture:
    """A picture and its N objects: `boxes`, float32 N x 4 (x1 y1 x2 y2), and `classes`, int64 N."""

    path: Path
    boxes: np.ndarray
    classes: np.ndarray


def read_own_pictures(folder: Path | str) -> tuple[list[OwnPicture], list[str]]:
    """The pictures that labels.json in `folder` lists, and the names of the classes.

    Classes are numbered from 0 in the order of the categories. A picture without labels has no
    objects: it teaches a detector what the ground looks like.

    ValueError for everything that would spoil a training unseen: a missing, damaged or empty
    labels.json, a picture that is missing or damaged, labels of unknown pictures or categories,
    boxes without an area or outside of the picture.
    """
    folder = Path(folder)
    content = _content(folder)
    files = _by_id(content["images"], "file_name", "images")
    names = _by_id(content["categories"], "name", "categories")
    numbers = {category: number for number, category in enumerate(names)}
    labels: dict[object, list[tuple[list[float], int]]] = {image: [] for image in files}
    for position, entry in enumerate(content["annotations"]):
        where = f"{LABELS}, annotation {position} (counted from 0)"
        image, category = _known(entry, files, names, where)
        labels[image].append((_box(entry.get("bbox"), where), numbers[category]))
    pictures = [_picture(folder, files[image], objects) for image, objects in labels.items()]
    return pictures, list(names.values())


def _content(folder: Path) -> dict[str, list[dict]]:
    """The three lists of labels.json."""
    if not folder.is_dir():
        raise ValueError(f"{folder.name} is not a folder")
    path = folder / LABELS
    if not path.exists():
        raise ValueError(
            f"the folder {folder.name} contains no {LABELS}: export your labels in COCO's format "
            "and give the file this name"
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise ValueError(f"{LABELS} is no JSON or is cut off ({error}): export it again") from error
    for name in ("images", "categories", "annotations"):
        found = content.get(name) if isinstance(content, dict) else None
        if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
            raise ValueError(f'{LABELS} has no list "{name}": export it in COCO\'s format')
        if not found:
            raise ValueError(f'the list "{name}" in {LABELS} is empty: there is nothing to learn')
    return content


def _by_id(entries: list[dict], key: str, name: str) -> dict[object, str]:
    """{id: entry[key]}"""
    found: dict[object, str] = {}
    for entry in entries:
        number = entry.get("id")
        if not isinstance(number, (int, str)) or not isinstance(entry.get(key), str):
            raise ValueError(f'an entry of "{name}" in {LABELS} lacks "id" or "{key}": {entry}')
        if number in found:
            raise ValueError(f'the id {number!r} appears twice in "{name}" of {LABELS}')
        found[number] = entry[key]
    return found


def _known(entry: dict, files: dict, names: dict, where: str) -> tuple[object, object]:
    """The ids of the picture and the category."""
    image = entry.get("image_id")
    category = entry.get("category_id")
    if not isinstance(image, (int, str)) or image not in files:
        raise ValueError(f'{where}: no picture in "images" has the id {image!r}')
    if not isinstance(category, (int, str)) or category not in names:
        known = ", ".join(map(repr, names))
        raise ValueError(f"{where}: {category!r} is no id of a category; there are {known}")
    return image, category


def _box(box: object, where: str) -> list[float]:
    try:
        numbers = np.array(box, np.float64)
    except (TypeError, ValueError):
        numbers = np.empty(0)
    if numbers.shape != (4,) or not np.isfinite(numbers).all() or (numbers[2:] <= 0).any():
        raise ValueError(
            f"{where}: the bbox must be x1, y1, width, height with a size above 0, not {box}"
        )
    return numbers.tolist()


def _picture(folder: Path, name: str, objects: list[tuple[list[float], int]]) -> OwnPicture:
    try:
        height, width = read_image(folder / name).shape[:2]
    except FileNotFoundError as error:
        raise ValueError(f"{LABELS} lists {name}, which is not in {folder.name}") from error
    boxes = xywh_to_xyxy([box for box, _ in objects])
    clipped = clip_boxes(boxes, height, width)
    outside = np.flatnonzero(np.abs(boxes - clipped).max(axis=1, initial=0) > TOLERANCE)
    if len(outside):
        raise ValueError(
            f"a box of {name} is outside of its {width} x {height} pixels: x1 y1 x2 y2 = "
            f"{boxes[outside[0]].round(1).tolist()}. Was the picture resized or rotated after it "
            "was labelled?"
        )
    classes = np.array([number for _, number in objects], np.int64)
    return OwnPicture(folder / name, clipped.astype(np.float32), classes)
