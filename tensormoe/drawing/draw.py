"""A tensor network as a Matplotlib figure."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from textwrap import wrap
from typing import TYPE_CHECKING

import numpy as np

from ..analysis import pictures_style as style
from ..errors import TensorMoEError
from ..layers.spec import Spec
from ..networks.factorization import Factorization
from ..networks.network import Core, Network
from ..networks.notation import INPUT, OUTPUT, Notation, split
from ..networks.splits import Split, is_part, part_sizes, whole_names
from ..typing import NumPyArray
from .diagram import RADIUS, Diagram, bow, lay_out, mode_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Of Paul Tol's bright scheme: cores that carry an expert mode, the input, the output, and bonds alone.
EXPERT, READS, WRITES, INNER = "#ee6677", style.BLUE, "#228833", "#bbbbbb"
POINT = 0.035
# Between terms, whose modes' labels stand beside them.
BESIDE = 1.4
MARGIN, NARROWEST = 0.45, 2.5
# Around a point, where the label of its bond may stand.
AROUND = np.array([[0.0, -0.15], [0.0, 0.15], [0.25, 0.0], [-0.25, 0.0]])
# Between words that stay together.
_GLUE = "\N{NO-BREAK SPACE}"
# Inches that keep labels from each other, from cores and from points; labels are wider than high.
APART, LETTERING = 0.2, np.array([0.45, 1.0])
# Inches that a line of the heading and a character of it take.
LINE, CHARACTER = 0.17, 0.085


def draw(
    what: str | Network | Factorization | Spec, *, levels: int | None = None, title: str | None = None
) -> "Figure":
    """Draw a tensor network: a circle is a core, a line is an index that it carries.

    Use it to see what a notation says, and to show it to others. A line between cores is a bond; a line with
    a free end is a mode of W: inputs to the left, outputs to the right, experts above. Where an index belongs
    to more than two cores, or a mode to more than one, its lines meet in a point. Terms of a sum stand side
    by side. Cores with experts are red, those with the inputs alone blue, those with the outputs alone green,
    others grey. A core that is used more than once shows its name, and so does a fixed one, which is hollow.
    A bond of size 1 is dotted.

    Args:
        what: index notation, a factorization, a network, or a specification, of which each layer has a row.
        levels: the expert levels of a notation or a factorization, by default as many as it names;
            networks and specifications have theirs.
        title: of the figure; by default the notation.

    Returns:
        A `matplotlib.figure.Figure` of its own, which no pyplot knows of: save it with `figure.savefig`.

    Raises:
        TensorMoEError: another object, a notation that does not fit the levels, or Matplotlib or networkx is
            missing.

    Source: Penrose, "Applications of negative dimensional tensors", 1971, the graphical notation; Kamada and
    Kawai, "An algorithm for drawing general undirected graphs", 1989, where its cores lie.

    Examples:
        >>> import tensormoe as tm
        >>> figure = tm.draw(tm.TensorNetwork("n r, i r, r o", r=64))
        >>> figure.get_suptitle()
        'n r, i r, r o'
        >>> sorted(text.get_text() for text in figure.axes[0].texts)
        ['i', 'n', 'o', 'r = 64']
    """
    shown = _read(what, levels)
    rows = [[lay_out(term) for term in each.terms] for each in shown]
    boxes = [_measure(row) for row in rows]
    width = max(NARROWEST, *(wide for wide, _ in boxes))
    headings = [each.text for each in shown] if title is None else [style.check_text("title", title)]
    lines = [line for heading in headings for line in _fold(heading, int(width / CHARACTER))]
    figure = style.new_figure(width, sum(high for _, high in boxes) + LINE * len(lines), "")
    style.write(figure.suptitle("\n".join(lines), fontsize=style.SMALL, color=style.INK, x=0.02, ha="left"))
    axes = figure.subplots(len(rows), 1, squeeze=False, height_ratios=[high for _, high in boxes])[:, 0]
    for axis, each, row in zip(axes, shown, rows, strict=True):
        _draw_row(axis, each, row)
    return figure


@dataclass(frozen=True)
class _Shown:
    """What one row shows: the cores of each term, and the sizes that are known."""

    text: str
    terms: tuple[tuple[Core, ...], ...]
    sizes: Mapping[str, int]
    fixed: frozenset[str]

    @property
    def shared(self) -> set[str]:
        names = [core.name for term in self.terms for core in term]
        return {name for name in names if names.count(name) > 1}


def _read(what: object, levels: int | None) -> list[_Shown]:
    if isinstance(what, Spec):
        return [_of_network(stage.network) for stage in what.layers.values()]
    if isinstance(what, Network):
        return [_of_network(what)]
    if not isinstance(what, str | Factorization):
        remedy = 'pass notation such as "n r, i r, r o", a factorization, a network, or a specification'
        raise TensorMoEError("what", what, remedy)
    named = Notation.parse(what if isinstance(what, str) else what.notation(1 if levels is None else levels))
    splits = _name_parts(named) if isinstance(what, str) else what.splits()
    count = _count_levels(named, splits) if levels is None else levels
    notation = named.at_levels(count).check_modes(count, splits)
    cores = [Core(name, core) for name, core in zip(notation.core_numbers, notation.cores, strict=True)]
    terms = split(cores, notation.counts)
    if isinstance(what, str):
        return [_Shown(str(notation), terms, {}, frozenset())]
    sizes = part_sizes(splits) | what.bonds(count)
    return [_Shown(str(notation), terms, sizes, frozenset(what.fixed_cores(count)))]


def _name_parts(notation: Notation) -> tuple[Split, ...]:
    """The splits of input and output that a notation without sizes names."""
    parts: dict[str, list[str]] = {}
    for each in filter(is_part, notation.indices):
        parts.setdefault(each.partition("_")[0] if each[0] == "n" else each[0], []).append(each)
    return tuple(Split.of(mode, (1,) * len(each)) for mode, each in parts.items() if len(each) > 1)


def _count_levels(notation: Notation, splits: Sequence[Split]) -> int:
    """The levels that a notation names; its n1, n2, … may also be parts of the only one."""
    if any(each.mode == "n" for each in splits):
        return 1
    whole = whole_names(splits)
    return len({whole.get(index, index) for index in notation.indices if mode_of(index) == "n"})


def _fold(heading: str, width: int) -> list[str]:
    """The heading in lines; a core stays in one if it fits."""
    glued = re.sub("(?<![,+]) (?![+])", _GLUE, heading)
    lines = (line.replace(_GLUE, " ") for line in wrap(glued, width, break_long_words=False))
    return [part for line in lines for part in wrap(line, width)]


def _of_network(network: Network) -> _Shown:
    return _Shown(
        str(network), split(network.cores, network.counts), network.sizes, frozenset(dict(network.fixed))
    )


def _measure(row: Sequence[Diagram]) -> tuple[float, float]:
    """The inches that the terms of a row take."""
    sizes = [np.ptp(each.places, axis=0) for each in row]
    wide = sum(float(size[0]) for size in sizes) + BESIDE * (len(row) - 1)
    return wide + 2 * MARGIN, max(float(size[1]) for size in sizes) + 2 * MARGIN


def _draw_row(axis: "Axes", shown: _Shown, row: Sequence[Diagram]) -> None:
    """The terms of a sum side by side."""
    wide, high = _measure(row)
    left = MARGIN
    for number, (diagram, term) in enumerate(zip(row, shown.terms, strict=True)):
        lowest, highest = diagram.places.min(axis=0), diagram.places.max(axis=0)
        places = diagram.places - [lowest[0] - left, (lowest[1] + highest[1]) / 2]
        if number:
            _write(axis, (left - BESIDE / 2, 0.0), "+", style.SMALL + 3)
        _draw_lines(axis, diagram, places, shown.sizes)
        _draw_nodes(axis, diagram, places, term, shown)
        left += float(highest[0] - lowest[0]) + BESIDE
    axis.set(xlim=(0, wide), ylim=(-high / 2, high / 2), aspect="equal")
    axis.axis("off")


def _draw_lines(axis: "Axes", diagram: Diagram, places: NumPyArray, sizes: Mapping[str, int]) -> None:
    taken = [*places]
    named: set[str] = set()
    for line in diagram.lines:
        start, end = places[line.start], places[line.end]
        curve = bow(start, end, line.bend)
        dashes = ":" if sizes.get(line.index) == 1 and not mode_of(line.index) else "-"
        axis.plot(*curve.T, color=style.QUIET, linewidth=1.1, linestyle=dashes, zorder=1)
        text = f"{line.index} = {sizes[line.index]:,}" if line.index in sizes else line.index
        if diagram.nodes[line.end].kind == "end":
            along = end - start
            _write(axis, end + along / np.hypot(*along) * 0.13, text, style.SMALL)
        elif diagram.nodes[line.start].kind == "core":
            taken.append(_most_apart(curve[6:19], taken))
            _write(axis, taken[-1], text, style.TINY + 0.5)
        elif line.index not in named and not mode_of(line.index):
            taken.append(_most_apart(start + AROUND, taken))
            _write(axis, taken[-1], text, style.TINY + 0.5)
        named.add(line.index)


def _most_apart(candidates: NumPyArray, taken: Sequence[NumPyArray]) -> NumPyArray:
    """The candidate farthest from what is drawn already; of those that are far enough, the middle one."""
    away = (candidates[:, None] - np.array(taken)) * LETTERING
    distances = np.linalg.norm(away, axis=-1).min(axis=1)
    order = np.argsort(abs(np.arange(len(candidates)) - (len(candidates) - 1) / 2), kind="stable")
    best = order[np.argmax(np.minimum(distances, APART)[order])]
    chosen: NumPyArray = candidates[best]
    return chosen


def _draw_nodes(
    axis: "Axes", diagram: Diagram, places: NumPyArray, term: Sequence[Core], shown: _Shown
) -> None:
    from matplotlib.patches import Circle

    for number, (node, place) in enumerate(zip(diagram.nodes, places, strict=True)):
        if node.kind == "point":
            axis.add_patch(Circle(tuple(place), POINT, facecolor=style.QUIET, edgecolor="none", zorder=2))
        elif node.kind == "core":
            color, hollow = _color(term[number]), node.name in shown.fixed
            face, edge = ("white", color) if hollow else (color, "white")
            axis.add_patch(
                Circle(tuple(place), RADIUS, facecolor=face, edgecolor=edge, linewidth=1.5, zorder=3)
            )
            if hollow or node.name in shown.shared:
                _write(axis, place, node.name, style.SMALL, edge)


def _color(core: Core) -> str:
    """What a core is for, by the modes that it carries."""
    carried = {mode_of(index) for index in core.indices} - {""}
    if carried - {INPUT, OUTPUT}:
        return EXPERT
    return READS if carried == {INPUT} else WRITES if carried == {OUTPUT} else INNER


def _write(
    axis: "Axes", place: NumPyArray | tuple[float, float], text: str, size: float, color: str = style.INK
) -> None:
    """Text around a place, on a white ground where it crosses a line."""
    ground = None if color != style.INK else {"facecolor": "white", "edgecolor": "none", "pad": 0.6}
    x, y = place
    drawn = axis.text(x, y, text, fontsize=size, color=color, ha="center", va="center")
    drawn.set(zorder=4, bbox=ground)
    style.write(drawn)
