"""Initial values, derived from the network: every expert starts near the same ordinary linear layer.

There are two kinds of cores. *Mixing* cores carry an expert mode and start as the identity for every expert:
the identity matrix if the core is a matrix between two ordinary bonds, otherwise ones. *Linear* cores are
drawn uniformly, U(±√(1/fan)), like an ordinary linear layer's weight; every expert gets the same draw. On the
first expert level each entry is multiplied by noise of mean 1 and variance 1, which makes the experts differ.
Further levels start exactly equal, and change nothing because coefficients sum to 1.

For CP and tensor ring these are the published initial values (Oldfield et al., "Multilinear Mixture of
Experts: Scalable Expert Specialization through Factorization", 2024, and its code); the rule extends them to
any network.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import prod, sqrt
from typing import Any

import numpy as np
import opt_einsum

from ..errors import non_negative_integer, one_of
from ..networks.network import Core, Network
from ..networks.notation import INPUT, OUTPUT, Indices, expert_modes, is_mode
from ..typing import Array, NumPyArray, Shape
from .needs import check_drawing
from .parameters import join_name
from .spec import Spec, check_spec
from .stage import Stage

DTYPES = ("float32", "float64")


def initialize(
    spec: Spec, seed: int = 0, dtype: str = "float32"
) -> tuple[dict[str, NumPyArray], dict[str, NumPyArray]]:
    """Initial parameters and state as NumPy arrays by name, the same bits for every framework.

    The gate's weights start at zero, so coefficients start uniform.

    Args:
        spec: a layer's or a block's specification.
        seed: the seed of NumPy's default generator; a non-negative integer.
        dtype: "float32" or "float64". The float32 values are the float64 ones, rounded.

    Returns:
        The parameters (see `spec.parameter_shapes`), each contiguous, and the state: the running statistics
        of the gate, float32 at least; empty for a gate without any.

    Raises:
        TensorMoEError: not a specification, a seed that is not a non-negative integer, or an unknown dtype.

    Examples:
        >>> import tensormoe as tm
        >>> spec = tm.MuMoESpec(8, 6, experts=4, factorization=tm.CP(rank=5))
        >>> parameters, state = tm.initialize(spec, seed=0)
        >>> {name: value.shape for name, value in parameters.items()}
        {'cores.expert1': (4, 5), 'cores.input': (9, 5), 'cores.output': (5, 6), 'gate_weights.0': (8, 4)}
    """
    check_spec(spec)
    one_of("dtype", dtype, DTYPES)
    generator = np.random.default_rng(non_negative_integer("seed", seed))
    check_drawing(spec, np.dtype(dtype).itemsize)
    values: dict[str, NumPyArray] = {}
    for prefix, stage in spec.layers.items():
        for core in recipe(stage):
            values[join_name(prefix, core.name)] = core.draw(
                lambda shape, bound: generator.uniform(-bound, bound, shape),
                lambda shape: generator.normal(1.0, 1.0, shape),
            )
    # Copies: a value stretched over equal experts needs its own memory.
    cores = {name: np.array(value, dtype, order="C") for name, value in values.items()}
    constants, state = initialize_constants(spec, dtype)
    parameters = cores | constants
    return {name: parameters[name] for name in spec.parameter_shapes}, state


def initialize_constants(
    spec: Spec, dtype: str = "float32"
) -> tuple[dict[str, NumPyArray], dict[str, NumPyArray]]:
    """What starts the same for every seed, where nothing needs to be drawn: all but the cores.

    Args:
        spec: a layer's or a block's specification.
        dtype: as for `initialize`.

    Returns:
        The gate's weights and the input norm, and the state.

    Examples:
        >>> import tensormoe as tm
        >>> from tensormoe.layers.initialization import initialize_constants
        >>> spec = tm.MuMoESpec(8, 6, experts=4, factorization=tm.CP(rank=5))
        >>> list(initialize_constants(spec)[0])
        ['gate_weights.0']
    """
    others = {name: shape for name, shape in spec.parameter_shapes.items() if name not in spec.core_names}
    parameters = {name: np.full(shape, name == "input_norm.weight", dtype) for name, shape in others.items()}
    state = spec.gate.initial_state(spec.in_features, spec.experts)
    return parameters, {name: np.full(shape, value, dtype) for name, (shape, value) in state.items()}


@dataclass(frozen=True)
class CoreRecipe:
    """How the initial values of one core are distributed.

    They are a start, drawn or constant, times noise, both stretched to the core's shape. Any framework can
    draw them: pass its generators to `draw`.

    Args:
        name: the core's name.
        shape: the core's shape in the order in which values are drawn, that of `Factorization.canonical`.
        axes: the permutation that takes these axes to the notation's order.
        start: the shape of the start, 1 along every expert axis.
        bound: the start is drawn from U(−bound, bound); None for a constant start.
        diagonal: two axes of a constant start that is 1 where their positions are equal and 0 elsewhere;
            None for ones.
        noise: the shape of the noise, N(1, 1); None without noise.
    """

    name: str
    shape: Shape
    axes: Shape
    start: Shape
    bound: float | None
    diagonal: tuple[int, int] | None
    noise: Shape | None

    def draw(self, uniform: Callable[[Shape, float], Array], normal: Callable[[Shape], Array]) -> Array:
        """The core's values, in the notation's order of axes; possibly a view.

        Args:
            uniform: draws an array of a shape from U(−bound, bound).
            normal: draws an array of a shape from N(1, 1).
        """
        if self.bound is None:
            values: Array = _constant(self.start, self.diagonal)
        else:
            values = uniform(self.start, self.bound)
        if self.noise is not None:
            values = values * normal(self.noise)
        if tuple(values.shape) != self.shape:
            values = values * np.ones(self.shape)
        return values.transpose(self.axes)


def recipe(stage: Stage) -> tuple[CoreRecipe, ...]:
    """How the initial values of a stage's cores are distributed, core by core.

    Use it where NumPy's generator can't be used, such as under a tracer; `initialize` draws from it.

    Examples:
        >>> import tensormoe as tm
        >>> from tensormoe.layers.initialization import recipe
        >>> stage = tm.MuMoESpec(8, 6, experts=4, factorization=tm.CP(rank=5), bias=False).stage
        >>> for core in recipe(stage):
        ...     print(core.name, core.start, core.bound and round(core.bound, 3), core.noise)
        expert1 (1, 5) None (4, 5)
        input (8, 5) 0.354 None
        output (6, 5) 0.447 None
    """
    network = _canonical(stage)
    bounds = _uniform_bounds(network, stage.in_features)
    return tuple(
        CoreRecipe(
            name=drawn.name,
            shape=network.shapes[drawn.name],
            axes=tuple(drawn.indices.index(index) for index in core.indices),
            start=_start(drawn, network),
            bound=bounds.get(drawn.name),
            diagonal=_diagonal(drawn, network),
            noise=_noise(drawn, network),
        )
        for drawn, core in zip(network.cores, stage.network.cores, strict=True)
    )


def _canonical(stage: Stage) -> Network:
    """The network with every core's axes in the order in which its values are drawn."""
    orders = stage.factorization.canonical(stage.levels).cores
    cores = zip(stage.network.cores, orders, strict=True)
    return replace(stage.network, cores=tuple(Core(core.name, order) for core, order in cores))


