"""The canonical form of a network: what stays when bonds are renamed and cores come in another order.

A network becomes a graph whose vertices are its terms, cores, arrays, axes and bonds; see `labelling.py`.
"""

from hashlib import sha256

from ..errors import TensorMoEError, true_or_false
from ..networks.fixed import Fixed
from ..networks.network import Core, Network
from ..networks.notation import is_mode
from .labelling import Graph, smallest_form


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
    graph = _graph(network, true_or_false("sizes", sizes))
    head = (
        network.levels,
        (network.experts, network.input_size, network.output_size) if sizes else (),
        network.bias,
    )
    return sha256(repr((head, smallest_form(graph))).encode()).hexdigest()[:32]


def _graph(network: Network, sizes: bool) -> Graph:
    """The graph of a network: two are isomorphic if and only if the networks are."""
    graph, fixed = Graph(), dict(network.fixed)
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

    def __init__(self, graph: Graph, network: Network, name: str, fixed: Fixed | None) -> None:
        joint = name if name in network.joint else ""
        self.vertex = graph.add("array", joint, repr(fixed))
        ordered = bool(joint) or (fixed is not None and not fixed.is_identity)
        self.axes = [
            graph.add("axis", number if ordered else -1) for number in range(len(network.shapes[name]))
        ]
        for axis in self.axes:
            graph.join(self.vertex, axis)

    def use(
        self, graph: Graph, use: int, core: Core, opens: dict[str, tuple[object, ...]], bonds: dict[str, int]
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
