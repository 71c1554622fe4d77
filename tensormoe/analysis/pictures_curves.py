"""Curves of a measure against the number of experts, with intervals over seeds."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import stdtrit

from ..errors import TensorMoEError, positive_number
from ..typing import Array, NumPyArray
from . import pictures_style as style
from .reading import read_classes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Shapes tell curves apart, too, where colours cannot.
_MARKERS = "os^DvPX"
# What lies between curves at one number of experts, and between a mean and its seeds, in powers of two.
_APART, _BESIDE = 0.2, 0.1
# A longer name of a curve is cut at its end.
_LONGEST = 40


def draw_polysemanticity(
    experts: Array | Sequence[int],
    values: Array | Mapping[str, Array],
    *,
    confidence: float = 0.95,
    title: str = "",
) -> "Figure":
    """The mean polysemanticity of a layer's experts against how many there are, with intervals over seeds.

    Use it to see whether more experts mean finer roles, and by which family or gate.

    Args:
        experts: the numbers of experts, (K,).
        values: of each number of experts the mean of `polysemanticity` after training with each of S ≥ 2
            seeds, (K, S); or for several curves a mapping from their names to such arrays.
        confidence: of the intervals: Student's, for the mean over seeds.
        title: of the figure.

    Returns:
        A `matplotlib.figure.Figure`: each seed as a pale dot, means, and intervals. Curves stand a little
        apart, so that none covers another's interval.

    Raises:
        TensorMoEError: arrays of other shapes, numbers that are not finite, one number of experts twice, no
            curve or more than seven, or Matplotlib is missing.

    Source: Oldfield et al., "Multilinear Mixture of Experts: Scalable Expert Specialization through
    Factorization", 2024, the class-level polysemanticity. Student, "The Probable Error of a Mean", 1908.

    Examples:
        >>> import numpy as np
        >>> import tensormoe as tm
        >>> figure = tm.analysis.draw_polysemanticity([4, 8], np.array([[0.9, 0.8], [0.6, 0.7]]))
        >>> figure.axes[0].lines[0].get_ydata()
        array([0.85, 0.65])
    """
    share = positive_number("confidence", confidence)
    if not share < 1:
        raise TensorMoEError("confidence", confidence, "pass a number between 0 and 1, such as 0.95")
    counts = read_classes("experts", experts)
    if counts.min() < 1 or len(np.unique(counts)) < len(counts):
        raise TensorMoEError("experts", counts, "pass each number of experts once, from 1 on")
    order = np.argsort(counts)
    curves = {name: table[order] for name, table in _read_curves(values, len(counts)).items()}
    counts, several = counts[order], isinstance(values, Mapping)
    names = [name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…" for name in curves]
    figure = style.new_figure(4.8 + several * (0.4 + 0.055 * max(map(len, names))), 3.2, title)
    axis = figure.add_subplot()
    style.tidy(axis, x="experts", y="class-level polysemanticity,\nmean over experts")
    interval = f"mean, {100 * share:g} % interval"
    for place, (name, table) in enumerate(zip(names, curves.values(), strict=True)):
        # The only curve's seeds are left of its means, which would cover them.
        at = counts * 2 ** (_APART * (place - (len(curves) - 1) / 2))
        label = name if several else interval
        _draw_curve(axis, at, table, share, place, label, several)
    _number_counts(axis, counts)
    axis.set_ylim(bottom=0)
    look: dict[str, Any] = {"frameon": False, "fontsize": style.SMALL - 0.5, "labelcolor": style.INK}
    if not several:
        axis.legend(loc="best", **look)
        return figure
    axis.set_title(f"dots: seeds; {interval}", fontsize=style.SMALL - 0.5, color=style.QUIET, loc="left")
    for text in figure.legend(loc="outside right upper", **look).get_texts():
        style.write(text)
    return figure


def _read_curves(values: object, count: int) -> dict[str, NumPyArray]:
    """The curves by name; "" for a single one."""
    if not isinstance(values, Mapping):
        return {"": _read_curve("values", values, count)}
    if not 1 <= len(values) <= len(_MARKERS):
        raise TensorMoEError("values", len(values), f"pass from 1 to {len(_MARKERS)} curves by name")
    curves = {}
    for name, table in values.items():
        curves[style.check_text("values", name)] = _read_curve(f"values[{name!r}]", table, count)
    return curves


def _read_curve(argument: str, values: Array, count: int) -> NumPyArray:
    table = style.read_table(argument, values, "pass a row for each number of experts, (K, S)", 2)
    if len(table) != count or table.shape[1] < 2:
        remedy = f"pass a row for each of the {count:,} numbers of experts, of two seeds or more"
        raise TensorMoEError(argument, table.shape, remedy)
    if (table < 0).any():
        raise TensorMoEError(argument, float(table.min()), "polysemanticity is a distance: at least 0")
    return table


def _draw_curve(
    axis: "Axes", at: NumPyArray, table: NumPyArray, share: float, place: int, label: str, several: bool
) -> None:
    """Means with intervals, and each seed beside them."""
    seeds, color = table.shape[1], style.CURVES[place]
    half = stdtrit(seeds - 1, (1 + share) / 2) * table.std(axis=1, ddof=1) / np.sqrt(seeds)
    dots = np.repeat(at, seeds) * 2**-_BESIDE
    named = None if several else f"each of {seeds} seeds"
    axis.scatter(
        dots, table.ravel(), s=5 if several else 9, color=color, alpha=0.5, linewidths=0, label=named
    )
    line: dict[str, Any] = {"linewidth": 1.3, "capsize": 3, "marker": _MARKERS[place], "ms": 4}
    axis.errorbar(at, table.mean(axis=1), half, color=color, label=label, **line)


def _number_counts(axis: "Axes", counts: NumPyArray) -> None:
    """A logarithmic axis whose ticks are the numbers of experts, but for those too close to read."""
    axis.set_xscale("log", base=2)
    gap = np.log(counts[-1] / counts[0]) / 10
    shown: list[int] = []
    for count in counts.tolist():
        if not shown or np.log(count / shown[-1]) >= gap:
            shown.append(count)
    axis.set_xticks(shown, [f"{count:,}" for count in shown])
    axis.xaxis.minorticks_off()
