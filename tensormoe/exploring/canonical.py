"""The canonical form of a network: what stays when bonds are renamed and cores come in another order.

A network becomes a graph whose vertices have colours: its terms, cores, arrays, axes and bonds. Colours are
refined by those of neighbours until they stay (Weisfeiler and Leman). Where several vertices still share one,
each in turn gets a colour of its own, and the smallest of the graphs that result is the canonical one.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

from ..errors import TensorMoEError
from ..networks.fixed import Fixed
from ..networks.network import Core, Network
from ..networks.notation import is_mode

Colours = tuple[int, ...]
# The colours of all vertices, and the edges between them in these.
Form = tuple[tuple[str, ...], tuple[tuple[int, int], ...]]


def canonical_key(network: Network, *, sizes: bool = True) -> str:
    """A text that two networks share if and only if they are isomorphic.

    Use it to try each network once, however it is written. The names of bonds and cores, and the order of
    cores, of their axes and of terms are forgotten. The input, the output, every level of experts and the
    parts of split modes keep their meaning, and so do shared cores, the axes of fixed ones, and sizes.

    Args:
        network: `spec.network`.
        sizes: whether networks with other sizes are others. Without them, the key is that of a topology: of
            sizes it keeps only which bonds are 1.

    Returns:
        32 hexadecimal digits, the same on every machine. (Two networks that differ share them with a
        probability of 2⁻¹²⁸.)

    Raises:
        TensorMoEError: anything but a network.

    Source: McKay and Piperno, "Practical Graph Isomorphism, II", 2014, for refinement and individualization.

    Examples:
        >>> import tensormoe as tm
        >>> def key(notation, **bonds):
        ...     spec = tm.MuMoESpec(4, 4, 3, tm.TensorNetwork(notation, **bonds))
        ...     return tm.explore.canonical_key(spec.network)
        >>> key("n r, i r, r o", r=2) == key("q o, n q, i q", q=2)
        True
        >>> key("n r, i r, r o", r=2) == key("n r, i r, r o", r=3)
        False
    """
    if not isinstance(network, Network):
        raise TensorMoEError("network", network, "pass a network, such as spec.network")
    graph = _graph(network, sizes)
    head = (
        network.levels,
        (network.experts, network.input_size, network.output_size) if sizes else (),
        network.bias,
    )
    return sha256(repr((head, _smallest(graph))).encode()).hexdigest()[:32]


@dataclass
class _Graph:
    """Vertices with labels, and edges between them."""

    labels: list[str] = field(default_factory=list)
    neighbours: list[list[int]] = field(default_factory=list)

    def add(self, *label: object) -> int:
        self.labels.append(repr(label))
        self.neighbours.append([])
        return len(self.labels) - 1

    def join(self, one: int, other: int) -> None:
        self.neighbours[one].append(other)
        self.neighbours[other].append(one)


def _graph(network: Network, sizes: bool) -> _Graph:
    """The graph of a network: two are isomorphic if and only if the networks are."""
    graph, fixed = _Graph(), dict(network.fixed)
    marked = {*network.shared, *network.joint, *fixed}
    arrays = {
        name: _Array(graph, network, name, fixed.get(name)) for name in network.shapes if name in marked
    }
    for term in network.terms:
        vertex = graph.add("term")
        opens = _opens(term, sizes)
        bonds = {
            name: graph.add("bond", size if sizes else min(size, 2))
            for name, size in term.sizes.items()
            if not is_mode(name)
        }
        for core in term.cores:
            use = graph.add("core", sorted(opens[index] for index in core.indices if is_mode(index)))
            graph.join(vertex, use)
            for index in core.indices:
                if not is_mode(index):
                    graph.join(use, bonds[index])
            if core.name in arrays:
                arrays[core.name].use(graph, use, core, opens, bonds)
    return graph


class _Array:
    """A core whose axes can be told apart: one array in several places, or one whose values are fixed."""

    def __init__(self, graph: _Graph, network: Network, name: str, fixed: Fixed | None) -> None:
        joint = name if name in network.joint else ""
        self.vertex = graph.add("array", joint, repr(fixed))
        ordered = bool(joint) or (fixed is not None and not fixed.is_identity)
        self.axes = [
            graph.add("axis", number if ordered else -1) for number in range(len(network.shapes[name]))
        ]
        for axis in self.axes:
            graph.join(self.vertex, axis)

    def use(
        self, graph: _Graph, use: int, core: Core, opens: dict[str, tuple[object, ...]], bonds: dict[str, int]
    ) -> None:
        """Tie the axes to what one use of the array calls them."""
        for axis, index in zip(self.axes, core.indices, strict=True):
            place = graph.add("place", None if index in bonds else opens[index])
            graph.join(place, axis)
            graph.join(place, use)
            if index in bonds:
                graph.join(place, bonds[index])


def _opens(term: Network, sizes: bool) -> dict[str, tuple[object, ...]]:
    """What is told of each mode and of each part of one: it holds whatever the part is called."""
    opens: dict[str, tuple[object, ...]] = {mode: (mode,) for mode in term.modes}
    for split in term.splits:
        for number, part in enumerate(split.parts):
            opens[part] = (split.mode, number, split.sizes if sizes else len(split.sizes), split.pad)
    return opens


def _smallest(graph: _Graph) -> Form:
    ranks = {label: number for number, label in enumerate(sorted({*graph.labels}))}
    return min(_forms(graph, _refine(graph, tuple(ranks[label] for label in graph.labels))))


def _forms(graph: _Graph, colours: Colours) -> Iterator[Form]:
    """The forms of all ways to give each vertex a colour of its own, but for those that are alike."""
    cell = _first_cell(colours)
    if not cell:
        yield _write(graph, colours)
        return
    tried: set[tuple[int, ...]] = set()
    for vertex in cell:
        # Vertices with the same neighbours can be exchanged: one of them is enough.
        around = tuple(sorted(graph.neighbours[vertex]))
        if around not in tried:
            tried.add(around)
            chosen = tuple(2 * each + (number != vertex) for number, each in enumerate(colours))
            yield from _forms(graph, _refine(graph, chosen))


def _first_cell(colours: Colours) -> list[int]:
    """The vertices of the first colour that several share."""
    cells: dict[int, list[int]] = {}
    for vertex, colour in enumerate(colours):
        cells.setdefault(colour, []).append(vertex)
    return next((cells[colour] for colour in sorted(cells) if len(cells[colour]) > 1), [])


def _refine(graph: _Graph, colours: Colours) -> Colours:
    """Colours by those of neighbours, again and again until no colour splits."""
    count = len({*colours})
    while True:
        seen = [
            (colour, tuple(sorted(colours[other] for other in around)))
            for colour, around in zip(colours, graph.neighbours, strict=True)
        ]
        ranks = {each: number for number, each in enumerate(sorted({*seen}))}
        colours = tuple(ranks[each] for each in seen)
        if len(ranks) == count:
            return colours
        count = len(ranks)


def _write(graph: _Graph, places: Sequence[int]) -> Form:
    labels = [""] * len(places)
    for vertex, place in enumerate(places):
        labels[place] = graph.labels[vertex]
    edges = sorted(
        (places[vertex], places[other])
        for vertex, around in enumerate(graph.neighbours)
        for other in around
        if places[vertex] <= places[other]
    )
    return tuple(labels), tuple(edges)
