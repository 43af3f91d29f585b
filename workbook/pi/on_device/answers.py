"""Answers the laptop's requests. Standard library only, in the syntax of Python 3.7.

The laptop sends this file, `files` and `jobs` as text to the Pi's own python3, then one request per
line, as JSON. Each answer is one line, RESULT and JSON; {"problem": sentence} if the Pi cannot do
it. Lines before it are for the user.
"""

import errno
import json
import os
import secrets
import select
import signal
import subprocess
import sys
import time

from workbook.pi.on_device import evaluations, files, jobs, live
from workbook.pi.on_device.jobs import FOLDER, PYTHON, STATE, Problem, read_state, write_state

RESULT = "\x1e"  # starts every answer, and is no part of any text


def check(request):
    """Whether the workbook can run here: {"folder", "system", "running": that notebook or None}."""
    if sys.maxsize < 2**32:
        raise Problem(
            "its system is 32-bit, and no runtime supports that: install the 64-bit Raspberry Pi "
            "OS (Raspberry Pi Imager offers it)"
        )
    version = ".".join(map(str, sys.version_info[:2]))
    if not (3, 11) <= sys.version_info[:2] < (3, 14):
        raise Problem(
            f"its Python is {version} and the workbook needs 3.11 to 3.13: install "
            "Raspberry Pi OS bookworm or trixie"
        )
    try:
        import ensurepip  # noqa: F401  Debian keeps it apart from Python
        import venv  # noqa: F401
    except ImportError:
        raise Problem(
            "its Python cannot make environments: run `sudo apt install python3-venv` there"
        ) from None
    running = None
    if jobs.is_running("run"):
        running = read_state("run.json").get("notebook")
    elif jobs.is_running("evaluate"):
        running = "workbook evaluate"
    system = f"Python {version}, {os.uname().machine}"
    return {"folder": str(FOLDER), "system": system, "running": running}


def set_up(request):
    """Start the job that installs the `requirements`, if needed: {"job": its name or None}."""
    if jobs.is_set_up(request["requirements"]):
        return {"job": None}
    if not jobs.is_running("set_up"):
        job = json.dumps({"job": "set_up", **request})
        jobs.launch("set_up", [sys.executable, str(FOLDER / "workbook/pi/on_device/jobs.py"), job])
    return {"job": "set_up"}


def run(request):
    """Start `notebook` with `parameters`, unless it is running or has just finished: {"state"}."""
    job = read_state("run.json")
    is_same = all(job.get(part) == request[part] for part in ("notebook", "parameters"))
    if jobs.is_running("run"):
        if not is_same:
            raise Problem(
                f"it is running {job['notebook']} {job['parameters'] or ''}: wait, or stop it "
                "with `workbook pi stop`"
            )
        return {"state": "running"}
    if is_same and read_state("run.result").get("ok"):  # it finished while no one was connected
        return {"state": "finished"}
    if jobs.is_running("evaluate"):
        raise Problem("it is evaluating model files: wait, or stop it with `workbook pi stop`")
    # a run that broke continues from what it has measured
    since = job["since"] if is_same else time.time()
    job = {**request, "since": since}
    write_state("run.json", job)
    command = [str(PYTHON), "-m", "workbook.pi.on_device.jobs", json.dumps({"job": "run", **job})]
    jobs.launch("run", command)
    return {"state": "started"}


def follow(request):
    """Print the job's log as it grows, until it ends: {"ok": bool, "why": sentence}."""
    with open(STATE / f"{request['job']}.log", errors="replace") as log:
        while True:
            # asked before reading, so that the last lines are not missed
            is_running = jobs.is_running(request["job"])
            print(log.read(), end="", flush=True)
            if not is_running:
                break
            # once a second: a measurement may be running here. The input ends with the connection.
            if select.select([sys.stdin], [], [], 1)[0]:
                sys.exit("the connection was lost")
    result = read_state(f"{request['job']}.result") or {
        "ok": False,
        "why": "it stopped before it was finished: was the Pi restarted, or out of memory?",
    }
    free = jobs.free_bytes()
    if not result["ok"] and read_state("stopped"):
        result["why"] = "it was stopped by `workbook pi stop`"
    elif not result["ok"] and free < 2_000_000:
        result["why"] = (
            f"its disk is full ({free // 1000:,} kB are free): make room there and run this again"
        )
    return result


