"""What `python -m helpers pi` runs on the Pi; standard library only, since the Pi has nothing else yet.

The laptop sends this file's text to `python3 -` with a command and its request in JSON; the answer is one line of JSON,
{"problem": sentence} where something is in the way. Set-up and notebooks run as jobs: processes of their own that
outlive the connection, with a log, and a result that is there only if the job came to its end. Each process carries
the mark of this workbook in its environment, so that `stop` finds all of them and nothing else.
"""

from __future__ import annotations  # an older Python must get as far as the sentence that says it is too old

import errno
import hashlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

FOLDER = Path.home() / "workbook"
STATE = FOLDER / ".pi"                       # readable by its owner alone: logs and the token lie here
PYTHON = FOLDER / ".venv" / "bin" / "python"
MARK, JOB = "WORKBOOK_ON_THE_PI", "WORKBOOK_JOB"
ENVIRONMENT_BYTES = 1_300_000_000            # 700 MB of packages, their downloads, and some room
RESULT = "\x1e"                              # begins the last line of follow


class Problem(Exception):
    """One sentence: what is in the way and what to do."""


def check(request):
    """Whether the workbook can run here at all; {"folder", "system", "running": the notebook that is running, or None}."""
    if sys.maxsize < 2**32:
        raise Problem("it has a 32-bit system, for which there are no runtimes: install the 64-bit Raspberry Pi OS "
                      "(Raspberry Pi Imager offers it)")
    version = ".".join(map(str, sys.version_info[:2]))
    if not (3, 11) <= sys.version_info[:2] < (3, 14):
        raise Problem(f"its Python is {version} and the workbook needs 3.11 to 3.13: install Raspberry Pi OS bookworm or trixie")
    try:
        import ensurepip  # noqa: F401  Debian keeps it apart from Python
        import venv  # noqa: F401
    except ImportError:
        raise Problem("its Python cannot make environments: run `sudo apt install python3-venv` there") from None
    return {"folder": str(FOLDER), "system": f"Python {version}, {os.uname().machine}", "running": _read("run.json").get("notebook")
            if _alive("run") else None}


def plan(request):
    """Which of `files` {path: [sha256, bytes]} must be sent: {"send": paths, "kept": notebooks that were changed here}."""
    _make_state()
    sent, send, kept = _read("sent.json"), [], []
    for path, (digest, _) in request["files"].items():
        here = _digest(FOLDER / path)
        if here == digest:
            continue
        changed = path.endswith(".ipynb") and here is not None and here not in sent.get(path, [])
        (kept if changed else send).append(path)
    room = sum(request["files"][path][1] for path in send) + (0 if _is_set_up(request["requirements"]) else ENVIRONMENT_BYTES)
    if send and _free() < room:
        raise Problem(f"its disk is too full: {_free() // 10**6:,} MB are free and {room // 10**6 + 1:,} MB are needed; make room there")
    for path in send:
        (FOLDER / path).parent.mkdir(parents=True, exist_ok=True)
    _write("sent.json", {**sent, **{path: sorted({*sent.get(path, []), request["files"][path][0]})
                                    for path in request["files"] if path not in kept}})
    return {"send": send, "kept": kept}


def set_up(request):
    """Start the job that installs requirements-pi.txt, unless these very `requirements` are installed: {"job"}."""
    if _is_set_up(request["requirements"]):
        return {"job": None}
    if not _alive("set_up"):
        _launch("set_up", [sys.executable, str(FOLDER / "helpers/pi_host.py"), "work", json.dumps({"job": "set_up", **request})])
    return {"job": "set_up"}


def run(request):
    """Start `notebook` with `parameters`, or find it running or just finished: {"state": "started", "running" or "finished"}."""
    job = _read("run.json")
    same = all(job.get(part) == request[part] for part in ("notebook", "parameters"))
    if _alive("run"):
        if not same:
            raise Problem(f"it is running {job['notebook']} {job['parameters'] or ''}: wait, or end it with `python -m helpers pi stop`")
        return {"state": "running"}
    if same and _read("run.result").get("ok"):  # it came to its end while nobody was connected
        return {"state": "finished"}
    since = job["since"] if same else time.time()  # a run that broke goes on from what it has measured
    _write("run.json", {**request, "since": since})
    _launch("run", [str(PYTHON), "-m", "helpers.pi_host", "work", json.dumps({"job": "run", **request, "since": since})])
    return {"state": "started"}


