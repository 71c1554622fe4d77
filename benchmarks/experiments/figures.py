"""What the figures of all experiments have in common: panels, lines with intervals, legends."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from tensormoe.intervals import Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Paul Tol's bright colours, which readers with any colour vision tell apart; markers repeat what colours say.
COLOURS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#555555")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")


def panels(titles: Sequence[str], xlabel: str, ylabel: str, seeds: int) -> "tuple[Figure, list[Axes]]":
    """A figure with a panel beside the other for each title, which says how many seeds its intervals have."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(0.6 + 4.2 * len(titles), 3.6), layout="constrained")
    axes = [figure.add_subplot(1, len(titles), place) for place in range(1, len(titles) + 1)]
    for axis, title in zip(axes, titles, strict=True):
        axis.set_title(title, fontsize=10)
        axis.set_xlabel(xlabel)
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel(ylabel)
    say_seeds(figure, seeds)
    return figure, axes


def say_seeds(figure: "Figure", seeds: int) -> None:
    """Write above a figure what its marks and bands are."""
    figure.suptitle(f"means of {seeds} seeds, 95 % intervals", fontsize=8, color="#555555")


def line(axis: "Axes", points: Mapping[float, Interval], label: str, number: int) -> None:
    """Means over x, with their intervals as a band."""
    x = sorted(points)
    colour = COLOURS[number % len(COLOURS)]
    marker = MARKERS[number % len(MARKERS)]
    axis.plot(x, [points[each].mean for each in x], marker=marker, color=colour, label=label, markersize=5)
    low, high = [points[each].low for each in x], [points[each].high for each in x]
    axis.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)


def level(axis: "Axes", value: Interval, label: str) -> None:
    """A mean that does not depend on x, such as that of a baseline, with its interval."""
    axis.axhline(value.mean, color="#222222", linestyle="--", linewidth=1.2, label=label)
    axis.axhspan(value.low, value.high, color="#222222", alpha=0.08, linewidth=0)


def points(axis: "Axes", values: Mapping[str, Interval]) -> None:
    """Means by name, from top to bottom, with their intervals as bars."""
    for row, value in enumerate(values.values()):
        colour = COLOURS[row % len(COLOURS)]
        bars = [[value.mean - value.low], [value.high - value.mean]]
        axis.errorbar(value.mean, row, xerr=bars, fmt=MARKERS[row % len(MARKERS)], color=colour, capsize=3)
    axis.set_yticks(range(len(values)), list(values))
    axis.set_ylim(len(values) - 0.5, -0.5)


def powers(axis: "Axes", values: Sequence[int]) -> None:
    """A logarithmic axis of x with just these numbers on it."""
    axis.set_xscale("log", base=2)
    axis.set_xticks(list(values), [f"{value:,}" for value in values])
    axis.minorticks_off()


def decimals(axis: "Axes", both: bool = False) -> None:
    """A logarithmic axis of y, or of x and y, with its powers of ten as plain numbers."""
    for each in (axis.xaxis, axis.yaxis) if both else (axis.yaxis,):
        each.set_major_formatter("{x:g}")
