"""The columns of the table: a heading, and how a row is shown in it. New ones are added here."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from workbook.evaluate.rows import Row
from workbook.evaluate.verdicts import TITLES, WORKS, WRONG

UNKNOWN = "-"


@dataclass(frozen=True)
class Column:
    """A heading, and the text of a row; None if the row has no value."""

    title: str
    text: Callable[[Row], str | None]
    is_number: bool = True


def _number(field: str, form: str, scale: float = 1) -> Callable[[Row], str | None]:
    """The text of a number in `field`, divided by `scale`."""

    def text(row: Row) -> str | None:
        value = getattr(row, field)
        return None if value is None else format(value / scale, form)

    return text


def _runtime(row: Row) -> str:
    return f"{row.runtime} {row.version}" if row.version else row.runtime


def _compared(row: Row) -> str | None:
    if row.ratio is None:
        return None
    if row.ratio == row.ratio_low == row.ratio_high == 1:
        return "fastest"
    ties = " ties" if row.ties else ""
    return f"{row.ratio:.2f} [{row.ratio_low:.2f}, {row.ratio_high:.2f}]{ties}"


def _quality(row: Row) -> str | None:
    if row.quality is None:
        return None
    if row.metric != "accuracy":
        return f"{row.quality:.4g}"
    if row.quality_low is None or row.quality_high is None:
        return f"{row.quality:.1%}"
    return f"{row.quality:.1%} [{row.quality_low:.1%}, {row.quality_high:.1%}]"


def _delegated(row: Row) -> str | None:
    return None if row.operators is None else f"{row.delegated} of {row.operators}"


def _answers(row: Row) -> str:
    return "right" if row.state == WORKS else row.state


def _valid(row: Row) -> str:
    return "yes" if row.valid else "; ".join(row.void_reasons) or "no"


def columns(rows: Sequence[Row]) -> list[Column]:
    """The columns in which at least one of `rows` has a value."""
    metric = next((row.metric for row in rows if row.metric), None) or "quality"
    every = [
        Column("runtime", _runtime, is_number=False),
        Column("precision", lambda row: row.precision, is_number=False),
        Column("threads", _number("threads", ".0f")),
        Column("kB", _number("bytes", ",.0f", 1e3)),
        Column("first call (ms)", _number("first_call_ms", ".2f")),
        Column("p50 (ms)", _number("p50_ms", ".3f")),
        Column("p90 (ms)", _number("p90_ms", ".3f")),
        Column("speed, of the fastest", _compared, is_number=False),
        Column(metric, _quality, is_number=False),
        Column("largest difference", _number("difference", ".1e")),
        Column("peak (MB)", _number("peak_mb", ".0f")),
        Column("average (MB)", _number("average_mb", ".0f")),
        Column("delegated", _delegated),
        Column("int8 time", _number("int8_share", ".0%")),
        Column("answers", _answers, is_number=False),
        Column("valid", _valid, is_number=False),
    ]
    return [column for column in every if any(column.text(row) is not None for row in rows)]


def cells(rows: Sequence[Row], shown: Sequence[Column]) -> list[list[str]]:
    """The texts of the rows; UNKNOWN for what has no value."""
    return [[column.text(row) or UNKNOWN for column in shown] for row in rows]


def ranked(rows: Sequence[Row]) -> list[Row]:
    """The rows that were measured: the valid ones first, the fastest first."""
    measured = [row for row in rows if row.p50_ms is not None]
    return sorted(measured, key=lambda row: (not row.valid, row.p50_ms))


def remarks(rows: Sequence[Row]) -> list[str]:
    """A sentence for each row that does not work, with the reason."""
    return [f"{row.runtime}, {row.precision}: {_problem(row)}" for row in rows if row.why]


def _problem(row: Row) -> str:
    """Why a row does not work, after its state; a failure needs no second title."""
    return f"{TITLES[WRONG]}: {row.why}" if row.state == WRONG else row.why
