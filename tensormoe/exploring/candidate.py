"""A point of a space as the specification of a layer."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import count
from math import prod

from ..errors import TensorMoEError
from ..layers.layer_spec import MuMoESpec
from ..networks.notation import is_mode
from ..networks.tensor_network import TensorNetwork
from .canonical import canonical_key
from .layout import Layout, Term
from .space import Point, Space

# Without i, n and o, which are modes.
_LETTERS = "abcdefghjklmpqrstuvwxyz"


@dataclass(frozen=True)
class Place:
    """Where one core of a candidate stands in its space.

    Args:
        core: its term and number there.
        name: in the specification.
        indices: in the order of its axes, by their names in the specification.
        edges: for each of them, the bonds or the slot in the space, by number; several bonds may be one.
    """

    core: tuple[int, int]
    name: str
    indices: tuple[str, ...]
    edges: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, eq=False)
class Candidate:
    """A point, and the layer there."""

    point: Point
    spec: MuMoESpec
    places: tuple[Place, ...]
    sizes: dict[tuple[int, int], int]

    @cached_property
    def key(self) -> str:
        """The same for all points with this network."""
        return canonical_key(self.spec.network)


def decode(space: Space, point: Point) -> Candidate | None:
    """The candidate at a point; None if there is none: it breaks a limit, or its cores don't fit."""
    try:
        return _decode(space, point)
    except TensorMoEError:
        # A fixed or shared core has another shape there, or no term carries a mode.
        return None


@lru_cache(maxsize=4096)
def _letters(number: int) -> str:
    letter, round_ = _LETTERS[number % len(_LETTERS)], number // len(_LETTERS)
    return f"{letter}{round_}" if round_ else letter


def _decode(space: Space, point: Point) -> Candidate | None:
    layout = Layout.of(space, [point])
    if layout.cores[0] > space.max_cores:
        return None
    parts = _parts(space, layout)
    fresh, places, texts = map(_letters, count()), [], []
    bonds: dict[str, int] = {}
    fixed: dict[str, str] = {}
    sizes: dict[tuple[int, int], int] = {}
    for number, term in enumerate(layout.terms):
        if not term.present[0]:
            continue
        sizes |= {(number, edge): int(size) for edge, size in enumerate(term.sizes[0])}
        written = []
        named = _name_indices(space, layout, term, fresh)
        for core in range(term.count):
            carried = [(name, edges) for name, edges in named if term.masks[0, edges[0]] >> core & 1]
            if not carried:
                continue
            # Modes first, then bonds, so that cores that may be one have their axes in the same order.
            carried.sort(key=lambda each: not is_mode(each[0]))
            name = _array(space, term, core, number)
            if name and term.fixed[0, core]:
                fixed[name] = space.fixed[term.fixed[0, core] - 1]
            indices = tuple(each for each, _ in carried)
            written.append((name and f"{name}: ") + " ".join(indices))
            places.append(Place((number, core), name, indices, tuple(edges for _, edges in carried)))
            bonds |= {
                each: prod(int(term.sizes[0, edge]) for edge in edges)
                for each, edges in carried
                if not is_mode(each)
            }
        texts.append(", ".join(written))
    if any(size > space.sizes[-1] for size in bonds.values()):
        return None
    text = " + ".join(texts)
    network = TensorNetwork.with_sizes(text, bonds, fixed, parts)
    spec = space.layer.replace(factorization=network, optimize="auto")
    if len(spec.network.cores) < len(places):
        return None
    cores = spec.network.cores
    placed = tuple(
        Place(place.core, core.name, place.indices, place.edges)
        for place, core in zip(places, cores, strict=False)
    )
    return Candidate(point, spec, placed, sizes)


def _parts(space: Space, layout: Layout) -> dict[str, tuple[int, ...]]:
    """The parts of the modes that are split."""
    return {
        mode: space.splits[mode][choice - 1]
        for mode, choice in zip(space.whole, layout.splits[0], strict=True)
        if choice
    }


def _name_indices(
    space: Space, layout: Layout, term: Term, fresh: Iterator[str]
) -> list[tuple[str, tuple[int, ...]]]:
    """The name of each index and its place; bonds of the same cores are one."""
    edges = term.masks.shape[1] - len(space.slots)
    bonds: dict[int, list[int]] = {}
    for edge, mask in enumerate(term.masks[0, :edges]):
        if mask:
            bonds.setdefault(int(mask), []).append(edge)
    named = [(next(fresh), tuple(several)) for several in bonds.values()]
    split = _parts(space, layout)
    for number, slot in enumerate(space.slots):
        if term.masks[0, edges + number]:
            part = f"{slot.mode}_{slot.part + 1}" if slot.mode[1:] else f"{slot.mode}{slot.part + 1}"
            named.append((part if slot.mode in split else slot.mode, (edges + number,)))
    return named


def _array(space: Space, term: Term, core: int, number: int) -> str:
    """The name of a core that is fixed or shared, which must have one; otherwise ""."""
    if term.shared[0] and core in (pair := space.pairs[term.shared[0] - 1]):
        return f"S{number + 1}" if all(term.alive[0, each] for each in pair) else ""
    return f"F{number + 1}_{core + 1}" if term.fixed[0, core] else ""
