"""The jobs of the workbook on a Pi, their state, and the set-up. Standard library only.

A job is a process of its own that outlives the connection. It has a log, and a result once it has
finished. Every process of the workbook carries a mark in its environment, so `stop` finds all of
them and no others.

The syntax is that of Python 3.7, so that an old Pi can report that its Python is too old.
"""

import hashlib
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import time
from pathlib import Path

FOLDER = Path.home() / "workbook"
STATE = FOLDER / ".pi"  # readable by its owner alone: it holds logs and the token
VENV = FOLDER / ".venv"
PYTHON = VENV / "bin" / "python"
READY = VENV / "ready"  # the requirements that are completely installed: a hash, perhaps TORCH
TORCH = "torch"
# variables in the environment of every process of the workbook
MARK = "WORKBOOK_ON_THE_PI"  # the mark of this installation
JOB = "WORKBOOK_JOB"  # the name of the job


class Problem(Exception):
    """One sentence: what is wrong and what to do."""


def read_state(name):
    """What write_state stored under `name`; {} if it is missing or incomplete."""
    try:
        return json.loads((STATE / name).read_text())
    except (OSError, ValueError):
        return {}


def write_state(name, content):
    part = STATE / f"{name}.part"
    with open(part, "w") as file:
        json.dump(content, file)
        flush(file)
    os.replace(part, STATE / name)


def delete_state(*names):
    for name in names:
        if (STATE / name).exists():
            (STATE / name).unlink()


def flush(file):
    """Write to the card what is still in memory only, so that a power cut cannot lose it."""
    file.flush()
    os.fsync(file.fileno())


def make_state():
    STATE.mkdir(parents=True, exist_ok=True)
    STATE.chmod(0o700)
    for name in ("runtime", "incoming"):
        (STATE / name).mkdir(exist_ok=True)
    if not read_state("mark"):
        write_state("mark", secrets.token_hex(8))


def free_bytes():
    return shutil.disk_usage(FOLDER if FOLDER.exists() else Path.home()).free


def digest(path):
    """The SHA-256 of a file; None if it is missing."""
    if not path.exists():
        return None
    return hashlib.sha256(path.read_bytes()).hexdigest()


def last_line(job):
    path = STATE / f"{job}.log"
    text = path.read_text(errors="replace") if path.exists() else ""
    return (text.strip().splitlines() or ["no output"])[-1]


def launch(job, command, with_pipes=False, **variables):
    """Start `command` as a job that outlives this connection; one job of a name at a time.

    Its log gets its output. `with_pipes`, the caller writes its input, and reads its output.
    """
    make_state()
    delete_state(f"{job}.result", "stopped")
    # the owner's own Jupyter variables could set another token, port or configuration
    own = {name: value for name, value in os.environ.items() if not name.startswith("JUPYTER")}
    own.update(variables)
    own.update(
        {
            MARK: read_state("mark"),
            JOB: job,
            "OMP_NUM_THREADS": "1",
            "JUPYTER_RUNTIME_DIR": str(STATE / "runtime"),
            "PYTHONUNBUFFERED": "1",
        }
    )
    if (FOLDER / "build/idx").exists():
        own["WORKBOOK_DATA"] = str(FOLDER / "build/idx")
    pipes = {"stdin": subprocess.DEVNULL}
    if with_pipes:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "bufsize": 0}
    with open(STATE / f"{job}.log", "w") as log:
        process = subprocess.Popen(
            command,
            cwd=FOLDER,
            env=own,
            stderr=log,
            start_new_session=True,
            **dict({"stdout": log}, **pipes),
        )
    # for a moment after its start, a process seems to have no environment
    while process.poll() is None and _job_of(process.pid) != job:
        time.sleep(0.01)
    write_state(f"{job}.pid", process.pid)
    return process


def processes():
    """{process id: job} of all processes that carry the mark of this workbook."""
    pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    jobs = {pid: _job_of(pid) for pid in pids}
    return {pid: job for pid, job in jobs.items() if job}


def is_running(job):
    pid = read_state(f"{job}.pid")
    for _ in range(5):
        if _job_of(pid) == job:
            return True
        time.sleep(0.01)  # it may be a script that becomes another program at this moment
    return False


