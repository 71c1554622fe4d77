"""Initial values, derived from the network: every expert starts near the same ordinary linear layer.

The cores divide into two kinds. *Mixing* cores carry an expert mode and start as the identity for every
expert: ones, or, where a core is a matrix between two ordinary bonds, the identity matrix. *Linear* cores
are drawn uniformly, U(±√(1/fan)), as an ordinary linear layer's weight is; an expert's copy of them is the
same draw. On the first expert level each entry is multiplied by noise of mean 1 and variance 1,
which sets the experts apart; further levels start exactly equal, and since coefficients sum to 1 they change
nothing.

For CP and tensor ring these are the published initial values (Oldfield et al., "Multilinear Mixture of
Experts: Scalable Expert Specialization through Factorization", 2024, and its code); the rule carries them
over to any network.
"""

from collections import Counter
from dataclasses import replace
from math import prod, sqrt
from typing import Any

import numpy as np
import opt_einsum

from ..errors import non_negative_integer, one_of
from ..networks.network import Core, Network
from ..networks.notation import INPUT, OUTPUT, Indices, expert_modes, is_mode
from ..typing import NumPyArray
from .spec import Spec
from .stage import Stage

DTYPES = ("float32", "float64")


def initialize(
    spec: Spec, seed: int = 0, dtype: str = "float32"
) -> tuple[dict[str, NumPyArray], dict[str, NumPyArray]]:
    """Initial parameters and state as NumPy arrays by name, the same bits for every framework.

    The gate's weights start at zero, so that coefficients start uniform.

    Args:
        spec: a layer's or a block's specification.
        seed: of NumPy's default generator; a non-negative integer.
        dtype: "float32" or "float64". The float32 values are the float64 ones, rounded.

    Returns:
        The parameters (see `spec.parameter_shapes`), each contiguous, and the state: the running statistics
        of the gate, float32 at least; empty for a gate that keeps none.

    Raises:
        TensorMoEError: a seed that is no non-negative integer, an unknown dtype.

    Examples:
        >>> import tensormoe as tm
        >>> spec = tm.MuMoESpec(8, 6, experts=4, factorization=tm.CP(rank=5))
        >>> parameters, state = tm.initialize(spec, seed=0)
        >>> {name: value.shape for name, value in parameters.items()}
        {'cores.expert1': (4, 5), 'cores.input': (9, 5), 'cores.output': (5, 6), 'gate_weights.0': (8, 4)}
    """
    one_of("dtype", dtype, DTYPES)
    generator = np.random.default_rng(non_negative_integer("seed", seed))
    values = {name: np.zeros(shape) for name, shape in spec.parameter_shapes.items()}
    for prefix, layer in spec.layers.items():
        for name, value in _cores(layer, generator).items():
            values[f"{prefix}.{name}"] = value
    if "input_norm.weight" in values:
        values["input_norm.weight"] += 1
    # Copies: what is stretched over equal experts has memory of its own in the end.
    parameters = {name: np.array(value, dtype, order="C") for name, value in values.items()}
    state = spec.gate.initial_state(spec.in_features, spec.counts)
    return parameters, {name: np.full(shape, value, dtype) for name, (shape, value) in state.items()}


def _cores(layer: Stage, generator: np.random.Generator) -> dict[str, NumPyArray]:
    network = _canonical(layer)
    bounds = _uniform_bounds(network, layer.in_features)
    values: dict[str, NumPyArray] = {}
    for core in network.cores:
        start = _identity(core, network)
        if core.name in bounds:
            bound = np.full(start.shape, bounds[core.name])
            start = generator.uniform(-bound, bound)
        start = start * _noise(core, network, generator)
        values[core.name] = np.broadcast_to(start, network.shapes[core.name])
    return {
        core.name: _reorder(values[core.name], drawn, core)
        for drawn, core in zip(network.cores, layer.network.cores, strict=True)
    }


def _canonical(layer: Stage) -> Network:
    """The network with every core's axes in the order in which its values are drawn."""
    orders = layer.factorization.canonical(layer.levels)
    cores = zip(layer.network.cores, orders, strict=True)
    return replace(layer.network, cores=tuple(Core(core.name, order) for core, order in cores))


def _reorder(value: NumPyArray, drawn: Core, core: Core) -> NumPyArray:
    return value.transpose([drawn.indices.index(index) for index in core.indices])


def _uniform_bounds(network: Network, in_features: int) -> dict[str, float]:
    """The bound of the uniform distribution of every linear core, √(1/fan), by name.

    The fan of a core counts the products that are summed into one entry of what follows it. The input
    core's is I; a core without modes sums over the bonds that it shares with the mixing and the input cores;
    the last core takes what remains of the count over the whole network.
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
    """The cores without expert modes, and those that alone carry the input or the output mode."""
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
        # The same along every mode: one entry stands for all.
        modes = tuple(axis for axis, index in enumerate(core.indices) if is_mode(index))
        mixing = _identity(core, network).mean(axis=modes)
        operands += [mixing, [names[index] for index in bonds]]
        operands += [mixing, [copies.get(index, names[index]) for index in bonds]]
    return float(opt_einsum.contract(*operands, []))


def _identity(core: Core, network: Network) -> NumPyArray:
    """What leaves one expert as it is: an identity matrix between two bonds, else ones.

    The expert axes have size 1: every expert gets the same.
    """
    experts = _experts_of(core, network)
    shape = [1 if index in experts else network.sizes[index] for index in core.indices]
    bonds = _ordinary_bonds(core, network)
    others = [i for i in core.indices if i not in experts and network.sizes[i] > 1]
    if len(bonds) != 2 or len(others) != 2:
        return np.ones(shape)
    rows, columns = (core.indices.index(bond) for bond in bonds)
    positions = np.indices(shape)
    return np.asarray(positions[rows] == positions[columns], dtype=float)


def _ordinary_bonds(core: Core, network: Network) -> Indices:
    """The core's bonds of size above 1, if each of them joins exactly two cores; else none."""
    joined = Counter(index for other in network.cores for index in other.indices)
    bonds = tuple(i for i in core.indices if not is_mode(i) and network.sizes[i] > 1)
    return bonds if all(joined[bond] == 2 for bond in bonds) else ()


def _experts_of(core: Core, network: Network) -> Indices:
    return tuple(index for index in core.indices if index in expert_modes(network.levels))


def _noise(core: Core, network: Network, generator: np.random.Generator) -> NumPyArray:
    """Noise of mean 1 and variance 1 on the first expert level, the same for all experts of other levels."""
    first, *further = expert_modes(network.levels)
    if first not in core.indices:
        return np.ones(())
    shape = [1 if index in further else network.sizes[index] for index in core.indices]
    return generator.normal(1.0, 1.0, size=shape)
