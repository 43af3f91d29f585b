"""What hidden checks read from a handed-in records file, beyond records.problems."""

from pathlib import Path

from helpers.results import model_facts
from labs.grading.checks import records_file
from labs.grading.checks.questions import Student

RECORDS = "records.jsonl"
# accuracies on hundreds of images each, other images of the same kind, differ by less
CLOSE = 0.05


def rows_of(student: Student) -> list[dict]:
    """The records as flat dicts ("latency_ns.p50").

    AssertionError if the file cannot be read or is empty.
    """
    try:
        # lines that are no JSON are left to records.problems
        rows, _ = records_file.read(student.file(RECORDS))
    except ValueError as error:
        raise AssertionError(f"{error}; it is written by helpers.results.append_result") from error
    assert rows, f"{RECORDS} holds no record"
    return rows


def belongs_to(row: dict, path: Path) -> bool:
    """Whether the record was taken with this very file."""
    return row.get("model.sha256") == model_facts(path)["sha256"]
