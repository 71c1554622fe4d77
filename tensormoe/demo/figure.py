"""The demo's picture: which experts each digit uses, and each framework's loss curve."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .data import Array
from .training import Run

# Of each framework's loss curve; the thin one lies on the thick one.
_STYLES: dict[str, dict[str, Any]] = {
    "PyTorch": {"color": "#e4572e", "linewidth": 3.5, "alpha": 0.55},
    "JAX": {"color": "#17324d", "linewidth": 0.8},
}


def draw(runs: Mapping[str, Mapping[str, Run]], labels: Array, path: Path) -> None:
    """Save the picture: one column for each factorization.

    Args:
        runs: by the factorization's title, the run of each framework by its title.
        labels: of the test images.
        path: where to write the PNG.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(
        2, len(runs), figsize=(3.6 * len(runs) + 0.8, 6.6), squeeze=False, layout="constrained"
    )
    for column, (title, trained) in enumerate(runs.items()):
        first, *_ = trained.values()
        image: Any = _draw_coefficients(axes[0, column], first, labels)
        axes[0, column].set_title(title, fontsize=12, weight="bold")
        _draw_losses(axes[1, column], trained)
    axes[0, 0].set_ylabel("digit")
    axes[1, 0].set_ylabel("training loss")
    frameworks = [*next(iter(runs.values()))]
    if len(frameworks) > 1:
        axes[1, 0].legend(frameon=False, loc="lower left")
        below = f"the same layer trained in {' and in '.join(frameworks)}"
    else:
        below = f"its loss in training in {frameworks[0]}"
    figure.colorbar(image, ax=axes[0, -1], label="mean coefficient", fraction=0.05)
    figure.suptitle(
        f"Handwritten digits: which experts each digit uses (above), and {below} (below)", fontsize=13
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def _draw_coefficients(axis: Any, run: Run, labels: Array) -> Any:
    means = np.stack([run.coefficients[labels == digit].mean(axis=0) for digit in range(10)])
    # Experts in the order of the digit that they serve most, so that specialists form a diagonal.
    order = np.lexsort((-means.max(axis=0), means.argmax(axis=0)))
    image = axis.imshow(means[:, order], cmap="magma_r", vmin=0, vmax=0.6, aspect="auto")
    axis.set_yticks(range(10))
    axis.set_xticks([])
    axis.set_xlabel(f"{means.shape[1]} experts, sorted")
    return image


def _draw_losses(axis: Any, trained: Mapping[str, Run]) -> None:
    for title, run in trained.items():
        style = _STYLES[title] if len(trained) > 1 else {"color": _STYLES[title]["color"], "linewidth": 1.2}
        axis.plot(np.arange(1, len(run.losses) + 1), run.losses, label=title, **style)
    axis.set_yscale("log")
    axis.set_xlabel("step")
    axis.spines[["top", "right"]].set_visible(False)
    if len(trained) > 1:
        first, second = trained.values()
        difference = np.max(np.abs(first.losses - second.losses))
        text = f"largest difference {difference:.0e}"
        axis.text(0.97, 0.95, text, transform=axis.transAxes, ha="right", va="top", fontsize=9)
