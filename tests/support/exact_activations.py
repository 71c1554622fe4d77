"""Gate activations in exact or 60-digit arithmetic, by sorting: right for logits of any size and number."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal, localcontext
from fractions import Fraction
from functools import partial
from itertools import accumulate
from typing import Any

import numpy as np

import tensormoe as tm

Row = np.ndarray
# Weights by logit: equal logits have equal weights.
Weights = dict[Fraction, Any]


def _sqrt(value: Fraction) -> Fraction:
    with localcontext(prec=80):
        return Fraction((Decimal(value.numerator) / Decimal(value.denominator)).sqrt())


def _decimal(value: Fraction) -> Decimal:
    return Decimal(value.numerator) / Decimal(value.denominator)


def _prefixes(counts: Counter[Fraction]) -> tuple[list[Fraction], list[int], list[Fraction]]:
    """Distinct logits in descending order, how many are no lower than each, and the sums of these."""
    levels = sorted(counts, reverse=True)
    sizes = list(accumulate(counts[level] for level in levels))
    return levels, sizes, list(accumulate(counts[level] * level for level in levels))


def sparsemax(counts: Counter[Fraction]) -> Weights:
    levels, sizes, sums = _prefixes(counts)
    taus = [(total - 1) / size for size, total in zip(sizes, sums, strict=True)]
    tau = next(t for t, below in zip(taus, [*levels[1:], None], strict=True) if below is None or below <= t)
    return {level: max(level - tau, Fraction(0)) for level in levels}


def entmax15(counts: Counter[Fraction]) -> Weights:
    """[z/2 − τ]₊² by sorting: the support ends where the next logit is below its own threshold."""
    top = max(counts)
    halves = Counter({(level - top) / 2: count for level, count in counts.items()})
    levels, sizes, sums = _prefixes(halves)
    squares = accumulate(halves[level] * level**2 for level in levels)
    for size, total, square, below in zip(sizes, sums, squares, [*levels[1:], None], strict=True):
        mean = total / size
        tau = mean - _sqrt(mean**2 - (square - 1) / size)
        if below is None or below <= tau:
            break
    return {level: max((level - top) / 2 - tau, Fraction(0)) ** 2 for level in counts}


def entmax(counts: Counter[Fraction], alpha: float) -> Weights:
    """By bisection between bounds of μ, in 60 digits; logits that are too far to matter get 0."""
    top, h = max(counts), Decimal(alpha) - 1
    with localcontext(prec=60):
        near = {level: _decimal(level - top) for level in counts if level - top > -4 / Fraction(h)}

        def weights_at(mu: Decimal) -> dict[Fraction, Decimal]:
            bases = {level: 1 + h * (x - mu) for level, x in near.items()}
            return {level: (u.ln() / h).exp() if u > 0 else Decimal(0) for level, u in bases.items()}

        low, high = Decimal(0), 1 / h
        for _ in range(170):
            middle = (low + high) / 2
            total = sum(counts[level] * weight for level, weight in weights_at(middle).items())
            low, high = (middle, high) if total > 1 else (low, middle)
        return dict.fromkeys(counts, Decimal(0)) | weights_at(low)


def softmax(counts: Counter[Fraction]) -> Weights:
    top = max(counts)
    with localcontext(prec=60):
        near = {level: level - top for level in counts if level - top > -1000}
        powers = dict.fromkeys(counts, Decimal(0)) | {level: _decimal(x).exp() for level, x in near.items()}
        total = sum(counts[level] * power for level, power in powers.items())
        return {level: power / total for level, power in powers.items()}


def soft_top_k(counts: Counter[Fraction], k: int, eps: float) -> Weights:
    """clip(z/ε − τ, 0, 1)/k: τ is on the line between the two neighbouring corners of the sum."""
    if counts.total() < k:
        return {level: Fraction(1, counts.total()) for level in counts}
    levels = {level: level / Fraction(eps) for level in counts}

    def share(z: Fraction, tau: Fraction) -> Fraction:
        return min(max(z - tau, Fraction(0)), Fraction(1))

    def total(tau: Fraction) -> Fraction:
        return sum((counts[level] * share(z, tau) for level, z in levels.items()), Fraction(0))

    corners = sorted(set(levels.values()) | {z - 1 for z in levels.values()})
    low, high = 0, len(corners) - 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if total(corners[middle]) >= k else (low, middle)
    left, right = corners[low], corners[high]
    slope = (total(left) - total(right)) / (right - left)
    tau = left + ((total(left) - k) / slope if slope else 0)
    return {level: share(z, tau) / k for level, z in levels.items()}


def top_k(x: Row, k: int) -> list[float]:
    """Softmax of the k largest; of equal ones the first."""
    chosen = sorted(range(len(x)), key=lambda i: (-x[i], i))[:k]
    weights = of_levels(softmax)(np.array([x[i] for i in chosen]))
    result = dict(zip(chosen, weights, strict=True))
    return [result.get(i, 0.0) for i in range(len(x))]


def of_levels(function: Callable[[Counter[Fraction]], Weights]) -> Callable[[Row], list[float]]:
    """A function of rows in which −∞ gets 0."""

    def weights(x: Row) -> list[float]:
        kept = [Fraction(float(value)) if value > -np.inf else None for value in x]
        by_level = function(Counter(value for value in kept if value is not None))
        return [0.0 if value is None else float(by_level[value]) for value in kept]

    return weights


def soft_rank(x: Row, eps: float, descending: bool = True) -> list[float]:
    """Isotonic regression by pooling neighbours; entries of −∞ share the lowest ranks."""
    kept = [i for i, value in enumerate(x) if value > -np.inf]
    sign = -1 if descending else 1
    z = {i: sign * Fraction(float(x[i])) / Fraction(eps) for i in kept}
    order, n, masked = sorted(kept, key=lambda i: -z[i]), len(kept), len(x) - len(kept)
    ranks = [Fraction(n - place) for place in range(n)]
    blocks: list[tuple[Fraction, list[int]]] = []
    for i, rank in zip(order, ranks, strict=True):
        blocks.append((z[i] - rank, [i]))
        while len(blocks) > 1 and blocks[-2][0] <= blocks[-1][0]:
            (a, first), (b, second) = blocks[-2:]
            mean = (a * len(first) + b * len(second)) / (len(first) + len(second))
            blocks[-2:] = [(mean, first + second)]
    # Those of −∞ are the last, or the first.
    lowest, offset = (n + Fraction(1 + masked) / 2, 0) if descending else (Fraction(1 + masked) / 2, masked)
    values = {i: z[i] - mean + offset for mean, block in blocks for i in block}
    return [float(values.get(i, lowest)) for i in range(len(x))]


@dataclass(frozen=True)
class Exact:
    """An activation with its options.

    Args:
        function: of an array.
        row: the exact values of one row.
        total: what a row sums to.
        power: the power of the values that is a well-conditioned function of the logits.
    """

    function: Callable[[Any], Any]
    row: Callable[[Row], list[float]]
    total: float = 1
    power: float = 1

    def __call__(self, x: Row) -> np.ndarray:
        return np.array([self.row(row) for row in x])


def _entmax(alpha: float) -> Exact:
    return Exact(
        partial(tm.entmax, alpha=alpha), of_levels(partial(entmax, alpha=alpha)), 1, max(alpha - 1, 1)
    )


def _array_entmax(alpha: float) -> Exact:
    def function(x: Any) -> Any:
        return tm.entmax(x, tm.backend_of(x).from_numpy(np.array(alpha)))

    return Exact(function, of_levels(partial(entmax, alpha=alpha)), 1, max(alpha - 1, 1))


def _soft_top_k(k: int, eps: float) -> Exact:
    return Exact(partial(tm.soft_top_k, k=k, eps=eps), of_levels(partial(soft_top_k, k=k, eps=eps)))


def _soft_rank(eps: float, descending: bool = True) -> Exact:
    options = {"eps": eps, "descending": descending}
    return Exact(partial(tm.soft_rank, **options), partial(soft_rank, **options), 21)


WEIGHTINGS = {
    "softmax": Exact(tm.softmax, of_levels(softmax)),
    "sparsemax": Exact(tm.sparsemax, of_levels(sparsemax)),
    "entmax15": Exact(tm.entmax15, of_levels(entmax15)),
    **{f"entmax({alpha})": _entmax(alpha) for alpha in (1.125, 1.25, 1.875, 3.5)},
    **{f"entmax(array {alpha})": _array_entmax(alpha) for alpha in (1.75,)},
    **{f"soft_top_k({k}, {eps})": _soft_top_k(k, eps) for k, eps in ((2, 1e-12), (3, 1.0), (2, 1e6))},
    "top_k(2)": Exact(partial(tm.top_k, k=2), partial(top_k, k=2)),
}
RANKINGS = {
    "soft_rank(1e-12)": _soft_rank(1e-12),
    "soft_rank(1.0, ascending)": _soft_rank(1.0, descending=False),
    "soft_rank(1e6)": _soft_rank(1e6),
}
EXACT = {**WEIGHTINGS, **RANKINGS}
