"""The start of shared cores: one recipe for all uses of a core.

Each use alone asks for a variance, by which the scale of the result is right. A shared core gets their
geometric mean, so that the product over its uses is what it would be with a core for each. In a sum, a term
may ask for more of its cores' product than another does of its own: what a term lacks, or has too much, goes
to a core that it does not share.

Where all uses ask for the same kind of start, such as an identity, the core starts so; otherwise it is
uniform. The layers of a block that share cores are like terms of a sum here.

The entries of a core that meets itself, as in A Aᵀ, are not independent: on the diagonal their squares add
up, so that such a network starts at a somewhat larger scale.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace
from itertools import chain
from math import prod, sqrt

from ..typing import Shape
from .core_recipe import CoreRecipe


def share(
    terms: Sequence[Sequence[CoreRecipe]], names: Sequence[Sequence[str]], fixed: Collection[str] = ()
) -> dict[str, CoreRecipe]:
    """One recipe for each core by name, from those of its uses in each term and the cores' names."""
    uses: dict[str, list[CoreRecipe]] = {}
    for recipe, name in zip(chain(*terms), chain(*names), strict=True):
        uses.setdefault(name, []).append(recipe)
    joined = {name: _join(name, own) for name, own in uses.items()}
    shared = {name for name, own in uses.items() if len(own) > 1 and name not in fixed}
    if len(terms) > 1:
        for term, own in zip(terms, names, strict=True):
            _balance(term, own, shared, fixed, joined)
    return joined


def choose_scaled(
    term: Sequence[CoreRecipe], names: Sequence[str], shared: Collection[str], fixed: Collection[str]
) -> str | None:
    """The core of a term that takes its scale: the first uniform one, if possible one that is not shared.

    It is none that is fixed; where others are not uniform, it is one of signs. None if no core can be scaled.
    """
    trained = [(recipe.law, name) for recipe, name in zip(term, names, strict=True) if name not in fixed]
    wanted = [("uniform", False), ("uniform", True), ("signs", False), ("signs", True)]
    chosen = (
        name for law, used in wanted for own, name in trained if own == law and (name in shared) == used
    )
    return next(chosen, None)


def _balance(
    term: Sequence[CoreRecipe],
    names: Sequence[str],
    shared: Collection[str],
    fixed: Collection[str],
    joined: dict[str, CoreRecipe],
) -> None:
    """Give a core of a term's own what its shared cores lack."""
    pairs = [(recipe, name) for recipe, name in zip(term, names, strict=True) if name in shared]
    main = choose_scaled(term, names, shared, fixed)
    if pairs and main is not None and main not in shared:
        excess = prod(power(joined[name]) / power(recipe) for recipe, name in pairs)
        joined[main] = joined[main].scale(excess**-0.5)


def _join(name: str, uses: Sequence[CoreRecipe]) -> CoreRecipe:
    """The recipe of a core from those of its uses."""
    first = uses[0]
    if len(uses) == 1:
        return first
    square = prod(map(power, uses)) ** (1 / len(uses))
    orders = {(use.axes, use.start) for use in uses}
    if len(orders) > 1:
        # What is an expert axis in one use is none in another: all entries are drawn.
        shape = _transpose(first.shape, first.axes)
        return CoreRecipe(name, shape, (*range(len(shape)),), shape, "uniform", sqrt(3 * square))
    noisy = next((use for use in uses if use.noises), first)
    scale = sqrt(square / power(noisy))
    noises = tuple(noise.scale_by(scale) for noise in noisy.noises)
    if len({(use.law, use.diagonal) for use in uses}) > 1:
        law = {"law": "uniform", "bound": sqrt(3 * square)}
        return replace(first, name=name, diagonal=None, noises=noises, **law)  # type: ignore[arg-type]
    bound = first.bound * sqrt(square / power(first))
    return replace(first, name=name, bound=bound, noises=noises)


def power(recipe: CoreRecipe) -> float:
    """The mean square of a start."""
    if recipe.law == "uniform":
        return recipe.bound**2 / 3
    if recipe.diagonal is None:
        return recipe.bound**2
    return recipe.bound**2 / max(recipe.start[axis] for axis in recipe.diagonal)


def _transpose(shape: Shape, axes: Shape) -> Shape:
    return tuple(shape[axis] for axis in axes)
