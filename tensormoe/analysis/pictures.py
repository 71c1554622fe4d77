"""Pictures of measures: which experts a class uses, how much each is used, how alike they are.

Each function takes what a measure returns and gives a Matplotlib figure that is in no window. It leaves
Matplotlib's settings as they are, and needs no display.
"""

from typing import TYPE_CHECKING

import numpy as np
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform

from ..errors import TensorMoEError, positive_number
from ..typing import Array, NumPyArray
from . import pictures_style as style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Beyond it the best order of a tree's leaves takes minutes.
_ORDERED = 512


def draw_class_means(means: Array, labels: style.Labels | None = None, *, title: str = "") -> "Figure":
    """A heat map of the mean coefficients of each class, with the experts of one class side by side.

    Use it to see which experts specialize. Experts come in the order of the class that they serve most, so
    that specialists form a diagonal, and for one class in the order of their mean; those that serve none come
    last.

    Args:
        means: (C, N) as `class_means` or `Recording` gives them; a row of NaN, a class without an input, is
            grey.
        labels: the names of the classes, or their numbers; None for 0, 1, ….
        title: of the figure.

    Returns:
        A `matplotlib.figure.Figure`: `figure.savefig("classes.png")`.

    Raises:
        TensorMoEError: another shape, values that are negative or not finite, another number of labels, or
            Matplotlib is missing.

    Examples:
        >>> import numpy as np
        >>> import tensormoe as tm
        >>> figure = tm.analysis.draw_class_means(np.array([[0.1, 0.9], [0.8, 0.2]]), ["cat", "dog"])
        >>> figure.axes[0].images[0].get_array()  # expert 1, of the first class, comes first
        masked_array(
          data=[[0.9, 0.1],
                [0.2, 0.8]],
          mask=[[False, False],
                [False, False]],
          fill_value=1e+20)
    """
    table = style.read_rows("means", means, "pass the mean coefficients (C, N) of C classes")
    if (table < 0).any():
        raise TensorMoEError("means", float(np.nanmin(table)), "coefficients are at least 0")
    names = style.read_names("labels", labels, len(table))
    known = np.nan_to_num(table)
    order = style.group_columns(known)
    height = style.fit_height(len(table))
    figure = style.new_figure(style.fit_width(len(order)) + style.fit_names(names), height, title)
    axis = figure.add_subplot()
    style.tidy(axis, y="class", frame=True)
    image = style.draw_heat(axis, table[:, order], style.SEQUENTIAL, 0, known.max() or 1)
    style.name_rows(axis, names)
    style.number_experts(axis, order, "by preferred class")
    style.add_scale(figure, image, axis, "mean coefficient")
    return figure


def draw_usage(load: Array, usage: Array, *, threshold: float = 0.5, title: str = "") -> "Figure":
    """Bars of the load and the usage of each expert, from the one with the largest load down.

    Use it to see how even the work is, and which experts do none: those of load 0 are dead, and marked.

    Args:
        load: (N,) as `load` or one level of a recording gives it.
        usage: (N,) as `usage` gives it.
        threshold: that of `usage`, which the picture names.
        title: of the figure.

    Returns:
        A `matplotlib.figure.Figure`.

    Raises:
        TensorMoEError: arrays of other shapes than each other's, values below 0 or beyond 1, or Matplotlib is
            missing.

    Examples:
        >>> import numpy as np
        >>> import tensormoe as tm
        >>> coefficients = np.array([[0.7, 0.3, 0.0], [0.6, 0.4, 0.0]])
        >>> load, usage = tm.analysis.load(coefficients), tm.analysis.usage(coefficients)
        >>> figure = tm.analysis.draw_usage(load, usage)
        >>> figure.axes[0].texts[0].get_text()
        '1 dead of 3'
    """
    least = positive_number("threshold", threshold)
    loads, used = (_read_shares(name, values) for name, values in (("load", load), ("usage", usage)))
    if loads.shape != used.shape:
        remedy = f"load has the shape {loads.shape}: pass both of the same experts"
        raise TensorMoEError("usage", used.shape, remedy)
    order = np.argsort(-loads, kind="stable")
    figure = style.new_figure(style.fit_width(len(loads)), 3.8, title)
    upper, lower = figure.subplots(2, sharex=True)
    style.tidy(upper, y="load\n(share of all coefficients)")
    style.tidy(lower, y=f"usage (share of inputs\nwith coefficient ≥ {least:g})")
    style.draw_bars(upper, loads[order])
    style.draw_bars(lower, used[order])
    upper.axhline(1 / len(loads), color=style.INK, linewidth=0.7, linestyle=(0, (4, 3)))
    dead = int(np.count_nonzero(loads == 0))
    style.mark_end((upper, lower), len(loads), dead, "{end:,} dead of {count:,}", style.RED)
    style.number_experts(lower, order, "sorted by load")
    upper.tick_params(axis="x", bottom=False, labelbottom=False)
    for axis in (upper, lower):
        axis.set_xlim(-0.5 - 0.01 * len(loads), len(loads) - 0.5 + 0.01 * len(loads))
        axis.set_ylim(bottom=0, top=None if axis.get_ylim()[1] > 0 and axis.dataLim.y1 > 0 else 1)
    upper.set_title(
        f"dashed: equal load, 1/{len(loads):,}", fontsize=style.SMALL - 0.5, color=style.QUIET, loc="left"
    )
    return figure


