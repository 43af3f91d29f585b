"""The figures that several notebooks share, and one look for all of them: readable in grey, sizes in inches."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

# one colour and one marker per runtime through the whole book (Okabe and Ito's palette, told apart by all eyes)
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
    plt.rcParams.update({
        "figure.figsize": (4.2, 2.8), "figure.dpi": 110, "savefig.bbox": "tight", "figure.constrained_layout.use": True,
        "axes.spines.top": False, "axes.spines.right": False, "axes.titlesize": 10, "axes.titlelocation": "left",
        "axes.labelsize": 9, "xtick.labelsize": 8, "ytick.labelsize": 8, "legend.fontsize": 8, "legend.frameon": False,
    })


def pareto_front(costs: np.ndarray) -> np.ndarray:
    """Which rows of `costs` (N x criteria, less is better) are on the front: no other row is as good in all and better in one."""
    costs = np.asarray(costs, float)
    at_most = (costs[None] <= costs[:, None]).all(axis=2)
    better = (costs[None] < costs[:, None]).any(axis=2)
    return ~(at_most & better).any(axis=1)


def pareto(axes: Axes, frame, x: str, y: str, names: str = "runtime") -> list[str]:
    """A point per row of `frame` at its columns `x` and `y`, less being better in both; returns who is on the front.

    The front's points are filled and joined by steps. `names` is the column that names the rows in the legend.
    """
    front = pareto_front(frame[[x, y]].to_numpy())
    line = frame[front].sort_values(x)
    axes.step(line[x], line[y], where="post", color="0.6", linewidth=1, zorder=1)
    for (_, row), on_front in zip(frame.iterrows(), front):
        colour, marker = RUNTIME_STYLE.get(row[names], ("0.3", "o"))
        axes.plot(row[x], row[y], marker, color=colour, markerfacecolor=colour if on_front else "none", markersize=8,
                  linestyle="none", label=row[names])
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    if len(frame):
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return line[names].tolist()


def show_images(images: np.ndarray, titles: list[str], columns: int = 8) -> None:
    """Small grey images in a grid, each under its title."""
    rows = -(-len(images) // columns)
    figure, grid = plt.subplots(rows, columns, figsize=(columns * 0.95, rows * 1.15), squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    for axes, image, title in zip(grid.flat, images, titles):
        axes.imshow(image, cmap="gray_r")
        axes.set_title(title, fontsize=8, loc="center")
