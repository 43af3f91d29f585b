"""The peak memory of code or of a process."""

import json
import os
import re
import sys
from pathlib import Path

from helpers.device._files import read
from modelfiles.programs import run_program

# Runs in the fresh process of peak_rss, which imports nothing else. Output of the code goes to
# standard error.
_MARKING_PROCESS = """
import json, os, sys
answer = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
marks = {}
request = json.load(sys.stdin)
def mark(name):
    with open("/proc/self/status") as status:
        peak = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
    # the kernel counts in batches, so its peak may fall by a few pages
    marks[name] = max([peak, *marks.values()])
names = {"__name__": "__main__", "mark": mark, **request["names"]}
code = compile(request["code"], "<code>", "exec")
mark("start")
exec(code, names)
mark("end")
json.dump(marks, answer)
"""


def peak_rss(code: str, **names: object) -> dict[str, int]:
    """The peak memory in bytes of Python `code`, run in a fresh process, at each mark("...") in it.

    The result is {"start": ..., the code's own marks, "end": ...}. "start" is Python alone; later
    marks are never smaller. {} if the system has no /proc (macOS, Windows). The code gets `names`
    as variables: numbers, strings, lists; a path becomes a string. If the code fails, ProgramFailed
    has the last line of its error output.

    The values are VmHWM in /proc/self/status. ru_maxrss of resource.getrusage would be wrong here:
    it includes the process that started this one, so the child of a large notebook would seem large
    from the start.
    """
    if peak_rss_of_this_process() is None:
        return {}
    question = json.dumps({"code": code, "names": names}, default=os.fspath)
    command = [sys.executable, "-c", _MARKING_PROCESS]
    marks = run_program(command, "the measuring process", question=question)
    if not marks:
        raise RuntimeError("the code ended its process early, with exit status 0")
    return json.loads(marks)


def peak_rss_of_this_process() -> int | None:
    """The peak memory of this process so far in bytes (VmHWM); None if there is no /proc."""
    match = re.search(r"^VmHWM:\s+(\d+) kB", read(Path("/proc/self/status")) or "", re.MULTILINE)
    return int(match[1]) * 1024 if match else None
