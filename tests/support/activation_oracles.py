"""Every activation with an oracle that solves its defining problem another way, in float64 or exactly."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal, localcontext
from fractions import Fraction
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np
from sklearn.isotonic import isotonic_regression

import tensormoe as tm

Row = np.ndarray


def root(total: Callable[[Any], Any], target: float, low: Any, high: Any, halvings: int = 70) -> Any:
    """Where a decreasing function falls to a target, by bisection to the last bit."""
    for _ in range(halvings):
        middle = (low + high) / 2
        low, high = (middle, high) if total(middle) > target else (low, middle)
    return low


def softmax(x: Row) -> Row:
    exponentials = np.exp(x - x.max())
    return exponentials / exponentials.sum()


def entmax(x: Row, alpha: float) -> Row:
    """[(α − 1) x − τ]₊^(1/(α − 1)) that sum to 1."""
    if alpha == 1:
        return softmax(x)
    # Python has no number as precise as the widest types.
    z, exponent = (alpha - 1) * (x - x.max()), 1 / x.dtype.type(alpha - 1)
    tau = root(lambda tau: (np.maximum(z - tau, 0) ** exponent).sum(), 1, z.max() - 1, z.max())
    return np.maximum(z - tau, 0) ** exponent


def soft_top_k(x: Row, k: int, eps: float = 1.0) -> Row:
    """clip(x/ε − τ, 0, 1)/k that sum to 1; equal for the finite where they are too few."""
    finite = x > -np.inf
    if finite.sum() < k:
        return finite / finite.sum()
    z = (x - x.max()) / eps
    tau = root(lambda tau: np.clip(z - tau, 0, 1).sum(), k, z[finite].min() - 1, z.max())
    return np.clip(z - tau, 0, 1) / k


def top_k(x: Row, k: int) -> Row:
    chosen = sorted(range(len(x)), key=lambda i: (-x[i], i))[:k]
    return softmax(np.where(np.isin(np.arange(len(x)), chosen), x, -np.inf))


def soft_rank(x: Row, eps: float = 1.0, descending: bool = True) -> Row:
    """Proposition 3 of Blondel et al., with scikit-learn's isotonic regression by pooling neighbours."""
    z = -x / eps if descending else x / eps
    order = np.argsort(-z, kind="stable")
    ranks = np.arange(len(z), 0, -1)
    projected = np.empty(len(z))
    projected[order] = z[order] - isotonic_regression(z[order] - ranks, increasing=False)
    return projected


def precise_entmax(x: Row, alpha: Decimal) -> list[Decimal]:
    """Entmax of any α ≥ 1 to 30 digits at least."""
    with localcontext(prec=60):
        shifted = [Decimal(float(value)) - Decimal(float(x.max())) for value in x]
        h = alpha - 1
        if h == 0:
            weights = [value.exp() for value in shifted]
            return [weight / sum(weights) for weight in weights]

        def weights_at(mu: Decimal) -> list[Decimal]:
            bases = [1 + h * (value - mu) for value in shifted]
            return [((base.ln() / h).exp() if base > 0 else Decimal(0)) for base in bases]

        # The largest logit's weight is 1 at μ = 0, and all weights sum to less than 1 at the other bound.
        mu = root(lambda mu: sum(weights_at(mu)), 1, Decimal(0), 1 / h if h > 1 else Decimal(len(x)), 130)
        return weights_at(mu)


def nearest(candidates: Iterator[list[Fraction]], z: list[Fraction]) -> Row:
    """The candidate nearest to z, exactly."""
    best = min(candidates, key=lambda y: sum((a - b) ** 2 for a, b in zip(y, z, strict=True)))
    return np.array([float(value) for value in best])


def nearest_of_simplex(x: Row) -> Row:
    """Sparsemax as the nearest point among those of all supports."""
    z = [Fraction(float(value)) for value in x]

    def candidates() -> Iterator[list[Fraction]]:
        for size in range(1, len(z) + 1):
            for support in combinations(range(len(z)), size):
                tau = (sum(z[i] for i in support) - 1) / size
                y = [z[i] - tau if i in support else Fraction(0) for i in range(len(z))]
                if min(y) >= 0:
                    yield y

    return nearest(candidates(), z)


def ordered_partitions(items: frozenset[int]) -> Iterator[tuple[tuple[int, ...], ...]]:
    if not items:
        yield ()
    for size in range(1, len(items) + 1):
        for first in combinations(sorted(items), size):
            for rest in ordered_partitions(items - set(first)):
                yield (first, *rest)


def nearest_of_permutahedron(x: Row, eps: float, descending: bool) -> Row:
    """Soft ranks as the nearest point among the projections on all faces.

    A face is an ordered partition: its blocks share out the ranks from the highest down. A point is in the
    polytope if its entries sum to n(n+1)/2 and any m of them to no more than the m highest ranks.
    """
    sign = -1 if descending else 1
    z = [sign * Fraction(float(value)) / Fraction(eps) for value in x]
    n = len(z)
    highest = [sum(range(n, n - m, -1)) for m in range(n + 1)]

    def candidates() -> Iterator[list[Fraction]]:
        for partition in ordered_partitions(frozenset(range(n))):
            y, used = [Fraction(0)] * n, 0
            for block in partition:
                excess = sum(z[i] for i in block) - (highest[used + len(block)] - highest[used])
                for i in block:
                    y[i] = z[i] - excess / len(block)
                used += len(block)
            descent = sorted(y, reverse=True)
            if all(sum(descent[:m]) <= highest[m] for m in range(n)):
                yield y

    return nearest(candidates(), z)


@dataclass(frozen=True)
class Case:
    """An activation with its options.

    Args:
        function: of an array and an axis.
        oracle: of one row of logits.
        exponent: the power of the weights that is a well-conditioned function of the logits.
    """

    function: Callable[..., Any]
    oracle: Callable[[Row], Row]
    exponent: float = 1

    def expected(self, x: Any, axis: int = -1) -> Any:
        return np.apply_along_axis(self.oracle, axis, np.asarray(x, "float64"))


def of_alpha(alpha: float) -> Case:
    return Case(partial(tm.entmax, alpha=alpha), partial(entmax, alpha=alpha), max(alpha - 1, 1))


def of_array_alpha(alpha: float) -> Case:
    def function(x: Any, axis: int = -1) -> Any:
        return tm.entmax(x, tm.backend_of(x).from_numpy(np.array(alpha)), axis)

    return Case(function, partial(entmax, alpha=alpha), max(alpha - 1, 1))


def with_options(name: str, **options: Any) -> Case:
    return Case(partial(getattr(tm, name), **options), partial(globals()[name], **options))


WEIGHTINGS = {
    "softmax": Case(tm.softmax, softmax),
    "sparsemax": Case(tm.sparsemax, partial(entmax, alpha=2)),
    "entmax15": Case(tm.entmax15, partial(entmax, alpha=1.5)),
    **{f"entmax({alpha})": of_alpha(alpha) for alpha in (1, 1.3, 3.5)},
    **{f"entmax(array {alpha})": of_array_alpha(alpha) for alpha in (1.7, 4.0)},
    "soft_top_k(2, 0.5)": with_options("soft_top_k", k=2, eps=0.5),
    "soft_top_k(3)": with_options("soft_top_k", k=3),
    "top_k(2)": with_options("top_k", k=2),
}
RANKINGS = {
    "soft_rank": with_options("soft_rank"),
    "soft_rank(0.3, ascending)": with_options("soft_rank", eps=0.3, descending=False),
}
CASES = {**WEIGHTINGS, **RANKINGS}
