"""The start as one linear layer: at the scale of nn.Linear, with experts that differ on every level.

A core is what its experts share, plus noise. With uniform coefficients the noise cancels exactly, so that the
layer begins as the one linear layer that the shared parts make up.

Think of the layer as computing from the input to the output: the input cores first, then the mixing cores,
the cores without modes, and the output cores. A core's *fan* is the number of terms that are summed there,
the product of the sizes of the bonds that no later core carries (and of I, for the input). Parts of a split
input are bonds with the input, of which only so many values count as there are inputs; parts of split experts
are levels. Entries have mean
0 and variance 1/fan, so that every core keeps the variance of what it gets, and 1/3 of it once, as in
nn.Linear. All entries are uncorrelated: this makes the scale right for every network, without an estimate.

What is drawn depends on the core. A square matrix between two ordinary bonds is an identity with random
signs, so that chains of them change no lengths (Saxe et al., "Exact solutions to the nonlinear dynamics of
learning in deep linear neural networks", 2014). A mixing core between linear ones is a random sign for each
entry, which multiplies what passes by no number of its own. All others are uniform.

Noise is drawn once for each level of two or more experts, in the first core that carries it. It fills the
whole core, off the diagonal too, so that no two values of a bond start alike. Its variance is such that the
entries of W have twice the mean square of their mean over experts, whatever the number of levels, as in the
published layers with one.

The terms of a sum are drawn one by one, each with its share of the variance; those that are biases share that
of nn.Linear's bias.

Coefficients that have no fixed sum scale the layer. What experts share is multiplied by Σ a, and their noise,
which then does not cancel, by what differs between coefficients; the linear cores start smaller by the root
of what both are expected to add up to.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod, sqrt

from ..networks.network import Core, Network
from ..networks.notation import INPUT, OUTPUT, expert_modes
from ..networks.splits import use_parts, whole_names
from .core_recipe import CoreRecipe, Spread
from .roles import (
    bonds_of,
    drawing_order,
    expert_indices,
    features_of,
    linear_cores,
    matrix_axes,
    shape_along,
    shared_shape,
)


def linear_recipe(network: Network, ordered: Network, in_features: int) -> tuple[CoreRecipe, ...]:
    """The recipe of every core, for `initialization="linear"`.

    Args:
        network: of one term, in the order in which values are drawn.
        ordered: the same in the notation's order.
        in_features: I.
    """
    identities = _choose_identities(network)
    laws = _laws(network, identities, in_features)
    recipes = []
    for drawn, core in zip(network.cores, ordered.cores, strict=True):
        law, bound = laws[drawn.name]
        start = CoreRecipe(
            name=drawn.name,
            shape=network.shapes[drawn.name],
            axes=drawing_order(drawn, core),
            start=shared_shape(drawn, network),
            law=law,
            bound=bound,
            diagonal=matrix_axes(drawn, network) if drawn.name in identities.bonds else None,
        )
        recipes.append(replace(start, noises=_noises(drawn, network, identities.power(start))))
    return tuple(recipes)


def _choose_identities(network: Network) -> "_Identities":
    """The matrices that start as an identity: all but the last of a ring of them, or after a wide bond."""
    chosen = _Identities(network, {})
    for core in network.cores:
        axes = matrix_axes(core, network)
        if axes is None or features_of(network) & {*core.indices}:
            continue
        first, second = (core.indices[axis] for axis in axes)
        grown = _Identities(network, {**chosen.bonds, core.name: (first, second)})
        if chosen.root(first) != chosen.root(second) and not (grown.is_wide(first) or grown.is_wide(second)):
            chosen = grown
    return chosen


@dataclass(frozen=True)
class _Identities:
    """Chains of matrices that start as an identity: a sum over their bonds has the terms of the narrowest.

    Args:
        network: in the order in which values are drawn.
        bonds: the two bonds of every such matrix, by its name.
    """

    network: Network
    bonds: dict[str, tuple[str, str]]

    def root(self, bond: str) -> str:
        """The narrowest bond of a chain, which stands for all of them."""
        return min(self._reach(bond, None), key=lambda each: (self.network.sizes[each], each))

    def roots(self, core: Core) -> set[str]:
        """What stands for the bonds of a core."""
        return {self.root(bond) for bond in bonds_of(core)}

    def width(self, bond: str, core: str | None) -> int:
        """The smallest size in a chain from a bond on, away from one of the bond's cores."""
        return min(self.network.sizes[each] for each in self._reach(bond, core))

    def power(self, recipe: CoreRecipe) -> float:
        """The mean square of a core's start, for an identity among the values that its chain uses."""
        if recipe.diagonal is None:
            return recipe.bound**2 / (3 if recipe.law == "uniform" else 1)
        return 1 / max(self.width(bond, recipe.name) for bond in self.bonds[recipe.name])

    def is_wide(self, bond: str) -> bool:
        """Whether a bond has more values than either of its sides passes on: the rest would never be used."""
        sides = [self.width(bond, name) for name, bonds in self.bonds.items() if bond in bonds]
        return len(sides) == 2 and self.network.sizes[bond] > max(sides)

    def _reach(self, bond: str, without: str | None) -> list[str]:
        """The bonds of a chain that are reached from one of them without passing a core."""
        reached = [bond]
        for name, bonds in self.bonds.items():
            if name != without and bond in bonds:
                (other,) = {*bonds} - {bond}
                reached += self._reach(other, name)
        return reached


