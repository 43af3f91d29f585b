"""`--host`: the same on one Pi or on several. Files are converted here; the Pis only run them.

Each Pi gets the model files and DATA, evaluates them as a job that outlives the connection, and
sends back its rows and its records. A Pi that fails stops no other.
"""

import contextlib
import hashlib
import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from helpers.paths import build_dir, display_path
from workbook.evaluate import on_host
from workbook.evaluate.candidates import Candidate
from workbook.evaluate.examples import Examples
from workbook.evaluate.rows import WORKS, Row, without_file
from workbook.pi import fetch, fleet
from workbook.pi.connection import Pi
from workbook.pi.openssh import PiError
from workbook.pi.setup import follow, prepare

# and a Pi gets no torch: see requirements-pi.txt
NEEDS_TORCH = ("torch", "torchscript", "executorch")
WHY_NOT = "it needs torch, which is not installed on a Pi"


@dataclass
class Answer:
    """What a host sent back: the rows of a race, or what a tuner found, and its device.describe().

    `problem` is a sentence if the host failed; the rows are then those that it sent before.
    """

    host: str
    rows: list[Row] = field(default_factory=list)
    tuned: list[dict] = field(default_factory=list)
    machine: dict = field(default_factory=dict)
    problem: str = ""

    @property
    def is_success(self) -> bool:
        """Whether it ran to its end, and at least one file works."""
        works = any(row.state == WORKS for row in self.rows)
        return not self.problem and (works or any("ratio" in row for row in self.tuned))


def run(
    hosts: Sequence[str],
    candidates: Sequence[Candidate],
    examples: Examples,
    *,
    task: str,
    threads: int,
    rounds: int,
    tune: bool,
    say: Callable[[str], None],
) -> list[Answer]:
    """An Answer for each host, all at once. New records are appended to build/results here."""
    sent = [one for one in candidates if one.path and one.runtime not in NEEDS_TORCH]
    others = [
        without_file(one, WHY_NOT if one.path else one.problem)
        for one in candidates
        if one not in sent
    ]
    answers = {host: Answer(host) for host in dict.fromkeys(hosts)}
    request = {
        "files": [
            {
                "runtime": one.runtime,
                "is_int8": one.is_int8,
                "is_half": one.is_half,
                "is_source": one.is_source,
                "is_given": one.is_given,
                "name": one.path.name,
            }
            for one in sent
            if one.path
        ],
        "task": task,
        "threads": threads,
        "rounds": rounds,
        "tune": tune,
    }
    if not sent:
        raise PiError("none of the files can run on a Pi: choose --runtimes onnx tflite ncnn mnn")
    with tempfile.TemporaryDirectory() as scratch:
        files = _bundle(Path(scratch), request, sent, examples)
        folder = next(iter(files)).rpartition("/")[0]

        def evaluate(pi: Pi, say: Callable[[str], None]) -> None:
            _evaluate(pi, folder, files, answers[pi.host], say)

        failed = fleet.on_all(list(answers), evaluate, say)
    for host, error in failed.items():
        answers[host].problem = str(error)
    for answer in answers.values():
        if answer.rows:
            answer.rows += others
    return list(answers.values())


def _bundle(
    scratch: Path, request: dict, sent: Sequence[Candidate], examples: Examples
) -> dict[str, Path]:
    """{path on the Pi: file here}. The same command gives the same folder, so it can reattach."""
    files = on_host.save(scratch, request, examples)
    files += [part for one in sent for part in one.parts]
    digest = hashlib.sha256()
    for file in files:
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    folder = f"build/evaluate/{digest.hexdigest()[:12]}"
    return {f"{folder}/{file.name}": file for file in files}


def _evaluate(
    pi: Pi, folder: str, files: dict[str, Path], answer: Answer, say: Callable[[str], None]
) -> None:
    prepare(pi, say, files)
    state = pi.ask("evaluate", folder=folder)["state"]
    reports = {
        "started": "racing there",
        "running": "the same evaluation is still running: following it",
        "finished": "the same evaluation finished in the meantime",
    }
    say(reports[state])
    try:
        follow(pi, "evaluate", say)
    except PiError:
        if pi.is_connected:  # the evaluation failed: keep what it measured until then
            with contextlib.suppress(PiError):  # the first error is the cause
                _bring(pi, folder, answer, say)
        raise
    _bring(pi, folder, answer, say)
    pi.ask("done", job="evaluate")


def _bring(pi: Pi, folder: str, answer: Answer, say: Callable[[str], None]) -> None:
    """Fetch the records and the rows."""
    new = fetch.fetch_records(pi, pi.ask("found")["records"])
    say(f"{new} new records in {display_path(build_dir('results'))}")
    content = json.loads(pi.get(f"{folder}/{on_host.ANSWER}"))
    answer.rows = [Row(**row) for row in content.get("rows", [])]
    answer.tuned = content.get("tuned", [])
    answer.machine = content["machine"]
