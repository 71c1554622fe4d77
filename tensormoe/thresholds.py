"""Sparse weights as what rises above a threshold τ that is found by Newton's iteration, without sorting.

Every class here is a map from logits z to weights with a symmetric Jacobian, the gradient of a convex
function, so that one product with a vector serves forward and reverse mode. The iteration ends where only
rounding still corrects τ. The last correction is not added to τ, which could not hold it, but subtracted
from z − τ, so that the weights sum to what they should to the last bits.
"""

from dataclasses import dataclass
from typing import Any

from .extras import Array

# Below this √p is computed as 0, and in float32 its square is still a normal number.
_SMALLEST = 1e-36


@dataclass(frozen=True)
class Sparsemax:
    """p = [z − τ]₊ with the τ for which p sums to 1: the point of the simplex that is nearest to z.

    The sum is convex and decreasing in τ and piecewise linear. Newton's iteration from the left climbs to
    the root without overshooting, and is there as soon as the support no longer changes. A step that leaves
    a share r of the support leaves at most 1 − r of the excess: in the worst case r is near 0.7, and the
    support is down to one expert, or the excess to nothing, after about 2 log₂ N steps.
    """

    def value(self, tl: Any, x: Array) -> Array:
        largest = tl.max(x, axis=-1)[..., None]
        scratch = tl.scratch(x)
        tau, rest = self._threshold(tl, x, largest, scratch)
        return tl.clipped(x, (largest, tau, rest), None, scratch)

    def _threshold(self, tl: Any, x: Array, largest: Array, scratch: Array | None) -> tuple[Array, Array]:
        some = few(tl, x)
        if some is None:
            start = tl.zeros_like(largest) - 1
        else:
            start, _ = self._threshold(tl, some, largest, tl.scratch(some))

        def correction(tau: Array) -> tuple[Array]:
            total, support = tl.clipped_sum(x, (largest, tau), None, scratch)
            return ((total - 1) / support,)

        width = int(x.shape[-1])
        steps = min(width, 8 + 2 * width.bit_length())
        tau, rest = tl.refine(correction, start, steps, noise(tl, x))
        return tau, rest

    def jacobian_product(self, tl: Any, y: Array, v: Array) -> Array:
        return centred(tl, tl.sign(y), v)


@dataclass(frozen=True)
class Entmax15:
    """p = [z − τ]₊²/4 with the τ for which p sums to 1.

    Newton's iteration solves ‖[z − τ]₊‖₂ = 2, whose left side is convex, decreasing and almost linear. From
    the left it divides excess times slope by four at least in every step. That product starts at N or less:
    log₄ N steps bring it to 1, where the convergence is quadratic.
    """

    def value(self, tl: Any, x: Array) -> Array:
        largest = tl.max(x, axis=-1)[..., None]
        scratch = tl.scratch(x)
        tau, rest = self._threshold(tl, x, largest, scratch)
        root = tl.multiplied(tl.clipped(x, (largest, tau, rest), None, scratch), 0.5)
        return tl.multiplied(root, root)

    def _threshold(self, tl: Any, x: Array, largest: Array, scratch: Array | None) -> tuple[Array, Array]:
        some = few(tl, x)
        if some is None:
            start = tl.zeros_like(largest) - 2
        else:
            start, _ = self._threshold(tl, some, largest, tl.scratch(some))

        def correction(tau: Array) -> tuple[Array]:
            norm, total = tl.clipped_norms(x, (largest, tau), scratch)
            return (norm * (norm - 2) / total,)

        steps = 4 + (int(x.shape[-1]).bit_length() + 1) // 2
        tau, rest = tl.refine(correction, start, steps, noise(tl, x))
        return tau, rest

    def jacobian_product(self, tl: Any, y: Array, v: Array) -> Array:
        # Differentiating once more must not meet the root's infinite slope at 0.
        root = tl.sign(y) * tl.sqrt(tl.clip(y, _SMALLEST))
        return centred(tl, root, v)


