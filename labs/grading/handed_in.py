"""What hidden checks read from a handed-in records file, beyond what records.problems says about it."""

import json
import warnings
from pathlib import Path

from helpers.results import model_facts, read_results
from labs.grading.api import Student

RECORDS = "records.jsonl"
CLOSE = 0.05  # an accuracy on other images of the same kind differs by less, with hundreds of images on both sides


def rows_of(student: Student) -> list[dict]:
    """The records as flat dicts ("latency_ns.p50"); AssertionError where the file cannot be read or is empty."""
    path = student.file(RECORDS)
    try:
        assert path.stat().st_size < 20_000_000, f"{RECORDS} is too large"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # records.problems counts lines that are no JSON
            rows = read_results(path).to_dict("records")
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise AssertionError(f"{RECORDS} cannot be read: it is written by helpers.results.append_result") from error
    assert rows, f"{RECORDS} holds no record"
    return rows


def belongs_to(row: dict, path: Path) -> bool:
    """Whether the record was taken with this very file."""
    return row.get("model.sha256") == model_facts(path)["sha256"]


def edit(path: Path, change) -> None:
    """Rewrite the records of a file, each as a nested dict, by `change(number, record)`; what is None is left out."""
    records = [change(number, json.loads(line)) for number, line in enumerate(path.read_text().splitlines())]
    path.write_text("".join(json.dumps(record) + "\n" for record in records if record is not None))
