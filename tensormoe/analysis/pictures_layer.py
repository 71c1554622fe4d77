"""Pictures of one layer: what ablations change, how levels use each other, how wide experts are."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..errors import TensorMoEError, place_number
from ..typing import Array, NumPyArray
from . import pictures_style as style
from .polysemanticity import polysemanticity
from .reading import read_classes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Lines that are told apart by colour, of Paul Tol's bright scheme.
_COLORS = (style.BLUE, "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#bbbbbb", style.INK)
# Singular values that rounding leaves beyond an expert's rank, of the largest.
_ROUNDING = 1e-10


def draw_ablations(changes: Array, labels: style.Labels | None = None, *, title: str = "") -> "Figure":
    """What each class's accuracy loses or gains without each expert, under the experts' polysemanticity.

    Use it to see which experts serve one class, and which several. Experts come in the order of the class
    that they change most; those that change none are left out, unless all do.

    Args:
        changes: (N, C) as `accuracy_by_ablation` gives them.
        labels: the names of the classes, or their numbers; None for 0, 1, ….
        title: of the figure.

    Returns:
        A `matplotlib.figure.Figure`: above, bars of `polysemanticity`; below, a heat map of the changes.

    Raises:
        TensorMoEError: another shape, changes beyond 1 or that are not finite, another number of labels, or
            Matplotlib is missing.

    Source: Oldfield et al., "Multilinear Mixture of Experts: Scalable Expert Specialization through
    Factorization", 2024, counterfactual expert intervention and class-level polysemanticity.

    Examples:
        >>> import numpy as np
        >>> import tensormoe as tm
        >>> figure = tm.analysis.draw_ablations(np.array([[0.0, -0.5], [-1.0, 0.0], [0.0, 0.0]]))
        >>> figure.axes[0].get_title(loc="right")
        '1 of 3 experts change nothing'
    """
    table = style.read_table("changes", changes, "pass one row for each expert, (N, C)", 2)
    values = polysemanticity(table).experts
    names = style.read_names("labels", labels, table.shape[1])
    order = style.group_columns(np.abs(table).T)
    idle = int(np.isnan(values).sum())
    if idle < len(order):
        order = order[: len(order) - idle]
    height = style.fit_height(len(names)) + 1.3
    figure = style.new_figure(style.fit_width(len(order)) + style.fit_names(names), height, title)
    upper, lower = figure.subplots(2, height_ratios=[1.1, height - 1.3], sharex=True)
    style.tidy(upper, y="polysemanticity")
    style.draw_bars(upper, np.nan_to_num(values[order]))
    upper.set_ylim(0, max(1.0, 1.05 * float(np.nan_to_num(values).max())))
    text = f"{idle:,} of {len(table):,} experts change nothing"
    upper.set_title(text, fontsize=style.SMALL - 0.5, color=style.QUIET, loc="right")
    style.tidy(lower, y="class", frame=True)
    most = float(np.abs(table).max()) or 1.0
    image = style.draw_heat(lower, table[order].T, style.DIVERGING, -most, most)
    style.name_rows(lower, names)
    style.number_experts(lower, order, "by the class that loses most")
    style.add_scale(figure, image, lower, "change of accuracy")
    upper.tick_params(axis="x", bottom=False, labelbottom=False)
    return figure


def draw_hierarchy(shares: Array, *, level: int = 0, title: str = "") -> "Figure":
    """How the inputs of each expert of a level use the experts of the next, as a heat map.

    Use it to see whether levels form a hierarchy: then rows differ, and there is a diagonal of blocks. Rows
    that are equal are levels that choose each for itself.

    Args:
        shares: (N_{e−1}, N_e), one of `conditional_usage`; a row of NaN, an expert without an input, is grey.
        level: the level of the rows, from 0 on, which the picture names as its number plus 1.
        title: of the figure.

    Returns:
        A `matplotlib.figure.Figure`.

    Raises:
        TensorMoEError: another shape, values below 0 or beyond 1, an invalid level, or Matplotlib is missing.

    Examples:
        >>> import numpy as np
        >>> import tensormoe as tm
        >>> figure = tm.analysis.draw_hierarchy(np.array([[0.1, 0.9], [0.8, 0.2]]))
        >>> figure.axes[0].get_ylabel()
        'expert of level 1'
    """
    first = place_number("level", level) + 1
    table = style.read_rows("shares", shares, "pass a matrix (M, N) of conditional_usage")
    beyond = table[(table < 0) | (table > 1 + 1e-6)]
    if beyond.size:
        raise TensorMoEError("shares", float(beyond[0]), "pass shares, from 0 to 1")
    known = np.nan_to_num(table)
    order = style.group_columns(known)
    figure = style.new_figure(style.fit_width(len(order)), style.fit_height(len(table)), title)
    axis = figure.add_subplot()
    style.tidy(axis, frame=True)
    image = style.draw_heat(axis, table[:, order], style.SEQUENTIAL, 0, float(known.max()) or 1)
    style.name_rows(axis, [str(number) for number in range(len(table))])
    axis.set_ylabel(f"expert of level {first}", fontsize=style.SMALL, color=style.INK)
    style.number_experts(axis, order, "")
    columns = "expert" if len(order) <= style.NUMBERED else f"{len(order):,} experts"
    axis.set_xlabel(f"{columns} of level {first + 1}", fontsize=style.SMALL, color=style.INK)
    style.add_scale(figure, image, axis, "share of its inputs")
    return figure


def draw_spectra(
    spectra: Array, experts: Array | Sequence[int] | None = None, *, title: str = ""
) -> "Figure":
    """The singular values of several experts' matrices, from the largest down.

    Use it to see how many directions experts use: a steep line is an expert of few.

    Args:
        spectra: (K, R), a row as `spectrum` gives it for each of at most 8 experts.
        experts: their numbers; None for 0, 1, ….
        title: of the figure.

    Returns:
        A `matplotlib.figure.Figure`, without the zeros beyond an expert's rank.

    Raises:
        TensorMoEError: another shape, values below 0 or that are not finite, another number of experts, or
            Matplotlib is missing.

    Examples:
        >>> import numpy as np
        >>> import tensormoe as tm
        >>> figure = tm.analysis.draw_spectra(np.array([[3.0, 1.0, 0.0], [2.0, 2.0, 1.0]]), [4, 7])
        >>> [line.get_label() for line in figure.axes[0].lines]
        ['expert 4', 'expert 7']
    """
    table = style.read_table("spectra", spectra, "pass a row for each of some experts, (K, R)", 2)
    numbers = np.arange(len(table)) if experts is None else read_classes("experts", experts)
    if len(numbers) != len(table) or len(table) > len(_COLORS):
        remedy = f"pass one number for each of at most {len(_COLORS)} rows of spectra"
        raise TensorMoEError("experts", f"{len(numbers):,} for {len(table):,} rows", remedy)
    if (table < 0).any():
        raise TensorMoEError("spectra", float(table.min()), "singular values are at least 0")
    figure = style.new_figure(5.6, 3.2, title)
    axis = figure.add_subplot()
    style.tidy(axis, x="singular value, by size", y="value")
    for number, values, color in zip(numbers.tolist(), table, _COLORS, strict=False):
        _draw_line(axis, values, color, f"expert {number:,}")
    axis.set_ylim(bottom=0)
    axis.locator_params(axis="x", integer=True)
    # Beside the lines, which fall from the left to the right.
    axis.legend(frameon=False, fontsize=style.SMALL - 0.5, labelcolor=style.INK, loc="upper right")
    return figure


def _draw_line(axis: "Axes", values: NumPyArray, color: str, label: str) -> None:
    ordered = np.sort(values)[::-1]
    shown = ordered[ordered > _ROUNDING * max(ordered[0], np.finfo("float64").tiny)]
    marker = "o" if len(shown) <= 40 else ""
    axis.plot(
        np.arange(1, len(shown) + 1), shown, color=color, linewidth=1.2, marker=marker, ms=3, label=label
    )
