"""What no values of its cores can do better: a lower bound on the error of a network, from its bonds alone.

Cut the modes of the weight into two parts. As a matrix between them, the weight of a network has a rank of at
most the product of the bonds that one must cut to part its cores in the same way: the least over all ways to
share out the cores (a minimum cut). No matrix of that rank is closer to the target than its singular values
cut off there. The largest such distance over all cuts of the modes is a bound, for any network at all: with
hyperedges, cores used twice, fixed cores, and sums, whose ranks add up.

The same holds for the slices at each value of a mode, with the bonds between the other modes: that tells of
cores that carry the mode on both sides of a cut.

So most candidates need not be tried: from the singular values of a target's few unfoldings, it follows that
they are too small.

Source: Eckart and Young, "The approximation of one matrix by another of lower rank", 1936; Cui et al.,
"Quantum Max-flow/Min-cut", 2016, for the cuts of a network.
"""

from functools import cached_property
from itertools import product
from math import prod

import numpy as np

from ..typing import NumPyArray
from .layout import Layout, Term
from .space import Space

# Up to so many entries, singular values; beyond, the eigenvalues of a Gram matrix.
_SMALL = 2_000_000
_HUGE = 2.0**40
# So many points are bounded at a time.
_CHUNK = 256


class Bounds:
    """Lower bounds on the relative error of candidates for a target.

    Args:
        space: of the candidates.
        target: (N1, …, NE, I[+1], O), in float64.
    """

    def __init__(self, space: Space, target: NumPyArray) -> None:
        self.space = space
        self._target = target
        self._tails: dict[tuple[int, ...], NumPyArray] = {}

    def tails(self, layout: Layout) -> NumPyArray:
        """(P, S) for each cut of the modes, the error that a candidate has at least."""
        errors = np.zeros((len(layout.points), len(self._cuts[0])))
        for choice in np.unique(layout.splits, axis=0):
            rows = (layout.splits == choice).all(axis=1)
            errors[rows] = self._of_split(tuple(map(int, choice)), layout, rows)
        return errors

    def _of_split(self, split: tuple[int, ...], layout: Layout, rows: NumPyArray) -> NumPyArray:
        if split not in self._tails:
            self._tails[split] = self._unfold(layout.slot_sizes[np.flatnonzero(rows)[0]])
        table = self._tails[split]
        tails = []
        for part in np.array_split(np.flatnonzero(rows), -(-int(rows.sum()) // _CHUNK)):
            ranks = sum(
                (self._capacity(term, part) * term.present[part, None] for term in layout.terms),
                np.zeros((len(part), len(table))),
            )
            places = np.minimum(ranks, table.shape[1] - 1).astype(int)
            tails.append(table[np.arange(len(table)), places])
        return np.concatenate(tails)

    def _capacity(self, term: Term, rows: NumPyArray) -> NumPyArray:
        """(P, S) the largest rank that a term can have at each cut."""
        masks, sizes = term.masks[rows], np.log2(term.sizes[rows])
        edges = masks.shape[1] - len(self.space.slots)
        sides = np.arange(1 << term.count)
        all_cores = (1 << term.count) - 1
        here = (masks[:, :, None] & sides) != 0
        there = (masks[:, :, None] & (all_cores ^ sides)) != 0
        bonds = np.einsum("px,pxa->pa", sizes[:, :edges], here[:, :edges] & there[:, :edges])
        # A mode on one side is cut where a core on the other one carries it.
        left = there[:, edges:] * sizes[:, edges:, None]
        right = here[:, edges:] * sizes[:, edges:, None]
        first, second = self._cuts
        total = bonds[:, None, :] + first.astype(float) @ left + second.astype(float) @ right
        capacity: NumPyArray = np.rint(np.minimum(np.exp2(total.min(axis=2)), _HUGE))
        return capacity

    @cached_property
    def _cuts(self) -> tuple[NumPyArray, NumPyArray]:
        """(S, slots) which slots are on the first side, and which on the second; slices lack one."""
        count, cuts = len(self.space.slots), []
        for sides in product((0, 1, 2), repeat=count):
            # Of a cut and the same with the sides exchanged, one.
            first = next((side for side in sides if side < 2), 1)
            sliced = sides.count(2)
            if first == 0 and 1 in sides and sliced <= bool(self.space.carried):
                cuts.append(sides)
        held = np.array(cuts).reshape(-1, count)
        return held == 0, held == 1

    def _unfold(self, sizes: NumPyArray) -> NumPyArray:
        """(S, ranks + 1) the relative error of the best approximation of each rank, by cut."""
        tensor = self._target.reshape([int(size) for size in np.maximum(sizes, 1)])
        norm = float(np.linalg.norm(tensor)) or 1.0
        longest, rows = 1, []
        for first, second in zip(*self._cuts, strict=True):
            squares = _squares(tensor, np.flatnonzero(first), np.flatnonzero(second))
            tail = np.sqrt(np.append(np.cumsum(squares[::-1])[::-1], 0)) / norm
            rows.append(tail)
            longest = max(longest, len(tail))
        table = np.zeros((len(rows), longest))
        for row, tail in zip(table, rows, strict=True):
            row[: len(tail)] = tail
        return table


def _squares(tensor: NumPyArray, left: NumPyArray, right: NumPyArray) -> NumPyArray:
    """The squared singular values of an unfolding, the largest first; those of slices, added up."""
    sliced = [axis for axis in range(tensor.ndim) if axis not in left and axis not in right]
    rows = prod(tensor.shape[axis] for axis in left)
    columns = prod(tensor.shape[axis] for axis in right)
    matrices = tensor.transpose(*sliced, *left, *right).reshape(-1, rows, columns)
    if tensor.size <= _SMALL:
        squares = np.linalg.svd(matrices, compute_uv=False) ** 2
    else:
        turned = matrices.swapaxes(1, 2)
        grams = matrices @ turned if rows <= columns else turned @ matrices
        squares = np.maximum(np.linalg.eigvalsh(grams)[:, ::-1], 0)
    total: NumPyArray = squares.sum(axis=0)
    return total
