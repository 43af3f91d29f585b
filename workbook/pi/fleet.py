"""The actions of `workbook pi` on all hosts at once. A host that fails stops no other.

A connection that breaks loses nothing that was measured: the same command reattaches.
"""

import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from workbook.pi.connection import Pi
from workbook.pi.fetch import fetch_from
from workbook.pi.openssh import PiError
from workbook.pi.setup import ON_THE_PI, follow, prepare

Say = Callable[[str], None]


def run(
    hosts: Sequence[str], notebook: str, parameters: dict | None = None, say: Say = print
) -> dict[str, Exception]:
    """Run `notebook` on all `hosts` at once and bring the results back.

    A run that is still going is followed, one that has finished is fetched. One that broke is
    started again, and measures only what is missing if the notebook has the parameter
    `reuse_hours`. Returns the hosts that failed, with the reason.
    """
    name = Path(notebook).stem
    if name not in ON_THE_PI:
        raise PiError(f"{name} does not run on a Pi; these do: {', '.join(ON_THE_PI)}")
    return on_all(hosts, lambda pi, say: _run(pi, name, parameters or {}, say), say)


def _run(pi: Pi, name: str, parameters: dict, say: Say) -> None:
    prepare(pi, say)
    state = pi.ask("run", notebook=name, parameters=parameters)["state"]
    reports = {
        "started": f"running {name}",
        "running": f"{name} is still running: following it",
        "finished": f"{name} finished in the meantime",
    }
    say(reports[state])
    try:
        follow(pi, "run", say)
    except PiError:
        if pi.is_connected:  # the notebook failed: keep what it measured until then
            fetch_from(pi, say)
        raise
    fetch_from(pi, say)
    pi.ask("done")


def fetch(hosts: Sequence[str], say: Say = print) -> dict[str, Exception]:
    """Bring the records and the notebooks back; return the hosts that failed, with the reason."""

    def fetch_one(pi: Pi, say: Say) -> None:
        pi.folder = pi.ask("check")["folder"]
        fetch_from(pi, say)

    return on_all(hosts, fetch_one, say)


def stop(hosts: Sequence[str], say: Say = print) -> dict[str, Exception]:
    """End all workbook processes on `hosts`; return the hosts that failed, with the reason."""

    def stop_one(pi: Pi, say: Say) -> None:
        say(f"{pi.ask('stop')['stopped']} processes ended")

    return on_all(hosts, stop_one, say)


def status(hosts: Sequence[str], say: Say = print) -> dict[str, Exception]:
    """Print what is running on `hosts`, and the last line of each job's log.

    Returns the hosts that failed, with the reason.
    """

    def show_one(pi: Pi, say: Say) -> None:
        state = pi.ask("status")
        jobs = ", ".join(state["jobs"])
        running = f"{jobs} running" if jobs else "nothing from this workbook is running"
        say(f"{running}, {state['free_mb']:,} MB free")
        for job, line in state["last"].items():
            say(f"{job}: {line}")

    return on_all(hosts, show_one, say)


def doctor(hosts: Sequence[str], say: Say = print) -> dict[str, Exception]:
    """Check `hosts` with the doctor that is installed there.

    Returns the hosts where something is wrong, with the reason.
    """

    def check_one(pi: Pi, say: Say) -> None:
        pi.ask("check")
        problems = pi.ask("doctor", say)["failed"]
        if problems:
            raise PiError(f"{pi.host}: {problems}")

    return on_all(hosts, check_one, say)


def on_all(
    hosts: Sequence[str], action: Callable[[Pi, Say], object], say: Say
) -> dict[str, Exception]:
    """Call action(pi, say) for all `hosts` at once, each over a connection of its own.

    Ctrl-C closes the connections. Returns the hosts that failed, with the reason.
    """
    failed: dict[str, Exception] = {}
    is_interrupted = threading.Event()

    def call_one(host: str) -> None:
        prefix = f"{host}: " if len(hosts) > 1 else ""
        try:
            with Pi(host) as pi:
                action(pi, lambda text: say(prefix + text))
        except Exception as error:  # any error: the other Pis continue
            failed[host] = error
            text = str(error)
            if not isinstance(error, PiError):
                text = f"{host}: {type(error).__name__}: {error}"
            if not is_interrupted.is_set():
                print(text, file=sys.stderr, flush=True)

    threads = [
        threading.Thread(target=call_one, args=(host,), daemon=True)
        for host in dict.fromkeys(hosts)
    ]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            thread.join()
    except KeyboardInterrupt:
        is_interrupted.set()
        raise
    return failed
