"""The start of trained cores beside fixed ones.

A start is derived as if all cores were drawn. What fixed cores have more or less of, in the mean square, goes
to a core of the same term, so that the output keeps its scale.

Beside a term in which everything is fixed, such as a frozen weight, the other terms start at zero, biases
too: the layer starts as what is fixed. One core of each has a start of zero, around which its experts differ
as ever (Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", 2021).
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from math import sqrt

import numpy as np

from ..networks.network import Network
from .core_recipe import CoreRecipe, Spread
from .shared_start import choose_scaled, power


@dataclass(frozen=True)
class FixedStart:
    """What the start of a network needs to know of its fixed cores.

    Args:
        squares: the mean square of each by name.
        frozen: whether terms that are biases, and others, are beside one in which all is fixed.
        kinds: for each term with something to train, whether it is a bias.
    """

    squares: dict[str, float]
    frozen: frozenset[bool]
    kinds: tuple[bool, ...]

    @classmethod
    def of(cls, network: Network) -> "FixedStart":
        """What is fixed in a network; its values are needed."""
        squares = {
            name: float(np.mean(np.square(value, dtype="float64")))
            for name, value in network.fixed_values().items()
        }
        trained = tuple(any(core.name not in squares for core in term.cores) for term in network.terms)
        pairs = [*zip(network.terms, trained, strict=True)]
        frozen = frozenset(term.is_bias for term, some in pairs if not some)
        # A bias beside a frozen weight would change what the weight computes.
        frozen |= {True} if False in frozen else frozenset()
        return cls(squares, frozen, tuple(term.is_bias for term, some in pairs if some))

    def adapt(
        self,
        term: Sequence[CoreRecipe],
        names: Sequence[str],
        shared: Collection[str],
        factor: float,
        is_bias: bool,
    ) -> list[CoreRecipe]:
        """The recipes of a term, with one core scaled by a factor and by what fixed cores ask for."""
        main = choose_scaled(term, names, shared, self.squares)
        pairs = [*zip(term, names, strict=True)]
        if main is None:
            return [*term]
        if is_bias in self.frozen and main not in shared:
            # What experts differ by had better not be multiplied by zero.
            noisy = [name for recipe, name in pairs if recipe.noises]
            main = choose_scaled(term, names, shared, {*self.squares, *noisy, *shared}) or main
            return [_empty(each) if name == main else each for each, name in pairs]
        for recipe, name in pairs:
            if self.squares.get(name):
                factor *= sqrt(power(recipe) / self.squares[name])
        return [each.scale(factor) if name == main else each for each, name in pairs]


def _empty(recipe: CoreRecipe) -> CoreRecipe:
    """A start of zero, with the same noise."""
    noises = tuple(
        replace(each, centre=False) if isinstance(each, Spread) else each for each in recipe.noises
    )
    return replace(recipe, law="uniform", bound=0.0, diagonal=None, noises=noises)
