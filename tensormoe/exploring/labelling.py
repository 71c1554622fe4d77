"""The smallest way to write a graph, which is the same for all that are isomorphic.

Vertices are coloured by their labels, and colours are refined by those of neighbours until they stay. Where
several vertices still share a colour, each in turn gets one of its own. Two ways that give the same form are
a symmetry of the graph, and what is symmetric to a vertex that was tried is not tried.

Source: McKay and Piperno, "Practical Graph Isomorphism, II", 2014, sections 2.2 and 2.3.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

Colours = tuple[int, ...]
# The labels of all vertices, and the edges between them, in an order of the vertices.
Form = tuple[tuple[str, ...], tuple[tuple[int, int], ...]]


@dataclass
class Graph:
    """Vertices with labels, and edges between them."""

    labels: list[str] = field(default_factory=list)
    neighbours: list[list[int]] = field(default_factory=list)

    def add(self, *label: object) -> int:
        """A new vertex; what it is labelled with tells it from others by its repr."""
        self.labels.append(repr(label))
        self.neighbours.append([])
        return len(self.labels) - 1

    def join(self, one: int, other: int) -> None:
        """A new edge."""
        self.neighbours[one].append(other)
        self.neighbours[other].append(one)


def smallest_form(graph: Graph) -> Form:
    """The smallest form of a graph.

    Examples:
        >>> from tensormoe.exploring.labelling import Graph, smallest_form
        >>> forms = []
        >>> for order in ("abb", "bab"):
        ...     graph = Graph()
        ...     vertices = [graph.add(label) for label in order]
        ...     graph.join(order.index("a"), order.index("b"))
        ...     forms.append(smallest_form(graph))
        >>> forms[0] == forms[1]
        True
    """
    ranks = {label: number for number, label in enumerate(sorted({*graph.labels}))}
    search = _Search(graph)
    search.walk(_refine(graph, tuple(ranks[label] for label in graph.labels)), ())
    return min(leaf.form for leaf in search.leaves)


@dataclass(frozen=True)
class _Leaf:
    """Every vertex in a place of its own, and the vertices that were told apart for it."""

    form: Form
    places: Colours
    path: tuple[int, ...]


class _Search:
    """Goes through the ways to tell vertices apart; the first and the smallest form are kept."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.leaves: list[_Leaf] = []
        # Each as the vertex that every vertex goes to.
        self.symmetries: list[tuple[int, ...]] = []

    def walk(self, colours: Colours, path: tuple[int, ...]) -> int:
        """Go through all ways that begin with a path.

        Returns:
            How much of the path to keep: what follows it is symmetric to what has been seen.
        """
        cell = _first_cell(colours)
        if not cell:
            return self._arrive(colours, path)
        tried: list[int] = []
        for vertex in cell:
            if self._is_new(vertex, tried, path):
                tried.append(vertex)
                apart = tuple(2 * each + (number != vertex) for number, each in enumerate(colours))
                kept = self.walk(_refine(self.graph, apart), (*path, vertex))
                if kept < len(path):
                    return kept
        return len(path)

    def _arrive(self, places: Colours, path: tuple[int, ...]) -> int:
        leaf = _Leaf(_write(self.graph, places), places, path)
        for known in self.leaves:
            if known.form == leaf.form:
                there = {place: vertex for vertex, place in enumerate(known.places)}
                self.symmetries.append(tuple(there[place] for place in places))
                return _count_common(path, known.path)
        # The first one is kept to find symmetries with.
        if len(self.leaves) < 2:
            self.leaves.append(leaf)
        elif leaf.form < self.leaves[1].form:
            self.leaves[1] = leaf
        return len(path)

    def _is_new(self, vertex: int, tried: Collection[int], path: tuple[int, ...]) -> bool:
        """Whether no symmetry that leaves the path as it is takes the vertex to one that was tried."""
        around = sorted(self.graph.neighbours[vertex])
        if any(sorted(self.graph.neighbours[each]) == around for each in tried):
            return False
        moves = [each for each in self.symmetries if all(each[fixed] == fixed for fixed in path)]
        reached, waiting = {vertex}, [vertex]
        while waiting:
            here = waiting.pop()
            # The powers of a symmetry undo it, so that going forwards is enough.
            new = {each[here] for each in moves} - reached
            reached |= new
            waiting += new
        return reached.isdisjoint(tried)


def _count_common(one: Sequence[int], other: Sequence[int]) -> int:
    """How many members two paths begin with in common."""
    differ = [place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b]
    return differ[0] if differ else min(len(one), len(other))


def _first_cell(colours: Colours) -> list[int]:
    """The vertices of the first colour that several share."""
    cells: dict[int, list[int]] = {}
    for vertex, colour in enumerate(colours):
        cells.setdefault(colour, []).append(vertex)
    return next((cells[colour] for colour in sorted(cells) if len(cells[colour]) > 1), [])


def _refine(graph: Graph, colours: Colours) -> Colours:
    """Colours by those of neighbours, again and again until no colour splits."""
    count = len({*colours})
    while True:
        seen = [
            (colour, tuple(sorted([colours[other] for other in around])))
            for colour, around in zip(colours, graph.neighbours, strict=True)
        ]
        ranks = {each: number for number, each in enumerate(sorted({*seen}))}
        colours = tuple([ranks[each] for each in seen])
        if len(ranks) == count:
            return colours
        count = len(ranks)


def _write(graph: Graph, places: Sequence[int]) -> Form:
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