def _job_of(pid):
    """The job that process `pid` belongs to; None if it is not one of the workbook's."""
    try:
        text = Path(f"/proc/{pid}/environ").read_text(errors="replace")
    except OSError:  # it has ended, or belongs to another user
        return None
    variables = dict(entry.split("=", 1) for entry in text.split("\0") if "=" in entry)
    if variables.get(MARK, "") != read_state("mark"):
        return None
    return variables.get(JOB)


def is_set_up(requirements):
    """Whether these requirements, or more, are completely installed for this Python."""
    try:
        return set(requirements.split()) <= set(READY.read_text().split()) and _is_whole()
    except OSError:
        return False


def _is_whole():
    """Whether the environment was completed, for the Python that the system has now."""
    if not (READY.exists() and PYTHON.exists()):
        return False
    settings = VENV / "pyvenv.cfg"
    text = settings.read_text() if settings.exists() else ""
    versions = re.findall(r"^version = (\d+)\.(\d+)", text, re.MULTILINE)
    return all((int(major), int(minor)) == sys.version_info[:2] for major, minor in versions)


def work(request):
    """The body of a job. Its result is written when it has finished."""
    try:
        JOBS[request["job"]](request)
        result = {"ok": True, "why": ""}
    except Exception as error:  # any error is part of the result, which the laptop reads
        result = {"ok": False, "why": str(error) or type(error).__name__}
    try:
        write_state(f"{request['job']}.result", result)
    except OSError as error:  # the disk is full, and the laptop checks that itself
        sys.exit(f"the result cannot be stored: {error}")


def _set_up(request):
    was_whole = _is_whole()
    if READY.exists():
        READY.unlink()  # from here on it is incomplete: a power cut must not leave it looking whole
    if not was_whole:
        what = "making the environment (.venv)"
        _call(what, sys.executable, "-m", "venv", "--clear", "--system-site-packages", str(VENV))
    pip = [str(PYTHON), "-m", "pip", "install", "--quiet", "--no-input", "--no-compile"]
    pip.append("--disable-pip-version-check")
    what = "installing the packages of requirements-pi.txt (some minutes on a Pi)"
    _call(what, *pip, "-r", "requirements-pi.txt")
    _call("installing the workbook", *pip, "--no-deps", "-e", ".")
    hashed, *more = request["requirements"].split()
    _write_ready(hashed)
    if TORCH in more:
        _set_up_torch(pip)
        _write_ready(request["requirements"])


def _write_ready(requirements):
    os.sync()  # the packages are on the card before they are called complete
    with open(READY, "w") as file:
        file.write(requirements)
        flush(file)


def _set_up_torch(pip):
    """Install PyTorch and ExecuTorch, unless PyTorch works: Debian's python3-torch is visible."""
    trial = [str(PYTHON), "-m", "workbook.packages", "torch"]
    if subprocess.run(trial, cwd=FOLDER, stdout=subprocess.DEVNULL).returncode == 0:
        print("PyTorch is there already and can be used", flush=True)
        return
    what = "installing the packages of requirements-pi-torch.txt (some minutes on a Pi)"
    _call(what, *pip, "-r", "requirements-pi-torch.txt")
    _call("trying PyTorch", *trial, "executorch")


def _call(what, *command):
    print(what, flush=True)
    ended = subprocess.run(
        command,
        cwd=FOLDER,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    if ended.returncode:
        print(ended.stdout, flush=True)
        lines = ended.stdout.splitlines()
        errors = [line for line in lines if "ERROR" in line] or lines[-1:] or ["no output"]
        raise Problem(f"{what} failed: {errors[-1].strip()}")


def _run_notebook(request):
    from workbook.pi.on_device import notebooks

    notebooks.run(request)


def _evaluate(request):
    from workbook.evaluate import on_host

    on_host.work(FOLDER / request["folder"])


JOBS = {"set_up": _set_up, "run": _run_notebook, "evaluate": _evaluate}

if __name__ == "__main__":
    os.umask(0o077)  # logs and results are for the owner alone
    work(json.loads(sys.argv[1]))
