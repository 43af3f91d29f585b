"""The rows that no other row beats in time, size and quality at once."""

from collections.abc import Sequence

import numpy as np

from workbook.evaluate.rows import WORKS, Row

ERRORS = ("MSE", "MAPE")  # metrics of which less is better


def front(rows: Sequence[Row]) -> list[Row]:
    """The measured, valid rows on the Pareto front of time, size and quality, the fastest first."""
    from helpers.plots import pareto_front  # imports matplotlib: only once there is a table

    measured = [row for row in rows if row.state == WORKS and row.valid and row.p50_ms is not None]
    if not measured:
        return []
    is_best = pareto_front(np.array([_costs(row) for row in measured]))
    best = [row for row, is_on_front in zip(measured, is_best) if is_on_front]
    return sorted(best, key=lambda row: row.p50_ms or 0)


def _costs(row: Row) -> tuple[float, float, float]:
    """Time, size and loss: less is better. An unknown quality is the worst."""
    loss = float("inf")
    if row.quality is not None:
        loss = row.quality if row.metric in ERRORS else -row.quality
    return row.p50_ms or float("inf"), row.bytes or 0, loss
