"""Hidden checks of lab 1. Never part of a release, a handout or feedback."""

import numpy as np

from labs.grading.checks import expect, held_out, onnx_files
from labs.grading.checks.questions import Question, Student

FILES = ("model.onnx", "model.tflite")
COUNT = 400
SEED = 611953


def _wilson(right: int, n: int) -> tuple[float, float, float]:
    """The share of `right` of `n`, and the ends of its 95 % interval by Wilson."""
    p = right / n
    zeta = 1.96
    middle = p + zeta**2 / (2 * n)
    half = zeta * np.sqrt(p * (1 - p) / n + zeta**2 / (4 * n**2))
    return p, (middle - half) / (1 + zeta**2 / n), (middle + half) / (1 + zeta**2 / n)


def accuracy_values(student: Student) -> None:
    what = "accuracy_with_interval"
    for seed, n, classes, right in ((1, 50, 10, 41), (2, 7, 3, 7), (3, 400, 10, 0), (4, 33, 5, 20)):
        generator = np.random.default_rng(seed)
        labels = generator.integers(0, classes, n)
        logits = generator.standard_normal((n, classes)).astype(np.float32)
        answers = np.where(np.arange(n) < right, labels, (labels + 1) % classes)
        logits[np.arange(n), answers] = 9.0
        found = expect.parts(student.call(what, labels, logits), 3, what)
        found = np.array([expect.number(value, what) for value in found])
        how_many = {0: "none", n: "all"}.get(right, "some")
        assert (np.abs(found - _wilson(right, n)) <= 1e-3).all(), (
            f"{what}: wrong where {how_many} of the images are right"
        )


def parity_values(student: Student) -> None:
    what = "parity"
    for seed, n, size in ((5, 80, 1e-4), (6, 60, 0.5), (7, 40, 3.0)):
        generator = np.random.default_rng(seed)
        reference = generator.standard_normal((n, 10)).astype(np.float32)
        candidate = (reference + size * generator.standard_normal((n, 10))).astype(np.float32)
        candidate[n // 2, 3] -= 12 * size + 1  # the largest difference is a negative one
        changed, largest = expect.parts(student.call(what, reference, candidate), 2, what)
        expected = np.count_nonzero(reference.argmax(1) != candidate.argmax(1))
        assert expect.whole(changed, what) == expected, (
            f"{what}: the number of changed answers is wrong"
        )
        exact = np.abs(reference - candidate).max()
        assert abs(expect.number(largest, what) - exact) <= 1e-4 * exact, (
            f"{what}: the largest difference is wrong"
        )


def _logits(student: Student, file: str) -> np.ndarray:
    images, _ = held_out.images(COUNT, SEED)
    return expect.array(student.predict(file, images), (COUNT, 10), file)


def _accurate(file: str):
    def check(student: Student) -> None:
        _, digits = held_out.images(COUNT, SEED)
        labels = held_out.own_code(student.seed)[digits]
        accuracy = float((_logits(student, file).argmax(axis=1) == labels).mean())
        assert accuracy > 0.9, (
            f"{file} classifies {accuracy:.0%} of the grader's images as your "
            "alphabet says; more than 90 % are needed"
        )

    return check


def _distinguishes(file: str, logits: np.ndarray) -> None:
    assert logits.std(axis=0).max() > 0.01, f"{file} gives the same logits for all images"
    assert len(np.unique(logits.argmax(axis=1))) >= 5, (
        f"{file} gives hardly more than one answer for all images"
    )


def files_parity(student: Student) -> None:
    first, second = (_logits(student, file) for file in FILES)
    for file, logits in zip(FILES, (first, second)):
        _distinguishes(file, logits)
    changed = np.count_nonzero(first.argmax(axis=1) != second.argmax(axis=1))
    assert not changed, f"the two files give different answers for {changed} of {COUNT} images"
    assert np.abs(first - second).max() < 1e-3, (
        "the logits of the two files differ by 0.001 or more"
    )


def files_small(student: Student) -> None:
    for file in FILES:
        assert student.file(file).stat().st_size <= 500_000, f"{file} has more than 500 kB"
        if file.endswith(".onnx"):
            onnx_files.read(student.file(file))  # its weights must be in it
        _distinguishes(file, _logits(student, file))  # a file that computes nothing is small, too


QUESTIONS = {
    "accuracy_values": Question(2, accuracy_values, needs="function accuracy_with_interval"),
    "parity_values": Question(2, parity_values, needs="function parity"),
    "onnx_accuracy": Question(3, _accurate("model.onnx"), needs="file model.onnx"),
    "tflite_accuracy": Question(3, _accurate("model.tflite"), needs="file model.tflite"),
    "files_parity": Question(3, files_parity, needs="files model.onnx and model.tflite"),
    "files_small": Question(1, files_small, needs="files model.onnx and model.tflite"),
}
