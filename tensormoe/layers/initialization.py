"""Initial values, derived from the network, in NumPy; recipes for other generators.

What every core starts as is a recipe; `linear_start` and `published_start` derive one for each core of any
network. A gate's weights start at zero, unless its coefficients would then be 0 for ever, or its router says
otherwise.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from ..errors import non_negative_integer, one_of
from ..gates.gate import Gate
from ..typing import NumPyArray, Shape
from .core_recipe import CoreRecipe, Shift
from .fixed_start import FixedStart
from .linear_start import linear_recipe, mixture_square
from .needs import check_drawing
from .parameters import join_name, name_core
from .published_start import published_recipe
from .roles import canonical_network
from .shared_start import share
from .spec import Spec, check_spec
from .stage import Stage

DTYPES = ("float32", "float64")
_RECIPES = {"linear": linear_recipe, "published": published_recipe}


def initialize(
    spec: Spec, seed: int = 0, dtype: str = "float32"
) -> tuple[dict[str, NumPyArray], dict[str, NumPyArray]]:
    """Initial parameters and state as NumPy arrays by name, the same bits for every framework.

    The gate's weights start at zero, so coefficients start uniform. Those of gates such as ReLU are drawn: of
    logits of 0 they would make nothing that learns.

    Args:
        spec: a layer's or a block's specification.
        seed: the seed of NumPy's default generator; a non-negative integer.
        dtype: "float32" or "float64". The float32 values are the float64 ones, rounded.

    Returns:
        The parameters (see `spec.parameter_shapes`), each contiguous, and the state: fixed cores and the
        running statistics of the gate, float32 at least; empty for a layer without any.

    Raises:
        TensorMoEError: not a specification, a seed that is not a non-negative integer, an unknown dtype, or a
            fixed core of which only the digest is known.

    Examples:
        >>> import tensormoe as tm
        >>> spec = tm.MuMoESpec(8, 6, experts=4, factorization=tm.CP(rank=5))
        >>> parameters, state = tm.initialize(spec, seed=0)
        >>> {name: value.shape for name, value in parameters.items()}
        {'cores.expert1': (4, 5), 'cores.input': (9, 5), 'cores.output': (5, 6), 'gate_weights.0': (8, 4)}
    """
    check_spec(spec)
    one_of("dtype", dtype, DTYPES)
    source = NumPySource(np.random.default_rng(non_negative_integer("seed", seed)))
    check_drawing(spec, np.dtype(dtype).itemsize)
    values = {name: core.draw(source) for name, core in recipes(spec).items()}
    # Copies: a value stretched over equal experts needs its own memory.
    cores = {name: np.array(value, dtype, order="C") for name, value in values.items()}
    constants, state = initialize_constants(spec, dtype)
    parameters = constants | cores
    return {name: parameters[name] for name in spec.parameter_shapes}, state


def initialize_constants(
    spec: Spec, dtype: str = "float32", *, fixed: bool = True
) -> tuple[dict[str, NumPyArray], dict[str, NumPyArray]]:
    """What starts the same for every seed, where nothing needs to be drawn.

    Args:
        spec: a layer's or a block's specification.
        dtype: as for `initialize`.
        fixed: whether the state has the fixed cores, whose values are needed then.

    Returns:
        The gate's weights, unless they are drawn, the input norm, and the state, fixed cores included.

    Examples:
        >>> import tensormoe as tm
        >>> from tensormoe.layers.initialization import initialize_constants
        >>> spec = tm.MuMoESpec(8, 6, experts=4, factorization=tm.CP(rank=5))
        >>> list(initialize_constants(spec)[0])
        ['gate_weights.0']
    """
    drawn = drawn_names(spec)
    others = {name: shape for name, shape in spec.parameter_shapes.items() if name not in drawn}
    constants = constant_values(spec)
    parameters = {name: np.full(shape, constants.get(name, 0), dtype) for name, shape in others.items()}
    return parameters, (fixed_values(spec, dtype) if fixed else {}) | initial_statistics(spec, dtype)


def initial_statistics(spec: Spec, dtype: str) -> dict[str, NumPyArray]:
    """The running statistics of a gate before any call, by name."""
    state = spec.initial_state
    return {name: np.full(shape, value, dtype) for name, (shape, value) in state.items()}


def fixed_values(spec: Spec, dtype: str) -> dict[str, NumPyArray]:
    """The values of fixed cores by name.

    Raises:
        TensorMoEError: only the digest of one is known.
    """
    return {
        join_name(prefix, name): np.array(value, dtype, order="C")
        for prefix, stage in spec.layers.items()
        for name, value in stage.network.fixed_values().items()
    }


def constant_values(spec: Spec) -> dict[str, float]:
    """What parameters start at, by name, if they are not drawn and not 0."""
    starts = {name: each for level in spec.gate_levels for name, each in level.starts.items()}
    return {"input_norm.weight": 1.0} | {name: low for name, (low, high) in starts.items() if low == high}


def drawn_names(spec: Spec) -> tuple[str, ...]:
    """The names of the parameters that are drawn: trained cores, and some of the gates' parameters."""
    cores = (name for name in spec.core_names if name not in spec.fixed_shapes)
    return (*cores, *_gate_recipes(spec))


def draw_gate(spec: Spec, seed: int = 0, dtype: str = "float32") -> dict[str, NumPyArray]:
    """Those of the gates' parameters that are drawn, by name."""
    source = NumPySource(np.random.default_rng(seed))
    return {name: np.array(each.draw(source), dtype) for name, each in _gate_recipes(spec).items()}


