"""The record of one measurement: what it holds, and how it is made of what was measured."""

import hashlib
import importlib.metadata
import math
import uuid
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from helpers import device, timing, validity

# 2: conditions have monotonic_ns, so that a clock that was set shows
# 3: throttled_by names what slowed a Pi down; conditions have clock_khz, the clock that ran
SCHEMA_VERSION = 3
SESSION_ID = uuid.uuid4().hex[:12]  # one per process: measurements of one session drift together
FIELDS = {  # the parts of a record that the caller fills in
    "model": ("name", "sha256", "bytes", "parameters", "macs", "input_shape", "precision"),
    "runtime": ("name", "version", "threads", "options"),
    "method": ("discard", "seed", "overhead_ns"),
    "quality": ("metric", "value", "n", "ci", "dataset", "sha256"),
    "energy": ("joules_per_inference", "method"),
}


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
    """The record of one candidate in one session, ready for append_result.

    latency: a timing.Latency. before, after: device.conditions() on both sides of the measurement.
    model, runtime, method, quality, energy: dicts with names in FIELDS; leave out what is unknown.
    scenario: "SingleStream" (one image after another), "Offline" (batches), "Camera", "Sustained"
    (a slice of a long run) or "Metered" (while a power meter was read).
    stages: what was timed, of "preprocess", "inference" and "postprocess".
    between: the timing.mean_across_repeats of further measurements; `p50_ci` is the interval of
    `latency` within its session.
    peak_rss: bytes by mark, as device.peak_rss gives them.

    `void_reasons` has the reasons why the measurement is invalid: throttling, or contention above
    timing.CONTENDED. `valid` is True if there are none. `throttled_by` names the flags that a Pi
    reported during the measurement: [] if none, None if unknown. `warnings` also names a clock that
    was set between before and after. ValueError for a name that is not in FIELDS.
    """
    given = {
        "model": model,
        "runtime": {"threads": latency.threads, **runtime},
        "method": method or {},
        "quality": quality or {},
        "energy": energy or {},
    }
    parts = {part: _check_fields(part, values) for part, values in given.items()}
    reasons = validity.invalid_reasons(before, after, latency.contention)
    samples = np.asarray(latency.samples_ns)
    if host is None:
        host = device.describe()
    return to_json(
        {
            "schema_version": SCHEMA_VERSION,
            "run_id": uuid.uuid4().hex,
            "session_id": session_id,
            "started_at": before["at"],
            "host": host,
            "conditions": {"before": before, "after": after},
            "model": parts["model"],
            "runtime": parts["runtime"],
            "scenario": scenario,
            "batch": batch,
            "stages": list(stages),
            "method": {
                "helpers_version": _helpers_version(),
                "warmup_calls": latency.warm_up.calls,
                "first_call_ns": latency.warm_up.first_call_ns,
                "rounds": samples.shape[0],
                "calls_per_round": samples.shape[1],
                **parts["method"],
            },
            "latency_ns": _latency_facts(latency, between),
            "cpu_ns": {"p50": timing.percentile(latency.cpu_ns, 50)},
            "contention": latency.contention,
            "samples_ns": samples,
            "peak_rss_kb": {mark: peak // 1024 for mark, peak in (peak_rss or {}).items()},
            "quality": parts["quality"],
            "energy": parts["energy"],
            "valid": not reasons,
            "void_reasons": reasons,
            "throttled_by": validity.throttled_by(before, after),
            "warnings": [*latency.warnings, *validity.clock_warnings(before, after)],
        }
    )


def _check_fields(part: str, values: dict) -> dict:
    if unknown := set(values) - set(FIELDS[part]):
        raise ValueError(
            f"{part} has no {', '.join(sorted(unknown))}; it has {', '.join(FIELDS[part])}"
        )
    return {name: values.get(name) for name in FIELDS[part]}


def _latency_facts(latency, between) -> dict:
    samples = np.asarray(latency.samples_ns)
    facts = {
        "n": samples.size,
        "min": samples.min(),
        **{f"p{q}": latency.percentile(q) for q in (50, 90, 99)},
        "mean": samples.mean(),
        "p50_ci": None,
        "ci_kind": None,
        "p50_between": dict.fromkeys(("value", "low", "high")),
    }
    interval = latency.interval(50)
    if interval:
        facts["p50_ci"] = [interval.low, interval.high]
        facts["ci_kind"] = "within session"
    if between:
        facts["p50_between"] = vars(between)
    return facts


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