def follow(request):
    """Print the job's log as it grows, and at its end a line of RESULT and JSON: {"ok": bool, "why": sentence}."""
    with open(STATE / f"{request['job']}.log", errors="replace") as log:
        while True:
            going = _alive(request["job"])  # asked before reading, so that nothing after the last piece is missed
            print(log.read(), end="", flush=True)
            if not going:
                break
            time.sleep(1)  # rarely: somebody is measuring here
    result = _read(f"{request['job']}.result") or {
        "ok": False, "why": "it ended before it was done: was the Pi restarted, or short of memory?"}
    if not result["ok"] and _read("stopped"):
        result["why"] = "it was ended by `python -m helpers pi stop`"
    elif not result["ok"] and _free() < 2_000_000:
        result["why"] = f"its disk is full ({_free() // 1000:,} kB are free): make room there and run this again"
    print(RESULT + json.dumps(result), flush=True)


def jupyter(request):
    """Start JupyterLab for this machine alone, or find it running: {"port", "token"}."""
    if not _alive("jupyter"):
        _make_state()
        for old in (STATE / "runtime").glob("jpserver-*"):
            old.unlink()
        (STATE / "token").write_text(secrets.token_hex(24))
        (STATE / "labconfig").mkdir(exist_ok=True)  # it asks nobody elsewhere for news
        _write("labconfig/default_setting_overrides.json",
               {"@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False}})
        options = ["--no-browser", "--ServerApp.ip=127.0.0.1", f"--ServerApp.root_dir={FOLDER / 'notebooks'}"]
        options += ["--allow-root"] * (os.geteuid() == 0)
        # the token comes from a file: everybody on the machine can read a command line
        _launch("jupyter", [str(PYTHON), "-m", "jupyterlab", *options], JUPYTER_TOKEN_FILE=str(STATE / "token"),
                JUPYTER_CONFIG_PATH=str(STATE))
    for _ in range(600):
        for path in (STATE / "runtime").glob("jpserver-*.json"):
            if server := _read(path):
                return {"port": server["port"], "token": server["token"]}
        if not _alive("jupyter"):
            break
        time.sleep(0.2)
    raise Problem(f"JupyterLab did not start: {_last_line('jupyter')}")


def found(request):
    """What there is to bring back, as paths in the folder: {"records", "notebooks"}: those run by us, those changed by hand."""
    sent = _read("sent.json")
    changed = [path for path in (FOLDER / "notebooks").glob("*.ipynb") if _digest(path) not in sent.get(f"notebooks/{path.name}", [])]
    return {"records": _relative((FOLDER / "build/results").glob("*.jsonl")),
            "notebooks": _relative([*(STATE / "executed").glob("*.ipynb"), *changed])}


def done(request):
    """The laptop has the results of the run: the next one is a new one."""
    for name in ("run.json", "run.result"):
        (STATE / name).unlink(missing_ok=True)
    return {}


def status(request):
    """{"jobs": names of the jobs that are running, "free_mb", "last": the last line of each one's log}."""
    jobs = sorted(set(_processes().values()))
    return {"jobs": jobs, "free_mb": _free() // 10**6, "last": {job: _last_line(job) for job in jobs}}


def doctor(request):
    """Print what `python -m helpers doctor` says here: {"failed": sentence or ""}."""
    if not PYTHON.exists():
        raise Problem("the workbook is not set up there yet: `python -m helpers pi start` does it")
    ended = subprocess.run([str(PYTHON), "-m", "helpers", "doctor"], cwd=FOLDER, stderr=subprocess.STDOUT)
    return {"failed": "see the list above" if ended.returncode else ""}


def stop(request):
    """End every process of ours: {"stopped": how many there were}."""
    before = _processes()
    if before:
        _write("stopped", True)
    for wait, number in ((8, signal.SIGTERM), (5, signal.SIGKILL), (5, signal.SIGKILL)):
        for pid in _processes():
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue
        deadline = time.monotonic() + wait
        while _processes() and time.monotonic() < deadline:
            time.sleep(0.1)
    if left := _processes():
        raise Problem(f"{len(left)} processes do not end: restart it")
    return {"stopped": len(before)}


def work(request):
    """The body of a job: its result is written only when it comes to its end."""
    try:
        JOBS[request["job"]](request)
        result = {"ok": True, "why": ""}
    except Exception as error:  # whatever it was, the laptop must be told
        result = {"ok": False, "why": str(error) or type(error).__name__}
    _write(f"{request['job']}.result", result)


def _install(request):
    if not PYTHON.exists():
        _call("making the environment (.venv)", sys.executable, "-m", "venv", "--system-site-packages", str(FOLDER / ".venv"))
    pip = [str(PYTHON), "-m", "pip", "install", "--quiet", "--no-input", "--no-compile", "--disable-pip-version-check"]
    _call("installing the packages of requirements-pi.txt (some minutes on a Pi)", *pip, "-r", "requirements-pi.txt")
    _call("installing helpers", *pip, "--no-deps", "-e", ".")
    (FOLDER / ".venv/ready").write_text(request["requirements"])


def _call(what, *command):
    print(what, flush=True)
    ended = subprocess.run(command, cwd=FOLDER, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    if ended.returncode:
        print(ended.stdout, flush=True)
        errors = [line for line in ended.stdout.splitlines() if "ERROR" in line] or ended.stdout.splitlines()[-1:] or ["it said nothing"]
        raise Problem(f"{what} failed: {errors[-1].strip()}")


def _execute(request):
    sys.path.insert(0, str(FOLDER / "notebooks"))
    import book
    import nbformat

    name, overrides = request["notebook"], dict(request["parameters"])
    if "reuse_hours" in book.parameters(nbformat.read(book.HERE / f"{name}.ipynb", 4)):  # it can go on from records
        overrides.setdefault("reuse_hours", round((time.time() - request["since"]) / 3600, 4))
    notebook = book.execute(name, overrides, progress=lambda cell, cells: print(f"cell {cell} of {cells}", flush=True))
    target = STATE / "executed" / f"{name}.ipynb"
    target.parent.mkdir(exist_ok=True)
    nbformat.write(notebook, target.with_suffix(".part"))
    os.replace(target.with_suffix(".part"), target)


JOBS = {"set_up": _install, "run": _execute}


def _launch(job, command, **environment):
    """Start `command` as a job that outlives this connection, only one at a time of each name."""
    _make_state()
    for name in (f"{job}.result", "stopped"):
        (STATE / name).unlink(missing_ok=True)
    environment = {**os.environ, **environment, MARK: _read("mark"), JOB: job, "OMP_NUM_THREADS": "1",
                   "JUPYTER_RUNTIME_DIR": str(STATE / "runtime"), "PYTHONUNBUFFERED": "1"}
    if (FOLDER / "build/idx").exists():
        environment["WORKBOOK_DATA"] = str(FOLDER / "build/idx")
    with open(STATE / f"{job}.log", "w") as log:
        process = subprocess.Popen(command, cwd=FOLDER, env=environment, stdin=subprocess.DEVNULL, stdout=log,
                                   stderr=subprocess.STDOUT, start_new_session=True)
    _write(f"{job}.pid", process.pid)


def _processes():
    """{process id: job} of all processes that carry the mark of this workbook."""
    pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    return {pid: job for pid in pids if (job := _job_of(pid)) is not None}


def _job_of(pid):
    """The job that process `pid` belongs to; None where it is none of ours."""
    try:
        variables = dict(v.split("=", 1) for v in Path(f"/proc/{pid}/environ").read_text(errors="replace").split("\0") if "=" in v)
    except OSError:  # it has ended, or belongs to somebody else
        return None
    return variables.get(JOB) if variables.get(MARK, "") == _read("mark") else None


def _alive(job):
    return _job_of(_read(f"{job}.pid")) == job


def _make_state():
    STATE.mkdir(parents=True, exist_ok=True)
    STATE.chmod(0o700)
    (STATE / "runtime").mkdir(exist_ok=True)
    if not _read("mark"):
        _write("mark", secrets.token_hex(8))


def _read(name):
    """What _write stored under `name`; {} where there is nothing or only half of it."""
    try:
        return json.loads((STATE / name).read_text())
    except (OSError, ValueError):
        return {}


def _write(name, content):
    part = STATE / f"{name}.part"
    part.write_text(json.dumps(content))
    os.replace(part, STATE / name)


def _is_set_up(requirements):
    ready = FOLDER / ".venv/ready"
    return ready.exists() and ready.read_text() == requirements


def _digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else None


def _free():
    return shutil.disk_usage(FOLDER if FOLDER.exists() else Path.home()).free


def _last_line(job):
    path = STATE / f"{job}.log"
    lines = path.read_text(errors="replace").strip().splitlines() if path.exists() else []
    return lines[-1] if lines else "it said nothing"


def _relative(paths):
    return sorted(path.relative_to(FOLDER).as_posix() for path in paths)


COMMANDS = {command.__name__: command for command in (check, plan, set_up, run, follow, jupyter, found, done, status, doctor, stop, work)}

if __name__ == "__main__":
    os.umask(0o077)  # logs and the token are for the owner alone
    try:
        answer = COMMANDS[sys.argv[1]](json.loads(sys.argv[2]))
    except Problem as problem:
        answer = {"problem": str(problem)}
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        answer = {"problem": "its disk is full: make room there and run this again" if full else str(error)}
    if answer is not None:
        print(json.dumps(answer))
