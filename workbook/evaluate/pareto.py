"""The rows that no other row beats in time, size and quality at once."""

from collections.abc import Sequence

from workbook.evaluate.rows import WORKS, Row

ERRORS = ("MSE", "MAPE")  # metrics of which less is better


def front(rows: Sequence[Row]) -> list[Row]:
    """The measured, valid rows that no other one dominates, the fastest first.

    A row dominates another if it is at least as fast, as small and as good, and better in one of
    the three. V. Pareto, Manuale di economia politica, 1906; the "Pareto front".
    """
    measured = [row for row in rows if row.state == WORKS and row.valid and row.p50_ms is not None]
    best = [
        row
        for row in measured
        if not any(dominates(other, row) for other in measured if other is not row)
    ]
    return sorted(best, key=lambda row: row.p50_ms or 0)


def dominates(a: Row, b: Row) -> bool:
    """Whether `a` is at least as good as `b` in time, size and quality, and better in one."""
    pairs = list(zip(_costs(a), _costs(b)))
    return all(x <= y for x, y in pairs) and any(x < y for x, y in pairs)


def _costs(row: Row) -> tuple[float, float, float]:
    """Time, size and loss: less is better. An unknown quality is the worst."""
    loss = float("inf")
    if row.quality is not None:
        loss = row.quality if row.metric in ERRORS else -row.quality
    return row.p50_ms or float("inf"), row.bytes or 0, loss
