"""Hypothesis strategies of networks, factorizations, gates, layers, blocks and inputs."""

import string
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from ..arrays.nonlinearities import NONLINEARITIES
from ..errors import non_negative_integer, positive_integer
from ..gates.activations import Activation
from ..gates.gate import Gate
from ..gates.routers import LinearRouter
from ..layers.block_spec import MuMoEBlockSpec
from ..layers.checks import find_stage
from ..layers.joint import find_alike
from ..layers.layer_spec import MuMoESpec
from ..layers.spec import Spec
from ..layers.stage import Stage
from ..networks.factorization import Factorization, Sum
from ..networks.families import CP, Dense, TensorRing, TensorTrain, Tucker
from ..networks.notation import INPUT, OUTPUT, expert_modes, modes
from ..networks.splits import Split
from ..networks.tensor_network import TensorNetwork
from ..typing import NumPyArray
from ..verification import Inputs

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


def gates() -> SearchStrategy[Gate]:
    """Gates with a linear router, with and without a bias: every activation that has an error bound and norm.

    Examples:
        >>> from tensormoe.testing import gates, specs
        >>> softmax_only = specs(gate=gates().filter(lambda gate: gate.activation == "softmax"))
    """
    options = [Activation("soft_top_k", k=1, eps=0.5), Activation("entmax", alpha=2.5)]
    activations = st.sampled_from(["softmax", "sparsemax", "entmax15", *options])
    routers = st.builds(LinearRouter, bias=st.booleans())
    return st.builds(Gate, activations, st.sampled_from(["layer", "batch", None]), routers)


@st.composite
def specs(
    draw: st.DrawFn,
    factorization: Families | None = None,
    gate: SearchStrategy[Gate | None] | None = None,
    max_levels: int = 4,
    max_size: int = 4,
    min_levels: int = 1,
) -> MuMoESpec:
    """Random layers: 1 to `max_levels` expert levels, sizes up to `max_size`, with and without bias.

    Args:
        draw: passed by hypothesis.
        factorization: a strategy of factorizations, or a function from the number of levels to one; by
            default random networks and the named families.
        gate: a strategy of gates, or of None; by default `gates()`. All levels have the same gate, or each
            its own; a layer without experts has none.
        max_levels: the most expert levels.
        max_size: the largest I, O and N_e.
        min_levels: the fewest expert levels; with 0, some layers have no experts.

    Examples:
        >>> from hypothesis import given
        >>> import tensormoe as tm
        >>> from tensormoe.testing import assert_equivalent, specs
        >>> @given(specs(max_levels=2))
        ... def test_programs_are_proved(spec):
        ...     assert_equivalent(spec, methods="proof")
        >>> test_programs_are_proved()
    """
    sizes = st.integers(1, positive_integer("max_size", max_size))
    fewest, most = (len(expert_modes(levels)) for levels in (min_levels, max_levels))
    experts = draw(st.lists(sizes, min_size=fewest, max_size=most))
    chosen = _any_factorization if factorization is None else factorization
    family = draw(chosen(len(experts)) if callable(chosen) else chosen)
    every = gates() if gate is None else gate
    first = draw(every) if experts else None
    own: Gate | list[Gate] | None = first
    if first is not None and len(experts) > 1 and draw(st.booleans()):
        own = [first, *(draw(every) or first for _ in experts[1:])]
    fixed = {split.mode: draw(st.integers(split.fewest, split.size)) for split in family.splits()}
    inputs, outputs = (fixed.get(mode) or draw(sizes) for mode in (INPUT, OUTPUT))
    named = zip(expert_modes(len(experts)), experts, strict=True)
    counts = tuple(fixed.get(mode, count) for mode, count in named)
    return MuMoESpec(inputs, outputs, counts, family, own, bias=draw(st.booleans()))


def _any_factorization(levels: int) -> SearchStrategy[Factorization]:
    return st.one_of(*[factorizations(levels)] * 4, split_networks(levels))


