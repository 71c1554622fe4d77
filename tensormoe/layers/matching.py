"""The search for the largest rank within a budget."""

from collections.abc import Callable

from ..errors import TensorMoEError, one_of, positive_integer
from ..networks.factorization import Factorization
from ..networks.notation import Indices


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


def choose_growing(factorization: Factorization, levels: int, bond: str | None) -> Indices:
    """The bonds that a search for a rank grows: the family's choice, or the one that is named.

    Raises:
        TensorMoEError: an unknown bond, or no bond to grow.
    """
    bonds = factorization.bonds(levels)
    growing = factorization.growing_bonds(levels) if bond is None else (bond,)
    if not bonds:
        raise TensorMoEError("factorization", factorization, "it has no bond to grow: match another family")
    if not growing:
        raise TensorMoEError("bond", growing, "growing_bonds is empty: name a bond here")
    for name in growing:
        one_of("bond", name, tuple(bonds))
    return growing


def largest_rank(count: Callable[[int], int], growing: Indices, unit: int, argument: str, budget: int) -> int:
    """The largest multiple of a unit whose count is within a budget.

    Args:
        count: an increasing function of the rank.
        growing: the bonds of this size, for errors.
        unit: what divides the rank.
        argument: what is counted, as the caller knows it.
        budget: the bound, inclusive.

    Raises:
        TensorMoEError: the smallest rank exceeds the budget.
    """
    units = largest(lambda units: count(units * unit), budget)
    if units is None:
        remedy = (
            f"even with bond(s) {', '.join(growing)} of size {unit} there are {count(unit)} "
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
