"""Winners, ties and ratios: what the records of one race show, and what they do not."""

import numpy as np
import pandas as pd

from helpers import results, timing

RACE = ["network", "session_id", "runtime.threads"]  # the same in all rows of one race


def raw(row: pd.Series) -> timing.Latency:
    """The times of a record, for timing.speedup; rows of one race only."""
    samples = np.array(row["samples_ns"])  # the times by the other clocks are not stored
    return timing.Latency(
        samples, samples, samples, timing.WarmUp(0, 0, True), row["runtime.threads"]
    )


def title(row: pd.Series) -> str:
    """The runtime and the form of a row: "ncnn, float32"."""
    return f"{row['runtime.name']}, {row['form']}"


def two_digits(number: float) -> str:
    """A number with two digits: more are rarely repeatable.

    >>> two_digits(12345), two_digits(0.0456)
    ('12,000', '0.046')
    """
    return f"{float(f'{number:.2g}'):,g}"


def with_interval(row: pd.Series) -> str:
    """p50 in ms, with its interval within this run."""
    low, high = (ns / 1e6 for ns in row["latency_ns.p50_ci"])
    return f"{row['p50 (ms)']:.3g} [{low:.3g}, {high:.3g}]"


def ties(first: pd.Series, frame: pd.DataFrame) -> list[str]:
    """The titles of the rows of the same race as `first` that are not measurably slower."""
    is_same = (frame[RACE] == first[RACE]).all(axis=1) & (frame["run_id"] != first["run_id"])
    return [
        title(row)
        for _, row in frame[is_same].iterrows()
        if timing.speedup(raw(row), raw(first)).low <= 1
    ]


def podium(race: pd.DataFrame) -> dict:
    """The fastest row of one race, sorted by results.rank, the next one, and the ties."""
    first = race.iloc[0]
    following = [row for _, row in race.iloc[1:2].iterrows()]
    return {
        "network": first["network"],
        "threads": first["runtime.threads"],
        "fastest": title(first),
        "p50 (ms)": with_interval(first),
        "next": "".join(map(title, following)),
        "times as fast as the next": "".join(
            str(timing.speedup(raw(row), raw(first))) for row in following
        ),
        "tied with the fastest": "; ".join(ties(first, race)) or "none",
    }


def podiums(rows: pd.DataFrame) -> pd.DataFrame:
    """The podium of each race in `rows`. A race without a valid row is named, with the reason."""
    found = []
    for (network, _, threads), group in rows.groupby(RACE, sort=False):
        try:
            found.append(podium(results.rank(group)))
        except ValueError as error:
            print(f"{network}, {threads} thread(s): {str(error).split(':')[0]}")
    return pd.DataFrame(found)


def gains(frame: pd.DataFrame) -> pd.DataFrame:
    """Each row that is not float32 against float32 of the same runtime and race.

    The columns: network, runtime, threads, form, gain (a timing.Ratio, above 1 is faster) and
    valid, which is True if both records are valid.
    """
    found = []
    for key, race in frame.groupby([*RACE, "runtime.name"], sort=False):
        is_float = race["model.precision"] == "float32"
        for _, row in race[~is_float].iterrows():
            for _, whole in race[is_float].iterrows():
                found.append(
                    (
                        *key[::3],
                        key[2],
                        row["form"],
                        timing.speedup(raw(whole), raw(row)),
                        whole["valid"] and row["valid"],
                    )
                )
    return pd.DataFrame(found, columns=["network", "runtime", "threads", "form", "gain", "valid"])


def in_words(ratio: timing.Ratio, baseline: str) -> str:
    """A ratio as the end of a sentence; one whose interval holds 1 shows no difference.

    >>> in_words(timing.Ratio(0.5, 0.4, 0.8), "float32")
    '2.00 [1.25, 2.50] times slower than float32'
    """
    if ratio.low <= 1 <= ratio.high:
        return f"not measurably faster or slower than {baseline} ({ratio})"
    if ratio.low > 1:
        return f"{ratio} times as fast as {baseline}"
    slower = timing.Ratio(1 / ratio.value, 1 / ratio.high, 1 / ratio.low)
    return f"{slower} times slower than {baseline}"
