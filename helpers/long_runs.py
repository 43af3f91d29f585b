"""Predictions of networks that take too long to train in a notebook: `make figures` stores them.

A notebook shows stored predictions together with their origin. The file is JSON, so that you can
read it: one string of digits per network and way of running it.
"""

import json
import time
from pathlib import Path

import numpy as np

from helpers.device import describe
from helpers.paths import display_path

Answers = dict[str, dict[str, np.ndarray]]  # run -> name -> the digit predicted for each image
ABOUT = ("date", "machine")


def store(path: Path, labels: np.ndarray, runs: Answers, about: dict[str, str]) -> None:
    """Write the predictions of all `runs` and their origin.

    `labels` and every array of predictions are digits 0 to 9, one per image. `about` adds facts
    such as data and versions to the date and the machine.
    """
    made = (time.strftime("%Y-%m-%d", time.gmtime()), describe()["cpu"])
    head = {"about": dict(zip(ABOUT, made, strict=True)) | about, "labels": _text(labels)}
    lines = [
        json.dumps({"run": run, "answers": {name: _text(a) for name, a in answers.items()}})
        for run, answers in runs.items()
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    body = ",\n".join(lines)
    path.write_text(f'{json.dumps(head)[:-1]},\n"runs": [\n{body}\n]}}\n', encoding="utf-8")


def load(path: Path) -> tuple[np.ndarray, Answers, dict[str, str]]:
    """The labels, the predictions and the origin that `store` wrote.

    ValueError if the file is missing or incomplete.
    """
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        if missing := set(ABOUT) - set(stored["about"]):
            raise ValueError(f"it does not say {', '.join(sorted(missing))}")
        labels = _digits(stored["labels"])
        runs = {
            entry["run"]: {name: _digits(text) for name, text in entry["answers"].items()}
            for entry in stored["runs"]
        }
        if any(len(a) != len(labels) for answers in runs.values() for a in answers.values()):
            raise ValueError("a run does not answer all images")
        return labels, runs, stored["about"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"Cannot use {display_path(path)}: {error}. Run `make figures`."
        ) from error


def _text(digits: np.ndarray) -> str:
    return "".join(map(str, digits))


def _digits(text: str) -> np.ndarray:
    if not (text.isascii() and text.isdigit()):
        raise ValueError("answers are not digits")
    return np.frombuffer(text.encode(), np.uint8).astype(np.int64) - ord("0")
