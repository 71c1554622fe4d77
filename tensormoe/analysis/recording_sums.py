"""What is kept of a layer's coefficients, however many tokens pass: sums over tokens, of constant size."""

from collections.abc import Sequence
from typing import Self

import numpy as np
from scipy.sparse import csr_array

from ..errors import TensorMoEError
from ..typing import NumPyArray, Shape, Shapes

# The label of tokens that belong to no class, as in PyTorch's cross entropy.
IGNORED = -100
# Of the histogram of the largest coefficient, over [0, 1].
BINS = 20
# Coefficients that are summed at a time, in float64: what fits a processor's cache.
_BLOCK = 2**17
_BY_LABEL = ("label_tokens", "label_sum", "label_share")


class LayerSums:
    """Sums over the tokens of one layer.

    Args:
        experts: (N1, …, NE).
        threshold: from which on a coefficient counts as use of an expert.
        labels: the distinct labels, ascending.

    Attributes:
        arrays: by name, in float64: "tokens" (); for each level e, counted from 0, "sum.e", "square.e",
            "used.e" and "largest.e" (N_e), "entropy.e" (), "bins.e" (BINS) and, from level 1 on, "pair.e"
            (N_{e−1}, N_e); for C labels "label_tokens" (C), "label_sum.e" and "label_share.e" (C, N_e), the
            sums of coefficients and of tokens' shares, which are coefficients divided by their sum.
    """

    def __init__(self, experts: Shape, threshold: float, labels: NumPyArray | None = None) -> None:
        self.experts, self.threshold = experts, threshold
        self.labels = np.zeros(0, "int64") if labels is None else labels
        shapes = shapes_of(experts, len(self.labels))
        self.arrays: dict[str, NumPyArray] = {name: np.zeros(shape) for name, shape in shapes.items()}

    @classmethod
    def of(
        cls, coefficients: Sequence[NumPyArray], threshold: float, labels: NumPyArray | None = None
    ) -> Self:
        """The sums over some tokens.

        Args:
            coefficients: (T, N_e) for each level.
            threshold: as for the class.
            labels: (T,) integers; IGNORED belongs to no class.

        Raises:
            TensorMoEError: coefficients that are negative or not finite.
        """
        experts = tuple(a.shape[1] for a in coefficients)
        classes = None if labels is None else np.unique(labels[labels != IGNORED])
        total = cls(experts, threshold, classes)
        rows = max(1, _BLOCK // max(experts))
        for start in range(0, len(coefficients[0]), rows):
            own = slice(start, start + rows)
            total._count([a[own] for a in coefficients], None if labels is None else labels[own])
        return total

    def add(self, other: "LayerSums") -> None:
        """Add the sums over other tokens of the same layer."""
        labels = np.union1d(self.labels, other.labels)
        if len(labels) > len(self.labels):
            self._make_room(labels)
        rows = np.searchsorted(self.labels, other.labels)
        for name, array in other.arrays.items():
            if name.startswith(_BY_LABEL):
                self.arrays[name][rows] += array
            else:
                self.arrays[name] += array

    def copy(self) -> "LayerSums":
        """The same sums in memory of their own."""
        twin = LayerSums(self.experts, self.threshold)
        twin.add(self)
        return twin

    def _make_room(self, labels: NumPyArray) -> None:
        grown = LayerSums(self.experts, self.threshold, labels)
        rows = np.searchsorted(labels, self.labels)
        for name, array in self.arrays.items():
            if name.startswith(_BY_LABEL):
                grown.arrays[name][rows] = array
                self.arrays[name] = grown.arrays[name]
        self.labels = labels

    def _count(self, coefficients: Sequence[NumPyArray], labels: NumPyArray | None) -> None:
        """Add tokens whose labels, if they have any, are among those known."""
        sums = self.arrays
        sums["tokens"] += len(coefficients[0])
        chosen = None if labels is None else _choose(self.labels, labels)
        if chosen is not None:
            sums["label_tokens"] += chosen.sum(axis=1)
        before: NumPyArray | None = None
        for level, a in enumerate(coefficients):
            wide = a.astype("float64")
            _check(level, a, wide)
            largest = a.max(axis=1)
            sums[f"sum.{level}"] += wide.sum(axis=0)
            sums[f"square.{level}"] += np.einsum("tn,tn->n", wide, wide)
            sums[f"used.{level}"] += np.count_nonzero(a >= self.threshold, axis=0)
            sums[f"largest.{level}"] += np.bincount(a.argmax(axis=1), minlength=a.shape[1])
            sums[f"bins.{level}"] += np.histogram(largest.clip(0, 1), BINS, (0, 1))[0]
            total = wide.sum(axis=1)
            sums[f"entropy.{level}"] += _entropies(a, total).sum()
            if before is not None:
                sums[f"pair.{level}"] += before.T @ wide
            if chosen is not None:
                sums[f"label_sum.{level}"] += chosen @ wide
                sums[f"label_share.{level}"] += chosen @ (wide / np.where(total > 0, total, 1)[:, None])
            before = wide


def shapes_of(experts: Shape, labels: int) -> Shapes:
    """The shapes of all sums by name."""
    shapes: Shapes = {"tokens": (), "label_tokens": (labels,)}
    for level, n in enumerate(experts):
        for name in ("sum", "square", "used", "largest"):
            shapes[f"{name}.{level}"] = (n,)
        shapes |= {f"entropy.{level}": (), f"bins.{level}": (BINS,)}
        shapes |= {f"label_sum.{level}": (labels, n), f"label_share.{level}": (labels, n)}
        if level:
            shapes[f"pair.{level}"] = (experts[level - 1], n)
    return shapes


def _choose(known: NumPyArray, labels: NumPyArray) -> csr_array:
    """The matrix (C, T) with a 1 where a token has a label."""
    tokens = np.flatnonzero(labels != IGNORED)
    rows = np.searchsorted(known, labels[tokens])
    shape = (len(known), len(labels))
    return csr_array((np.ones(len(tokens)), (rows, tokens)), shape=shape)


def _check(level: int, a: NumPyArray, wide: NumPyArray) -> None:
    if not np.isfinite(wide.sum()):
        spoilt = wide[~np.isfinite(wide)][0]
        raise TensorMoEError(
            f"coefficients[{level}]", spoilt, "find out which layer gives what is not finite"
        )
    if a.size and a.min() < 0:
        raise TensorMoEError(f"coefficients[{level}]", a.min(), "coefficients of experts are not negative")


def _entropies(a: NumPyArray, total: NumPyArray) -> NumPyArray:
    """−Σ p ln p of each token's shares p = a / Σ a, where 0 ln 0 is 0; 0 if all its coefficients are."""
    # In the model's own type, which takes a tenth of the time that logarithms in float64 take.
    logarithms = np.log(np.maximum(a, np.finfo(a.dtype).tiny))
    some = np.where(total > 0, total, 1)
    # ln Σ a − Σ a ln a / Σ a; rounding makes it negative.
    entropies: NumPyArray = np.log(some) - np.einsum("tn,tn->t", a, logarithms) / some
    return np.maximum(entropies, 0)
