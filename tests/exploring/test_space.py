"""Points of a space: counted and bounded many at once, against networks that are made and multiplied out."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tensormoe as tm
from tensormoe.exploring.bounds import Bounds
from tensormoe.exploring.candidate import Candidate, decode
from tensormoe.exploring.guided import Outlook
from tensormoe.exploring.layout import Layout
from tensormoe.exploring.methods import Setting, exhaustive
from tensormoe.exploring.moves import jumps, pairs, steps
from tensormoe.exploring.space import Point, Space
from tensormoe.exploring.transfer import transfer

LAYER = tm.MuMoESpec(4, 4, (3, 2), tm.Dense(), gate=None, bias=False)
WIDE = Space(
    LAYER, max_cores=6, ranks=(2, 3), sums=2, splits={"i": [(2, 2)]}, fixed=("hadamard",), shared=True
)
PLAIN = Space(LAYER, max_cores=6, ranks=(2, 3), sums=2)
SMALL = tm.MuMoESpec(3, 4, 2, tm.Dense(), gate=None, bias=False)


def points(space: Space) -> st.SearchStrategy[Point]:
    """Points of which some coordinates differ from the smallest network's."""
    places = st.integers(0, len(space.coordinates) - 1)

    def fill(chosen: dict[int, int]) -> Point:
        coordinates = enumerate(space.coordinates)
        return tuple(chosen.get(place, 0) % len(each.choices) for place, each in coordinates)

    return st.dictionaries(places, st.integers(1, 5), max_size=12).map(fill)


def draw_cores(candidate: Candidate, seed: int = 0) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)
    cores = {name: generator.normal(size=shape) for name, shape in candidate.spec.network.shapes.items()}
    return cores | candidate.spec.network.fixed_values()


@settings(max_examples=60, deadline=None)
@given(points(WIDE))
def test_counts_are_those_of_the_specification(point: Point) -> None:
    candidate = decode(WIDE, point)
    if candidate is not None:
        layout = Layout.of(WIDE, [WIDE.smallest, point])
        assert layout.parameters[1] == candidate.spec.num_parameters
        assert layout.cores[1] == len(candidate.spec.network.cores)


@settings(max_examples=60, deadline=None)
@given(points(WIDE), st.integers(0, 3))
def test_no_weight_of_a_candidate_is_further_than_its_bound(point: Point, seed: int) -> None:
    """A weight that the network has is at distance 0; a bound above that would be false."""
    candidate = decode(WIDE, point)
    if candidate is not None:
        weight = tm.materialize(candidate.spec, draw_cores(candidate, seed))
        assert Bounds(WIDE, weight).tails(Layout.of(WIDE, [point])).max() < 1e-6


def test_the_bound_is_the_best_error_where_that_is_known() -> None:
    """Of low-rank experts, and of one bond: the singular values cut off."""
    weight = np.random.default_rng(0).normal(size=(2, 3, 4))
    space = Space(SMALL, ranks=2, hyperedges=0, latent=0, carriers=False)
    place = next(number for number, each in enumerate(space.coordinates) if each.subject == (1, 2))
    point = tuple(int(number == place) for number in range(len(space.coordinates)))
    assert str(decode(space, point).spec.factorization) == "TensorNetwork('n, i a, o a', a=2)"
    tails = Bounds(space, weight).tails(Layout.of(space, [point]))[0]
    unfolded = [np.moveaxis(weight, axis, 0).reshape(weight.shape[axis], -1) for axis in range(3)]
    values = [np.linalg.svd(matrix, compute_uv=False) for matrix in unfolded]
    best = [np.linalg.norm(s[rank:]) / np.linalg.norm(s) for s, rank in zip(values, (1, 2, 2), strict=True)]
    np.testing.assert_allclose(sorted(tails), sorted(best))


@settings(max_examples=25, deadline=None)
@given(points(PLAIN), st.data())
def test_a_larger_candidate_begins_with_the_weight_of_the_smaller(point: Point, data: st.DataObject) -> None:
    parent = decode(PLAIN, point)
    if parent is None:
        return
    kinds = ("bond", "hyperedge", "carrier", "term")
    grown = [
        each
        for each in [*steps(PLAIN, point), *jumps(PLAIN, point)]
        if all(
            one <= other and (one == other or coordinate.kind in (*kinds, "member"))
            for coordinate, one, other in zip(PLAIN.coordinates, point, each, strict=True)
        )
    ]
    child = decode(PLAIN, data.draw(st.sampled_from(grown))) if grown else None
    if child is None or child.spec.num_parameters < parent.spec.num_parameters:
        return
    cores = draw_cores(parent)
    started = transfer(parent, cores, child)
    left = any(
        coordinate.kind == "member" and one != other
        for coordinate, one, other in zip(PLAIN.coordinates, point, child.point, strict=True)
    )
    if started is not None and not left:
        before, after = tm.materialize(parent.spec, cores), tm.materialize(child.spec, started)
        np.testing.assert_allclose(after, before, atol=1e-9 * np.abs(before).max())