def recipes(spec: Spec) -> dict[str, CoreRecipe]:
    """How the initial values of what is drawn are distributed, by the names of the parameters.

    Use it where NumPy's generator can't be used, such as under a tracer; `initialize` draws from it.

    Examples:
        >>> import tensormoe as tm
        >>> from tensormoe.layers.initialization import recipes
        >>> spec = tm.MuMoESpec(8, 6, experts=4, factorization=tm.CP(rank=5), bias=False)
        >>> for name, core in recipes(spec).items():
        ...     print(name, core.law, core.start, round(core.bound, 3))
        cores.expert1 signs (1, 5) 1.0
        cores.input uniform (8, 5) 0.354
        cores.output uniform (6, 5) 0.775
    """
    joined = any(stage.joint for stage in spec.layers.values())
    groups = [spec.layers] if joined else [{name: stage} for name, stage in spec.layers.items()]
    cores: dict[str, CoreRecipe] = {}
    for layers in groups:
        cores |= _recipes(layers, spec.initialization, spec.gates)
    return cores | _gate_recipes(spec)


def _gate_recipes(spec: Spec) -> dict[str, CoreRecipe]:
    """How the gates' parameters are drawn, by name; without those that start the same for every seed."""
    drawn: dict[str, CoreRecipe] = {}
    for level in spec.gate_levels:
        for name, (low, high) in level.starts.items():
            if low != high:
                shape, middle = level.parameter_shapes[name], (low + high) / 2
                axes, noises = tuple(range(len(shape))), (Shift(middle),) if middle else ()
                drawn[name] = CoreRecipe(name, shape, axes, shape, "uniform", (high - low) / 2, noises=noises)
    return drawn


def _recipes(
    layers: Mapping[str, Stage], initialization: str, gates: Sequence[Gate] = ()
) -> dict[str, CoreRecipe]:
    """The recipe of every trained core of layers that may share cores, by full name."""
    terms: list[list[CoreRecipe]] = []
    names: list[list[str]] = []
    fixed: set[str] = set()
    for prefix, stage in layers.items():
        terms += _derive(stage, initialization, gates)
        uses = (term.cores for term in stage.network.terms)
        names += [[name_core(prefix, stage, core.name) for core in cores] for cores in uses]
        fixed |= {name_core(prefix, stage, name) for name, _ in stage.network.fixed}
    return {name: each for name, each in share(terms, names, fixed).items() if name not in fixed}


def _derive(stage: Stage, initialization: str, gates: Sequence[Gate]) -> list[list[CoreRecipe]]:
    """The recipe of every use of a core; the terms of a sum share the variance, and so do its biases."""
    # Each use of a shared core is derived as if it were a core of its own, and each fixed core as if drawn.
    drawn, ordered = (each.unshare().terms for each in (canonical_network(stage), stage.network))
    names = [[core.name for core in term.cores] for term in stage.network.terms]
    start = FixedStart.of(stage.network)
    derive, counts = _RECIPES[initialization], Counter(start.kinds)
    shared = {*stage.network.shared, *stage.joint} - {*start.squares}
    squares = [(1.0, 0.0) for _ in stage.experts]
    if gates and stage.experts and initialization == "linear":
        squares = [gate.expected_squares(n) for gate, n in zip(gates, stage.experts, strict=True)]
    recipes: list[list[CoreRecipe]] = []
    for term, order, own in zip(drawn, ordered, names, strict=True):
        derived = list(derive(term, order, stage.in_features))
        factor = max(counts[order.is_bias], 1) ** -0.5 / mixture_square(term, squares) ** 0.5
        recipes.append(start.adapt(derived, own, shared, factor, order.is_bias))
    return recipes


def draw_cores(stage: Stage, seed: int) -> dict[str, NumPyArray]:
    """Initial cores of one stage by name, in float64, fixed ones included.

    Examples:
        >>> import tensormoe as tm
        >>> from tensormoe.layers.initialization import draw_cores
        >>> spec = tm.MuMoESpec(8, 6, experts=4, factorization=tm.CP(rank=5))
        >>> list(draw_cores(spec.stage, seed=0))
        ['expert1', 'input', 'output']
    """
    source = NumPySource(np.random.default_rng(seed))
    recipes = _recipes({"cores": replace(stage, joint=())}, "linear")
    cores = {name: np.array(core.draw(source), order="C") for name, core in recipes.items()}
    fixed = stage.network.fixed_values().items()
    cores |= {join_name("cores", name): np.asarray(value, "float64") for name, value in fixed}
    return {name: cores[join_name("cores", name)] for name in stage.network.shapes}


class NumPySource:
    """Values in float64 from NumPy's generator."""

    def __init__(self, generator: np.random.Generator) -> None:
        self._generator = generator

    def uniform(self, shape: Shape, bound: float) -> NumPyArray:
        return self._generator.uniform(-bound, bound, shape)

    def normal(self, shape: Shape) -> NumPyArray:
        return self._generator.normal(0.0, 1.0, shape)

    def signs(self, shape: Shape) -> NumPyArray:
        return self._generator.integers(0, 2, shape) * 2.0 - 1.0

    def ones(self, shape: Shape) -> NumPyArray:
        return np.ones(shape)

    def diagonal(self, shape: Shape, axes: tuple[int, int]) -> NumPyArray:
        positions = np.indices(shape, sparse=True)
        return np.asarray(positions[axes[0]] == positions[axes[1]], dtype=float)

    def stretch(self, array: NumPyArray, shape: Shape) -> NumPyArray:
        return np.broadcast_to(array, shape)
