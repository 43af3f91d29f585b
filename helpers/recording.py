"""Make the record of one measurement. records.Record says what it holds."""

import hashlib
import importlib.metadata
import math
import uuid
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path

import numpy as np

from helpers import device, records, timing, validity

SESSION_ID = uuid.uuid4().hex[:12]  # one per process: measurements of one session drift together


def model_facts(*files: Path | str) -> dict:
    """name, sha256 and bytes of a model in one file, or in several (ncnn's .param and .bin)."""
    contents = [Path(file).read_bytes() for file in files]
    return {
        "name": Path(files[0]).name,
        "sha256": hashlib.sha256(b"".join(contents)).hexdigest(),
        "bytes": sum(map(len, contents)),
    }


def record(
    latency,
    *,
    model: dict,
    runtime: dict,
    before: dict,
    after: dict,
    scenario: str = "SingleStream",
    batch: int = 1,
    stages: Sequence[str] = ("inference",),
    method: dict | None = None,
    between=None,
    peak_rss: dict[str, int] | None = None,
    quality: dict | None = None,
    energy: dict | None = None,
    host: dict | None = None,
    session_id: str = SESSION_ID,
) -> dict:
    """The record of one measurement of one candidate: a records.Record as a dict of plain values.

    Pass it to append_result.

    latency: a timing.Latency, which timing.benchmark returns.
    model, runtime, method, quality, energy: fields of the dataclasses in helpers.records. Leave out
    what you do not know. Other names raise a ValueError.
    before, after: device.conditions() immediately before and after the measurement.
    scenario: "SingleStream" (one image at a time), "Offline" (batches), "Camera", "Sustained" (one
    slice of a long run) or "Metered" (while a power meter was read).
    batch: images per call.
    stages: what was timed, of "preprocess", "inference" and "postprocess".
    between: the result of timing.mean_across_repeats for repeated measurements, if there are any.
    peak_rss: peak memory in bytes by mark, as device.peak_rss returns it.
    host: device.describe(), which is also the default.

    The measurement is invalid if the machine throttled, or if its contention is above
    timing.CONTENDED. Then `valid` is False, and `void_reasons` gives the reasons. A clock that was
    set during the measurement is only a warning.
    """
    reasons = validity.invalid_reasons(before, after, latency.contention)
    samples = np.asarray(latency.samples_ns)
    made = records.Record(
        schema_version=records.SCHEMA_VERSION,
        run_id=uuid.uuid4().hex,
        session_id=session_id,
        started_at=before["at"],
        host=device.describe() if host is None else host,
        conditions={"before": before, "after": after},
        model=_part(records.Model, model),
        runtime=_part(records.Runtime, {"threads": latency.threads, **runtime}),
        scenario=scenario,
        batch=batch,
        stages=list(stages),
        method=_part(
            records.Method,
            method or {},
            helpers_version=_helpers_version(),
            warmup_calls=latency.warm_up.calls,
            first_call_ns=latency.warm_up.first_call_ns,
            rounds=samples.shape[0],
            calls_per_round=samples.shape[1],
        ),
        latency_ns=_latency_facts(latency, between),
        cpu_ns={"p50": timing.percentile(latency.cpu_ns, 50)},
        contention=latency.contention,
        samples_ns=samples,
        peak_rss_kb={mark: peak // 1024 for mark, peak in (peak_rss or {}).items()},
        quality=_part(records.Quality, quality or {}),
        energy=_part(records.Energy, energy or {}),
        valid=not reasons,
        void_reasons=reasons,
        throttled_by=validity.throttled_by(before, after),
        warnings=[*latency.warnings, *validity.clock_warnings(before, after)],
    )
    return to_json(asdict(made))


def _part(kind, given: dict, **measured):
    """A `kind` of records with the `measured` fields and those that the caller has `given`."""
    names = [field.name for field in fields(kind) if field.name not in measured]
    if unknown := set(given) - set(names):
        part = kind.__name__.lower()
        raise ValueError(f"{part} has no {', '.join(sorted(unknown))}; it has {', '.join(names)}")
    return kind(**measured, **given)


def _latency_facts(latency, between) -> records.LatencyFacts:
    samples = np.asarray(latency.samples_ns)
    interval = latency.interval(50)
    return records.LatencyFacts(
        n=samples.size,
        min=samples.min(),
        p50=latency.percentile(50),
        p90=latency.percentile(90),
        p99=latency.percentile(99),
        mean=samples.mean(),
        p50_ci=[interval.low, interval.high] if interval else None,
        ci_kind="within session" if interval else None,
        p50_between=vars(between) if between else dict.fromkeys(("value", "low", "high")),
    )


def _helpers_version() -> str | None:
    try:
        return importlib.metadata.version("pi-workbook")
    except importlib.metadata.PackageNotFoundError:  # run from a copy that was not installed
        return None


def to_json(value, name: str = ""):
    """`value` in types that JSON can store; errors show `name`, the entry where it is stored."""
    if isinstance(value, (np.ndarray, np.generic)):
        value = value.tolist()
    if isinstance(value, dict):
        prefix = f"{name}." if name else ""
        return {str(key): to_json(entry, f"{prefix}{key}") for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(entry, f"{name}[{i}]") for i, entry in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(
            f"{name} is {value}; a record holds finite numbers, "
            "and None where something is not known"
        )
    if value is not None and not isinstance(value, (str, int, float)):
        raise TypeError(f"{name} is a {type(value).__name__}, which a record cannot hold")
    return value
