"""Figures: each target and what was measured; and time and memory over the number of experts."""

from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot as plt

from .suite import Measurement
from .targets import Verdict

MET, MISSED, LIMIT = "#4477aa", "#cc3311", "#222222"
LEVELS = {1: ("one level", "o"), 2: ("two levels", "s"), 3: ("three levels", "^")}
# The gates have as many targets as all other cases together.
APART = "gates"


def draw(folder: Path, results: Mapping[str, Sequence[Measurement]], judged: Sequence[Verdict]) -> None:
    """Write the figures for what was run into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    ratios = [v for v in judged if v.value is not None and " / " in v.target.quantity]
    for name, apart in (("targets", False), ("gates", True)):
        chosen = [verdict for verdict in ratios if (verdict.target.case == APART) == apart]
        if chosen:
            _targets(folder / f"bench-{name}.png", chosen)
    if len(results.get("experts", ())) == 2:
        _experts(folder / "bench-experts.png", results["experts"])


def _targets(file: Path, judged: Sequence[Verdict]) -> None:
    """A bar for each ratio, by case, and its target as a line across it."""
    cases = list(dict.fromkeys(verdict.target.case for verdict in judged))
    counts = [sum(verdict.target.case == case for verdict in judged) for case in cases]
    height = 0.27 * sum(counts) + 0.45 * len(cases) + 0.6
    figure, axes = plt.subplots(
        len(cases), figsize=(10, height), sharex=True, squeeze=False, height_ratios=[n + 0.4 for n in counts]
    )
    for axis, case in zip(axes[:, 0], cases, strict=True):
        own = [verdict for verdict in judged if verdict.target.case == case]
        for row, verdict in enumerate(own):
            value, limit = verdict.value or 0.0, verdict.target.limit
            axis.barh(row, value - 1, left=1, color=MET if verdict.met else MISSED, height=0.62)
            axis.plot([limit, limit], [row - 0.45, row + 0.45], color=LIMIT, linewidth=2)
            axis.text(max(value, limit, 1) * 1.04, row, f"{value:.3g}", va="center", fontsize=8)
        labels = [f"{verdict.target.quantity}  {verdict.target.comparison}" for verdict in own]
        axis.set_yticks(range(len(own)), labels, fontsize=8)
        axis.set_ylim(len(own) - 0.4, -0.6)
        axis.set_title(case, loc="left", fontsize=9, fontweight="bold")
        axis.spines[["top", "right"]].set_visible(False)
    last = axes[-1, 0]
    last.set_xscale("log")
    for axis in axes[:, 0]:
        axis.axvline(1, color=LIMIT, linewidth=0.8)
    low, high = last.get_xlim()
    last.set_xlim(low / 1.1, high * 1.3)
    last.set_xlabel("ratio; its target is the black line")
    _plain(last.xaxis)
    figure.tight_layout()
    figure.savefig(file, dpi=120)
    plt.close(figure)


def _experts(file: Path, measured: Sequence[Measurement]) -> None:
    """Time and memory over the number of experts, a line for each number of levels."""
    units = {"s": ("time of a call [ms]", 1e3), "B": ("memory in a call, with parameters [MiB]", 2.0**-20)}
    figure, axes = plt.subplots(1, len(measured), figsize=(10, 4))
    for axis, measurement in zip(axes, measured, strict=True):
        label, scale = units[measurement.unit]
        for levels, (name, marker) in LEVELS.items():
            points = sorted(_points(measurement, levels, scale))
            axis.plot(*zip(*points, strict=True), marker=marker, label=name)
        axis.set(xscale="log", yscale="log", xlabel="experts", ylabel=label)
        _plain(axis.yaxis)
        axis.grid(alpha=0.3, which="both")
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].legend(frameon=False)
    figure.tight_layout()
    figure.savefig(file, dpi=120)
    plt.close(figure)


def _points(measurement: Measurement, levels: int, scale: float) -> list[tuple[int, float]]:
    """The number of experts and the value, of the sides with this many levels."""
    counts = {side: [int(n.replace(",", "")) for n in side.split(" × ")] for side in measurement.values}
    return [
        (prod(counts[side]), scale * values[1])
        for side, values in measurement.values.items()
        if len(counts[side]) == levels
    ]


def _plain(axis: Any) -> None:
    """Numbers in full on a logarithmic axis, where there may not be two powers of ten to put them at."""
    axis.set_major_locator(matplotlib.ticker.LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(matplotlib.ticker.FormatStrFormatter("%g"))
    axis.set_minor_formatter(matplotlib.ticker.NullFormatter())
