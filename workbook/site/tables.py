"""The tables of results: per network, with the machine above the table and invalid rows apart."""

import html
import re
import warnings

from helpers import results
from helpers.paths import build_dir
from workbook.site import charts

HOW_TO_SORT = "<p>Click the head of a column to sort by it.</p>"
VARIANT = re.compile(r"\.|_int8|_batch\d")  # what follows the network in the name of a file
COLUMNS = {  # column of results.summary: how a cell is written; None for text
    "model": None,
    "runtime": None,
    "precision": None,
    "threads": "{:.0f}",
    "p50 (µs)": "{:,.1f}",
    "p90 (µs)": "{:,.1f}",
    "accuracy": "{:.3f}",
    "file (MB)": "{:.2f}",
    "batch": "{:.0f}",
    "scenario": None,
}
MAY_BE_SAME = ("batch", "scenario")  # said once, above the table, if all rows have the same


def networks() -> dict[str, str]:
    """{network: its tables and figures as HTML}, from the records in build/results."""
    if not list(build_dir("results").glob("*.jsonl")):
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about unfinished lines: `workbook results` shows it
        frame = results.read_results(build_dir("results"))
    # a network that is converted again has other bytes, and is still the same row
    summary = results.summary(frame.assign(**{"model.sha256": None}))
    summary["machine"] = summary["machine"].fillna("an unknown machine")
    machines = {name: _machine(frame, name) for name in summary["machine"].unique()}
    summary["network"] = [network_of(name) for name in summary["model"]]
    found = {}
    for network, rows in summary.groupby("network", sort=True):
        parts = []
        for machine, measured in rows.groupby("machine", sort=False):
            parts.append(_tables(f"{network}", machines[machine], measured))
        found[network] = "\n".join(parts)
    return found


def network_of(model: str) -> str:
    """The network in a model file, from its name: "mnist_cnn" of "mnist_cnn_int8.tflite"."""
    return VARIANT.split(model)[0]


def _machine(frame, name: str) -> str:
    """A machine in words, from the latest record that names it."""
    hosts = frame.reindex(columns=["host.board", "host.cpu", "host.cores", "host.os"])
    same = hosts[hosts["host.board"].fillna(hosts["host.cpu"]) == name]
    facts = [name]
    for cores in same["host.cores"].dropna()[-1:]:
        facts.append(f"{cores:.0f} cores")
    facts += list(same["host.os"].dropna()[-1:])
    return ", ".join(facts)


def _tables(network: str, machine: str, rows) -> str:
    """The figure, the valid rows and the invalid rows of one network on one machine."""
    is_valid = rows["valid"] == "yes"
    same = {name: rows[name].iloc[0] for name in MAY_BE_SAME if rows[name].nunique() == 1}
    shown = {name: form for name, form in COLUMNS.items() if name not in same}
    conditions = "".join(f", {name} {value}" for name, value in same.items())
    parts = [
        f"<p>Measured on <strong>{html.escape(machine)}</strong>{html.escape(conditions)}.</p>"
    ]
    if is_valid.any():
        file = charts.draw(network, machine, rows[is_valid])
        if file:
            alt = f"p50 of one call of each file of {network}, as in the table below"
            parts.append(f'<figure class="chart"><img src="{file}" alt="{alt}"></figure>')
        parts.append(_table(rows[is_valid], f"{network} on {machine}", shown))
    if not is_valid.all():
        invalid = rows[~is_valid].rename(columns={"valid": "why it is invalid"})
        parts.append("<p>These measurements are invalid. They are kept, but not compared.</p>")
        columns = {"model": None, "why it is invalid": None} | shown
        caption = f"Invalid measurements of {network} on {machine}"
        parts.append(_table(invalid, caption, columns, "invalid"))
    return "\n".join(parts)


def _table(rows, label: str, columns: dict, kind: str = "valid") -> str:
    """One sortable table in a box that scrolls sideways if it is too wide."""
    heads = "".join(
        f'<th scope="col"><button type="button">{html.escape(name)}</button></th>'
        for name in columns
    )
    lines = []
    for row in rows.to_dict("records"):
        cells = "".join(_cell(row[name], form) for name, form in columns.items())
        lines.append(f"<tr>{cells}</tr>")
    return (
        f'<div class="wide" role="region" tabindex="0" aria-label="{html.escape(label)}">'
        f'<table class="table results {kind}"><thead><tr>{heads}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def _cell(value, form: str | None) -> str:
    """A table cell; numbers carry their exact value, by which the script sorts."""
    if value is None or value != value:
        return "<td></td>"
    if form is None:
        return f"<td>{html.escape(str(value))}</td>"
    return f'<td class="number" data-value="{value}">{form.format(value)}</td>'
