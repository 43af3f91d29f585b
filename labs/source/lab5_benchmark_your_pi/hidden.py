"""Hidden checks of lab 5. Nothing is measured here.

Never part of a release, a handout or feedback.
"""

import numpy as np

from labs.grading.checks import expect, held_out
from labs.grading.checks.questions import Question, Student
from labs.grading.checks.records import CLOSE, RECORDS, belongs_to, problems, rows_of
from labs.grading.checks.records_file import rounds_and_calls

FILES = ("lenet.onnx", "lenet.tflite")
COUNT = 400
SEED = 404077


def percentile_values(student: Student) -> None:
    what = "percentile"
    generator = np.random.default_rng(1)
    for shape in ((30, 20), (101,), (7, 3), (1,)):
        samples = generator.integers(10_000, 900_000, shape)
        ordered = np.sort(samples, axis=None)
        for q in (0, 50, 90, 99, 100):
            expected = ordered[min(len(ordered) - 1, int(len(ordered) * q / 100))]
            found = expect.number(student.call(what, samples, q), what)
            assert abs(found - expected) < 0.5, (
                f"{what}: wrong for {len(ordered)} samples and q = {q}"
            )


def contention_values(student: Student) -> None:
    what = "contention"
    generator = np.random.default_rng(2)
    for busy in (0.95, 0.3):
        wall = generator.integers(1_000_000, 60_000_000, 40)
        cpu = (wall * busy * generator.uniform(0.5, 1.05, 40)).astype(np.int64)
        found = expect.number(student.call(what, np.stack([wall, cpu], axis=1)), what)
        assert abs(found - (1 - cpu.sum() / wall.sum())) < 1e-4, (
            f"{what}: it is not the share of all rounds' wall time"
        )
    beyond = np.array([[1000, 1010], [2000, 2004]])
    assert expect.number(student.call(what, beyond), what) == 0, (
        f"{what}: where the CPU clock is ahead, it is 0"
    )


def records_sound(student: Student) -> None:
    found = problems(student.file(RECORDS))
    assert not found, f"{RECORDS}: {found[0]}"


def records_enough(student: Student) -> None:
    rows = rows_of(student)
    assert len({str(row.get("runtime.name")) for row in rows}) >= 2, (
        f"{RECORDS}: two runtimes are asked for"
    )
    for row in rows:
        assert row.get("runtime.threads") == 1 and row.get("batch") == 1, (
            f"{RECORDS}: one thread and batch 1 are asked for"
        )
        rounds, calls = rounds_and_calls(row)
        assert rounds >= 10 and rounds * calls >= 300, (
            f"{RECORDS}: at least 10 rounds and 300 calls of each file are asked for"
        )


def records_yours(student: Student) -> None:
    rows = rows_of(student)
    for file in FILES:
        assert any(belongs_to(row, student.file(file)) for row in rows), (
            f"{RECORDS}: no record is of the {file} that you submitted"
        )
    assert all(row.get("method.seed") == student.seed for row in rows), (
        f"{RECORDS}: some record was not measured with your seed"
    )


def records_accuracy(student: Student) -> None:
    images, labels = held_out.images(COUNT, SEED)
    for file in FILES:
        logits = expect.array(student.predict(file, images), (COUNT, 10), file)
        accuracy = float((logits.argmax(axis=1) == labels).mean())
        assert accuracy > 0.9, (
            f"{file} classifies only {accuracy:.0%} of the grader's images. Is it the book's LeNet?"
        )
        stated = [
            row
            for row in rows_of(student)
            if row.get("model.name") == file or belongs_to(row, student.file(file))
        ]
        assert stated, f"{RECORDS}: no record is of {file}"
        for row in stated:
            value = row.get("quality.value")
            n = row.get("quality.n")
            assert isinstance(value, (int, float)) and isinstance(n, (int, float)) and n >= 500, (
                f"{RECORDS}: the accuracy of {file}, from at least 500 images, is missing"
            )
            assert abs(value - accuracy) <= CLOSE, (
                f"{RECORDS}: {file} does not have the recorded accuracy"
            )


QUESTIONS = {
    "percentile_values": Question(2, percentile_values, needs="function percentile"),
    "contention_values": Question(1, contention_values, needs="function contention"),
    "records_sound": Question(4, records_sound, needs="file records.jsonl"),
    "records_enough": Question(2, records_enough, needs="file records.jsonl"),
    "records_yours": Question(2, records_yours, needs="file records.jsonl"),
    "records_accuracy": Question(
        3, records_accuracy, needs="files records.jsonl, lenet.onnx and lenet.tflite"
    ),
}
