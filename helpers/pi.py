"""The workbook on one Pi or on many, through SSH: copy it, run notebooks, bring the results back.

What runs on the Pi itself is pi_host. No server, here or there, can be reached from another
machine. A connection that breaks loses nothing that was measured: the same command continues.
"""

import hashlib
import json
import re
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from helpers import data, model_files, pi_transfer, results
from helpers.paths import PACKAGES, ROOT, folder, show, whole_file
from helpers.ssh import Pi, PiError
from helpers.tunnel import Tunnel

# the notebooks that run without torch
ON_THE_PI = ("00_start_here", "03_measure_latency", "08_benchmark_on_the_pi")
# the files that the environment on the Pi depends on
LISTS = ("requirements-pi.txt", "requirements.txt", "pyproject.toml")
RETRY_S = 5
_merging = threading.Lock()  # two Pis may write to one file: a cloned card has the same machine_id


def bundle() -> dict[str, Path]:
    """What a Pi gets, {path there: file here}.

    The packages, the notebooks for it, requirements, model files and images; nothing that needs
    torch.
    """
    code = [
        path
        for package in (*PACKAGES, "workbook", "cpp")
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    ]
    notebooks = [ROOT / "notebooks" / f"{name}.ipynb" for name in ON_THE_PI]
    present = [path for path in notebooks if path.exists()]
    lists = [ROOT / name for name in LISTS]
    paths = [*code, *present, *lists]
    files = {path.relative_to(ROOT).as_posix(): path for path in paths}
    files |= {f"build/models/{path.name}": path for path in model_files.deployable_files()}
    return files | data.local_mnist_files()


def prepare(pi: Pi, say: Callable[[str], None] = print) -> None:
    """Check the Pi, copy what has changed, and set up the environment.

    While the Pi runs a notebook, nothing is copied or set up.
    """
    facts = pi.ask("check")
    pi.folder = facts["folder"]
    if facts["running"]:
        say(f"{facts['running']} is being run there: nothing is copied now")
        return
    files = bundle()
    if not any(path.startswith("build/models/") for path in files):
        say(
            "there are no model files here to copy, and most notebooks need some: "
            "`make pi` makes them first"
        )
    pi_transfer.update(pi, files, _requirements(), say)
    job = pi.ask("set_up", requirements=_requirements())["job"]
    if job:
        say(f"setting up {facts['system']} (once)")
        _follow(pi, job, say)


def _requirements() -> str:
    """The content of LISTS as one hash."""
    return hashlib.sha256(b"".join((ROOT / name).read_bytes() for name in LISTS)).hexdigest()


def _follow(pi: Pi, job: str, say: Callable[[str], None]) -> None:
    result = pi.ask("follow", say, job=job)
    if not result["ok"]:
        raise PiError(f"{pi.host}: {result['why']}")


def start(host: str, say: Callable[[str], None] = print) -> None:
    """Prepare the Pi, start JupyterLab there, and keep a tunnel to it open until Ctrl-C.

    The address here is printed once it answers. JupyterLab keeps running if the tunnel is closed
    or broken; a broken one is opened again. `stop` ends JupyterLab.
    """
    with Pi(host) as pi:
        prepare(pi, say)
        server = pi.ask("jupyter")
    with Tunnel(host) as tunnel:
        tunnel.open(server["port"])
        say(
            f"\nOpen  {_address(tunnel, server)}\n\nCtrl-C closes this door; "
            f"`workbook pi stop {host}` ends JupyterLab on the Pi."
        )
        try:
            while True:
                if not tunnel.is_open:
                    server = _open_again(tunnel, server, say)
                time.sleep(1)
        except KeyboardInterrupt:
            say("closed; JupyterLab and its kernels go on")


def _address(tunnel: Tunnel, server: dict) -> str:
    return f"http://127.0.0.1:{tunnel.local_port}/lab?token={server['token']}"


def _open_again(tunnel: Tunnel, before: dict, say: Callable[[str], None]) -> dict:
    """Try until `tunnel` is open again; return the server, a new one if the Pi was restarted."""
    say(f"{tunnel.host}: the connection is lost; trying again every {RETRY_S} s")
    while True:
        time.sleep(RETRY_S)
        try:
            with Pi(tunnel.host) as pi:
                server = pi.ask("jupyter")
            tunnel.open(server["port"])
        except PiError as error:
            say(str(error))
            continue
        say(f"{tunnel.host}: connected again")
        if server["token"] != before["token"]:
            say(f"JupyterLab was started again: open  {_address(tunnel, server)}")
        return server


def run(
    hosts: Sequence[str],
    notebook: str,
    parameters: dict | None = None,
    say: Callable[[str], None] = print,
) -> dict[str, Exception]:
    """Run `notebook` on all `hosts` at once and bring the results back.

    An interrupted run is followed if it is still running, fetched if it has finished, and started
    again otherwise. Then it measures only what is missing, if the notebook can do so (parameter
    `reuse_hours`). Returns the hosts that failed, with the reason.
    """
    name = Path(notebook).stem
    if name not in ON_THE_PI:
        raise PiError(f"{name} does not run on a Pi; these do: {', '.join(ON_THE_PI)}")
    return on_all(hosts, lambda pi, told: _run(pi, name, parameters or {}, told), say)


