"""Ablations of several experts at once: the mixture at coefficients without a whole set of experts.

What a set of experts of several levels leaves is not a product of levels, but a sum of a few: the experts
whose number on the first level is none of the set's, with everything; and for those that are, what their
numbers on the other levels leave, together for all that leave the same. Nothing is subtracted, so that what
is left is as precise as any output.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import mul, or_
from typing import TypeAlias

import numpy as np

from ..arrays.backend import Backend
from ..typing import Array, NumPyArray
from .ablation_pairs import Rows, run_terms
from .ablation_subject import Place, Sets, Subject

# Of one level, some numbers, and whether those are kept, or all others.
_Choice: TypeAlias = tuple[tuple[int, ...], bool]
_EVERYTHING: _Choice = ((), False)


@dataclass(frozen=True)
class Rest:
    """What one set leaves, as a sum of products.

    Args:
        terms: of each product, which coefficients of each of the set's levels it has.
        levels: the levels.
    """

    terms: list[list[_Choice]]
    levels: tuple[int, ...]

    @classmethod
    def of(cls, places: frozenset[Place], levels: tuple[int, ...]) -> "Rest":
        """What these experts leave."""
        return cls(_split(places, len(levels)), levels)

    def rows(self, ops: Backend, whole: Rows) -> list[Rows]:
        """The coefficients of each product, (T, N_e) for each level."""
        products = []
        for term in self.terms:
            rows = list(whole)
            for level, choice in zip(self.levels, term, strict=True):
                rows[level] = _choose(ops, whole[level], *choice)
            products.append(rows)
        return products


def _split(places: frozenset[Place], levels: int) -> list[list[_Choice]]:
    firsts = tuple(sorted({place[0] for place in places}))
    if levels == 1:
        return [[(firsts, False)]]
    alike: dict[frozenset[Place], list[int]] = {}
    for number in firsts:
        others = frozenset(place[1:] for place in places if place[0] == number)
        alike.setdefault(others, []).append(number)
    terms = [[(firsts, False), *[_EVERYTHING] * (levels - 1)]]
    for others, numbers in alike.items():
        terms += [[(tuple(numbers), True), *term] for term in _split(others, levels - 1)]
    return terms


def _choose(ops: Backend, row: Array, numbers: Sequence[int], kept: bool) -> Array:
    if not numbers:
        return row
    places, zeros = ops.positions(row.shape[-1], row), ops.zeros_like(row)
    own = reduce(or_, (places == number for number in numbers))[None, :]
    return ops.where(own, row, zeros) if kept else ops.where(own, zeros, row)


def run_set(subject: Subject, sets: Sets, which: int, tokens: slice) -> NumPyArray:
    """The outputs (T, O) of these inputs without one of the sets."""
    rows = [a[tokens] for a in subject.coefficients]
    terms = Rest.of(sets.places[which], sets.levels).rows(subject.ops, rows)
    y = np.asarray(subject.ops.to_numpy(run_terms(subject, tokens, rows, terms, sets)))
    # An input that uses none of them keeps every bit.
    return np.where(_is_used(subject, sets, which, tokens)[:, None], y, subject.y[tokens])


def _is_used(subject: Subject, sets: Sets, which: int, tokens: slice) -> NumPyArray:
    """Whether an input has a coefficient of one of a set's experts, (T,)."""
    numbers = np.array(sorted(sets.places[which])).T
    values = [subject.values[level][tokens] for level in sets.levels]
    used = reduce(mul, (row[:, each] != 0 for row, each in zip(values, numbers, strict=True)))
    whole: NumPyArray = used.any(axis=1)
    return whole
