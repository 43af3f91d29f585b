"""`--host` on the Pi: evaluate the files that the laptop sent. It needs no torch.

A folder holds REQUEST, DATA and the model files. ANSWER is written next to them.
"""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from helpers import device
from helpers.paths import build_path, whole_file
from workbook.evaluate import examples, progress, race, rows, tuning
from workbook.evaluate.candidates import Candidate
from workbook.evaluate.examples import Examples
from workbook.evaluate.rows import Row

REQUEST = "request.json"
DATA = "data.npz"
ANSWER = "answer.json"


def work(folder: Path) -> None:
    """Evaluate what REQUEST names, store the records, and write ANSWER.

    RaceStopped after ANSWER was written if a record could not be stored.
    """
    request = json.loads((folder / REQUEST).read_text(encoding="utf-8"))
    (folder / ANSWER).unlink(missing_ok=True)
    for other in folder.parent.iterdir():  # what earlier commands sent
        if other.is_dir() and other != folder:
            shutil.rmtree(other, ignore_errors=True)
    data = _data(folder, request)
    files = [
        Candidate(
            entry["runtime"],
            entry["is_int8"],
            folder / entry["name"],
            is_half=entry["is_half"],
            is_source=entry["is_source"],
            is_given=entry["is_given"],
        )
        for entry in request["files"]
    ]
    if request["tune"]:
        found = tuning.run(
            files,
            data,
            threads=request["threads"],
            rounds=request["rounds"],
            store=store(),
            say=progress.say,
        )
        _write(folder, {"tuned": found})
        return
    try:
        raced = race.run(
            files,
            data,
            task=request["task"],
            threads=request["threads"],
            rounds=request["rounds"],
            store=store(),
        )
    except race.RaceStopped as error:
        _write_rows(folder, error.rows)
        raise
    _write_rows(folder, raced)


def save(folder: Path, request: dict, data: Examples) -> list[Path]:
    """Write REQUEST and DATA for `work`, and return their paths."""
    arrays: dict[str, Any] = {"x_data": data.x}
    if request["task"] == "detection":
        from workbook.evaluate import detection

        request = request | {"truth": detection.as_json(data.y)}
    else:
        arrays["y_data"] = data.y
    np.savez(folder / DATA, **arrays)
    (folder / REQUEST).write_text(json.dumps(request), encoding="utf-8")
    return [folder / REQUEST, folder / DATA]


def _data(folder: Path, request: dict) -> Examples:
    """What `save` wrote."""
    if request["task"] != "detection":
        return examples.read(folder / DATA)
    from workbook.evaluate import detection

    with np.load(folder / DATA, allow_pickle=False) as arrays:
        return Examples(arrays["x_data"], detection.from_json(request["truth"]))


def store() -> Path:
    """The file of this machine's records."""
    return build_path("results", f"{device.describe()['machine_id'] or 'unknown'}.jsonl")


def _write_rows(folder: Path, raced: Sequence[Row]) -> None:
    _write(folder, {"rows": rows.as_json(rows.with_ratios(raced))})


def _write(folder: Path, answer: dict) -> None:
    with whole_file(folder / ANSWER) as part:
        part.write_text(json.dumps(answer | {"machine": device.describe()}), encoding="utf-8")