def test_a_smaller_bond_begins_with_the_best_there_is() -> None:
    """One bond between experts and the rest: the singular values cut off, by Eckart and Young."""
    space = Space(SMALL, ranks=2, hyperedges=0, latent=0)
    wanted = {("bond", (1, 2)): 1, ("bond", (0, 1)): 1}
    large = tuple(wanted.get((each.kind, each.subject), 0) for each in space.coordinates)
    small = tuple(int((each.kind, each.subject) == ("bond", (0, 1))) for each in space.coordinates)
    parent, child = decode(space, large), decode(space, small)
    cores = draw_cores(parent)
    weight = tm.materialize(parent.spec, cores)
    started = tm.materialize(child.spec, transfer(parent, cores, child))
    values = np.linalg.svd(weight.reshape(-1, weight.shape[-1]), compute_uv=False)
    np.testing.assert_allclose(np.linalg.norm(started - weight), np.linalg.norm(values[1:]))


LIMITS = {
    "Mixture of Decoders": ("n o, i o", {}, {"bonds": False, "hyperedges": 0, "latent": 0}),
    "block term": ("n r, i r s, o r s", {"r": 2, "s": 2}, {"carriers": False, "latent": 0}),
    "CP": ("n r, i r, o r", {"r": 2}, {"carriers": False, "latent": 0}),
    "Tucker": ("n a, i b, o c, a b c", {"a": 2, "b": 2, "c": 2}, {"carriers": False, "hyperedges": 0}),
    "ring": ("n a b, i b c, o c a", {"a": 2, "b": 2, "c": 2}, {"carriers": False, "hyperedges": 0}),
    "low-rank pairs": ("n i r, n o r", {"r": 2}, {"latent": 0, "hyperedges": 0}),
    "dense": ("n i o", {}, {"bonds": False, "hyperedges": 0, "latent": 0}),
}


@pytest.mark.parametrize("name", LIMITS)
def test_the_literatures_networks_are_in_the_space(name: str) -> None:
    notation, sizes, limits = LIMITS[name]
    space = Space(SMALL, ranks=2, **limits)
    wanted = SMALL.replace(factorization=tm.TensorNetwork(notation, **sizes))
    keys = [each.key for each in listed(space)]
    assert tm.explore.canonical_key(wanted.network) in keys


def listed(space: Space) -> list[Candidate]:
    """What the exhaustive method tries."""

    def look(points):
        layout = Layout.of(space, points)
        return Outlook(layout.parameters, layout.parameters, layout.parameters, layout.rows)

    proposals = exhaustive(Setting(space, look, np.random.default_rng(0), batch=10_000))
    candidates = [decode(space, point) for point in next(proposals)]
    return [each for each in candidates if each is not None]


def test_splits_sums_shared_and_fixed_cores_are_in_the_space() -> None:
    layer = tm.MuMoESpec(4, 4, 2, tm.Dense(), gate=None, bias=False)
    space = Space(
        layer,
        ranks=2,
        hyperedges=0,
        latent=0,
        carriers=False,
        sums=2,
        shared=True,
        fixed=("hadamard",),
        splits={"i": [(2, 2)], "o": [(2, 2)]},
    )
    seen, generator = set(), np.random.default_rng(0)
    for _ in range(600):
        point = tuple(
            int(generator.integers(len(each.choices)) * (generator.random() < 0.3))
            for each in space.coordinates
        )
        candidate = decode(space, point)
        if candidate is not None:
            text = str(candidate.spec.factorization)
            seen |= {mark for mark in ("i1", "o1", " + ", "S1: ", "hadamard") if mark in text}
    assert seen == {"i1", "o1", " + ", "S1: ", "hadamard"}


def test_several_cores_carry_the_modes_that_are_named_and_no_others() -> None:
    space = Space(SMALL, ranks=2, hyperedges=0, latent=0, carriers=("n",))
    networks = [each.spec.network for each in listed(space)]
    counts = [{mode: sum(mode in core.indices for core in each.cores) for mode in "nio"} for each in networks]
    assert max(each["n"] for each in counts) == 3
    assert max(each["i"] for each in counts) == max(each["o"] for each in counts) == 1
    assert Space(SMALL, carriers=("o", "i", "n")).coordinates == Space(SMALL).coordinates


def test_moves_stay_in_the_space_and_reach_both_ways() -> None:
    for point in (PLAIN.smallest, steps(PLAIN, PLAIN.smallest)[0]):
        near = steps(PLAIN, point)
        assert point not in near
        assert len({*near}) == len(near)
        assert all(point in steps(PLAIN, each) for each in near)
    assert pairs(PLAIN, PLAIN.smallest) == []


@pytest.mark.parametrize(
    ("limits", "argument"),
    [
        ({"bonds": False, "hyperedges": 0, "carriers": False}, "space"),
        ({"ranks": (), "carriers": False}, "space"),
        ({"max_cores": 3}, "max_cores"),
        ({"ranks": 0}, "ranks"),
        ({"sums": 0}, "sums"),
        ({"carriers": 1}, "carriers"),
        ({"carriers": ("x",)}, "carriers"),
        ({"splits": {"x": [(2, 2)]}}, "splits"),
        ({"splits": {"i": [(3, 2)]}}, "splits"),
        ({"fixed": ("magic",)}, "fixed"),
        ({"latent": 99}, "latent"),
    ],
)
def test_limits_that_make_no_space_are_refused(limits: dict, argument: str) -> None:
    with pytest.raises(tm.TensorMoEError) as caught:
        Space(LAYER, **limits)
    assert caught.value.argument == argument


def test_a_bias_row_is_not_split() -> None:
    with pytest.raises(tm.TensorMoEError, match="bias=False"):
        Space(LAYER.replace(bias=True), splits={"i": [(2, 2)]})
