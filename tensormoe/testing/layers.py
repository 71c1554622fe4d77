"""Hypothesis strategies of gates, layers, blocks and inputs."""

from collections.abc import Callable

import numpy as np
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from ..arrays.nonlinearities import NONLINEARITIES
from ..errors import TensorMoEError, positive_integer, true_or_false
from ..gates.activations import Activation
from ..gates.gate import Gate
from ..gates.learned_routers import CosineRouter, LowRankRouter, NoisyRouter
from ..gates.routers import LinearRouter, Router
from ..layers.block_spec import MuMoEBlockSpec
from ..layers.checks import find_stage
from ..layers.joint import find_alike
from ..layers.layer_spec import MuMoESpec
from ..layers.spec import Spec
from ..layers.stage import Stage
from ..networks.factorization import Factorization, Sum
from ..networks.notation import INPUT, OUTPUT, expert_modes
from ..typing import NumPyArray
from ..verification import Inputs
from .named_cores import name_cores, with_equal_sizes
from .strategies import factorizations, networks, split_networks

Families = SearchStrategy[Factorization] | Callable[[int], SearchStrategy[Factorization]]


@st.composite
def gates(draw: st.DrawFn, routers: SearchStrategy[Router] | None = None) -> Gate:
    """Gates with every activation that has an error bound, every norm, and any router.

    Args:
        draw: passed by hypothesis.
        routers: a strategy of routers; by default linear ones, with and without a bias, and those that learn
            more than one weight for each feature and expert.

    Examples:
        >>> from tensormoe.testing import gates, specs
        >>> softmax_only = specs(gate=gates().filter(lambda gate: gate.activation == "softmax"))
    """
    options: list[str | Activation] = [
        Activation("soft_top_k", k=1, eps=0.5),
        Activation("entmax", alpha=2.5),
    ]
    names: list[str | Activation] = ["softmax", "sparsemax", "entmax15"]
    activation = draw(st.sampled_from(names + options))
    norm = draw(st.sampled_from(["layer", "batch", None]))
    router = draw(_routers() if routers is None else routers)
    return Gate(activation, None if router.sets_scale else norm, router)


def _routers() -> SearchStrategy[Router]:
    linear = st.builds(LinearRouter, bias=st.booleans())
    rank = st.integers(1, 2)
    # Most often the router that most layers have.
    return st.one_of(
        linear,
        linear,
        linear,
        st.builds(LowRankRouter, rank),
        st.just(NoisyRouter()),
        st.builds(CosineRouter, st.none() | rank),
    )


