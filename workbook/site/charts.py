"""The figures of results: the fastest setting of each file of a network, on one machine."""

import re
import textwrap

from helpers.paths import build_dir

MOST_BARS = 16
SAME = ["model", "runtime", "precision"]  # what has a bar of its own
LINE = 75  # the characters of a title that fit in one line


def draw(network: str, machine: str, rows) -> str | None:
    """Draw the valid `rows` of results.summary; the figure's address relative to the front page.

    It shows single calls with one image. None if no row is of this kind.
    """
    single = rows[(rows["scenario"] == "SingleStream") & (rows["batch"] == 1)]
    fastest = single.sort_values("p50 (µs)").drop_duplicates(SAME)
    if fastest.empty:
        return None
    title = f"{network}: p50 of one call, fastest number of threads"
    if len(fastest) > MOST_BARS:
        title += f"; the fastest {MOST_BARS} of {len(fastest)}"
        fastest = fastest.head(MOST_BARS)
    slug = re.sub(r"\W+", "-", f"{network}-{machine}").strip("-").lower()
    path = build_dir("html", "pictures") / f"results-{slug}.svg"
    # drawing takes longer than the rest of the page, so an unchanged figure is kept
    text = title + fastest.to_csv()
    data = build_dir("site") / f"results-{slug}.csv"
    if not path.exists() or not data.exists() or data.read_text(encoding="utf-8") != text:
        bars(fastest, title).savefig(path, facecolor="white")
        data.write_text(text, encoding="utf-8")
    return f"pictures/{path.name}"


def bars(rows, title: str):
    """A Figure with a bar for each of the `rows`, from the top; no label is cut."""
    from matplotlib.figure import Figure

    from helpers.plots import RUNTIME_STYLE

    milliseconds = rows["p50 (µs)"] / 1000
    figure = Figure(figsize=(5.8, 0.9 + 0.3 * len(rows)), layout="constrained")
    axes = figure.add_subplot()
    colours = []
    for runtime in rows["runtime"]:
        name = runtime.rpartition(" ")[0]
        colours.append(RUNTIME_STYLE.get(name, ("#777777", "o"))[0])
    labels = _labels(rows)
    drawn = axes.barh(range(len(labels)), milliseconds, color=colours, tick_label=labels)
    axes.bar_label(drawn, [f"{value:.3g}" for value in milliseconds], padding=3, fontsize=8)
    axes.invert_yaxis()
    axes.margins(x=0.1)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    axes.set_xlabel("p50 (ms)", fontsize=9)
    # of the figure, because the axes are narrow where labels are long
    figure.suptitle(textwrap.fill(title, LINE), fontsize=10, x=0.01, ha="left")
    return figure


def _labels(rows) -> list[str]:
    """The file, its precision and the threads; the runtime, too, if several run the same file."""
    labels = []
    for row in rows.to_dict("records"):
        parts = [row["model"]]
        if rows.loc[rows["model"] == row["model"], "runtime"].nunique() > 1:
            parts.append(row["runtime"])
        if isinstance(row["precision"], str):
            parts.append(row["precision"])
        plural = "s" if row["threads"] > 1 else ""
        parts.append(f"{row['threads']:.0f} thread{plural}")
        labels.append(", ".join(parts))
    return labels
