"""Photographs of COCO with labelled objects: a small part of its images, with free licences."""

import json
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from helpers.data import download

# coco.names has older words for six of COCO's classes
PRESENT_NAMES = {
    "motorbike": "motorcycle",
    "aeroplane": "airplane",
    "sofa": "couch",
    "pottedplant": "potted plant",
    "diningtable": "dining table",
    "tvmonitor": "tv",
}


@dataclass(frozen=True)
class Photo:
    """A photograph and its N objects.

    `boxes` is float32 N x 4 (x1 y1 x2 y2 in pixels), `classes` int64 N (numbers in the order of
    coco_names), `is_crowd` bool N (a group in one box), `areas` float64 N (the pixels of the
    object, not of its box). `id` is COCO's number, `credit` a line to show under the picture.
    """

    id: int
    path: Path
    boxes: np.ndarray
    classes: np.ndarray
    is_crowd: np.ndarray
    areas: np.ndarray
    credit: str


@dataclass(frozen=True)
class Coco:
    """`photos`, and `ground_truth`: their objects in COCO's format, for metrics.coco_map.

    Its category_id is the class number, 0 to 79, as in Photo.classes.
    """

    photos: list[Photo]
    ground_truth: list[dict]


@cache
def coco_names() -> list[str]:
    """The names of COCO's 80 classes, in the order of their numbers."""
    words = download.fetch("coco.names").read_text(encoding="utf-8").split("\n")
    return [PRESENT_NAMES.get(word, word) for word in words if word]


def coco(split: str) -> Coco:
    """The photographs of `split` that the workbook uses: 45 for "train", 22 for "val".

    ValueError for another split, ConnectionError if a file is missing and cannot be downloaded.
    """
    known = {
        int(name[:12]): name
        for name, file in download.FILES.items()
        if file.folder == f"coco/{split}2017"
    }
    if not known:
        raise ValueError(f"split must be 'train' or 'val', not {split!r}")
    content = json.loads(_annotations(split).read_text(encoding="utf-8"))
    numbers = {name: number for number, name in enumerate(coco_names())}
    class_of = {entry["id"]: numbers[entry["name"]] for entry in content["categories"]}
    truth = [
        {
            **{key: entry[key] for key in ("id", "image_id", "bbox", "area", "iscrowd")},
            "category_id": class_of[entry["category_id"]],
        }
        for entry in content["annotations"]
        if entry["image_id"] in known
    ]
    return Coco([_photo(number, known[number], truth) for number in sorted(known)], truth)


def _annotations(split: str) -> Path:
    """The workbook's own part of COCO's labels, or else COCO's whole file in WORKBOOK_DATA."""
    whole = Path(f"coco/annotations/instances_{split}2017.json")
    try:
        return download.fetch(f"instances_{split}.json")
    except ConnectionError as error:
        path = Path(os.environ.get("WORKBOOK_DATA", ""), whole)
        if path.exists():
            return path
        raise ConnectionError(
            f"COCO's labels are missing. {whole.name} in annotations_trainval2017.zip from "
            f"cocodataset.org has them: put it into a folder as {whole}, and let WORKBOOK_DATA "
            "name that folder"
        ) from error


def _photo(number: int, name: str, truth: list[dict]) -> Photo:
    objects = [entry for entry in truth if entry["image_id"] == number]
    boxes = np.array([entry["bbox"] for entry in objects], np.float32).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    return Photo(
        number,
        download.fetch(name),
        boxes,
        np.array([entry["category_id"] for entry in objects], np.int64),
        np.array([entry["iscrowd"] for entry in objects], bool),
        np.array([entry["area"] for entry in objects], np.float64),
        download.credit(name),
    )