def _run(pi: Pi, name: str, parameters: dict, say: Callable[[str], None]) -> None:
    prepare(pi, say)
    state = pi.ask("run", notebook=name, parameters=parameters)["state"]
    reports = {
        "started": f"running {name}",
        "running": f"{name} is still running: following it",
        "finished": f"{name} has ended meanwhile",
    }
    say(reports[state])
    try:
        _follow(pi, "run", say)
    except PiError:
        if pi.is_connected:  # the notebook failed: what it measured until then is worth having
            _fetch(pi, say)
        raise
    _fetch(pi, say)
    pi.ask("done")


def fetch(hosts: Sequence[str], say: Callable[[str], None] = print) -> dict[str, Exception]:
    """Bring the records and the notebooks back; return the hosts that failed, with the reason."""

    def one(pi: Pi, told: Callable[[str], None]) -> None:
        pi.folder = pi.ask("check")["folder"]
        _fetch(pi, told)

    return on_all(hosts, one, say)


def _fetch(pi: Pi, say: Callable[[str], None]) -> None:
    found = pi.ask("found")
    here = _folder_of(pi.host)
    new = 0
    for path in found["records"]:
        content = pi.get(path)
        with _merging:
            new += merge(content, folder("results") / Path(path).name)
        lines = [json.dumps(entry) + "\n" for entry in _records(content)]
        _store(here / Path(path).name, "".join(lines).encode())  # which records came from which Pi
    for path in found["notebooks"]:
        _store(here / Path(path).name, pi.get(path))
    say(
        f"{new} new records in {show(folder('results'))}, "
        f"{len(found['notebooks'])} notebooks in {show(here)}"
    )


def merge(content: bytes, store: Path) -> int:
    """Add the records in `content` that `store` lacks, by run_id; return how many those were.

    Unfinished lines and what is no record of this workbook are skipped. Nothing that `store` holds
    is changed.
    """
    known = set()
    if store.exists():
        known = {entry["run_id"] for entry in _records(store.read_bytes())}
    new = {entry["run_id"]: entry for entry in _records(content) if entry["run_id"] not in known}
    for entry in new.values():
        results.append_result(store, entry)
    return len(new)


def _records(content: bytes) -> list[dict]:
    found = []
    for line in content.split(b"\n"):
        try:
            entry = json.loads(line)
        except ValueError:  # the last line of a measurement that is running, or was interrupted
            continue
        if _is_record(entry):
            found.append(entry)
    return found


def _is_record(entry: object) -> bool:
    if not isinstance(entry, dict) or not isinstance(entry.get("run_id"), str):
        return False
    return entry.get("schema_version") in range(1, results.SCHEMA_VERSION + 1)


def table(hosts: Sequence[str]):
    """results.summary of what was fetched from `hosts`, with a first column "host".

    None if nothing was fetched.
    """
    import pandas

    tables = []
    for host in hosts:
        if list(_folder_of(host).glob("*.jsonl")):
            frame = results.summary(results.read_results(_folder_of(host)))
            tables.append(frame.assign(host=host)[["host", *frame.columns]])
    return pandas.concat(tables, ignore_index=True) if tables else None


def stop(hosts: Sequence[str], say: Callable[[str], None] = print) -> dict[str, Exception]:
    """End all processes of the workbook on `hosts`; return those that failed, with the reason."""
    return on_all(hosts, lambda pi, told: told(f"{pi.ask('stop')['stopped']} processes ended"), say)


def status(hosts: Sequence[str], say: Callable[[str], None] = print) -> dict[str, Exception]:
    """Print what is running on `hosts`, and the last line of each job's log.

    Returns the hosts that failed, with the reason.
    """

    def one(pi: Pi, told: Callable[[str], None]) -> None:
        state = pi.ask("status")
        told(
            f"{', '.join(state['jobs']) or 'nothing of ours'} running, {state['free_mb']:,} MB free"
        )
        for job, line in state["last"].items():
            told(f"{job}: {line}")

    return on_all(hosts, one, say)


def doctor(hosts: Sequence[str], say: Callable[[str], None] = print) -> dict[str, Exception]:
    """Check `hosts` with the doctor that is installed there.

    Returns the hosts where something is wrong, with the reason.
    """

    def one(pi: Pi, told: Callable[[str], None]) -> None:
        pi.ask("check")
        problems = pi.ask("doctor", told)["failed"]
        if problems:
            raise PiError(f"{pi.host}: {problems}")

    return on_all(hosts, one, say)


def on_all(hosts: Sequence[str], do: Callable, say: Callable[[str], None]) -> dict[str, Exception]:
    """Call do(pi, say) for all `hosts` at once; one that fails stops no other.

    Each has a connection of its own, which Ctrl-C closes. Returns the hosts that failed, with the
    reason.
    """
    failed: dict[str, Exception] = {}
    is_interrupted = threading.Event()

    def one(host: str) -> None:
        prefix = f"{host}: " if len(hosts) > 1 else ""
        try:
            with Pi(host) as pi:
                do(pi, lambda text: say(prefix + text))
        except Exception as error:  # any error: the other Pis continue
            failed[host] = error
            text = str(error)
            if not isinstance(error, PiError):
                text = f"{host}: {type(error).__name__}: {error}"
            if not is_interrupted.is_set():
                print(text, file=sys.stderr, flush=True)

    threads = [
        threading.Thread(target=one, args=(host,), daemon=True) for host in dict.fromkeys(hosts)
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


def _folder_of(host: str) -> Path:
    path = folder("pi") / re.sub(r"[^\w.@-]", "_", host)
    path.mkdir(exist_ok=True)
    return path


def _store(path: Path, content: bytes) -> None:
    with whole_file(path) as part:
        part.write_bytes(content)
