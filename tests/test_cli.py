"""The command line: what goes to standard output and to standard error, and the exit status."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.paths import ROOT


def run(*arguments: str) -> subprocess.CompletedProcess:
    """`workbook ARGUMENTS` in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "workbook", *arguments], capture_output=True, text=True, cwd=ROOT
    )


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """A file with one record, of a model whose name no old encoding has."""
    from helpers import device, results, timing

    latency = timing.benchmark({"a": lambda: None}, rounds=8, min_round_s=0, min_calls=10)["a"]
    state = device.conditions()
    record = results.record(
        latency,
        before=state,
        after=state,
        model={"name": "сеть 网络 µ.onnx", "bytes": 10},
        runtime={"name": "ONNX Runtime", "version": "1"},
    )
    path = tmp_path_factory.mktemp("results") / "here.jsonl"
    results.append_result(path, record)
    return path


# arguments, exit status, what standard output holds, what standard error holds ("": nothing)
TABLE = [
    ("", 0, "workbook pi start pi@raspberrypi.local", ""),
    ("--help", 0, "exit status: 0 success", ""),
    ("dance", 2, "", "invalid choice: 'dance'"),
    ("results {records}", 0, "ONNX Runtime 1", ""),
    ("results nowhere", 1, "", "there are no results in nowhere"),
    ("book in-place no_such_notebook", 1, "", "no_such_notebook"),
    ("book dance", 2, "", "invalid choice: 'dance'"),
    ("pi", 2, "", "ACTION"),
    ("pi start", 2, "", "HOST"),
    ("pi start pi@no-such-pi.invalid", 1, "", "no machine with this name"),
    ("pi run 00_start_here pi@no-such-pi.invalid", 1, "", "no machine with this name"),
    ("pi run 00_start_here pi@x -p peak_s=fast", 2, "", "'peak_s=fast' is not name=value"),
    ("pi run 01_train_mnist_cnn x.invalid --no-convert", 1, "", "01_train_mnist_cnn does not run"),
    ("pi fetch pi@no-such-pi.invalid", 1, "", "no machine with this name"),
    ("pi status pi@no-such-pi.invalid", 1, "", "no machine with this name"),
    ("pi doctor pi@no-such-pi.invalid", 1, "", "no machine with this name"),
    ("pi stop pi@no-such-pi.invalid", 1, "", "no machine with this name"),
]


@pytest.mark.parametrize("arguments, status, output, errors", TABLE, ids=[row[0] for row in TABLE])
def test_results_go_to_one_stream_and_errors_to_the_other(
    arguments, status, output, errors, records
):
    done = run(*arguments.format(records=records).split())
    assert done.returncode == status, done.stdout + done.stderr
    assert output in done.stdout and errors in done.stderr
    assert bool(done.stdout) == bool(output) and bool(done.stderr) == bool(errors)
    assert "Traceback" not in done.stderr


def test_without_ssh_the_command_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    done = run("pi", "status", "pi@raspberrypi.local")
    assert done.returncode == 1 and "apt install openssh-client" in done.stderr


def test_the_command_starts_with_the_standard_library_alone(tmp_path):
    done = subprocess.run(
        [sys.executable, "-S", "-m", "workbook", "doctor"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1 and "The environment is incomplete" in done.stdout


def test_the_command_works_outside_the_repository(tmp_path, records):
    command = shutil.which("workbook", path=Path(sys.executable).parent)
    done = subprocess.run(
        [command, "results", str(records)], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0 and "ONNX Runtime 1" in done.stdout, done.stderr


COMMANDS = [
    ["results", "{records}"],
    ["results", "{folder}/µ"],
    ["pi", "status", "pi@µ.invalid"],
    ["-h"],
    ["pi", "run", "µ"],
]


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "gbk", "cp932"])
def test_what_a_terminal_cannot_show_is_replaced(encoding, tmp_path, records):
    """No command ends with a traceback: not for µ and °, not for names in another script."""
    for command in COMMANDS if encoding == "ascii" else COMMANDS[:1]:
        arguments = [word.format(records=records, folder=tmp_path) for word in command]
        done = subprocess.run(
            [sys.executable, "-X", "utf8=0", "-m", "workbook", *arguments],
            capture_output=True,
            cwd=ROOT,
            env=os.environ | {"PYTHONIOENCODING": encoding, "WORKBOOK_BUILD": str(tmp_path)},
        )
        said = (command, done.stderr[-500:])
        assert b"Error" not in done.stderr, said
        assert b"Traceback" not in done.stdout + done.stderr, said
        assert done.stdout or done.stderr
