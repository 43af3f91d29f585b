"""Race model files on one machine: a record of each measurement, on the disk at once."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property, partial
from pathlib import Path

import pandas as pd
import psutil

from helpers import device, results, timing
from helpers.bench.entrants import Entrant
from helpers.workers import Worker, start_all

KEY = ["model.sha256", "model.precision", "runtime.name", "runtime.threads"]


def processor_s() -> tuple[float, float]:
    """Seconds of processor time used so far: by all programs, and by this one and its workers."""
    family = [psutil.Process(), *psutil.Process().children(recursive=True)]
    ours = sum(sum(process.cpu_times()[:2]) for process in family)
    return sum(psutil.cpu_times()[:3]), ours


def others_in_the_way(
    before: tuple, after: tuple, seconds: float, threads: int, cores: int
) -> list[str]:
    """Why a measurement with several threads, between two processor_s(), is invalid, or [].

    With one thread, Latency.contention shows whether other programs interfered. With several it
    cannot. Then the measurement is invalid if other programs and the threads need more cores than
    there are.
    """
    others = (after[0] - before[0] - (after[1] - before[1])) / seconds
    if threads == 1 or others <= timing.CONTENDED or threads + others <= cores:
        return []
    return [f"other programs used {others:.1f} of {cores} cores beside {threads} threads"]


@dataclass
class Race:
    """The entrants, what is known about them, and the file that gets a record per measurement.

    `machine` is device.describe(), `how` holds arguments of timing.benchmark, `about` is
    model_files.network_info(), and `quality` a record's quality by entrant.
    """

    store: Path
    entrants: Sequence[Entrant]
    machine: dict
    how: dict
    about: Mapping[str, dict] = field(default_factory=dict)
    quality: Mapping[Entrant, dict] = field(default_factory=dict)

    @cached_property
    def facts(self) -> dict[Entrant, dict]:
        """Name, hash and size of each entrant's file."""
        return {entrant: results.model_facts(*entrant.parts) for entrant in self.entrants}

    def measure(
        self, workers: Mapping[Entrant, Worker], scenario: str = "SingleStream", **changed
    ) -> list[str]:
        """Time the entrants in turns, store a record of each, return the ids of the records.

        `changed` replaces parts of `how`.
        """
        before = device.conditions()
        used = processor_s()
        start = time.monotonic()
        taken: dict = timing.benchmark(dict(workers), **self.how | changed)
        others = partial(others_in_the_way, used, processor_s(), time.monotonic() - start)
        after = device.conditions()
        cores = len(before["affinity"] or range(self.machine["cores"]))
        lines = []
        for entrant, latency in taken.items():
            line = self.record(entrant, latency, workers[entrant], before, after, scenario)
            reasons = line["void_reasons"] + others(latency.threads, cores)
            lines.append(line | {"valid": not reasons, "void_reasons": reasons})
            results.append_result(self.store, lines[-1])
        return [line["run_id"] for line in lines]

    def record(
        self, entrant: Entrant, latency, worker: Worker, before: dict, after: dict, scenario: str
    ) -> dict:
        """The record of one measurement, between two states of the machine."""
        about = self.about.get(entrant.network, {})
        memory = worker.peak_rss()
        return results.record(
            latency,
            before=before,
            after=after,
            host=self.machine,
            scenario=scenario,
            model={
                **self.facts[entrant],
                "macs": about.get("macs"),
                "parameters": about.get("parameters"),
                "input_shape": worker.input_shape,
                "precision": entrant.precision,
            },
            runtime={
                "name": worker.runtime,
                "version": worker.version,
                "threads": worker.threads,
                "options": dict(entrant.settings) or None,
            },
            peak_rss={"run": memory} if memory else None,
            method={"seed": 0, "discard": 1},
            quality=self.quality.get(entrant),
        )

    def run(self, thread_counts: Sequence[int], reuse_hours: float = 0) -> None:
        """Race the entrants of each network, with each number of threads.

        A group whose records are younger than `reuse_hours` is not measured again.
        """
        for network in dict.fromkeys(entrant.network for entrant in self.entrants):
            group = [entrant for entrant in self.entrants if entrant.network == network]
            for threads in thread_counts:
                done = self.rows(reuse_hours)
                kept = done[(done["network"] == network) & (done["runtime.threads"] == threads)]
                if reuse_hours and len(kept) >= len(group):
                    print(f"{network}, {threads} thread(s): measured before, kept")
                    continue
                with start_all({one: partial(one.start, threads) for one in group}) as workers:
                    self.measure(workers)

    def sustain(self, group: Sequence[Entrant], threads: int, seconds: float) -> pd.DataFrame:
        """Run `group` for `seconds` without a pause; return a record per entrant and slice.

        A slice lasts a tenth of the time, at most 10 s.
        """
        round_s = min(10.0, seconds / 10) / 12 / len(group)
        ids: list[str] = []
        start = time.monotonic()
        with start_all({one: partial(one.start, threads) for one in group}) as workers:
            while time.monotonic() < start + seconds or len(ids) < 2 * len(group):
                ids += self.measure(workers, "Sustained", min_round_s=round_s)
        return results.read_results(self.store).query("run_id in @ids")

    def rows(self, reuse_hours: float = 0) -> pd.DataFrame:
        """The latest record of each entrant and number of threads, with columns for tables.

        They are of this session, or younger than `reuse_hours`. The columns: "network", "form",
        "p50 (ms)", "p90 (ms)", "memory (MB)", and "valid", whether the record is valid.
        """
        if not self.store.exists():
            return pd.DataFrame(columns=[*KEY, "network"])
        frame = results.read_results(self.store).query("scenario == 'SingleStream'")
        age = datetime.now(UTC) - pd.to_datetime(frame["started_at"], utc=True)
        here = {(self.facts[one]["sha256"], one.precision): one.network for one in self.entrants}
        columns = {
            "network": list(map(here.get, zip(frame["model.sha256"], frame["model.precision"]))),
            "form": frame["model.precision"].str.replace(" activations|,", "", regex=True),
            "p50 (ms)": frame["latency_ns.p50"] / 1e6,
            "p90 (ms)": frame["latency_ns.p90"] / 1e6,
            "memory (MB)": frame.reindex(columns=["peak_rss_kb.run"]).iloc[:, 0] * 1.024e-3,
            "valid": frame["valid"].eq(True),
        }
        chosen = frame.assign(**columns)[
            frame["session_id"].eq(results.SESSION_ID) | (age <= timedelta(hours=reuse_hours))
        ]
        return chosen.dropna(subset="network").drop_duplicates(KEY, keep="last")
