"""The record of one measurement: what each field means, and its unit. This is schema version 3.

recording.record makes records, and results writes and reads them: one JSON object each, with these
fields in this order. A field is null if the machine, or the caller, does not know it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# 2: conditions have monotonic_ns, so that a clock that was set shows
# 3: throttled_by names what slowed a Pi down; conditions have clock_khz, the clock that ran
SCHEMA_VERSION = 3


@dataclass(frozen=True, kw_only=True)
class Model:
    """The model that ran.

    name          name of its file
    sha256        hash of its file, or of its files joined together, in hexadecimal
    bytes         size of its file or files
    parameters    number of trainable parameters
    macs          multiply-accumulates per image
    input_shape   images, channels, height, width
    precision     of its numbers: "float32", "int8", ...
    """

    name: str | None = None
    sha256: str | None = None
    bytes: int | None = None
    parameters: int | None = None
    macs: int | None = None
    input_shape: Sequence[int] | None = None
    precision: str | None = None


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """The software that ran the model.

    name      "ONNX Runtime", "LiteRT", "ncnn", ...
    version   its version
    threads   number of threads
    options   settings that are not the defaults, by name
    """

    name: str | None = None
    version: str | None = None
    threads: int | None = None
    options: dict | None = None


@dataclass(frozen=True, kw_only=True)
class Method:
    """How the model was timed. The caller may give the last three.

    helpers_version   version of the workbook; null if it is not installed
    warmup_calls      number of calls before the first round
    first_call_ns     time of the very first call in nanoseconds
    rounds            number of rounds
    calls_per_round   number of timed calls in each round
    discard           number of calls at the start of each round that are not timed
    seed              seed of the random order in which the candidates took turns
    overhead_ns       time that the timer adds to each call, in nanoseconds
    """

    helpers_version: str | None
    warmup_calls: int
    first_call_ns: int
    rounds: int
    calls_per_round: int
    discard: int | None = None
    seed: int | None = None
    overhead_ns: float | None = None


@dataclass(frozen=True, kw_only=True)
class LatencyFacts:
    """The times of the calls by the wall clock, in nanoseconds.

    n             number of calls
    min           shortest time
    p50           median
    p90           90th percentile
    p99           99th percentile
    mean          arithmetic mean
    p50_ci        low and high end of the 95 % interval of p50; null with too few rounds or calls
    ci_kind       "within session": p50_ci does not cover how sessions differ; null without p50_ci
    p50_between   value, low and high: the mean p50 of repeated measurements, and its 95 % interval
    """

    n: int
    min: int
    p50: float
    p90: float
    p99: float
    mean: float
    p50_ci: list[float] | None
    ci_kind: str | None
    p50_between: dict[str, float | None]


@dataclass(frozen=True, kw_only=True)
class Quality:
    """How good the model's predictions are.

    metric    "accuracy", ...
    value     its value; an accuracy is a fraction, 0 to 1
    n         number of images
    ci        low and high end of the 95 % interval of value
    dataset   which images
    sha256    hash of the images, in hexadecimal
    """

    metric: str | None = None
    value: float | None = None
    n: int | None = None
    ci: Sequence[float] | None = None
    dataset: str | None = None
    sha256: str | None = None


@dataclass(frozen=True, kw_only=True)
class Energy:
    """The energy that the model needs.

    joules_per_inference   energy of one inference above that of the idle machine, in joules
    method                 how it was measured
    """

    joules_per_inference: float | None = None
    method: str | None = None


@dataclass(frozen=True, kw_only=True)
class Record:
    """One measurement of one candidate.

    schema_version   version of this schema
    run_id           32 hexadecimal digits that no other record has
    session_id       the same for all records of one process
    started_at       when the measurement began: UTC, ISO 8601
    host             the machine, as device.describe() gives it
    conditions       its state "before" and "after", as device.conditions() gives it
    model            a Model
    runtime          a Runtime
    scenario         "SingleStream", "Offline", "Camera", "Sustained" or "Metered": see record()
    batch            number of images per call
    stages           what was timed, of "preprocess", "inference" and "postprocess"
    method           a Method
    latency_ns       a LatencyFacts
    cpu_ns           "p50": median time of a call by the thread's CPU clock, in nanoseconds
    contention       share of the time in which the thread waited, 0 to 1; null with several threads
    samples_ns       time of every call by the wall clock, in nanoseconds: rounds x calls
    peak_rss_kb      peak memory of the process at each mark, in KiB
    quality          a Quality
    energy           an Energy
    valid            true if there are no void_reasons
    void_reasons     why the measurement is invalid, in words
    throttled_by     throttling flags reported during the measurement; [] if none, null if unknown
    warnings         what to know before you trust these times, in words
    """

    schema_version: int
    run_id: str
    session_id: str
    started_at: str
    host: dict
    conditions: dict[str, dict]
    model: Model
    runtime: Runtime
    scenario: str
    batch: int
    stages: Sequence[str]
    method: Method
    latency_ns: LatencyFacts
    cpu_ns: dict[str, float]
    contention: float | None
    samples_ns: np.ndarray
    peak_rss_kb: dict[str, int]
    quality: Quality
    energy: Energy
    valid: bool
    void_reasons: list[str]
    throttled_by: list[str] | None
    warnings: list[str]