def _uniform_bounds(network: Network, in_features: int) -> dict[str, float]:
    """The bound of the uniform distribution of every linear core, √(1/fan), by name.

    A core's fan counts the products that are summed into one entry of the next result. The input core's fan
    is I; a core without modes sums over the bonds that it shares with the mixing and the input cores; the
    last core's fan is what remains of the count for the whole network.
    """
    linear = sorted(_linear(network), key=lambda core: (INPUT not in core.indices, OUTPUT in core.indices))
    terms = _independent_terms(network)
    met = {index for core in network.cores if core not in linear for index in core.indices}
    fans: dict[str, float] = {}
    for number, core in enumerate(linear):
        arriving = [index for index in core.indices if not is_mode(index) and index in met]
        fan = float(in_features if number == 0 else prod(network.sizes[index] for index in arriving))
        if number == len(linear) - 1:
            fan = in_features * terms / prod(fans.values())
        fans[core.name] = fan
        met |= set(core.indices)
    return {name: sqrt(1 / fan) for name, fan in fans.items()}


def _linear(network: Network) -> list[Core]:
    """The cores without expert modes, and those that carry the input or output mode if no such core does."""
    plain = [core for core in network.cores if not _experts_of(core, network)]
    covered = {index for core in plain for index in core.indices}
    missing = {INPUT, OUTPUT} - covered
    return [core for core in network.cores if core in plain or missing & set(core.indices)]


