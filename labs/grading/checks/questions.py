"""What labs/source/<lab>/hidden.py is written with: Question, Student, StudentError.

hidden.py defines `QUESTIONS: dict[str, Question]`. A key is the grade_id of the locked cell that
shows these points in the notebook. A check runs in the grader's own process and calls the
student's functions through `student`. If the answer is wrong, it raises AssertionError with one
sentence for the student. The sentence must not contain an expected value or a hidden input.
"""

import importlib.util
import shutil
import tempfile
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from labs.grading.sandbox.errors import StudentError
from labs.grading.sandbox.limits import DEFAULT_LIMITS, Limits
from labs.grading.sandbox.staging import stage
from labs.grading.sandbox.worker_client import StudentProcess

__all__ = ["Question", "Student", "StudentError", "Verdict", "ask", "load_questions"]


@dataclass(frozen=True)
class Question:
    """An automatically graded question.

    check: `check(student)` returns for full points and raises for none.
    needs: the function or file that is checked, for the feedback ("function cluster",
    "file model.onnx").
    """

    points: float
    check: Callable[["Student"], None]
    needs: str = ""


@dataclass(frozen=True)
class Verdict:
    """The outcome of one question.

    message: for the student. flags: for the instructor alone, what a person has to review.
    """

    points: float
    max_points: float
    message: str = ""
    flags: list[str] = field(default_factory=list)


class Student:
    """One submission as a check sees it.

    Use it in a `with` block: its processes end with the block.

    id: the student's id as the submission has it. folder: the submission's files. notebook: the
    notebook's name in it. With jail=False the student's code runs unprotected: use it only for
    your own code.
    """

    def __init__(
        self,
        id: str,
        folder: Path | str,
        notebook: str,
        *,
        jail: bool = True,
        limits: Limits = DEFAULT_LIMITS,
    ):
        self.id = str(id)
        self.folder = Path(folder)
        self.notebook = notebook
        self._jail = jail
        self._limits = limits
        self._ends = time.monotonic() + limits.wall_s
        self._staged = Path(tempfile.mkdtemp(prefix="submission-"))
        self._processes: dict[str, StudentProcess] = {}
        self.cpu_s = 0.0  # of processes that have ended
        self.incidents: list[str] = []  # what no honest solution does; flags for the instructor
        try:
            stage(self.folder, self._staged, limits)
        except StudentError:
            self.close()
            raise

    @property
    def seed(self) -> int:
        """The seed of the student's own data, as in the notebooks."""
        return zlib.crc32(self.id.encode())

    def __enter__(self) -> "Student":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        """End the student's processes and delete the copy of the files that they saw."""
        for process in self._processes.values():
            process.close(graceful=True)
            self.cpu_s += process.cpu_s
        self._processes.clear()
        shutil.rmtree(self._staged, ignore_errors=True)

    def call(self, name: str, *args, timeout: float | None = None, **kwargs):
        """The result of the student's function `name`: numpy and Python values, tuples stay tuples.

        Arguments may be numbers, text, arrays, lists, tuples and dicts of them; the function gets
        copies. Tensors and lists of numbers come back as arrays. `timeout` is in seconds, by
        default limits.call_s. StudentError if there is no such function, or if it raises, takes
        too long or ends its process.
        """
        request = {"call": name, "args": tuple(args), "kwargs": dict(kwargs)}
        return self._ask("code", request, timeout, name)

    def constant(self, name: str):
        """The value of the notebook's global variable `name`, as `call` returns it."""
        return self._ask("code", {"constant": name}, None, name)

    def predict(self, file: str, images: np.ndarray, timeout: float | None = None) -> np.ndarray:
        """The outputs, float32 N x classes, of the submitted model `file` for `images`.

        `images` are float32 N x C x H x W. modelfiles.runtimes runs the model, in a jailed process
        that has loaded nothing of the student's notebook. StudentError if the file is missing, is
        not a model, does not take such images, or takes too long.
        """
        self.file(file)
        images = np.ascontiguousarray(images, np.float32)
        request = {"predict": file, "images": images}
        result = self._ask("model", request, timeout or 3 * self._limits.call_s, file)
        is_float32 = isinstance(result, np.ndarray) and result.dtype == np.float32
        if not is_float32 or len(result) != len(images):
            raise StudentError(f"{file} does not give one float32 row per image")
        return result

    def file(self, name: str) -> Path:
        """A copy of the submitted file `name` that the student's code cannot change.

        StudentError if it is missing.
        """
        path = self._staged / name
        if Path(name).name != name or path.is_symlink() or not path.is_file():
            raise StudentError(f"the file {name} was not submitted")
        return path

    def _ask(self, kind: str, request: dict, timeout: float | None, what: str):
        left = self._ends - time.monotonic()
        if left <= 0:
            raise StudentError(
                f"the {self._limits.wall_s:.0f} s for the whole submission were used up "
                f"before {what} was called"
            )
        if kind not in self._processes:
            self._processes[kind] = StudentProcess(
                kind,
                self._staged,
                self.notebook,
                jail=self._jail,
                limits=self._limits,
                incidents=self.incidents,
            )
        return self._processes[kind].ask(request, min(timeout or self._limits.call_s, left), what)


def load_questions(path: Path | str) -> dict[str, Question]:
    """QUESTIONS of the hidden.py at `path`."""
    spec = importlib.util.spec_from_file_location(f"hidden_{Path(path).parent.name}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.QUESTIONS


def ask(student: Student, questions: dict[str, Question]) -> dict[str, Verdict]:
    """The verdict on every question, each asked even if others fail."""
    return {name: _verdict(student, question) for name, question in questions.items()}


def _verdict(student: Student, question: Question) -> Verdict:
    none = {"points": 0.0, "max_points": question.points}
    try:
        question.check(student)
    except AssertionError as error:
        return Verdict(**none, message=_sentence(str(error), question))
    except StudentError as error:
        return Verdict(**none, message=str(error))
    except Exception as error:
        # the check cannot read an unforeseen answer, or is wrong itself: a person has to review it
        where = f"{type(error).__name__} in the check: {error}"
        return Verdict(
            **none,
            message=f"The answer of {question.needs or 'this part'} has an unexpected form.",
            flags=[where[:300]],
        )
    return Verdict(points=question.points, max_points=question.points)


def _sentence(text: str, question: Question) -> str:
    """The check's own sentence, but not the lines of numpy.testing: they show expected values."""
    if not text or "\n" in text:
        return f"The answer of {question.needs or 'this part'} is not right."
    return text[:300]
