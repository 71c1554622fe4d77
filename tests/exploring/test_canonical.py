"""The canonical key against renamed networks, and against a search over all bijections."""

import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.strategies import specs

import tensormoe as tm
from tensormoe.networks.network import Core, Network
from tensormoe.networks.notation import is_mode


def network(notation: str, experts: int | tuple[int, ...] = 2, **sizes: object) -> Network:
    family = tm.TensorNetwork(notation, **sizes)  # type: ignore[arg-type]
    return tm.MuMoESpec(4, 4, experts, family, bias=False).network


def relabel(given: Network, draw: st.DataObject) -> Network:
    """The same network with other names of bonds; its terms, cores and axes in another order."""
    bonds = [name for name, _ in given.bonds]
    names = dict(zip(bonds, draw.draw(st.permutations([f"z{each}" for each in bonds])), strict=True))
    held = {*given.shared, *given.joint, *dict(given.fixed)}
    terms = []
    for term in draw.draw(st.permutations(given.terms)):
        cores = []
        for core in draw.draw(st.permutations(term.cores)):
            axes = core.indices if core.name in held else draw.draw(st.permutations(core.indices))
            cores.append(Core(core.name, tuple(names.get(index, index) for index in axes)))
        terms.append(cores)
    return replace(
        given,
        cores=tuple(core for term in terms for core in term),
        counts=tuple(map(len, terms)) if given.counts else (),
        bonds=tuple((names[name], size) for name, size in draw.draw(st.permutations(given.bonds))),
    )


@given(specs(), st.data())
def test_a_relabelled_network_has_the_same_key(spec: tm.MuMoESpec, data: st.DataObject) -> None:
    other = relabel(spec.network, data)
    for sizes in (True, False):
        assert tm.explore.canonical_key(other, sizes=sizes) == tm.explore.canonical_key(
            spec.network, sizes=sizes
        )


# Any core may carry any of these; bonds of equal sizes make most of them symmetric.
CORES = [
    ("n",),
    ("i", "a"),
    ("o", "b"),
    ("a", "b"),
    ("n", "a"),
    ("a", "c"),
    ("b", "c"),
    ("o", "c"),
    ("i", "n"),
]


def isomorphic(one: Network, other: Network) -> bool:
    """Whether some renaming of bonds gives the same cores, each as a set of indices."""

    def cores(given: Network, names: dict[str, str]) -> list[list[str]]:
        return sorted(sorted(names.get(index, index) for index in core.indices) for core in given.cores)

    def bonds(given: Network) -> list[str]:
        return sorted({index for core in given.cores for index in core.indices if not is_mode(index)})

    if len(bonds(one)) != len(bonds(other)):
        return False
    sizes, wanted = dict(one.bonds), cores(other, {})
    for order in permutations(bonds(other)):
        names = dict(zip(bonds(one), order, strict=True))
        fits = all(sizes[each] == dict(other.bonds)[new] for each, new in names.items())
        if fits and cores(one, names) == wanted:
            return True
    return False


@st.composite
def alike(draw: st.DrawFn) -> tuple[Network, Network]:
    """Two small networks that are often isomorphic: the second has other names, and perhaps another core."""
    cores = draw(st.lists(st.sampled_from(CORES), min_size=2, max_size=6))
    names = dict(zip("abc", draw(st.permutations("abc")), strict=True))
    sizes = dict(zip("abc", draw(st.lists(st.sampled_from((2, 3)), min_size=3, max_size=3)), strict=True))
    others = [tuple(names.get(index, index) for index in core) for core in draw(st.permutations(cores))]
    if draw(st.booleans()):
        others[0] = draw(st.sampled_from(CORES))
    return build(cores, sizes), build(others, {names[bond]: size for bond, size in sizes.items()})


def build(cores: Sequence[Sequence[str]], sizes: dict[str, int]) -> Network:
    listed = tuple(Core(f"core{number}", tuple(core)) for number, core in enumerate(cores))
    carried = {index: sizes[index] for core in cores for index in core if index in sizes}
    return Network(listed, (2,), 4, 4, tuple(carried.items()))


@given(alike())
def test_keys_are_equal_exactly_if_a_renaming_makes_the_networks_equal(pair: tuple[Network, Network]) -> None:
    one, other = pair
    assert (tm.explore.canonical_key(one) == tm.explore.canonical_key(other)) == isomorphic(one, other)