@dataclass(frozen=True)
class SoftTopK:
    """p = clip(z − τ, 0, ε)/(k ε) with the τ for which p sums to 1.

    k p is the nearest point of the hypersimplex to z/ε. The root lies between the k-th largest z and ε below
    it. The sum is neither convex nor concave there: corrections stay in the interval known to hold the root,
    and where neither they nor the interval have halved, the next goes to the interval's middle.

    Args:
        k: a positive integer. Where fewer logits are finite, each of these gets the same.
        eps: ε, positive.
    """

    k: int
    eps: float

    def value(self, tl: Any, x: Array) -> Array:
        pivot = tl.clip(tl.kth_largest(x, self.k), -float(tl.finfo_of(x).max))
        scratch = tl.scratch(x)
        tau, rest = self._threshold(tl, x, pivot, scratch)
        chosen = tl.clipped(x, (pivot, tau, rest), self.eps, scratch)
        total = tl.sum(chosen, axis=-1, keepdims=True)
        enough = total > (self.k - 0.5) * self.eps
        return tl.multiplied(chosen, 1 / tl.where(enough, pivot * 0 + self.k * self.eps, total))

    def _threshold(self, tl: Any, x: Array, pivot: Array, scratch: Array | None) -> tuple[Array, Array]:
        tolerance = self.k * self.eps * noise(tl, x)
        high = tl.zeros_like(pivot)
        some = few(tl, x)
        if some is None:
            low = high - self.eps
        else:
            low, _ = self._threshold(tl, some, pivot, tl.scratch(some))

        def correction(tau: Array, low: Array, high: Array, last: Array, width: Array) -> tuple[Array, ...]:
            total, inside = tl.clipped_sum(x, (pivot, tau), self.eps, scratch)
            excess = total - self.k * self.eps
            low, high = tl.where(excess > 0, tau, low), tl.where(excess < 0, tau, high)
            change = excess / tl.clip(inside, 1)
            change = tl.maximum(tl.minimum(change, high - tau), low - tau)
            slow = (tl.abs(change) > tl.abs(last) / 2) & (high - low > width / 2)
            halving = slow & (tl.abs(change) > tolerance)
            change = tl.where(halving, (low + high) / 2 - tau, change)
            return change, low, high, change, high - low

        steps = 64 if "64" in tl.dtype_name(x) else 32
        wide = high + 2 * self.eps
        tau, rest = tl.refine(correction, low, steps, tolerance, (low, high, wide, wide))
        return tau, rest

    def jacobian_product(self, tl: Any, y: Array, v: Array) -> Array:
        # A weight at the top is 1/k up to rounding.
        top = (1 - noise(tl, y)) / self.k
        inside = tl.sign(tl.clip(y * (top - y), 0))
        return centred(tl, inside, v) / (self.k * self.eps)


def few(tl: Any, x: Array) -> Array | None:
    """A sixteenth of the logits, of sixteen each the largest: where the iteration starts.

    The τ for some of the logits lies left of the τ for all, since the others only add to the sum; for the
    largest ones it is close. None if there are few, or not a multiple of sixteen, or no early end.
    """
    width = int(x.shape[-1])
    if width < 128 or width % 16 or not tl.ends_early(x):
        return None
    for _ in range(4):
        width //= 2
        x = tl.maximum(x[..., :width], x[..., width:])
    return x


def noise(tl: Any, x: Array) -> float:
    """What rounding may leave of a correction at the root: a few units in the last place of 1."""
    return 16 * float(tl.finfo_of(x).eps)


def centred(tl: Any, slopes: Array, v: Array) -> Array:
    """The product of diag(s) − s sᵀ / Σs with v; zero where all slopes are."""
    total = tl.sum(slopes, axis=-1, keepdims=True)
    mean = tl.sum(slopes * v, axis=-1, keepdims=True) / (total + (total == 0))
    return slopes * (v - mean)
