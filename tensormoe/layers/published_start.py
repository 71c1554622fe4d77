"""The published start, extended to any network: experts differ on the first level alone.

Mixing cores start as the identity for every expert: the identity matrix if the core is a matrix between two
ordinary bonds, otherwise ones. Linear cores are drawn uniformly, U(±√(1/fan)); every expert gets the same
draw. On the first expert level each entry is multiplied by noise of mean 1 and variance 1. Further levels
start exactly equal, and change nothing because coefficients sum to 1; gradient descent keeps them equal.
Gates without a fixed sum change no scale here.

For CP and tensor ring these are the initial values of Oldfield et al., "Multilinear Mixture of Experts:
Scalable Expert Specialization through Factorization", 2024, and its code.
"""

from math import prod, sqrt
from typing import Any

import numpy as np
import opt_einsum

from ..networks.network import Core, Network
from ..networks.notation import INPUT, OUTPUT, expert_modes
from ..typing import NumPyArray
from .core_recipe import CoreRecipe, Factors
from .roles import (
    bonds_of,
    drawing_order,
    linear_cores,
    matrix_axes,
    shape_along,
    shared_shape,
)


def published_recipe(network: Network, ordered: Network, in_features: int) -> tuple[CoreRecipe, ...]:
    """The recipe of every core, for `initialization="published"`; see `linear_recipe` for the arguments."""
    bounds = _uniform_bounds(network, in_features)
    return tuple(
        CoreRecipe(
            name=drawn.name,
            shape=network.shapes[drawn.name],
            axes=drawing_order(drawn, core),
            start=shared_shape(drawn, network),
            law="uniform" if drawn.name in bounds else "ones",
            bound=bounds.get(drawn.name, 1.0),
            diagonal=None if drawn.name in bounds else matrix_axes(drawn, network),
            noises=_noises(drawn, network),
        )
        for drawn, core in zip(network.cores, ordered.cores, strict=True)
    )


def _uniform_bounds(network: Network, in_features: int) -> dict[str, float]:
    """The bound of the uniform distribution of every linear core, √(1/fan), by name.

    A core's fan counts the products that are summed into one entry of the next result. The input core's fan
    is I; a core without modes sums over the bonds that it shares with the mixing and the input cores; the
    last core's fan is what remains of the count for the whole network.
    """
    linear = sorted(
        linear_cores(network), key=lambda core: (INPUT not in core.indices, OUTPUT in core.indices)
    )
    terms = _independent_terms(network)
    met = {index for core in network.cores if core not in linear for index in core.indices}
    fans: dict[str, float] = {}
    for number, core in enumerate(linear):
        arriving = [bond for bond in bonds_of(core) if bond in met]
        fan = float(in_features if number == 0 else prod(network.sizes[bond] for bond in arriving))
        if number == len(linear) - 1:
            fan = in_features * terms / prod(fans.values())
        fans[core.name] = fan
        met |= set(core.indices)
    return {name: sqrt(1 / fan) for name, fan in fans.items()}


def _independent_terms(network: Network) -> float:
    """How many independent terms of equal variance one entry of the initial weight tensor sums.

    That is Σ E², where E holds the product of the mixing cores over the bonds of the linear ones. Terms that
    differ only in bonds between mixing cores are equal, not independent, and add up before the square.
    """
    linear = linear_cores(network)
    open_bonds = {index for core in linear for index in bonds_of(core)}
    names = {index: number for number, index in enumerate(network.sizes)}
    copies = {index: len(names) + number for index, number in names.items() if index not in open_bonds}
    operands: list[Any] = []
    for core in network.cores:
        bonds = bonds_of(core)
        if core in linear:
            operands += [np.ones([network.sizes[index] for index in bonds]), [names[i] for i in bonds]]
            continue
        mixing = _constant(core, network)
        operands += [mixing, [names[index] for index in bonds]]
        operands += [mixing, [copies.get(index, names[index]) for index in bonds]]
    return float(opt_einsum.contract(*operands, []))


def _constant(core: Core, network: Network) -> NumPyArray:
    """A mixing core's start along its bonds: ones, or an identity matrix."""
    sizes = [network.sizes[index] for index in bonds_of(core)]
    axes = matrix_axes(core, network)
    if axes is None:
        return np.ones(sizes)
    positions = np.indices(sizes)
    first, second = (bonds_of(core).index(core.indices[axis]) for axis in axes)
    return np.asarray(positions[first] == positions[second], dtype=float)


def _noises(core: Core, network: Network) -> tuple[Factors, ...]:
    """Noise on the first expert level, the same for all experts of other levels."""
    first = next(iter(expert_modes(network.levels)), None)
    if first is None or first not in core.indices:
        return ()
    return (Factors(shape_along(first, core, network)),)
