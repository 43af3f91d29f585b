"""When the time of a submission is up: a busy machine gives it more."""

import os
from types import SimpleNamespace

import pytest

from labs.grading.sandbox import limits


@pytest.mark.parametrize(
    "passed_s, worked_s, is_over",
    [
        (9, 9, False),
        (11, 9.5, True),  # it had the processor
        (11, 5, False),  # other programs had it
        (29, 5, False),
        (31, 5, True),  # three times as long, whatever the reason
        (31, 0, True),
    ],
)
def test_the_time_is_up(monkeypatch, passed_s, worked_s, is_over):
    now = SimpleNamespace(s=100.0)
    monkeypatch.setattr(limits.time, "monotonic", lambda: now.s)
    watch = SimpleNamespace(cpu_s=2.0)
    deadline = limits.Deadline(10, watch)
    now.s += passed_s
    watch.cpu_s += worked_s
    readable, writable = os.pipe()
    try:
        os.write(writable, b"an answer")
        if is_over:
            with pytest.raises(TimeoutError):
                deadline.wait(readable, writing=False)
        else:
            deadline.wait(readable, writing=False)
    finally:
        os.close(readable)
        os.close(writable)
