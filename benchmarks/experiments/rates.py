"""The grid of learning rates that all contenders share: how one is chosen, and who has an end of the grid."""

from collections.abc import Callable, Sequence
from math import isnan
from typing import cast

from .results import Results


def choose(rates: Sequence[float], loss: Callable[[float], float]) -> float:
    """The rate with the least loss, which is not asked for where there is no choice.

    Args:
        rates: the grid.
        loss: that of a model trained with a rate, on validation data; NaN where it diverged.

    Returns:
        Of equal ones the first.
    """
    if len(rates) == 1:
        return rates[0]
    losses = [loss(rate) for rate in rates]
    return rates[min(range(len(rates)), key=lambda place: (isnan(losses[place]), losses[place]))]


def tell(results: Results) -> str:
    """Which contenders have the smallest or the largest rate: the grid may be too narrow for them.

    Nothing is said of results without rates, or without a choice of them.
    """
    grid = [
        cast("Sequence[float]", line["configuration"]["rates"])
        for line in results.lines
        if "rate" in line["measures"] and "rates" in line["configuration"]
    ]
    if not grid or len(grid[0]) == 1:
        return ""
    chosen = {tuple(line["cell"].values()): line["measures"]["rate"] for line in results.lines}
    low, high = min(grid[0]), max(grid[0])
    ends = {"smallest": low, "largest": high}
    found = {name: [*chosen.values()].count(rate) for name, rate in ends.items()}
    said = [f"{count} chose the {name} ({ends[name]:g})" for name, count in found.items() if count]
    span = f"the grid of learning rates, {low:g} … {high:g}"
    if not said:
        return f"All {len(chosen)} contenders have their best rate inside {span}."
    return (
        f"Of {len(chosen)} contenders, {' and '.join(said)}: these are at an end of {span}, and a wider one "
        "might serve them better."
    )
