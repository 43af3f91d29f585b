"""What runs on the Pi, tried here: its answers, its state after a power cut, its environment."""

import ast
import errno
import io
import json
import os
import shutil
import sys
from pathlib import Path

import pytest

from workbook.pi.on_device import answers, evaluations, files, jobs


def serve(requests: list[dict], monkeypatch, capsys) -> list[dict]:
    """The answers of the Pi to `requests`, computed here."""
    lines = "".join(json.dumps(request) + "\n" for request in requests)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines.encode())))
    before = os.umask(0o022)
    answers.serve()
    os.umask(before)
    return [json.loads(line[1:]) for line in capsys.readouterr().out.split("\n")[1:-1]]


@pytest.mark.parametrize(
    "number, sentence",
    [
        (errno.ENOSPC, "its disk is full"),
        (errno.EDQUOT, "its disk is full"),
        (errno.EROFS, "its card has become read-only"),
        (errno.EACCES, "Permission denied"),
    ],
)
def test_a_disk_that_cannot_be_written(number, sentence, monkeypatch, capsys):
    def fails(_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setitem(answers.COMMANDS, "done", fails)
    first, second = serve([{"command": "done"}, {"command": "status"}], monkeypatch, capsys)
    assert sentence in first["problem"] and second["jobs"] == [], "and the next request is answered"


@pytest.fixture
def pi_folder(tmp_path, monkeypatch):
    """This process as the Pi, with a home of its own."""
    for module in (jobs, files, answers):
        monkeypatch.setattr(module, "FOLDER", tmp_path, raising=False)
        monkeypatch.setattr(module, "STATE", tmp_path / ".pi", raising=False)
    monkeypatch.setattr(jobs, "VENV", tmp_path / ".venv")
    monkeypatch.setattr(jobs, "PYTHON", tmp_path / ".venv/bin/python")
    monkeypatch.setattr(jobs, "READY", tmp_path / ".venv/ready")
    jobs.make_state()
    return tmp_path


def environment(ready: str | None, python: bool = True, version: str = "") -> dict[str, str]:
    """The files of an environment in some state."""
    files = {".venv/bin/python": ""} if python else {".venv/bin/pip": ""}
    if ready is not None:
        files[".venv/ready"] = ready
    if version:
        files[".venv/pyvenv.cfg"] = f"home = /usr/bin\nversion = {version}\n"
    return files


HERE = ".".join(map(str, sys.version_info[:3]))


@pytest.mark.parametrize(
    "files, is_set_up, is_made_again",
    [
        ({}, False, True),
        (environment("new"), True, False),
        (environment("new", version=HERE), True, False),
        (environment("old", version=HERE), False, False),
        (environment(None), False, True),  # the power went while it was made
        (environment("", python=False), False, True),
        (environment("new", python=False), False, True),  # the system's Python is gone
        (environment("new", version="3.1.1"), False, True),  # the system has another one now
    ],
)
def test_only_a_whole_environment_is_used(pi_folder, monkeypatch, files, is_set_up, is_made_again):
    for name, text in files.items():
        (pi_folder / name).parent.mkdir(parents=True, exist_ok=True)
        (pi_folder / name).write_text(text)
    called = []

    def call(what, *command):
        called.append(command)
        assert not jobs.is_set_up("new"), "a power cut now must not leave it looking whole"
        if "--clear" in command:
            shutil.rmtree(jobs.VENV, ignore_errors=True)
            jobs.PYTHON.parent.mkdir(parents=True)
            jobs.PYTHON.write_text("")

    monkeypatch.setattr(jobs, "_call", call)
    assert jobs.is_set_up("new") == is_set_up
    if not is_set_up:
        jobs.work({"job": "set_up", "requirements": "new"})
        assert jobs.read_state("set_up.result") == {"ok": True, "why": ""}
        assert any("--clear" in command for command in called) == is_made_again
        assert sum("pip" in command for command in called) == 2 and jobs.is_set_up("new")


@pytest.mark.parametrize(
    "there, installed, problem",
    [
        (True, "ok", ""),  # Debian's python3-torch, seen through --system-site-packages
        (False, "ok", ""),
        (False, "no Internet", "no Internet"),
        (False, "SIGILL", "trying PyTorch failed: this build of PyTorch needs a newer Armv8"),
    ],
)
def test_pytorch_comes_from_the_system_or_from_its_list(
    pi_folder, monkeypatch, there, installed, problem
):
    called = []

    def call(what, *command):
        called.append(command)
        if "--clear" in command:
            jobs.PYTHON.parent.mkdir(parents=True)
            jobs.PYTHON.write_text(f"#!/bin/sh\n{'true' if there else 'exit 1'}\n")
            jobs.PYTHON.chmod(0o755)  # as `python -m workbook.packages torch`
        if "requirements-pi-torch.txt" in command:
            assert jobs.is_set_up("new"), "the rest can be used, however this ends"
            if installed == "no Internet":
                raise jobs.Problem("no Internet")
        if "workbook.packages" in command and installed == "SIGILL":
            raise jobs.Problem(problem)

    monkeypatch.setattr(jobs, "_call", call)
    jobs.work({"job": "set_up", "requirements": "new torch"})
    assert jobs.read_state("set_up.result") == {"ok": not problem, "why": problem}
    assert any("requirements-pi-torch.txt" in command for command in called) == (not there)
    assert jobs.is_set_up("new") and jobs.is_set_up("new torch") == (not problem)
    assert not jobs.is_set_up("newer") and not jobs.is_set_up("newer torch")


@pytest.mark.parametrize(
    "ready, requirements, gigabytes",
    [("old", "new", 1.3), ("old", "new torch", 2.8), ("new", "new torch", 1.5), ("new", "new", 0)],
)
def test_the_room_for_pytorch_is_asked_for(pi_folder, monkeypatch, ready, requirements, gigabytes):
    for name, text in environment(ready).items():
        (pi_folder / name).parent.mkdir(parents=True, exist_ok=True)
        (pi_folder / name).write_text(text)
    request = {"files": {"a.onnx": ["0", 0]}, "requirements": requirements}
    monkeypatch.setattr(jobs, "free_bytes", lambda: round(gigabytes * 1e9))
    files.plan(request)
    if gigabytes:
        monkeypatch.setattr(jobs, "free_bytes", lambda: round(gigabytes * 1e9) - 1)
        with pytest.raises(jobs.Problem, match=f"{gigabytes * 1000 + 1:,.0f} MB are needed"):
            files.plan(request)


def test_an_installation_that_failed_is_not_used(pi_folder, monkeypatch):
    def call(what, *command):
        if "pip" in command:
            raise jobs.Problem("no Internet")

    monkeypatch.setattr(jobs, "_call", call)
    for name, text in environment("old").items():
        (pi_folder / name).parent.mkdir(parents=True, exist_ok=True)
        (pi_folder / name).write_text(text)
    jobs.work({"job": "set_up", "requirements": "new"})
    assert jobs.read_state("set_up.result") == {"ok": False, "why": "no Internet"}
    assert not jobs.is_set_up("new") and not jobs.is_set_up("old")


def test_modules_of_an_earlier_version_go_and_nothing_else(pi_folder):
    """A package that is a module now would hide it. What was changed there stays."""
    old = ("helpers/runtimes/__init__.py", "helpers/mine.py", "notebooks/09_gone.ipynb", "a.onnx")
    sent = {}
    for name in old:
        path = pi_folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("as it was sent")
        sent[name] = [jobs.digest(path)]
    (pi_folder / "helpers/mine.py").write_text("changed on the Pi")
    jobs.write_state("sent.json", sent)
    files.plan({"files": {}, "requirements": ""})
    left = [name for name in old if (pi_folder / name).exists()]
    assert left == list(old[1:])


@pytest.mark.parametrize("damage", ["", "{", '{"send', "\0" * 20])
def test_a_state_file_that_was_cut_off_counts_as_missing(pi_folder, damage):
    jobs.write_state("run.json", {"since": 1})
    assert jobs.read_state("run.json") == {"since": 1}
    (jobs.STATE / "run.json").write_text(damage)
    assert jobs.read_state("run.json") == {}


def test_what_runs_on_the_pi_is_read_by_an_old_python():
    for module in (jobs, files, evaluations, answers):
        ast.parse(Path(module.__file__).read_text(), feature_version=(3, 7))
