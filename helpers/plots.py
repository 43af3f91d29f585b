"""Figures that several notebooks share, in one style: readable in grey, sizes in inches."""

import matplotlib.pyplot as plt
import numpy as np

# one colour and one marker per runtime in the whole book; the palette is Okabe and Ito's, whose
# colours colour-blind readers can tell apart
RUNTIME_STYLE = {
    "PyTorch": ("#D55E00", "o"),
    "ONNX Runtime": ("#0072B2", "s"),
    "LiteRT": ("#E69F00", "^"),
    "ncnn": ("#009E73", "D"),
    "MNN": ("#CC79A7", "v"),
    "ExecuTorch": ("#56B4E9", "P"),
}


def use_style() -> None:
    """One look: small figures, no box, labels that can be read when printed."""
    plt.rcParams.update(
        {
            "figure.figsize": (4.2, 2.8),
            "figure.dpi": 110,
            "savefig.bbox": "tight",
            "figure.constrained_layout.use": True,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.titlesize": 10,
            "axes.titlelocation": "left",
            "axes.labelsize": 9,
            "xtick.labelsize": 8,
            "ytick.labelsize": 8,
            "legend.fontsize": 8,
            "legend.frameon": False,
        }
    )


def pareto_front(costs: np.ndarray) -> np.ndarray:
    """Which rows of `costs` (N x criteria, less is better) are on the front.

    A row is on it if no other row is at least as good in all criteria and better in one.
    """
    costs = np.asarray(costs, float)
    at_most = np.all(costs[None] <= costs[:, None], axis=2)  # [rows, other rows]
    better = np.any(costs[None] < costs[:, None], axis=2)
    return ~np.any(at_most & better, axis=1)


def sustained(trace, title: str) -> None:
    """p50 of each runtime over the minutes of helpers.sustained.over_time; °C and GHz if known.

    Slices during which the Pi throttled have hollow marks on a grey band.
    """
    panels = ["p50 (ms)", *(name for name in ("°C", "GHz") if trace[name].notna().any())]
    _, axes = plt.subplots(
        len(panels),
        1,
        figsize=(4.4, 1.4 + 0.9 * len(panels)),
        sharex=True,
        squeeze=False,
        height_ratios=[2, 1, 1][: len(panels)],
    )
    hot = trace[trace["throttled"] != ""]
    bands = hot[["begun", "minute"]].drop_duplicates().to_numpy()
    for column, ax in zip(panels, axes[:, 0]):
        for begun, minute in bands:
            ax.axvspan(begun, minute, color="0.9", linewidth=0)
        for name, lines in trace.groupby("runtime.name"):
            colour, marker = RUNTIME_STYLE[name]
            marked = lines[lines["throttled"] != ""]
            style = {"marker": marker, "color": colour, "markersize": 3}
            label = f"{name}, {lines['model.precision'].iloc[0]}"
            ax.plot(lines["minute"], lines[column], label=label, **style)
            style |= {"linestyle": "none", "markerfacecolor": "white"}
            ax.plot(marked["minute"], marked[column], **style)
        ax.set_ylabel(column)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    if len(hot):
        handles.append(plt.Rectangle((0, 0), 1, 1, color="0.9"))
        labels.append("throttled: not ranked")
    axes[0, 0].legend(handles, labels, loc="center left", bbox_to_anchor=(1, 0.5))
    axes[0, 0].set(title=title, ylim=(0, None))
    axes[-1, 0].set(xlabel="minutes under load", xlim=(0, None))