@st.composite
def specs(
    draw: st.DrawFn,
    factorization: Families | None = None,
    gate: SearchStrategy[Gate | None] | None = None,
    max_levels: int = 4,
    max_size: int = 4,
    min_levels: int = 1,
    *,
    shared: bool = True,
    fixed: bool = True,
) -> MuMoESpec:
    """Random layers: 1 to `max_levels` expert levels, sizes up to `max_size`, with and without bias.

    By default their factorizations are the named families, random networks, sums, split modes, and networks
    with cores that are used more than once or fixed.

    Args:
        draw: passed by hypothesis.
        factorization: a strategy of factorizations, or a function from the number of levels to one.
        gate: a strategy of gates, or of None; by default `gates()`. All levels have the same gate, or each
            its own; a layer without experts has none.
        max_levels: the most expert levels.
        max_size: the largest I, O and N_e.
        min_levels: the fewest expert levels; with 0, some layers have no experts.
        shared: whether some layers have cores that are used more than once; without a `factorization`.
        fixed: whether some layers have fixed cores; without a `factorization`.

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
    named = factorization is None and (true_or_false("shared", shared) | true_or_false("fixed", fixed))
    named = named and draw(st.sampled_from([False, False, True]))
    chosen = _to_be_named if named else _any_factorization if factorization is None else factorization
    family = draw(chosen(len(experts)) if callable(chosen) else chosen)
    every = gates() if gate is None else gate
    first = draw(every) if experts else None
    own: Gate | list[Gate] | None = first
    if first is not None and len(experts) > 1 and draw(st.booleans()):
        own = [first, *(draw(every) or first for _ in experts[1:])]
    parts = {split.mode: draw(st.integers(split.fewest, split.size)) for split in family.splits()}
    inputs, outputs = (parts.get(mode) or draw(sizes) for mode in (INPUT, OUTPUT))
    modes = zip(expert_modes(len(experts)), experts, strict=True)
    counts = tuple(parts.get(mode, count) for mode, count in modes)
    spec = MuMoESpec(inputs, outputs, counts, family, own, bias=draw(st.booleans()))
    return draw(_name(spec, max_size, shared, fixed)) if named else spec


def _any_factorization(levels: int) -> SearchStrategy[Factorization]:
    return st.one_of(*[factorizations(levels)] * 4, split_networks(levels))


def _to_be_named(levels: int) -> SearchStrategy[Factorization]:
    one = networks(levels, max_cores=4, max_bonds=3)
    return st.one_of(one, st.lists(one, min_size=2, max_size=2).map(Sum), split_networks(levels))


@st.composite
def _name(draw: st.DrawFn, spec: MuMoESpec, max_size: int, shared: bool, fixed: bool) -> MuMoESpec:
    """The layer with names for some cores, where most sizes are equal, so that shapes are."""
    size = draw(st.integers(min(2, max_size), max_size))
    parts = {split.mode for split in spec.factorization.splits()}
    levels = zip(expert_modes(spec.levels), spec.experts, strict=True)
    rows = size - (spec.bias and size > 1)
    like = spec.replace(
        in_features=spec.in_features if INPUT in parts else rows,
        out_features=spec.out_features if OUTPUT in parts else size,
        experts=tuple(count if mode in parts else size for mode, count in levels),
        factorization=with_equal_sizes(spec.factorization, size),
    )
    family = draw(name_cores(like.factorization, like.network.sizes, shared, fixed))
    return like.replace(factorization=family)


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
    hidden, places = draw(_place(like))
    if not places:
        like, places = like.replace(factorization=draw(factorizations(like.levels))), [0, 1]
    gated, input_norm = draw(st.booleans()), draw(st.booleans())
    layers = [(like.factorization, like.bias)] * (2 + gated)
    if len(places) < 2 or draw(st.booleans()):
        kept = draw(st.sampled_from([place for place in range(2 + gated) if int(place > gated) in places]))
        sizes = [(like.in_features, hidden)] * (1 + gated) + [(hidden, like.out_features)]
        layers = [
            layers[0] if place == kept else draw(_other(like, *each)) for place, each in enumerate(sizes)
        ]
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
def _place(draw: st.DrawFn, like: MuMoESpec) -> tuple[int, list[int]]:
    """Hidden features, and what the layer's factorization can then read: x (0), these (1), or both."""
    options = dict.fromkeys((1, 2, 3, 4, like.in_features, like.out_features))
    fits = {
        hidden: [
            place
            for place, sizes in enumerate([(like.in_features, hidden), (hidden, like.out_features)])
            if _fits(like, *sizes)
        ]
        for hidden in options
    }
    most = max(map(len, fits.values()))
    hidden = draw(st.sampled_from([hidden for hidden, places in fits.items() if len(places) == most]))
    return hidden, fits[hidden]


def _fits(like: MuMoESpec, inputs: int, outputs: int) -> bool:
    """Whether a layer's factorization is one for other sizes: parts of modes and fixed cores have theirs."""
    try:
        like.factorization.network(like.experts, inputs + like.bias, outputs, like.bias)
    except TensorMoEError:
        return False
    return True


@st.composite
def _other(draw: st.DrawFn, like: MuMoESpec, inputs: int, outputs: int) -> tuple[Factorization, bool]:
    """The factorization and the bias of a further layer, with or without experts, of these sizes."""
    levels, bias = draw(st.sampled_from([like.levels, 0])), draw(st.booleans())
    family: Factorization = draw(networks(levels, max_cores=3))
    if draw(st.integers(0, 2)) == 2:
        sizes = family.network(like.experts if levels else (), inputs + bias, outputs, bias).sizes
        family = draw(name_cores(family, sizes, shared=True, fixed=True))
    return family, bias


@st.composite
def inputs_for(draw: st.DrawFn, spec: Spec | Stage, batch_size: SearchStrategy[int] | None = None) -> Inputs:
    """Random float64 values for a layer's contraction: x, coefficients, cores and a cotangent.

    Normal numbers, small integers, or normal numbers of which half are 0. Coefficients need not sum to 1.
    Fixed cores have their own values.

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
    kind, fixed = draw(st.sampled_from(["normal", "integers", "sparse"])), stage.network.fixed_values()

    def values(*shape: int) -> NumPyArray:
        if kind == "integers":
            return generator.integers(-3, 4, size=shape).astype("float64")
        normal = generator.normal(size=shape)
        return normal * generator.integers(2, size=shape) if kind == "sparse" else normal

    return Inputs(
        values(count, stage.in_features),
        [values(count, n) for n in stage.experts],
        [
            np.asarray(fixed[name], "float64") if name in fixed else values(*shape)
            for name, shape in stage.network.shapes.items()
        ],
        values(count, stage.out_features),
    )
