"""Choices of places: what is read at them is a sum of products with arrays of ones and zeros.

a[J[j]] = Σ(n) [n = J[j]] a[n] holds for any places J, so a program that reads slices of a core computes a sum
of products like any other. The arrays [n = J[j]] are further operands, about which nothing is known: what is
proved holds for every choice. Reverse mode adds a gradient to where it was read, which is a product with the
same array.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import product

from ...networks.notation import BATCH, Indices
from ...programs.contraction import Contraction, Operand


@dataclass(frozen=True)
class Choice:
    """An array that is 1 where an operand's index is at a chosen place, and 0 elsewhere.

    Args:
        operand: the name of what is read.
        mode: the index of the chosen places.
        whole: the operand's own index.
    """

    operand: str
    mode: str
    whole: str

    @property
    def name(self) -> str:
        """What the array is called."""
        return f"[{self.whole}]"

    @property
    def indices(self) -> Indices:
        """Its indices."""
        return (BATCH, self.mode, self.whole)


def tell_choices(contraction: Contraction) -> Contraction:
    """The contraction with an index of its own for each operand of which some places are chosen."""
    if not contraction.active:
        return contraction
    active, sizes = dict(contraction.active), dict(contraction.sizes)
    operands = []
    for op in contraction.operands:
        own = {index: _whole(op.name, index) for index in op.indices if index in active}
        sizes |= {whole: dict(contraction.sizes)[index] for index, whole in own.items()}
        operands.append(Operand(op.name, tuple(own.get(index, index) for index in op.indices)))
    return replace(contraction, operands=tuple(operands), sizes=tuple((sizes | active).items()))


def find_choices(contractions: Iterable[Contraction]) -> dict[str, Choice]:
    """The choices in contractions that `tell_choices` gave, by the operand's own index."""
    choices = {}
    for contraction in contractions:
        for op, (mode, _) in product(contraction.operands, contraction.active):
            whole = _whole(op.name, mode)
            if whole in op.indices:
                choices[whole] = Choice(op.name, mode, whole)
    return choices


def add_choices(choices: Mapping[str, Choice], factors: Collection[str]) -> frozenset[str]:
    """Factors, and the choices from those that are read at some places."""
    return frozenset({*factors, *(each.name for each in choices.values() if each.operand in factors)})


def _whole(operand: str, mode: str) -> str:
    return f"{mode} of {operand}"
