"""The figures of results: the fastest setting of each file of a network, on one machine."""

import re

from helpers.paths import build_dir

MOST_BARS = 16


def draw(network: str, machine: str, rows) -> str | None:
    """Draw the valid `rows` of results.summary; the figure's address relative to the front page.

    It shows single calls with one image. None if no row is of this kind.
    """
    single = rows[(rows["scenario"] == "SingleStream") & (rows["batch"] == 1)]
    fastest = single.sort_values("p50 (µs)").drop_duplicates("model").head(MOST_BARS)
    if fastest.empty:
        return None
    slug = re.sub(r"\W+", "-", f"{network}-{machine}").strip("-").lower()
    path = build_dir("html", "pictures") / f"results-{slug}.svg"
    # drawing takes longer than the rest of the page, so an unchanged figure is kept
    text = fastest.to_csv()
    data = build_dir("site") / f"results-{slug}.csv"
    if not path.exists() or not data.exists() or data.read_text(encoding="utf-8") != text:
        _bars(fastest, f"{network}: p50 of one call, fastest number of threads", path)
        data.write_text(text, encoding="utf-8")
    return f"pictures/{path.name}"


def _bars(rows, title: str, path) -> None:
    from matplotlib.figure import Figure

    from helpers.plots import RUNTIME_STYLE

    milliseconds = rows["p50 (µs)"] / 1000
    figure = Figure(figsize=(5.8, 0.9 + 0.3 * len(rows)), layout="constrained")
    axes = figure.add_subplot()
    colours = []
    for runtime in rows["runtime"]:
        name = runtime.rpartition(" ")[0]
        colours.append(RUNTIME_STYLE.get(name, ("#777777", "o"))[0])
    labels = [
        f"{model}, {threads:.0f} thread{'s' if threads > 1 else ''}"
        for model, threads in zip(rows["model"], rows["threads"])
    ]
    bars = axes.barh(labels, milliseconds, color=colours)
    axes.bar_label(bars, [f"{value:.3g}" for value in milliseconds], padding=3, fontsize=8)
    axes.invert_yaxis()
    axes.margins(x=0.1)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    axes.set_xlabel("p50 (ms)", fontsize=9)
    axes.set_title(title, fontsize=10, loc="left")
    figure.savefig(path, facecolor="white")
