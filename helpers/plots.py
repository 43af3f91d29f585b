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
