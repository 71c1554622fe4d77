"""The search for the largest rank within a budget."""

from collections.abc import Callable, Iterable, Mapping

from ..errors import TensorMoEError, one_of, positive_integer
from ..networks.factorization import Factorization
from ..networks.notation import Indices
from .each import one_or_each
from .stage import Stage


def one_budget(**budgets: int | None) -> tuple[str, int]:
    """The name and the value of the only budget that is given.

    Raises:
        TensorMoEError: several or none, or a value that is not a positive integer.
    """
    given = [name for name, value in budgets.items() if value is not None]
    if len(given) != 1:
        remedy = f"pass a budget of {' or of '.join(budgets)}" + ", not both" * (len(given) > 1)
        raise TensorMoEError(", ".join(budgets), tuple(budgets.values()), remedy)
    return given[0], positive_integer(given[0], budgets[given[0]])


def choose_growing(layers: Mapping[str, Stage], bond: str | None) -> dict[str, Indices]:
    """The bonds of each layer that a search for a rank grows: the family's choice, or the one that is named.

    Layers without such a bond are left out.

    Raises:
        TensorMoEError: an unknown bond, or no bond to grow.
    """
    bonds = {name: stage.factorization.bonds(stage.levels) for name, stage in layers.items()}
    known = tuple(dict.fromkeys(each for own in bonds.values() for each in own))
    if not known:
        kinds = one_or_each([stage.factorization for stage in layers.values()])
        raise TensorMoEError("factorization", kinds, "it has no bond to grow: match another family")
    if bond is not None:
        one_of("bond", bond, known)
        return {name: (bond,) for name, own in bonds.items() if bond in own}
    growing = {
        name: stage.factorization.growing_bonds(stage.levels) for name, stage in layers.items() if bonds[name]
    }
    for name, own in growing.items():
        for each in own:
            one_of("bond", each, tuple(bonds[name]))
    if not any(growing.values()):
        raise TensorMoEError("bond", (), "growing_bonds is empty: name a bond here")
    return {name: own for name, own in growing.items() if own}


def grow(stage: Stage, bonds: Indices, rank: int) -> Factorization:
    """A stage's factorization with some bonds of this size."""
    family = stage.factorization
    sizes = family.bonds(stage.levels) | dict.fromkeys(bonds, rank)
    grown = family.with_bonds(sizes)
    if grown.bonds(stage.levels) != sizes:
        raise TensorMoEError(
            "factorization", grown, f"its bonds are not {sizes} after with_bonds: override both alike"
        )
    return grown


def largest_rank(
    count: Callable[[int], int], growing: Iterable[Indices], unit: int, argument: str, budget: int
) -> int:
    """The largest multiple of a unit whose count is within a budget.

    Args:
        count: an increasing function of the rank.
        growing: the bonds of each layer that get this size, for errors.
        unit: what divides the rank.
        argument: what is counted, as the caller knows it.
        budget: the bound, inclusive.

    Raises:
        TensorMoEError: the smallest rank exceeds the budget.
    """
    units = largest(lambda units: count(units * unit), budget)
    if units is None:
        names = dict.fromkeys(bond for own in growing for bond in own)
        remedy = (
            f"even with bond(s) {', '.join(names)} of size {unit} there are {count(unit)} "
            f"{argument}, gate and bias included: raise the budget or use fewer experts"
        )
        raise TensorMoEError(argument, budget, remedy)
    return unit * units


def largest(count: Callable[[int], int], budget: int) -> int | None:
    """The largest positive integer whose count is within the budget, or None if 1 is not.

    Args:
        count: an increasing function, such as a layer's parameters by rank.
        budget: the bound, inclusive.
    """
    if count(1) > budget:
        return None
    fits, exceeds = 1, 2
    while count(exceeds) <= budget:
        fits, exceeds = exceeds, 2 * exceeds
    while exceeds - fits > 1:
        middle = (fits + exceeds) // 2
        fits, exceeds = (middle, exceeds) if count(middle) <= budget else (fits, middle)
    return fits