def draw_similarity(cosines: Array, *, title: str = "") -> "Figure":
    """The cosines between all experts as a matrix, with similar ones side by side, under the tree of them.

    Use it to see groups of experts that do the same, before merging or pruning them.

    Args:
        cosines: (N, N) as `cosines` gives them, of at least two experts.
        title: of the figure.

    Returns:
        A `matplotlib.figure.Figure`: above, the tree, whose branches join at 1 − the mean cosine between
        their experts; below, the matrix in the order of its leaves.

    Raises:
        TensorMoEError: another shape, a matrix that is not symmetric, values beyond −1 and 1, or Matplotlib
            is missing.

    Source: Sokal and Michener, "A Statistical Method for Evaluating Systematic Relationships", 1958, average
    linkage. Bar-Joseph, Gifford and Jaakkola, "Fast Optimal Leaf Ordering for Hierarchical Clustering", 2001,
    up to 512 experts.

    Examples:
        >>> import numpy as np
        >>> import tensormoe as tm
        >>> cosines = np.array([[1.0, 0.0, 0.9], [0.0, 1.0, 0.1], [0.9, 0.1, 1.0]])
        >>> figure = tm.analysis.draw_similarity(cosines)
        >>> [label.get_text() for label in figure.axes[1].get_yticklabels()]
        ['1', '2', '0']
    """
    table = style.read_table("cosines", cosines, "pass a symmetric matrix (N, N)", 2)
    if table.shape[0] != table.shape[1] or len(table) < 2:
        raise TensorMoEError("cosines", table.shape, "pass a matrix (N, N) of at least two experts")
    if not np.allclose(table, table.T, atol=1e-6) or np.abs(table).max() > 1 + 1e-6:
        raise TensorMoEError("cosines", table, "pass a symmetric matrix of cosines, from −1 to 1")
    distances = squareform(1 - (table + table.T) / 2, checks=False).clip(0)
    tree = linkage(distances, "average", optimal_ordering=len(table) <= _ORDERED)
    order = leaves_list(tree)
    side = float(np.clip(4.2 + 0.06 * len(table), 4.4, 7.8))
    figure = style.new_figure(side, side + 0.3, title)
    upper, lower = figure.subplots(2, height_ratios=[1, 5.5], sharex=True)
    style.tidy(upper, y="1 − cosine")
    _draw_tree(upper, tree, order)
    style.tidy(lower, frame=True)
    image = lower.imshow(table[np.ix_(order, order)], cmap=style.DIVERGING, vmin=-1, vmax=1, aspect="auto")
    style.number_experts(lower, order, "in the order of the tree")
    style.number_experts(lower, order, "in the order of the tree", along_y=True)
    style.add_scale(figure, image, lower, "cosine between experts")
    upper.spines["bottom"].set_visible(False)
    upper.tick_params(axis="x", bottom=False, labelbottom=False)
    return figure


def _read_shares(argument: str, values: Array) -> NumPyArray:
    shares = style.read_table(argument, values, "pass one number for each expert, (N,)", 1)
    beyond = shares[(shares < 0) | (shares > 1 + 1e-6)]
    if beyond.size:
        raise TensorMoEError(argument, float(beyond[0]), "pass shares, from 0 to 1")
    return shares


def _draw_tree(axis: "Axes", tree: NumPyArray, order: NumPyArray) -> None:
    """Branches above the leaves. A loop, since a tree may be as deep as it has leaves."""
    from matplotlib.collections import LineCollection

    leaves = len(order)
    places, heights = np.zeros(2 * leaves - 1), np.zeros(2 * leaves - 1)
    places[order] = np.arange(leaves)
    branches = []
    for number, (one, other, height) in enumerate(tree[:, :3], leaves):
        a, b = int(one), int(other)
        corners = (places[a], heights[a]), (places[a], height), (places[b], height), (places[b], heights[b])
        branches.append(corners)
        places[number], heights[number] = (places[a] + places[b]) / 2, height
    axis.add_collection(LineCollection(branches, colors=style.QUIET, linewidths=0.8 if leaves <= 64 else 0.4))
    axis.set_ylim(0, 1.05 * heights.max() or 1)
