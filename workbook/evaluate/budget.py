"""Which file to ship within limits of time, size and accuracy."""

from collections.abc import Sequence
from dataclasses import dataclass

from workbook.evaluate.rows import WORKS, Row


@dataclass(frozen=True)
class Budget:
    """Limits of p50 in ms, of the file in MB, of the accuracy as a fraction; None: no limit."""

    max_ms: float | None = None
    max_mb: float | None = None
    min_accuracy: float | None = None

    def __bool__(self) -> bool:
        return (self.max_ms, self.max_mb, self.min_accuracy) != (None, None, None)

    def broken_by(self, row: Row) -> list[str]:
        """The limits that a measured row breaks, in words with both numbers."""
        found = []
        if self.max_ms is not None and row.p50_ms is not None and row.p50_ms > self.max_ms:
            found.append(f"p50 {row.p50_ms:.3g} ms > {self.max_ms:g} ms")
        size_mb = (row.bytes or 0) / 1e6
        if self.max_mb is not None and size_mb > self.max_mb:
            found.append(f"{size_mb:.3g} MB > {self.max_mb:g} MB")
        if self.min_accuracy is not None:
            if row.accuracy is None:
                found.append("its accuracy is not known")
            elif row.accuracy < self.min_accuracy:
                found.append(f"accuracy {row.accuracy:.2%} < {self.min_accuracy:.2%}")
        return found


def advice(rows: Sequence[Row], budget: Budget) -> str:
    """The file to ship, and which limit each other one breaks; if none fits, the nearest.

    Of the files within the budget, the fastest is shipped. The nearest file breaks the fewest
    limits, and of these it is the fastest.
    """
    measured = [row for row in rows if row.state == WORKS and row.valid]
    if not measured:
        return "No file was measured validly, so none can be chosen."
    broken = {id(row): budget.broken_by(row) for row in measured}
    best = min(measured, key=lambda row: (len(broken[id(row)]), row.p50_ms or 0))
    if not broken[id(best)]:
        lines = [f"Ship {best.file} ({best.runtime}): it is the fastest within the budget."]
    else:
        lines = [
            f"No file is within the budget. The nearest is {best.file} ({best.runtime}): "
            f"{'; '.join(broken[id(best)])}.",
            "Notebooks 06 and 07 make files smaller and faster, and keep their accuracy.",
        ]
    for row in measured:
        if row is not best:
            why = "; ".join(broken[id(row)]) or "within the budget, but slower"
            lines.append(f"{row.file}: {why}")
    return "\n".join(lines)
