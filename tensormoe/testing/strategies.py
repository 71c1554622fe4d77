"""Hypothesis strategies of networks and factorizations, and the profiles in which they are drawn."""

import string
from collections.abc import Callable, Mapping, Sequence

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from ..errors import non_negative_integer, positive_integer
from ..networks.factorization import Factorization, Sum
from ..networks.families import CP, Dense, TensorRing, TensorTrain, Tucker
from ..networks.notation import INPUT, OUTPUT, expert_modes, modes
from ..networks.splits import Split
from ..networks.tensor_network import TensorNetwork

Families = SearchStrategy[Factorization] | Callable[[int], SearchStrategy[Factorization]]


def register_profiles(default: int = 60, deep: int = 1_000) -> None:
    """Register Hypothesis profiles "default" and "deep", with this many examples for each property.

    They have no deadline, since a framework's first call compiles. Choose one with
    `hypothesis.settings.load_profile`.

    Examples:
        >>> from hypothesis import settings
        >>> from tensormoe.testing import register_profiles
        >>> register_profiles(deep=20_000)
        >>> settings.get_profile("deep").max_examples
        20000
    """
    default, deep = positive_integer("default", default), positive_integer("deep", deep)
    slow = [HealthCheck.too_slow, HealthCheck.data_too_large]
    for name, examples in {"default": default, "deep": deep}.items():
        settings.register_profile(name, max_examples=examples, deadline=None, suppress_health_check=slow)


@st.composite
def networks(
    draw: st.DrawFn, levels: int = 1, max_cores: int = 5, max_bonds: int = 4, max_rank: int = 3
) -> TensorNetwork:
    """Random tensor networks for layers with this many expert levels.

    Modes and bonds may be hyperedges, bonds may dangle from one core, and a core may hold bonds alone.

    Examples:
        >>> import tensormoe as tm
        >>> from tensormoe.testing import networks
        >>> isinstance(networks(levels=2).example(), tm.TensorNetwork)     # doctest: +SKIP
        True
    """
    positive_integer("max_rank", max_rank), non_negative_integer("max_bonds", max_bonds)
    return draw(_networks(modes(levels), positive_integer("max_cores", max_cores), max_bonds, max_rank))


@st.composite
def _networks(
    draw: st.DrawFn,
    carried: Sequence[str],
    max_cores: int,
    max_bonds: int,
    max_rank: int,
    parts: Mapping[str, tuple[int, ...]] | None = None,
    pad: bool = False,
) -> TensorNetwork:
    """Random networks that carry these modes, and these parts of further ones."""
    splits = [Split.of(mode, sizes) for mode, sizes in (parts or {}).items()]
    carried = (*carried, *(part for split in splits for part in split.parts))
    count = draw(st.integers(1, max_cores))
    cores: list[list[str]] = [[] for _ in range(count)]
    members = st.sets(st.integers(0, count - 1), min_size=1, max_size=min(count, 3))
    for mode in carried:
        for core in draw(members):
            cores[core].append(mode)
    names = [name for name in string.ascii_lowercase if name not in "ino"]
    bonds = {}
    for name in names[: draw(st.integers(0, max_bonds))]:
        joined = draw(members)
        # A bond in one core only has size 1.
        bonds[name] = draw(st.integers(1, max_rank)) if len(joined) > 1 else 1
        for core in joined:
            cores[core].append(name)
    shuffled = [draw(st.permutations(core)) for core in cores if core]
    notation = ", ".join(" ".join(core) for core in shuffled)
    return TensorNetwork.with_sizes(notation, bonds, parts=parts, pad=pad)


@st.composite
def split_networks(draw: st.DrawFn, levels: int = 1, max_rank: int = 3) -> Factorization:
    """Random networks with split modes, some padded, alone or beside another term; `specs` gives sizes.

    Examples:
        >>> from tensormoe.testing import specs, split_networks
        >>> layers = specs(split_networks, max_levels=2)
    """
    positive_integer("max_rank", max_rank)
    sizes = st.lists(st.integers(1, 2), min_size=2, max_size=3)
    split = draw(st.sets(st.sampled_from([INPUT, OUTPUT, *expert_modes(levels)]), min_size=1, max_size=3))
    parts = {mode: tuple(draw(sizes)) for mode in sorted(split)}
    whole = [mode for mode in modes(levels) if mode not in parts]
    pad = draw(st.booleans())
    network = draw(_networks(whole, max_cores=4, max_bonds=3, max_rank=max_rank, parts=parts, pad=pad))
    return Sum([network, draw(networks(levels, 3, 2, max_rank))]) if draw(st.integers(0, 3)) == 3 else network


@st.composite
def sums(draw: st.DrawFn, levels: int = 1, max_rank: int = 3) -> Sum:
    """Random sums of a factorization and one or two small networks, which may lack experts or the input.

    Examples:
        >>> import tensormoe as tm
        >>> from tensormoe.testing import sums
        >>> isinstance(sums(levels=2).example(), tm.Sum)     # doctest: +SKIP
        True
    """
    positive_integer("max_rank", max_rank)
    some = st.lists(st.sampled_from((*expert_modes(levels), INPUT)), unique=True)
    small = some.flatmap(lambda own: _networks((*own, OUTPUT), max_cores=3, max_bonds=2, max_rank=max_rank))
    further = draw(st.lists(small, min_size=1, max_size=2))
    return Sum(draw(st.permutations([draw(_products(levels, max_rank)), *further])))


@st.composite
def factorizations(draw: st.DrawFn, levels: int = 1, max_rank: int = 3) -> Factorization:
    """Random networks, the named families at random ranks, and sums of these.

    Args:
        draw: passed by hypothesis.
        levels: the number of expert levels.
        max_rank: the largest size of a bond.

    Examples:
        >>> from hypothesis import given
        >>> import tensormoe as tm
        >>> from tensormoe.testing import factorizations
        >>> @given(factorizations(levels=2))
        ... def test_parameters_are_counted(family):
        ...     spec = tm.MuMoESpec(4, 3, experts=(2, 2), factorization=family)
        ...     assert spec.num_parameters == sum(p.size for p in tm.initialize(spec)[0].values())
        >>> test_parameters_are_counted()
    """
    expert_modes(levels), positive_integer("max_rank", max_rank)
    return draw(sums(levels, max_rank) if draw(st.integers(0, 5)) == 5 else _products(levels, max_rank))


@st.composite
def _products(draw: st.DrawFn, levels: int, max_rank: int) -> Factorization:
    """Factorizations of one term."""
    rank = st.integers(1, max_rank)
    ranks = st.tuples(*[rank] * (len(expert_modes(levels)) + 2))
    families: list[SearchStrategy[Factorization]] = [
        st.builds(CP, rank),
        st.builds(Tucker, ranks),
        st.builds(TensorRing, ranks),
        st.builds(TensorTrain, st.tuples(*[rank] * (levels + 1))),
        st.just(Dense()),
    ]
    named = draw(st.integers(0, 8))
    return draw(families[named] if named < len(families) else networks(levels, max_rank=max_rank))
