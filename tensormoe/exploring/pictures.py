"""The Pareto front of a study as a Matplotlib figure."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..analysis import pictures_style as style
from ..typing import NumPyArray
from .objectives import describe
from .outcome import Outcome, spans_decades

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.transforms import Bbox

# Of the width; names of points beyond stand to their left.
_FAR = 0.7


def draw_front(outcomes: Sequence[Outcome], x: str | None, y: str, title: str) -> "Figure":
    """All outcomes as points, those on the front named and joined; bars are intervals over seeds.

    Args:
        outcomes: with values of both objectives.
        x: the objective along x; None for the trials' numbers.
        y: the objective along y.
        title: of the figure.
    """
    figure = style.new_figure(6.0, 3.8, title)
    axis = figure.add_subplot()
    style.tidy(axis, x="trial" if x is None else describe(x), y=describe(y))
    places = np.array([_place(each, x, y) for each in outcomes]).reshape(-1, 2)
    best = np.array([each.is_best for each in outcomes], dtype=bool)
    halves = np.array([each.half(y) for each in outcomes])
    for chosen, color, label in ((~best, style.QUIET, "others"), (best, style.BLUE, "Pareto front")):
        if chosen.any():
            axis.errorbar(
                places[chosen, 0],
                places[chosen, 1],
                yerr=halves[chosen] if halves.any() else None,
                fmt="o",
                color=color,
                markersize=4 if color == style.BLUE else 3,
                elinewidth=0.8,
                alpha=1 if color == style.BLUE else 0.6,
                label=label,
            )
    axis.set(xscale=_scale(places[:, 0], x is not None), yscale=_scale(places[:, 1], True))
    if len(outcomes):
        axis.legend(fontsize=style.SMALL, frameon=False)
    # Only then is it known where points and names are.
    figure.draw_without_rendering()
    _name(axis, [each for each in zip(outcomes, places, strict=True) if each[0].is_best])
    return figure


def _name(axis: "Axes", best: "list[tuple[Outcome, NumPyArray]]") -> None:
    """Write names beside points, from both ends of the front inwards, where there is room for them."""
    taken: list[Bbox] = []
    for outcome, place in sorted(best, key=lambda each: -abs(best.index(each) - len(best) / 2)):
        right = axis.transAxes.inverted().transform(axis.transData.transform(place))[0] > _FAR
        text = axis.annotate(
            style.clean(style.shorten(outcome.name)),
            tuple(place),
            xytext=(-4 if right else 4, 4),
            ha="right" if right else "left",
            textcoords="offset points",
            fontsize=style.TINY,
            color=style.INK,
        )
        style.write(text)
        box = text.get_window_extent()
        if any(box.overlaps(other) for other in taken):
            text.remove()
        else:
            taken.append(box)


def _place(outcome: Outcome, x: str | None, y: str) -> tuple[float, float]:
    values = outcome.mean.values
    return (outcome.mean.number if x is None else values[x]), values[y]


def _scale(values: NumPyArray, is_cost: bool) -> str:
    return "log" if is_cost and spans_decades([*values]) else "linear"
