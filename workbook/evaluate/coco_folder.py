"""A folder of photographs with boxes in COCO's format: what a detector is evaluated on."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from workbook.evaluate.examples import DataError

LISTS = ("images", "annotations", "categories")
PLACES = ("*.json", "annotations/*.json")
HEAD = 4000  # bytes in which the first key of such a file is found


@dataclass(frozen=True)
class Labelled:
    """Photographs and their objects.

    `photos` is {image_id: path}, `truth` the objects in COCO's format, as metrics.coco_map takes
    them, with class numbers as category_id. `names` are the classes in the order of their numbers.
    `missing` is how many of the listed images are not in the folder.
    """

    photos: dict[int | str, Path]
    truth: list[dict]
    names: list[str]
    missing: int


def is_coco(path: Path) -> bool:
    """Whether `path` is a file of labels in COCO's format, or a folder that has one."""
    return bool(_label_files(path))


def read(path: Path | str, split: str = "val") -> Labelled:
    """The photographs and objects of a folder, or of a .json file with the images near it.

    The labels are a .json file in the folder or in its folder annotations. If there are several,
    that with `split` ("val" or "train") in its name is read. Classes are numbered from 0 in the
    order of their ids, as COCO's tools do. DataError for what cannot be used.
    """
    path = Path(path)
    if not path.exists():
        raise DataError(f"{path} does not exist")
    files = _label_files(path)
    if not files:
        raise DataError(
            f"--task detection needs labels in COCO's format, a .json file with "
            f"{', '.join(LISTS)}: {path.name} has none"
        )
    if len(files) > 1:
        files = [file for file in files if split in file.stem.lower()] or files
    instances = [file for file in files if file.stem.startswith("instances")]
    files = instances or files
    if len(files) > 1:
        names = ", ".join(file.name for file in files)
        raise DataError(f"{path.name} has several files of labels ({names}): give one as DATA")
    return _read_labels(files[0], path if path.is_dir() else _root_of(path))


def _root_of(labels: Path) -> Path:
    """The folder of a dataset: labels are in it or in its folder annotations."""
    return labels.parent.parent if labels.parent.name == "annotations" else labels.parent


def _label_files(path: Path) -> list[Path]:
    if path.is_dir():
        found = sorted(file for place in PLACES for file in path.glob(place))
    else:
        found = [path] if path.suffix.lower() == ".json" else []
    return [file for file in found if _looks_like_labels(file)]


def _looks_like_labels(file: Path) -> bool:
    """Whether its beginning or its end names one of LISTS: reading all of it may take minutes."""
    with file.open("rb") as stream:
        head = stream.read(HEAD)
        stream.seek(max(0, file.stat().st_size - HEAD))
        tail = stream.read()
    return any(f'"{name}"'.encode() in head + tail for name in LISTS)


def _read_labels(file: Path, root: Path) -> Labelled:
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise DataError(f"{file.name} is no JSON or is cut off ({error})") from error
    for name in LISTS:
        entries = content.get(name) if isinstance(content, dict) else None
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise DataError(f'{file.name} has no list "{name}": export it in COCO\'s format')
    try:
        ordered = sorted(content["categories"], key=lambda entry: entry["id"])
        numbers = {entry["id"]: number for number, entry in enumerate(ordered)}
        names = [str(entry["name"]) for entry in ordered]
        listed = {entry["id"]: str(entry["file_name"]) for entry in content["images"]}
        photos = _existing(listed, root)
        truth = [
            _object(entry, numbers, file.name)
            for entry in content["annotations"]
            if entry["image_id"] in photos
        ]
    except (KeyError, TypeError) as error:
        raise DataError(f"an entry of {file.name} has no {error}") from error
    if not photos:
        raise DataError(
            f"none of the {len(listed)} images that {file.name} lists is in {root.name}: put them "
            "into it, or into a folder in it"
        )
    if not truth:
        raise DataError(f"{file.name} has no objects for the {len(photos)} images in {root.name}")
    return Labelled(photos, truth, names, len(listed) - len(photos))


def _existing(listed: dict, root: Path) -> dict:
    """{id: path} of the listed images that are in `root` or in a folder in it, never outside."""
    anywhere = {path.name: path for path in root.rglob("*") if path.is_file()}
    found = {}
    for number, name in listed.items():
        direct = (root / name).resolve()
        if direct.is_file() and direct.is_relative_to(root.resolve()):
            found[number] = direct
        elif Path(name).name in anywhere:
            found[number] = anywhere[Path(name).name]
    return found


def _object(entry: dict, numbers: dict, name: str) -> dict:
    if entry["category_id"] not in numbers:
        raise DataError(f"{name}: {entry['category_id']!r} is no id of a category")
    try:
        box = np.array(entry["bbox"], np.float64)
    except (TypeError, ValueError):
        box = np.empty(0)
    if box.shape != (4,) or not np.isfinite(box).all() or (box[2:] < 0).any():
        raise DataError(f"{name}: the bbox {entry['bbox']} is not x, y, width and height in pixels")
    kept = {key: entry[key] for key in ("id", "area", "iscrowd") if key in entry}
    return {
        **kept,
        "image_id": entry["image_id"],
        "bbox": box.tolist(),
        "category_id": numbers[entry["category_id"]],
    }
