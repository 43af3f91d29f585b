"""Results of networks that take too long to train in a notebook: `make figures` stores them.

A notebook shows stored results together with their origin. The file is JSON, so that you can read
it: for a classifier one string of digits per network and way of running it, for anything else one
row of figures per run.
"""

import json
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from helpers.device import describe
from helpers.paths import ROOT, display_path

Answers = dict[str, dict[str, np.ndarray]]  # run -> name -> the digit predicted for each image
ABOUT = ("date", "machine")


def store(path: Path, labels: np.ndarray, runs: Answers, about: dict[str, str]) -> None:
    """Write the predictions of all `runs` and their origin.

    `labels` and every array of predictions are digits 0 to 9, one per image. `about` adds facts
    such as data and versions to the date, the machine and the commit.
    """
    entries = [
        {"run": run, "answers": {name: _text(a) for name, a in answers.items()}}
        for run, answers in runs.items()
    ]
    _write(path, {"about": _origin() | about, "labels": _text(labels)}, "runs", entries)


def load(path: Path) -> tuple[np.ndarray, Answers, dict[str, str]]:
    """The labels, the predictions and the origin that `store` wrote.

    ValueError if the file is missing or incomplete.
    """
    with _explained(path):
        stored = _read(path)
        labels = _digits(stored["labels"])
        runs = {
            entry["run"]: {name: _digits(text) for name, text in entry["answers"].items()}
            for entry in stored["runs"]
        }
        if any(len(a) != len(labels) for answers in runs.values() for a in answers.values()):
            raise ValueError("a run does not answer all images")
        return labels, runs, stored["about"]


def store_rows(path: Path, rows: list[dict], about: dict[str, str]) -> None:
    """Write one dict of figures per run, all with the same keys, and their origin; see `store`."""
    _write(path, {"about": _origin() | about}, "rows", rows)


def load_rows(path: Path) -> tuple[list[dict], dict[str, str]]:
    """The rows and the origin that `store_rows` wrote.

    ValueError if the file is missing or incomplete.
    """
    with _explained(path):
        stored = _read(path)
        rows = stored["rows"]
        if not rows or any(row.keys() != rows[0].keys() for row in rows):
            raise ValueError("it has no rows, or a row lacks a figure")
        return rows, stored["about"]


def _origin() -> dict[str, str]:
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "machine": describe()["cpu"],
        "commit": _commit() or "unknown",
    }


def _commit() -> str:
    """The commit of the code, "-dirty" if it has changes; empty outside of a git repository."""
    command = ["git", "describe", "--always", "--dirty"]
    try:
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout.strip()
    except OSError:  # git is not installed
        return ""


def _write(path: Path, head: dict, name: str, entries: list[dict]) -> None:
    """A line per entry, so that changes can be read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    body = ",\n".join(map(json.dumps, entries))
    text = f'{json.dumps(head)[:-1]},\n"{name}": [\n{body}\n]}}\n'
    path.write_text(text, encoding="utf-8")


def _read(path: Path) -> dict:
    stored = json.loads(path.read_text(encoding="utf-8"))
    if missing := set(ABOUT) - set(stored["about"]):
        raise ValueError(f"it does not say {', '.join(sorted(missing))}")
    return stored


@contextmanager
def _explained(path: Path):
    """Turn any error in a stored file into one sentence."""
    try:
        yield
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
