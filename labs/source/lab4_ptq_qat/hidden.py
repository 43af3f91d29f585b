"""Hidden checks of lab 4. Nothing is measured here.

Never part of a release, a handout or feedback.
"""

import numpy as np

from helpers.data import mnist, normalize
from helpers.metrics import accuracy
from labs.grading.checks import expect, held_out, onnx_files
from labs.grading.checks.questions import Question, Student
from labs.grading.checks.records import CLOSE, RECORDS, belongs_to, problems, rows_of
from labs.grading.checks.records_file import rounds_and_calls

NAMES = ("float", "ptq", "qat")
COUNT = 500
SEED = 775147


def fake_quantize_values(student: Student) -> None:
    what = "fake_quantize"
    generator = np.random.default_rng(1)
    for shape, bits in (((6, 30), 8), ((5, 3, 4, 4), 4), ((6, 6), 3)):
        highest = 2 ** (bits - 1) - 1
        q = generator.integers(-highest - 3, highest + 4, shape)  # beyond both ends, too
        scale = (0.7 ** np.arange(shape[0])).astype(np.float32)
        wide = scale.reshape(-1, *[1] * (len(shape) - 1))
        x = ((q + generator.uniform(-0.4, 0.4, shape)) * wide).astype(np.float32)
        found = expect.array(student.call(what, x, scale, bits), shape, what)
        expected = np.clip(q, -highest, highest) * wide.astype(np.float64)
        expect.close(found, expected, what, relative=1e-5)


def _logits(student: Student, name: str) -> np.ndarray:
    file = f"{name}.onnx"
    images, _ = held_out.images(COUNT, SEED)
    return expect.array(student.predict(file, images), (COUNT, 10), file)


def _accuracy(student: Student, name: str) -> float:
    _, digits = held_out.images(COUNT, SEED)
    labels = held_out.own_code(student.seed)[digits]
    return float((_logits(student, name).argmax(axis=1) == labels).mean())


def _differ(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether two networks computed these logits.

    Rounding to 8 bits moves some logit by more than a thousandth of their spread.
    """
    return bool(np.abs(first - second).max() > 1e-3 * first.std())


def float_file(student: Student) -> None:
    found = _accuracy(student, "float")
    assert found > 0.9, (
        f"float.onnx classifies {found:.0%} of the grader's images as your alphabet "
        "says; more than 90 % are needed"
    )
    onnx_files.read(student.file("float.onnx"), 2_000_000, "2 MB")


def _int8_file(name: str):
    def check(student: Student) -> None:
        content = onnx_files.read(student.file(f"{name}.onnx"))
        original = onnx_files.read(student.file("float.onnx"))
        assert content.is_int8, (
            f"{name}.onnx does not store its weights in 8 bits, or does not compute with "
            "int8 operators"
        )
        assert content.used <= original.used / 2, (
            f"the weights of {name}.onnx take more than half the bytes of those of float.onnx"
        )
        assert _accuracy(student, name) >= 0.87, (
            f"{name}.onnx is not accurate enough on the grader's images"
        )
        assert _accuracy(student, name) >= _accuracy(student, "float") - 0.03, (
            f"{name}.onnx is over 3 points less accurate than float.onnx on the grader's images"
        )
        assert _differ(_logits(student, "float"), _logits(student, name)), (
            f"{name}.onnx computes what float.onnx does: nothing is rounded"
        )
        if name == "qat":
            assert _differ(_logits(student, "ptq"), _logits(student, name)), "qat.onnx is ptq.onnx"

    return check


def _report(student: Student) -> dict:
    report = expect.json_of(student.file("report.json"), *NAMES)
    assert isinstance(report.get("images"), str), (
        "report.json: images does not say where the test images come from"
    )
    for name in NAMES:
        entries = report[name] if isinstance(report[name], dict) else {}
        for entry in ("bytes", "accuracy", "low", "high", "changed", "speedup"):
            assert type(entries.get(entry)) in (int, float), (
                f"report.json: {name} has no number {entry}"
            )
    return report


def report_files(student: Student) -> None:
    report = _report(student)
    test = mnist("test")
    images = normalize(test.images[:1000])
    labels = held_out.own_code(student.seed)[test.labels[:1000]]
    answers = {name: student.predict(f"{name}.onnx", images).argmax(axis=1) for name in NAMES}
    # another machine may decide a close image otherwise; a student who could download MNIST has
    # other images
    same = report["images"] == test.source
    tolerance = 0.004 if same else CLOSE
    for name in NAMES:
        entries = report[name]
        assert entries["bytes"] == student.file(f"{name}.onnx").stat().st_size, (
            f"report.json: {name}.onnx has another size"
        )
        found = accuracy(labels, answers[name])
        for entry, value in (("accuracy", found.value), ("low", found.low), ("high", found.high)):
            assert abs(entries[entry] - value) <= tolerance, (
                f"report.json: {entry} of {name} is not that of the file"
            )
        changed = np.count_nonzero(answers[name] != answers["float"])
        assert abs(entries["changed"] - changed) <= 4 or not same, (
            f"report.json: changed of {name} is not that of the files"
        )


def report_speed(student: Student) -> None:
    report = _report(student)
    rows = rows_of(student)
    found = problems(student.file(RECORDS))
    assert not found, f"{RECORDS}: {found[0]}"
    p50 = {}
    for name in NAMES:
        own = [row for row in rows if belongs_to(row, student.file(f"{name}.onnx"))]
        assert own, f"{RECORDS}: no record is of the {name}.onnx that you submitted"
        assert own[-1].get("method.seed") == student.seed, (
            f"{RECORDS}: the record of {name}.onnx was not measured with your seed"
        )
        rounds, calls = rounds_and_calls(own[-1])
        assert rounds >= 10 and rounds * calls >= 300, (
            f"{RECORDS}: at least 10 rounds and 300 calls of {name}.onnx are asked for"
        )
        assert own[-1].get("runtime.threads") == 1, f"{RECORDS}: one thread is asked for"
        p50[name] = own[-1]["latency_ns.p50"]
    for name in NAMES:
        ratio = p50["float"] / p50[name]
        assert abs(report[name]["speedup"] - ratio) <= 0.02 * ratio, (
            f"report.json: the speed-up of {name} is not that of the records"
        )


QUESTIONS = {
    "fake_quantize_values": Question(2, fake_quantize_values, needs="function fake_quantize"),
    "float_file": Question(2, float_file, needs="file float.onnx"),
    "ptq_file": Question(3, _int8_file("ptq"), needs="file ptq.onnx"),
    "qat_file": Question(3, _int8_file("qat"), needs="file qat.onnx"),
    "report_files": Question(2, report_files, needs="file report.json"),
    "report_speed": Question(2, report_speed, needs="files report.json and records.jsonl"),
}