def test_networks_drawn_for_it_are_of_both_kinds() -> None:
    seen: set[bool] = set()

    @given(alike())
    def look(pair: tuple[Network, Network]) -> None:
        seen.add(isomorphic(*pair))

    look()
    assert seen == {True, False}


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        # Hyperedge against a triangle of bonds.
        (network("n r, i r, o r", r=3), network("n a b, i b c, o a c", a=3, b=3, c=3), False),
        # Expert levels are not exchanged.
        (network("n1 i r, n2 r o", (2, 2), r=3), network("n2 i r, n1 r o", (2, 2), r=3), False),
        # A shared core against two of the same shape.
        (network("n r, A: i r, A: o r", r=3), network("n r, i r, o r", r=3), False),
        (network("n r, A: i r, A: o r", r=3), network("Z: o q, n q, Z: i q", q=3), True),
        # Which axis of a shared core meets which: two steps ahead, or a step ahead and a step back.
        (
            network("n a, A: a b, A: b c, i c, o c", a=3, b=3, c=3),
            network("n a, A: a b, A: c b, i c, o c", a=3, b=3, c=3),
            False,
        ),
        # Fixed values, and the axes of fixed cores.
        (
            network("H: i q, n q, q o", q=4, fixed={"H": "hadamard"}),
            network("H: i q, n q, q o", q=4, fixed={"H": "dct"}),
            False,
        ),
        (
            network("H: i q, n q, q o", q=4, fixed={"H": "dct"}),
            network("H: q i, n q, q o", q=4, fixed={"H": "dct"}),
            False,
        ),
        # Sums: the order of terms is forgotten, and which cores are in which is not.
        (network("i o + n r, i r, r o", r=2), network("q o, n q, i q + o i", q=2), True),
        (network("n o + n i r, r o", r=2), network("n i o + n r, r o", r=2), False),
        # Parts of a split keep their place.
        (
            network("n i1 o1, n i2 o2", i=(2, 2), o=(2, 2)),
            network("n i1 o2, n i2 o1", i=(2, 2), o=(2, 2)),
            False,
        ),
    ],
)
def test_what_tells_networks_apart(one: Network, other: Network, same: bool) -> None:
    assert (tm.explore.canonical_key(one) == tm.explore.canonical_key(other)) is same


def test_regular_networks_that_refinement_cannot_tell_apart() -> None:
    """Two triangles of cores and a hexagon: every core has two bonds, and every bond two cores."""

    def ring(*edges: tuple[int, int]) -> Network:
        cores = [[f"b{number}" for number, edge in enumerate(edges) if core in edge] for core in range(6)]
        return build(cores, {f"b{number}": 2 for number in range(6)})

    hexagon = ring((0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (5, 0))
    again = ring((0, 3), (3, 1), (1, 4), (4, 2), (2, 5), (5, 0))
    triangles = ring((0, 1), (1, 2), (2, 0), (3, 4), (4, 5), (5, 3))
    keys = [tm.explore.canonical_key(each) for each in (hexagon, again, triangles)]
    assert keys[0] == keys[1] != keys[2]


def test_keys_without_sizes_are_those_of_topologies() -> None:
    one, other = network("n r, i r, o r", r=2), network("n r, i r, o r", r=3)
    assert tm.explore.canonical_key(one) != tm.explore.canonical_key(other)
    assert tm.explore.canonical_key(one, sizes=False) == tm.explore.canonical_key(other, sizes=False)


@pytest.mark.parametrize("kind", ["complete", "twins", "hypercube"])
def test_symmetric_networks_take_no_time(kind: str) -> None:
    """20 cores that are all alike have 20! orders, of which only a few need to be tried."""
    count = {"complete": 12, "twins": 20, "hypercube": 16}[kind]
    edges = {
        "complete": [(one, other) for one in range(count) for other in range(one)],
        "twins": [],
        "hypercube": [
            (one, one ^ 1 << bit) for one in range(count) for bit in range(4) if one < one ^ 1 << bit
        ],
    }[kind]

    def build(order: list[int]) -> Network:
        cores: list[list[str]] = [["a"] if kind == "twins" else [] for _ in order]
        for number, (one, other) in enumerate(edges):
            cores[order[one]].append(f"b{number}")
            cores[order[other]].append(f"b{number}")
        listed = tuple(Core(f"core{number}", tuple(core)) for number, core in enumerate(cores))
        bonds = {index: 2 for core in cores for index in core}
        return Network(listed, (2,), 4, 4, tuple(bonds.items()))

    begun = time.process_time()
    order = [*range(count)]
    assert tm.explore.canonical_key(build(order)) == tm.explore.canonical_key(build(order[::-1]))
    assert time.process_time() - begun < 5
