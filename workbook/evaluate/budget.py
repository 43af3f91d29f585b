"""Which file to ship within limits of time, size and accuracy."""

from collections.abc import Sequence
from dataclasses import dataclass

from workbook.evaluate import pareto
from workbook.evaluate.rows import WORKS, Row


@dataclass(frozen=True)
class Limit:
    """A limit that a row breaks: which one, in words with both numbers, and how far it is off.

    `excess` is the share of the limit by which it is missed: 0.2 is 20 % too slow or too large, or
    has 1.2 times the errors.
    """

    name: str
    text: str
    excess: float


@dataclass(frozen=True)
class Budget:
    """Limits of p50 in ms, of the file in MB, of the accuracy as a fraction; None: no limit."""

    max_ms: float | None = None
    max_mb: float | None = None
    min_accuracy: float | None = None

    def __bool__(self) -> bool:
        return (self.max_ms, self.max_mb, self.min_accuracy) != (None, None, None)

    def broken_by(self, row: Row) -> list[Limit]:
        """The limits that a measured row breaks."""
        found = []
        if self.max_ms is not None and row.p50_ms is not None and row.p50_ms > self.max_ms:
            excess = row.p50_ms / self.max_ms - 1 if self.max_ms else float("inf")
            found.append(Limit("time", f"p50 {row.p50_ms:.3g} ms > {self.max_ms:g} ms", excess))
        size_mb = (row.bytes or 0) / 1e6
        if self.max_mb is not None and size_mb > self.max_mb:
            excess = size_mb / self.max_mb - 1 if self.max_mb else float("inf")
            found.append(Limit("size", f"{size_mb:.3g} MB > {self.max_mb:g} MB", excess))
        if self.min_accuracy is not None:
            if row.accuracy is None:
                found.append(Limit("accuracy", "its accuracy is unknown", float("inf")))
            elif row.accuracy < self.min_accuracy:
                allowed = 1 - self.min_accuracy
                errors = 1 - row.accuracy
                excess = errors / allowed - 1 if allowed else float("inf")
                text = f"accuracy {row.accuracy:.2%} < {self.min_accuracy:.2%}"
                found.append(Limit("accuracy", text, excess))
        return found


WHAT_TO_TRY = {
    "time": "For time: int8 files (--calibration DATA; notebook 06), more threads (--threads), "
    "other settings (--tune), or a smaller network.",
    "size": "For size: int8 files (--calibration DATA; notebook 06), which have a quarter of the "
    "bytes, or shared weights (notebook 04).",
    "accuracy": "For accuracy: calibrate with more examples (notebook 06), quantize during training"
    " (notebook 07), or train longer (notebook 01).",
}


def advice(rows: Sequence[Row], budget: Budget) -> str:
    """The file to ship, and which limit each other one breaks; if none fits, the nearest.

    Of the files within the budget, the fastest is shipped. The nearest file breaks the fewest
    limits; of these, its largest excess is the smallest. The last line names the Pareto front.
    """
    measured = [row for row in rows if row.state == WORKS and row.valid]
    if not measured:
        return "No file was measured validly, so none can be chosen."
    broken = {id(row): budget.broken_by(row) for row in measured}

    def distance(row: Row) -> tuple[int, float, float]:
        limits = broken[id(row)]
        return len(limits), max((limit.excess for limit in limits), default=0), row.p50_ms or 0

    best = min(measured, key=distance)
    if not broken[id(best)]:
        lines = [f"Ship {best.file} ({best.runtime}): it is the fastest within the budget."]
    else:
        lines = [
            f"No file is within the budget. The nearest is {best.file} ({best.runtime}): "
            f"{'; '.join(map(_how_far, broken[id(best)]))}.",
            *(WHAT_TO_TRY[limit.name] for limit in broken[id(best)]),
        ]
    for row in measured:
        if row is not best:
            why = "; ".join(limit.text for limit in broken[id(row)])
            lines.append(f"{row.file}: {why or 'within the budget, but slower'}")
    lines.append(pareto_line(measured))
    return "\n".join(lines)


def pareto_line(rows: Sequence[Row]) -> str:
    """The rows that no other one beats in time, size and quality at once, as a sentence."""
    names = [f"{row.file} ({row.runtime})" for row in pareto.front(rows)]
    if not names:
        return "No file was measured validly, so there is no Pareto front."
    return f"Pareto front (no other file is faster, smaller and better): {', '.join(names)}"


def _how_far(limit: Limit) -> str:
    if limit.excess == float("inf"):
        return limit.text
    if limit.name == "accuracy":
        return f"{limit.text}, {1 + limit.excess:.3g} times the errors that are allowed"
    return f"{limit.text}, {1 + limit.excess:.3g} times the limit"