def jupyter(request):
    """Start JupyterLab for this machine alone, unless it is running: {"port", "token"}."""
    if not jobs.is_running("jupyter"):
        _launch_jupyter()
    for _ in range(600):
        for path in (STATE / "runtime").glob("jpserver-*.json"):
            server = read_state(path)
            if server:
                return {"port": server["port"], "token": server["token"]}
        if not jobs.is_running("jupyter"):
            break
        time.sleep(0.2)
    raise Problem(f"JupyterLab did not start: {jobs.last_line('jupyter')}")


def _launch_jupyter():
    jobs.make_state()
    for old in (STATE / "runtime").glob("jpserver-*"):
        old.unlink()
    for name in ("labconfig", "config"):
        (STATE / name).mkdir(exist_ok=True)
    # no news from the Internet
    news = {"fetchNews": "false", "checkForUpdates": False}
    write_state(
        "labconfig/default_setting_overrides.json",
        {"@jupyterlab/apputils-extension:notification": news},
    )
    # In a file, since every user of the machine can read a command line. This file has the highest
    # priority, and the owner's own settings are not read.
    server = {
        "ip": "127.0.0.1",
        "base_url": "/",
        "certfile": "",
        "keyfile": "",
        "client_ca": "",
        "root_dir": str(FOLDER / "notebooks"),
        "open_browser": False,
        "allow_root": os.geteuid() == 0,
        "identity_provider_class": "jupyter_server.auth.identity.PasswordIdentityProvider",
    }
    identity = {"token": secrets.token_hex(24), "hashed_password": ""}
    write_state(
        "jupyter_server_config.json", {"ServerApp": server, "PasswordIdentityProvider": identity}
    )
    jobs.launch(
        "jupyter",
        [str(PYTHON), "-m", "jupyterlab"],
        JUPYTER_CONFIG_PATH=str(STATE),
        JUPYTER_CONFIG_DIR=str(STATE / "config"),
    )


def done(request):
    """Forget the finished run, or another `job`, since the laptop has its results."""
    job = request.get("job", "run")
    jobs.delete_state(f"{job}.json", f"{job}.result")
    return {}


def status(request):
    """{"jobs": names of the running jobs, "free_mb", "last": the last line of each one's log}."""
    running = sorted(set(jobs.processes().values()))
    last = {job: jobs.last_line(job) for job in running}
    return {"jobs": running, "free_mb": jobs.free_bytes() // 10**6, "last": last}


def doctor(request):
    """Print what `workbook doctor` reports here: {"failed": sentence or ""}."""
    if not PYTHON.exists():
        raise Problem("the workbook is not set up there yet: run `workbook pi start` first")
    ended = subprocess.run(
        [str(PYTHON), "-m", "workbook", "doctor"],
        cwd=FOLDER,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.STDOUT,
    )
    return {"failed": "see the list above" if ended.returncode else ""}


def stop(request):
    """End every process of the workbook: {"stopped": how many there were}."""
    before = jobs.processes()
    if before:
        write_state("stopped", True)
    for wait, number in ((8, signal.SIGTERM), (5, signal.SIGKILL), (5, signal.SIGKILL)):
        for pid in jobs.processes():
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue
        deadline = time.monotonic() + wait
        while jobs.processes() and time.monotonic() < deadline:
            time.sleep(0.1)
    left = jobs.processes()
    if left:
        raise Problem(f"{len(left)} processes cannot be stopped: restart the Pi")
    return {"stopped": len(before)}


COMMANDS = {
    command.__name__: command
    for command in (
        check,
        files.plan,
        files.receive,
        files.send,
        files.found,
        set_up,
        run,
        evaluations.evaluate,
        follow,
        done,
        jupyter,
        live.live,
        live.live_beat,
        live.live_end,
        status,
        doctor,
        stop,
    )
}
DISK_PROBLEMS = {
    errno.ENOSPC: "its disk is full: make room there and run this again",
    errno.EDQUOT: "its disk is full (a quota): make room there and run this again",
    errno.EROFS: "its card has become read-only, as a failing card often does: restart the Pi, "
    "and replace the card if that does not help",
}


def serve():
    """Answer the requests on standard input, one after the other, until it is closed."""
    os.umask(0o077)  # logs and the token are for the owner alone
    sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")
    print(RESULT, flush=True)
    for line in iter(sys.stdin.buffer.readline, b""):
        request = json.loads(line)
        try:
            answer = COMMANDS[request.pop("command")](request)
        except Problem as problem:
            answer = {"problem": str(problem)}
        except OSError as error:
            answer = {"problem": DISK_PROBLEMS.get(error.errno, str(error))}
        print(RESULT + json.dumps(answer), flush=True)
