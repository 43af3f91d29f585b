"""The grader's side of a student process.

It starts the process, asks, waits no longer than allowed, and trusts no answer.
"""

import builtins
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from labs.grading.sandbox import messages, sandbox
from labs.grading.sandbox.errors import GraderError, StudentError
from labs.grading.sandbox.limits import Deadline, Limits, Watch, kill, tree
from labs.grading.sandbox.sandbox import HERE

_PLACE = re.compile(r" \(cell \d{1,4}, line \d{1,4}\)")
_FAILURE = re.compile(r"cell \d{1,4}(, line \d{1,4})?: [A-Z][A-Za-z]{1,30}")


class StudentProcess:
    """A process for the code or the models of one submission.

    kind: "code" answers calls of a notebook's functions, "model" runs submitted model files.
    It starts with the first `ask`, and again after it died or was ended for taking too long.
    """

    def __init__(
        self,
        kind: str,
        folder: Path,
        notebook: str,
        *,
        jail: bool,
        limits: Limits,
        incidents: list[str],
    ):
        self._kind = kind
        self._folder = folder
        self._notebook = notebook
        self._jail = jail
        self._limits = limits
        self._incidents = incidents
        self._process: subprocess.Popen | None = None
        # names to load with constants only: computing the globals they read took too long
        self._plain: set[str] = set()
        # by loaded name: the cells of the notebook that failed
        self._failures: dict[str, list[str]] = {}
        self.cpu_s = 0.0

    def ask(self, request: dict, timeout: float, what: str):
        """The process's answer to `request` within `timeout` seconds.

        StudentError if there is none, or an error.
        """
        if self._kind == "code":
            self._load(what)
        elif self._process is None:
            self._start()
        answer = self._exchange(request, timeout, what)
        if "error" in answer:
            sentence = self._sentence(answer["error"], self._failures.get(what, []))
            raise StudentError(f"{what}: {sentence}")
        return answer["result"]

    def _sentence(self, error, failures: list[str]) -> str:
        """An error in words.

        The student's code may have written `error`: only what is known is passed on.
        """
        if not isinstance(error, dict):
            error = {}
        kind, where, text = (str(error.get(name, "")) for name in ("kind", "where", "text"))
        if self._kind == "model":  # no code of the student's runs there
            return text or kind
        if kind == "Missing":
            sentence = "the notebook does not define it"
            if failures:
                sentence += f"; these parts of it fail: {', '.join(failures[:3])}"
            return sentence
        if kind == "WireError":
            return (
                "its result cannot be sent: return numbers, arrays or tuples of them, "
                "no more than some MB"
            )
        known = getattr(builtins, kind, None)
        is_exception = isinstance(known, type) and issubclass(known, BaseException)
        sentence = kind if is_exception else "an exception"
        if self._is_place(where):
            sentence += where
        return sentence

    def _is_place(self, where: str) -> bool:
        """Whether `where` names a line that the notebook has.

        Other numbers could carry a hidden input to the student.
        """
        if not _PLACE.fullmatch(where):
            return False
        try:
            cells = json.loads((self._folder / self._notebook).read_text(encoding="utf-8"))["cells"]
            lines = [
                "".join(cell["source"]).count("\n") + 1
                for cell in cells
                if cell["cell_type"] == "code"
            ]
        except (OSError, ValueError, TypeError, KeyError):
            return False
        cell, line = map(int, re.findall(r"\d+", where))
        return 1 <= cell <= len(lines) and 1 <= line <= lines[cell - 1]

    def close(self, graceful: bool = False) -> None:
        """End the process and all it started.

        graceful: let it end on its own, so that its processor time is counted.
        """
        if self._process is None:
            return
        started = tree(self._process.pid)
        self._process.stdin.close()
        try:
            self._process.wait(0.5 if graceful else 0)
        except subprocess.TimeoutExpired:
            self._process.kill()  # the jail dies with it
            self._process.wait()
        self._process.stdout.close()
        self.cpu_s += self._watch.cpu_s
        if not self._jail:
            for child in started:
                kill(child)
            shutil.rmtree(self._work, ignore_errors=True)
        self._process = None

    def _load(self, name: str) -> None:
        """Load what the notebook needs for `name`, once for each process."""
        attempts = (False, True)
        if name in self._plain:
            attempts = (True,)
        for plain in attempts:
            if self._process is None:
                self._start()
            elif name in self._failures:
                return
            request = {"load": name, "plain": plain}
            try:
                loaded = self._exchange(request, self._limits.load_s, "loading the notebook")
            except StudentError as error:
                self._plain.add(name)
                problem = error
                continue
            if "error" in loaded:
                raise StudentError("the functions of the notebook cannot be loaded")
            self._failures[name] = []
            if isinstance(loaded["result"], (list, tuple)):
                failures = map(str, loaded["result"])
                self._failures[name] = [text for text in failures if _FAILURE.fullmatch(text)]
            return
        raise StudentError(f"the functions of the notebook cannot be loaded: {problem}")

    def _start(self) -> None:
        self._failures.clear()
        limits = json.dumps(self._limits.rlimits(self._limits.wall_s))
        with tempfile.TemporaryFile() as errors:
            pipes = {
                "stdin": subprocess.PIPE,
                "stdout": subprocess.PIPE,
                "stderr": errors,
                "bufsize": 0,
            }
            if self._jail:
                sandbox.check()
                argv = self._command("/jail/grader/worker.py", limits)
                self._process = sandbox.start(argv, self._folder, self._limits.disk_mb, **pipes)
            else:
                self._work = tempfile.mkdtemp(prefix="no-jail-")
                shutil.copytree(self._folder, self._work, dirs_exist_ok=True)
                # RLIMIT_NPROC would count all processes of this user
                limits = limits.replace("RLIMIT_NPROC", "RLIMIT_CORE")
                argv = self._command(str(HERE / "worker.py"), limits)
                environment = os.environ | sandbox.THREADS
                self._process = subprocess.Popen(argv, cwd=self._work, env=environment, **pipes)
            os.set_blocking(self._process.stdin.fileno(), False)
            os.set_blocking(self._process.stdout.fileno(), False)
            self._watch = Watch(self._process, self._limits)
            try:
                self._exchange({"ready": True}, self._limits.load_s, "the student process")
            except StudentError as error:
                # no line of the student's has run: it is not the student's fault
                errors.seek(0)
                reason = errors.read(2000).decode(errors="replace") or error
                raise GraderError(f"the student process does not start: {reason}") from error

    def _command(self, script: str, limits: str) -> list[str]:
        return [sys.executable, "-I", script, self._kind, self._notebook, limits]

    def _exchange(self, request: dict, timeout: float, what: str) -> dict:
        """Send `request` and read the answer to it; the process is ended where that fails."""
        number = secrets.token_hex(8)
        deadline = Deadline(timeout, self._watch)
        try:
            self._send(messages.encode({"id": number, **request}), deadline)
            answer = messages.decode(messages.read_frame(lambda n: self._read(n, deadline)))
            is_expected = isinstance(answer, dict) and answer.get("id") == number
            if not is_expected or not {"result", "error"} & set(answer):
                self._incidents.append(f"{what}: an unrequested answer")
                raise StudentError(f"{what}: the process sent an unrequested answer")
            return answer
        except TimeoutError as error:
            self.close()
            raise StudentError(f"{what} was stopped after {timeout:.0f} s") from error
        except (EOFError, BrokenPipeError) as error:
            reason = self._watch.reason or "it ended its process"
            self._incidents.append(f"{what}: {reason}")
            self.close()
            raise StudentError(f"{what} gave no answer: {reason}") from error
        except messages.WireError as error:
            self._incidents.append(f"{what}: {error}")
            self.close()
            raise StudentError(f"{what}: {error}") from error
        except StudentError:
            self.close()
            raise

    def _send(self, frame: bytes, deadline: Deadline) -> None:
        view = memoryview(frame)
        while view:
            deadline.wait(self._process.stdin, writing=True)
            view = view[os.write(self._process.stdin.fileno(), view[: 1 << 16]) :]

    def _read(self, n: int, deadline: Deadline) -> bytes:
        data = bytearray()
        while len(data) < n:
            deadline.wait(self._process.stdout, writing=False)
            piece = os.read(self._process.stdout.fileno(), min(n - len(data), 1 << 20))
            if not piece:
                raise EOFError
            data += piece
        return bytes(data)
