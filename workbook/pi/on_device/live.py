"""`workbook live HOST` on the Pi: a process that ends with the connection.

Standard library only, in the syntax of Python 3.7. The process gets a line every few seconds, a
beat, as long as the laptop asks. It ends without them, so an unplugged laptop leaves no camera on.
"""

import json
import select
import subprocess
import sys

from workbook.pi.on_device import jobs
from workbook.pi.on_device.jobs import PYTHON, Problem, read_state

ADDRESS = "\x1e"  # starts the line with the port and the token
BEAT_S = 2
SILENCE_S = 20
END_S = 15
_started: list = []  # the process of this connection


def live(request):
    """Start `workbook live` with the options `words`: {"port", "token"}."""
    for job in ("run", "evaluate", "live"):
        if jobs.is_running(job):
            name = f"workbook {job}"
            if job == "run":
                name = read_state("run.json").get("notebook")
            raise Problem(
                f"{name} is running there, and a live picture would disturb it: wait, or stop it "
                "with `workbook pi stop`"
            )
    command = [str(PYTHON), "-m", "workbook", "live", "--connected"] + request["words"]
    process = jobs.launch("live", command, with_pipes=True)
    _started.append(process)
    while True:
        ready = select.select([process.stdout, sys.stdin], [], [], 1)[0]
        if sys.stdin in ready:
            sys.exit("the connection was lost")
        if process.stdout in ready:
            line = process.stdout.readline().decode(errors="replace")
            if line.startswith(ADDRESS):
                return json.loads(line[len(ADDRESS) :])
            if not line:
                raise Problem(_why_ended(process))
            print(line, end="", flush=True)
        _beat(process)


def live_beat(request):
    """The laptop is there: {"problem_there": why the process has ended, or ""}."""
    process = _started[-1]
    _beat(process)
    if process.poll() is None:
        return {"problem_there": ""}
    return {"problem_there": _why_ended(process)}


def live_end(request):
    """End the process, and wait until it is gone."""
    process = _started[-1]
    process.stdin.close()
    try:
        process.wait(END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    return {}


def _beat(process):
    try:
        process.stdin.write(b"\n")
    except OSError:  # it has ended: who asks next is answered why
        return


def _why_ended(process):
    process.wait()
    if read_state("stopped"):
        return "it was stopped by `workbook pi stop`"
    return jobs.last_line("live")