@st.composite
def blocks(draw: st.DrawFn, layer: SearchStrategy[MuMoESpec] | None = None) -> MuMoEBlockSpec:
    """Random blocks, plain and gated, with every nonlinearity, with and without a norm of the input.

    All layers have one factorization and bias, or each its own; then some have no experts. Some share cores.

    Args:
        draw: passed by hypothesis.
        layer: a strategy of layers whose features, experts and gate the blocks have, and one of their layers
            the factorization and bias; by default `specs()`.

    Examples:
        >>> from hypothesis import given
        >>> import tensormoe as tm
        >>> from tensormoe.testing import assert_equivalent, blocks, specs
        >>> @given(blocks(specs(max_levels=2)))
        ... def test_programs_are_proved(block):
        ...     assert_equivalent(block, methods="proof")
        >>> test_programs_are_proved()
    """
    like = draw(specs() if layer is None else layer)
    sizes = {INPUT: like.in_features, OUTPUT: like.out_features}
    fixed = {each.mode: sizes[each.mode] for each in like.factorization.splits() if each.mode in sizes}
    if len({*fixed.values()}) > 1:
        # Its parts do not make up both the outputs of one layer and the inputs of the next.
        like, fixed = like.replace(factorization=draw(factorizations(like.levels))), {}
    hidden = fixed.get(INPUT) or fixed.get(OUTPUT) or draw(st.integers(1, 4))
    gated, input_norm = draw(st.booleans()), draw(st.booleans())
    layers = [(like.factorization, like.bias)] * (2 + gated)
    if draw(st.booleans()):
        family = st.one_of(networks(like.levels, max_cores=3), networks(0, max_cores=3))
        others = [(draw(family), draw(st.booleans())) for _ in layers[1:]]
        layers = draw(st.permutations([layers[0], *others]))
    families, biases = zip(*layers, strict=True)
    block = MuMoEBlockSpec(
        like.in_features,
        hidden,
        like.out_features,
        like.experts,
        families,
        like.gate,
        biases,
        nonlinearity=draw(st.sampled_from(sorted(NONLINEARITIES))),
        gated=gated,
        input_norm=input_norm,
        output_bias=draw(st.booleans()),
    )
    return block.replace(shared=draw(st.sampled_from([(), (), *find_alike(block.layers)])))


@st.composite
def inputs_for(draw: st.DrawFn, spec: Spec | Stage, batch_size: SearchStrategy[int] | None = None) -> Inputs:
    """Random float64 values for a layer's contraction: x, coefficients, cores and a cotangent.

    Normal numbers, small integers, or normal numbers of which half are 0. Coefficients need not sum to 1.

    Args:
        draw: passed by hypothesis.
        spec: a layer, or one of a block's, `block.layers["first"]`.
        batch_size: a strategy of the number of input vectors; by default 0 to 3.

    Raises:
        TensorMoEError: a whole block, which has two layers.

    Examples:
        >>> from hypothesis import given
        >>> import tensormoe as tm
        >>> from tensormoe.testing import assert_equivalent, inputs_for
        >>> spec = tm.MuMoESpec(4, 3, experts=2, factorization=tm.CP(rank=5))
        >>> @given(inputs_for(spec))
        ... def test_the_contraction_is_right(inputs):
        ...     assert_equivalent(spec, inputs)
        >>> test_the_contraction_is_right()
    """
    stage = find_stage(spec)
    count = draw(st.integers(0, 3) if batch_size is None else batch_size)
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    kind = draw(st.sampled_from(["normal", "integers", "sparse"]))

    def values(*shape: int) -> NumPyArray:
        if kind == "integers":
            return generator.integers(-3, 4, size=shape).astype("float64")
        normal = generator.normal(size=shape)
        return normal * generator.integers(2, size=shape) if kind == "sparse" else normal

    return Inputs(
        values(count, stage.in_features),
        [values(count, n) for n in stage.experts],
        [values(*shape) for shape in stage.network.shapes.values()],
        values(count, stage.out_features),
    )
