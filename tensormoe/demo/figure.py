"""The demo's picture: which experts each digit uses, and the loss curves of both frameworks on each other."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .data import Array
from .training import Run

_PYTORCH, _JAX = "#e4572e", "#17324d"


def draw(runs: Mapping[str, tuple[Run, Run]], labels: Array, path: Path) -> None:
    """Save the picture: one column for each factorization.

    Args:
        runs: by the factorization's title, the PyTorch and the JAX run.
        labels: of the test images.
        path: where to write the PNG.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(
        2, len(runs), figsize=(3.6 * len(runs) + 0.8, 6.6), squeeze=False, layout="constrained"
    )
    for column, (title, (ours, theirs)) in enumerate(runs.items()):
        image: Any = _coefficients(axes[0, column], ours, labels)
        axes[0, column].set_title(title, fontsize=12, weight="bold")
        _losses(axes[1, column], ours, theirs)
    axes[0, 0].set_ylabel("digit")
    axes[1, 0].set_ylabel("training loss")
    axes[1, 0].legend(frameon=False, loc="lower left")
    figure.colorbar(image, ax=axes[0, -1], label="mean coefficient", fraction=0.05)
    figure.suptitle(
        "Handwritten digits: which experts each digit uses (above), "
        "and the same layer trained in PyTorch and in JAX (below)",
        fontsize=13,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def _coefficients(axis: Any, run: Run, labels: Array) -> Any:
    means = np.stack([run.coefficients[labels == digit].mean(axis=0) for digit in range(10)])
    # Experts in the order of the digit that they serve most, so that specialists form a diagonal.
    order = np.lexsort((-means.max(axis=0), means.argmax(axis=0)))
    image = axis.imshow(means[:, order], cmap="magma_r", vmin=0, vmax=0.6, aspect="auto")
    axis.set_yticks(range(10))
    axis.set_xticks([])
    axis.set_xlabel(f"{means.shape[1]} experts, sorted")
    return image


def _losses(axis: Any, pytorch: Run, jax: Run) -> None:
    steps = np.arange(1, len(pytorch.losses) + 1)
    axis.plot(steps, pytorch.losses, color=_PYTORCH, linewidth=3.5, alpha=0.55, label="PyTorch")
    axis.plot(steps, jax.losses, color=_JAX, linewidth=0.8, label="JAX")
    axis.set_yscale("log")
    axis.set_xlabel("step")
    axis.spines[["top", "right"]].set_visible(False)
    difference = np.max(np.abs(pytorch.losses - jax.losses))
    axis.text(
        0.97,
        0.95,
        f"largest difference {difference:.0e}",
        transform=axis.transAxes,
        ha="right",
        va="top",
        fontsize=9,
    )
