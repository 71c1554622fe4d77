"""What edits add beside a network: low-rank matrices, each with the experts that it is added to."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np

from ..errors import TensorMoEError
from ..typing import NumPyArray, Shape
from .reading import Place


@dataclass(frozen=True, eq=False)
class Piece:
    """The addition Π_e levels[e][n_e] · left right to the weight of every expert (n_1, …, n_E).

    Args:
        levels: a number for each expert of each level, (N_e,).
        left, right: factors, (I[+1], k) and (k, O).
    """

    levels: tuple[NumPyArray, ...]
    left: NumPyArray
    right: NumPyArray

    @property
    def place(self) -> Place | None:
        """The only expert that it is added to; None if there are others."""
        if any(np.count_nonzero(level) != 1 for level in self.levels):
            return None
        return tuple(int(np.flatnonzero(level)[0]) for level in self.levels)

    def share(self, place: Place) -> float:
        """How many times an expert has it."""
        return prod(float(level[number]) for level, number in zip(self.levels, place, strict=True))

    def scaled(self, factor: float) -> "Piece":
        """The same times a number."""
        return replace(self, left=factor * self.left)

    def split(self, level: int, number: int, copies: int) -> "Piece":
        """The same after an expert of a level became several; the others come last."""
        levels = list(self.levels)
        levels[level] = np.pad(levels[level], (0, copies - 1), constant_values=levels[level][number])
        return replace(self, levels=tuple(levels))

    def part_bias(self) -> tuple["Piece", "Piece"]:
        """The same without the last row, and that row by itself; each with as few ranks."""
        bias = self.left[-1:] @ self.right
        if not bias.any():
            return replace(self, left=self.left[:-1]), replace(self, left=bias[:, :0], right=bias[:0])
        left, right = factor(self.left[:-1] @ self.right)
        return replace(self, left=left, right=right), replace(self, left=np.ones((1, 1)), right=bias)

    def mix(self, places: Sequence[Place], matrix: NumPyArray) -> Iterator["Piece"]:
        """What is added after experts got sums of each other's weights."""
        sizes = tuple(map(len, self.levels))
        shares = np.array([self.share(place) for place in places])
        if self.place in places:
            given = matrix @ shares
        else:
            yield self
            given = (matrix - np.eye(len(places))) @ shares
        for place, share in zip(places, given, strict=True):
            if share:
                yield replace(self, levels=one_hot(place, sizes), left=share * self.left)


def one_hot(place: Place, experts: Shape) -> tuple[NumPyArray, ...]:
    """For each level, 1 for the expert and 0 for all others."""
    return tuple(np.eye(1, count, number)[0] for number, count in zip(place, experts, strict=True))


def combine(pieces: Iterable[Piece]) -> list[Piece]:
    """The same additions with as few ranks: one piece for the same experts."""
    groups: dict[tuple[bytes, ...], list[Piece]] = {}
    for piece in pieces:
        groups.setdefault(tuple(level.tobytes() for level in piece.levels), []).append(piece)
    return [_combine_group(group) for group in groups.values()]


def join(pieces: Sequence[Piece]) -> Piece | None:
    """Pieces as one, each level (N_e, k) for all their ranks; None if they have none."""
    ranks = [piece.left.shape[1] for piece in pieces]
    if not sum(ranks):
        return None
    each = zip(*(piece.levels for piece in pieces), strict=True)
    levels = tuple(np.repeat(np.stack(level, axis=1), ranks, axis=1) for level in each)
    left = np.concatenate([piece.left for piece in pieces], axis=1)
    return Piece(levels, left, np.concatenate([piece.right for piece in pieces]))


def factor(matrix: NumPyArray) -> tuple[NumPyArray, NumPyArray]:
    """Factors of a matrix with its numerical rank.

    A matrix without a smaller rank than its rows and columns that are not zero is a factor itself, the other
    one selects: then the product is exact.

    Raises:
        TensorMoEError: the matrix is not finite.
    """
    if not np.isfinite(matrix).all():
        raise TensorMoEError("edits", "a weight that is not finite", "their numbers are too large to combine")
    rows, columns = np.flatnonzero(matrix.any(axis=1)), np.flatnonzero(matrix.any(axis=0))
    part = matrix[np.ix_(rows, columns)]
    if min(part.shape) > 1:
        largest = np.abs(part).max()
        left, singular, right = np.linalg.svd(part / largest, full_matrices=False)
        rank = int(np.sum(singular > singular[0] * max(part.shape) * np.finfo("float64").eps))
        if rank < min(part.shape):
            roots = np.sqrt(singular[:rank]) * np.sqrt(largest)
            whole = np.zeros((len(matrix), rank)), np.zeros((rank, matrix.shape[1]))
            whole[0][rows], whole[1][:, columns] = left[:, :rank] * roots, roots[:, None] * right[:rank]
            return whole
    if len(rows) <= len(columns):
        return np.eye(len(matrix))[:, rows], matrix[rows]
    return matrix[:, columns], np.eye(matrix.shape[1])[columns]


def _combine_group(pieces: Sequence[Piece]) -> Piece:
    first, *others = pieces
    if not others:
        return first
    with np.errstate(over="ignore", invalid="ignore"):
        left, right = factor(sum((piece.left @ piece.right for piece in pieces), start=np.zeros(())))
    return replace(first, left=left, right=right)
