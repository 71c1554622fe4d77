"""Identities between indices, which cost nothing: the indices are one.

A core that is 1 where its indices are equal and 0 elsewhere takes away the sums over all of them but one:
Σ_q Σ_r A[i, q] δ[q, r] B[r, o] = Σ_q A[i, q] B[q, o]. It is left out of the network, and its bonds get one
name. It stays where it is an array that is needed: between two modes, since the weight tensor has both, and
where a core would carry an index twice.
"""

from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache

from ..errors import TensorMoEError
from .network import Network
from .notation import Indices, Notation, is_mode, sum_of_named

_Named = tuple[str, Indices]


def drop_identities(notation: Notation, names: Collection[str]) -> tuple[Notation, dict[str, str]]:
    """The notation without the identities that are not needed, and the new name of each bond that is renamed.

    Examples:
        >>> from tensormoe.networks.identities import drop_identities
        >>> from tensormoe.networks.notation import Notation
        >>> notation, renamed = drop_identities(Notation.parse("i q, D: q r, n r, r o"), ["D"])
        >>> print(notation, renamed)
        i q, n q, q o {'r': 'q'}
    """
    shorter, pairs = _drop(notation, frozenset(names))
    return shorter, dict(pairs)


@lru_cache(maxsize=256)
def _drop(notation: Notation, names: frozenset[str]) -> tuple[Notation, tuple[tuple[str, str], ...]]:
    if not names.intersection(notation.names):
        return notation, ()
    renamed: dict[str, str] = {}
    terms = [_drop_from(list(term), names, renamed) for term in notation.named_terms]
    return sum_of_named(terms), tuple(renamed.items())


def _drop_from(term: list[_Named], names: Collection[str], renamed: dict[str, str]) -> list[_Named]:
    """One term without them; what is renamed is added."""
    for place in reversed(range(len(term))):
        name, indices = term[place]
        others = term[:place] + term[place + 1 :]
        modes = [index for index in indices if is_mode(index)]
        if name not in names or len(indices) < 2 or len(modes) > 1 or not _can_merge(indices, others):
            continue
        kept = modes[0] if modes else indices[0]
        merged = dict.fromkeys(indices, kept)
        term = [(own, tuple(merged.get(index, index) for index in core)) for own, core in others]
        renamed.update({old: merged.get(new, new) for old, new in renamed.items()})
        renamed.update({index: kept for index in indices if index != kept})
    return term


def _can_merge(indices: Indices, others: Sequence[_Named]) -> bool:
    """Whether some core carries one of these indices, and none carries two."""
    counts = [len({*indices} & {*core}) for _, core in others]
    return max(counts, default=0) == 1


def check_identities(
    notation: str, ranks: Mapping[str, int], renamed: Mapping[str, str], network: Network
) -> None:
    """Raise an error if an identity has two sizes."""
    for bond, kept in renamed.items():
        if ranks[bond] != network.sizes[kept]:
            remedy = (
                f"an identity makes {bond} and {kept} one index, of sizes {ranks[bond]} and "
                f"{network.sizes[kept]} (a bias adds a row to i): pass equal sizes"
            )
            raise TensorMoEError("notation", notation, remedy)