def _laws(network: Network, identities: _Identities, in_features: int) -> dict[str, tuple[str, float]]:
    """How the start of every core is distributed, and its largest magnitude, by name."""
    linear = [core for core in linear_cores(network) if core.name not in identities.bonds]
    others = [core for core in network.cores if core.name not in identities.bonds]
    parts = {*use_parts((INPUT,), network.splits)} - {INPUT}
    ordered = sorted(others, key=lambda core: _position(core, core in linear, network))
    last = {each: core.name for core in ordered for each in identities.roots(core) | parts & {*core.indices}}
    # Without an input mode it is a bias, which starts as that of nn.Linear.
    inputs = {INPUT, *parts}
    source = next(
        core for core in ordered if core in linear and (inputs & {*core.indices} or network.is_bias)
    )
    reached = {root for core in linear for root in identities.roots(core)}
    laws = dict.fromkeys(identities.bonds, ("signs", 1.0))
    for core in ordered:
        fan = prod(network.sizes[root] for root, name in last.items() if name == core.name)
        if core is source:
            padding = prod(network.sizes[part] for part in parts) / network.sizes[INPUT]
            laws[core.name] = "uniform", sqrt((padding if parts else 1 / in_features) / fan)
        elif core not in linear and identities.roots(core) <= reached:
            laws[core.name] = "signs", sqrt(1 / fan)
        else:
            laws[core.name] = "uniform", sqrt(3 / fan)
    return laws


def _position(core: Core, is_linear: bool, network: Network) -> int:
    """Where a core stands on the way from the input to the output."""
    if not is_linear:
        return 1
    inputs, outputs = ({*use_parts((mode,), network.splits)} & {*core.indices} for mode in (INPUT, OUTPUT))
    # Of several cores with parts of the input and of the output, the first in the notation comes first.
    if OUTPUT in outputs or (outputs and not inputs):
        return 3
    return 0 if inputs else 2


def _noises(core: Core, network: Network, power: float) -> tuple[Spread, ...]:
    """Noise for every level that no earlier core carries; the core's start has this mean square."""
    experts = _noisy_modes(network)
    own = [mode for mode, first in experts.items() if first is core]
    if not own:
        return ()
    scale = sqrt(_share(len(own), len(experts)) * power)
    return tuple(Spread(shape_along(mode, core, network), scale, core.indices.index(mode)) for mode in own)


def _noisy_modes(network: Network) -> dict[str, Core]:
    """The levels of two or more experts that a network carries, each with the core that has its noise."""
    carried = [
        mode for mode in expert_indices(network) if any(mode in core.indices for core in network.cores)
    ]
    experts = [mode for mode in carried if network.sizes[mode] > 1]
    # A fixed core has no noise, unless there is no other.
    cores = sorted(network.cores, key=lambda core: core.name not in network.trained)
    return {mode: next(each for each in cores if mode in each.indices) for mode in experts}


def _share(own: int, experts: int) -> float:
    """The mean square of one level's noise, relative to the start: all levels together double it."""
    return float((2 ** (own / experts) - 1) / own)


def mixture_square(network: Network, squares: Sequence[tuple[float, float]]) -> float:
    """How many times as large as the shared layer's mean square the mixture's is expected to be.

    Args:
        network: of one term.
        squares: of each level, what `Gate.expected_squares` returns.
    """
    by_mode = dict(zip(expert_modes(network.levels), squares, strict=True))
    by_mode |= {part: by_mode[mode] for part, mode in whole_names(network.splits).items() if mode in by_mode}
    experts = _noisy_modes(network)
    product = prod(together for together, _ in squares)
    for core in network.cores:
        own = [mode for mode, first in experts.items() if first is core]
        ratios = [by_mode[mode][1] / by_mode[mode][0] for mode in own]
        product *= 1 + (_share(len(own), len(experts)) * sum(ratios) if own else 0.0)
    return product
