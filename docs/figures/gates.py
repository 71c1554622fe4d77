"""Draw docs/images/gates.png: how gate activations spread the weight over experts.

python docs/figures/gates.py
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt

import tensormoe as tm

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.ticker import FixedLocator, NullLocator

Array = npt.NDArray[np.float64]

OUTPUT = Path(__file__).parents[1] / "images" / "gates.png"
EXPERTS, DRAWS = 32, 2000
# Colours that the colour-blind tell apart (Okabe and Ito), dashes for print in grey, and the line's width.
STYLES: dict[str, tuple[str, Any, float]] = {
    "softmax": ("#000000", "-", 1.3),
    "entmax15": ("#0072B2", "-", 2.6),
    "sparsemax": ("#D55E00", (0, (7, 1.5)), 1.8),
    "entmax, alpha=4": ("#CC79A7", (0, (1, 1)), 1.8),
    "soft_top_k, k=4": ("#009E73", (0, (4, 1.2, 1, 1.2, 1, 1.2)), 1.8),
    "top_k, k=4": ("#7F7F7F", (0, (2.5, 1.2)), 1.8),
}
ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "softmax": tm.softmax,
    "entmax15": tm.entmax15,
    "sparsemax": tm.sparsemax,
    "entmax, alpha=4": lambda x: tm.entmax(x, alpha=4),
    "soft_top_k, k=4": lambda x: tm.soft_top_k(x, k=4),
    "top_k, k=4": lambda x: tm.top_k(x, k=4),
}


def line(axis: Any, name: str, x: Array, y: Array, marker: str | None = None) -> None:
    """Draw an activation's line in its style."""
    color, dashes, width = STYLES[name]
    axis.plot(x, y, color=color, linestyle=dashes, linewidth=width, label=name, marker=marker, markersize=5)


def two_experts(axis: Any) -> None:
    """One of two experts against the difference of their logits."""
    difference = np.linspace(-3, 3, 1201)
    logits = np.stack([difference, 0 * difference], axis=-1)
    # The others choose four experts.
    for name in list(ACTIVATIONS)[:4]:
        line(axis, name, difference, ACTIVATIONS[name](logits)[:, 0])
    axis.set_xlabel("its logit minus the other one's")
    axis.set_xticks(range(-3, 4))
    axis.set_title("a  coefficient of one of two experts")


def sorted_coefficients(axis: Any, logits: Array) -> None:
    """The mean of the largest coefficient, of the second largest, and so on."""
    shown = 12
    for name, activation in ACTIVATIONS.items():
        descending = -np.sort(-activation(logits), axis=-1)
        line(axis, name, np.arange(1.0, shown + 1), descending.mean(axis=0)[:shown], ".")
    axis.set_xlabel(f"place of the expert among {EXPERTS}")
    axis.set_xticks([1, 4, 8, 12])
    axis.set_title("b  mean coefficients, sorted")


def nonzero(axis: Any, logits: Array) -> None:
    """How many experts take part at a temperature."""
    temperatures = np.geomspace(1 / 8, 8, 61)
    for name, activation in ACTIVATIONS.items():
        counts = [(activation(logits / t) > 0).sum(axis=-1).mean() for t in temperatures]
        line(axis, name, temperatures, np.array(counts))
    axis.set_xscale("log", base=2)
    axis.xaxis.set_major_locator(FixedLocator([1 / 8, 1 / 4, 1 / 2, 1, 2, 4, 8]))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.set_xticklabels(["⅛", "¼", "½", "1", "2", "4", "8"])
    axis.set_yticks([1, 4, 8, 16, 24, 32])
    axis.set_ylim(0, 33.5)
    axis.set_xlabel("temperature")
    axis.set_title("c  mean number of experts above 0")


def main() -> None:
    """Draw the picture."""
    plt.rcParams.update({"font.size": 9.5, "axes.titlesize": 9.5, "axes.titlelocation": "left"})
    figure, axes = plt.subplots(1, 3, figsize=(9, 3.7), layout="constrained")
    logits = np.random.default_rng(0).normal(size=(DRAWS, EXPERTS))
    two_experts(axes[0])
    sorted_coefficients(axes[1], logits)
    nonzero(axes[2], logits)
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(color="#e5e5e5", linewidth=0.6)
        axis.set_axisbelow(True)
    handles, names = axes[2].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=6, frameon=False, handlelength=2.6)
    figure.savefig(OUTPUT, dpi=160)


if __name__ == "__main__":
    main()
