"""The search for the largest ranks within a budget."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ..errors import TensorMoEError, one_of, positive_integer, positive_number
from ..networks.factorization import Factorization
from ..networks.notation import Indices
from .each import one_or_each
from .joint import tie_indices, tied_mode
from .limits import limit_sizes
from .stage import Stage

# What grows: a bond, several, or several with their proportions.
Growing = str | Sequence[str] | Mapping[str, float]


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


@dataclass(frozen=True)
class Growth:
    """Bonds that grow together, each to its share of one number.

    Args:
        layers: the stages, by name.
        shares: for each layer, the bonds that grow, each with its size relative to the largest.
        unit: what divides the sizes.
    """

    layers: Mapping[str, Stage]
    shares: Mapping[str, Mapping[str, float]]
    unit: int

    @property
    def bonds(self) -> Indices:
        """The names of the bonds that grow."""
        return tuple(dict.fromkeys(bond for own in self.shares.values() for bond in own))

    def factorizations(self, units: int) -> Factorization | tuple[Factorization, ...]:
        """The factorization of all layers, or that of each, at a number of units."""
        sizes = self._sizes(units)
        return one_or_each([resize(stage, sizes.get(name, {})) for name, stage in self.layers.items()])

    def is_full(self, units: int) -> bool:
        """Whether no bond can be of use that is larger than at this number of units."""
        wanted, sizes = self._wanted(units), self._sizes(units)
        return all(size < wanted[name][bond] for name, own in sizes.items() for bond, size in own.items())

    def tell(self, units: int) -> str:
        """The bonds that are smaller than their share, since they could not use it; "" for none."""
        wanted, sizes = self._wanted(units), self._sizes(units)
        several = len(self.layers) > 1
        told = [
            f"{bond}{f' of {name}' * several} is {size}"
            for name, own in sizes.items()
            for bond, size in own.items()
            if size < wanted[name][bond]
        ]
        spare = ", and the budget is not used up" * self.is_full(units)
        return ", ".join(told) and f"{', '.join(told)}: cores have no use for more{spare}"

    def _wanted(self, units: int) -> dict[str, dict[str, int]]:
        return {
            name: {bond: self.unit * max(1, round(units * share)) for bond, share in own.items()}
            for name, own in self.shares.items()
        }

    def _sizes(self, units: int) -> dict[str, dict[str, int]]:
        return {
            name: limit_sizes(self.layers[name].network, own, self.unit)
            for name, own in self._wanted(units).items()
        }


def choose_growing(layers: Mapping[str, Stage], bond: Growing | None) -> dict[str, dict[str, float]]:
    """The bonds of each layer that a search for a rank grows, with their proportions.

    They are the family's choice, or those that are named. Layers without such a bond are left out.

    Raises:
        TensorMoEError: an unknown bond, no bond to grow, or a proportion that isn't positive.
    """
    bonds = {name: stage.factorization.bonds(stage.levels) for name, stage in layers.items()}
    known = tuple(dict.fromkeys(each for own in bonds.values() for each in own))
    if not known:
        kinds = one_or_each([stage.factorization for stage in layers.values()])
        raise TensorMoEError("factorization", kinds, "it has no bond to grow: match another family")
    if bond is not None:
        shares = _read_shares(bond, known)
        own = {name: {each: shares[each] for each in shares if each in held} for name, held in bonds.items()}
    else:
        own = {
            name: dict.fromkeys(_family_choice(stage), 1.0) for name, stage in layers.items() if bonds[name]
        }
        if not any(own.values()):
            raise TensorMoEError("bond", (), "growing_bonds is empty: name a bond here")
    _tie(layers, own)
    return {name: each for name, each in own.items() if each}


def _tie(layers: Mapping[str, Stage], own: dict[str, dict[str, float]]) -> None:
    """Let what shared cores make equally large grow together, in all layers.

    Raises:
        TensorMoEError: nothing is left that can grow.
    """
    for tie in tie_indices(layers):
        shares = [own[name][bond] for name, bond in tie if bond in own.get(name, {})]
        mode = tied_mode(tie, layers)
        for name, bond in tie if shares else ():
            if mode is None:
                own.setdefault(name, {})[bond] = max(shares)
            else:
                own.get(name, {}).pop(bond, None)
                if not any(own.values()):
                    raise TensorMoEError("bond", bond, f"a shared core makes it as large as {mode}")


def _family_choice(stage: Stage) -> Indices:
    growing = stage.factorization.growing_bonds(stage.levels)
    for each in growing:
        one_of("bond", each, tuple(stage.factorization.bonds(stage.levels)))
    return growing


def _read_shares(bond: Growing, known: Indices) -> dict[str, float]:
    """The size of each bond relative to the largest."""
    if isinstance(bond, Mapping):
        proportions = {name: positive_number(f"proportion of {name}", each) for name, each in bond.items()}
    else:
        listed: Sequence[str] = [bond] if isinstance(bond, str) else bond
        if not isinstance(listed, list | tuple):
            raise TensorMoEError("bond", bond, f"name one or several of {', '.join(known)}")
        for name in listed:
            one_of("bond", name, known)
        proportions = dict.fromkeys(listed, 1.0)
    if not proportions:
        raise TensorMoEError("bond", bond, f"name one or several of {', '.join(known)}")
    for name in proportions:
        one_of("bond", name, known)
    largest = max(proportions.values())
    return {name: each / largest for name, each in proportions.items()}


def resize(stage: Stage, sizes: Mapping[str, int]) -> Factorization:
    """A stage's factorization with some bonds of other sizes."""
    family = stage.factorization
    wanted = family.bonds(stage.levels) | dict(sizes)
    grown = family.with_bonds(wanted)
    if grown.bonds(stage.levels) != wanted:
        raise TensorMoEError(
            "factorization", grown, f"its bonds are not {wanted} after with_bonds: override both alike"
        )
    return grown


def most_units(growth: Growth, count: Callable[[int], int], argument: str, budget: int) -> int:
    """The largest number of units whose count is within a budget, or one at which nothing is left to grow.

    Args:
        growth: what grows.
        count: what a number of units takes; it increases.
        argument: what is counted, as the caller knows it.
        budget: the bound, inclusive.

    Raises:
        TensorMoEError: the smallest ranks exceed the budget.
    """
    if count(1) > budget:
        remedy = (
            f"even with bond(s) {', '.join(growth.bonds)} of size {growth.unit} there are {count(1)} "
            f"{argument}, gate and bias included: raise the budget or use fewer experts"
        )
        raise TensorMoEError(argument, budget, remedy)
    fits, exceeds = 1, 2
    while count(exceeds) <= budget:
        if growth.is_full(exceeds):
            return exceeds
        fits, exceeds = exceeds, 2 * exceeds
    while exceeds - fits > 1:
        middle = (fits + exceeds) // 2
        fits, exceeds = (middle, exceeds) if count(middle) <= budget else (fits, middle)
    return fits
