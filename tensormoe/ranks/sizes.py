"""The sizes of bonds that a caller asks for, checked, and the specification that has them."""

from collections.abc import Callable, Mapping

from ..errors import TensorMoEError, one_of, positive_integer
from ..layers.spec import Spec
from ..networks.factorization import Factorization
from ..networks.notation import Notation, is_mode


def resize(
    spec: Spec, ranks: Mapping[str, int], compare: Callable[[int, int], bool], remedy: str
) -> dict[str, Factorization]:
    """The factorization of each layer with these sizes of bonds.

    Bonds that shared cores tie to one of these get its size, too.

    Args:
        spec: the layer or block.
        ranks: sizes by bond.
        compare: whether a new size fits the present one.
        remedy: what to do if it does not.

    Raises:
        TensorMoEError: no bond, an unknown one, a size that doesn't fit, or a bond that is tied to a mode.
    """
    factorizations = {name: stage.factorization for name, stage in spec.layers.items()}
    levels = {name: stage.levels for name, stage in spec.layers.items()}
    bonds = {name: each.bonds(levels[name]) for name, each in factorizations.items()}
    known = tuple(dict.fromkeys(bond for own in bonds.values() for bond in own))
    if not ranks:
        listed = f"name a bond with its new size: {', '.join(known)}" if known else "the network has no bond"
        raise TensorMoEError("ranks", {}, listed)
    for bond in ranks:
        one_of("bond", bond, known)
    return {
        name: _resize(each, levels[name], ranks, compare, remedy) for name, each in factorizations.items()
    }


def _resize(
    factorization: Factorization,
    levels: int,
    ranks: Mapping[str, int],
    compare: Callable[[int, int], bool],
    remedy: str,
) -> Factorization:
    sizes = factorization.bonds(levels)
    notation = Notation.parse(factorization.notation(levels)).for_levels(levels)
    wanted: dict[str, int] = {}
    for bond in (each for each in ranks if each in sizes):
        size = positive_integer(bond, ranks[bond])
        if not compare(size, sizes[bond]):
            raise TensorMoEError(bond, size, f"it is {sizes[bond]} now; {remedy}")
        for tied in notation.find_tied(bond):
            if is_mode(tied):
                raise TensorMoEError(bond, size, f"a shared core makes it as large as mode {tied!r}")
            if wanted.setdefault(tied, size) != size:
                raise TensorMoEError(bond, size, f"a shared core makes it as large as bond {tied!r}")
    return with_sizes(factorization, levels, sizes | wanted)


def with_sizes(factorization: Factorization, levels: int, sizes: Mapping[str, int]) -> Factorization:
    """The same family with these sizes, for all of its bonds."""
    changed = factorization.with_bonds(sizes)
    if changed.bonds(levels) != sizes:
        remedy = f"its bonds are not {dict(sizes)} after with_bonds: override both alike"
        raise TensorMoEError("factorization", changed, remedy)
    return changed


def compare_sizes(before: Mapping[str, int], after: Mapping[str, int]) -> dict[str, str]:
    """The bonds whose sizes differ, with what a table says of each."""
    return {bond: f"{bond}: {size} → {after[bond]}" for bond, size in before.items() if after[bond] != size}