def _independent_terms(network: Network) -> float:
    """How many independent terms of equal variance one entry of the initial weight tensor sums.

    That is Σ E², where E holds the product of the mixing cores over the bonds of the linear ones. Terms that
    differ only in bonds between mixing cores are equal, not independent, and add up before the square.
    """
    linear = _linear(network)
    open_bonds = {index for core in linear for index in core.indices if not is_mode(index)}
    names = {index: number for number, index in enumerate(network.sizes)}
    copies = {index: len(names) + number for index, number in names.items() if index not in open_bonds}
    operands: list[Any] = []
    for core in network.cores:
        bonds = tuple(index for index in core.indices if not is_mode(index))
        if core in linear:
            operands += [np.ones([network.sizes[index] for index in bonds]), [names[i] for i in bonds]]
            continue
        modes = tuple(axis for axis, index in enumerate(core.indices) if is_mode(index))
        # The same along every mode: one entry is enough.
        mixing = _constant(_start(core, network), _diagonal(core, network)).mean(axis=modes)
        operands += [mixing, [names[index] for index in bonds]]
        operands += [mixing, [copies.get(index, names[index]) for index in bonds]]
    return float(opt_einsum.contract(*operands, []))


def _constant(shape: Shape, diagonal: tuple[int, int] | None) -> NumPyArray:
    """A start that leaves an expert unchanged: ones, or an identity matrix along two axes."""
    if diagonal is None:
        return np.ones(shape)
    positions = np.indices(shape)
    return np.asarray(positions[diagonal[0]] == positions[diagonal[1]], dtype=float)


def _start(core: Core, network: Network) -> Shape:
    """The core's shape with expert axes of size 1: every expert gets the same."""
    experts = _experts_of(core, network)
    return tuple(1 if index in experts else network.sizes[index] for index in core.indices)


def _diagonal(core: Core, network: Network) -> tuple[int, int] | None:
    """The two axes of a core that is a matrix between two ordinary bonds; None for any other core."""
    bonds = _ordinary_bonds(core, network)
    long = [size for size in _start(core, network) if size > 1]
    if len(bonds) != 2 or len(long) != 2:
        return None
    return core.indices.index(bonds[0]), core.indices.index(bonds[1])


def _ordinary_bonds(core: Core, network: Network) -> Indices:
    """The core's bonds of size above 1, if each of them joins exactly two cores; otherwise none."""
    joined = Counter(index for other in network.cores for index in other.indices)
    bonds = tuple(i for i in core.indices if not is_mode(i) and network.sizes[i] > 1)
    return bonds if all(joined[bond] == 2 for bond in bonds) else ()


def _experts_of(core: Core, network: Network) -> Indices:
    return tuple(index for index in core.indices if index in expert_modes(network.levels))


def _noise(core: Core, network: Network) -> Shape | None:
    """The shape of noise on the first expert level, the same for all experts of other levels."""
    first, *further = expert_modes(network.levels)
    if first not in core.indices:
        return None
    return tuple(1 if index in further else network.sizes[index] for index in core.indices)
