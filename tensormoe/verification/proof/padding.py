"""Padded indices, whose parts make up more values than they have: data are 0 at the values beyond.

An axis has the values of such an index alone or, as its parts, merged in order, the further ones, too. A
product is the same at the index's own values either way. It is 0 at the others if one of its factors carries
the index itself. So the others may always be cut off. Zeros may be put there, and sums be taken over the own
values alone, where there is such a factor.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from ...programs.contraction import Contraction


@dataclass(frozen=True)
class Padding:
    """What is known about a padded index.

    Args:
        size: how many values it has.
        whole: how many its parts make up.
        ending: the operands that carry the index itself, and are 0 beyond its values.
    """

    size: int
    whole: int
    ending: frozenset[str]

    def ends(self, factors: Collection[str]) -> bool:
        """Whether a product of these is 0 beyond the index's values."""
        return not self.ending.isdisjoint(factors)


def find_padding(
    contractions: Sequence[Contraction], operands: Mapping[str, Sequence[str]]
) -> dict[str, Padding]:
    """The padded indices of contractions, with what carries them among these operands."""
    padded = {}
    for each in contractions:
        for index, whole in each.padded.items():
            ending = frozenset(name for name, indices in operands.items() if index in indices)
            padded[index] = Padding(dict(each.sizes)[index], whole, ending)
    return padded
