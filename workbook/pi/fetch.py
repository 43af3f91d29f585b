"""Bring records and notebooks back from a Pi. Each record is stored once, and none is changed."""

import json
import re
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from helpers import results
from helpers.paths import build_dir, display_path, whole_file
from workbook.pi.connection import Pi

_merging = threading.Lock()  # two Pis may write to one file: a cloned card has the same machine_id


def fetch_from(pi: Pi, say: Callable[[str], None]) -> None:
    """Merge the records of `pi` into build/results, and copy its notebooks."""
    found = pi.ask("found")
    here = _folder_of(pi.host)
    new = fetch_records(pi, found["records"])
    for path in found["notebooks"]:
        _store(here / Path(path).name, pi.get(path))
    say(
        f"{new} new records in {display_path(build_dir('results'))}, "
        f"{len(found['notebooks'])} notebooks in {display_path(here)}"
    )


def fetch_records(pi: Pi, paths: Sequence[str]) -> int:
    """Merge the files of records at `paths` on the Pi into build/results; the number of new ones.

    A copy of them under build/pi says which records came from which Pi.
    """
    new = 0
    for path in paths:
        content = pi.get(path)
        with _merging:
            new += merge(content, build_dir("results") / Path(path).name)
        lines = [json.dumps(entry) + "\n" for entry in _records(content)]
        _store(_folder_of(pi.host) / Path(path).name, "".join(lines).encode())
    return new


def merge(content: bytes, store: Path) -> int:
    """Append the records in `content` whose run_id `store` lacks; return how many.

    Unfinished lines, and lines that are no record of this workbook, are skipped.
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
        except ValueError:  # the last line of a measurement that is running or was interrupted
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


def _folder_of(host: str) -> Path:
    path = build_dir("pi") / re.sub(r"[^\w.@-]", "_", host)
    path.mkdir(exist_ok=True)
    return path


def _store(path: Path, content: bytes) -> None:
    with whole_file(path) as part:
        part.write_bytes(content)
