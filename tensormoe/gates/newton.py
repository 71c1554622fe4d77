"""Sparse weights: the parts of logits above a threshold τ, which Newton's iteration finds without sorting.

Small inputs, where call overhead dominates, are sorted by NumPy instead: see `gates/sorting.py`.

Every class here is a map from logits z to weights with a symmetric Jacobian, the gradient of a convex
function, so that one product with a vector serves forward and reverse mode. The iteration ends when
corrections to τ are within rounding. The last correction is subtracted from z − τ instead of added to τ,
which could not hold it, so the weights sum to the right value to the last bits. Near the threshold z − τ is
exact.
"""

from dataclasses import dataclass

from ..arrays.protocols import GateOps
from ..typing import Array, NumPyArray
from .sorting import entmax15_by_sorting, sparsemax_by_sorting


def _start() -> float:
    """Where to start, as a share of the root's largest possible distance from the largest logit.

    It is near the root for normally distributed logits. Starting right of the root, Newton's first step lands
    left of it, not far away.
    """
    # Returned: see arrays/tracing.py.
    return 0.6


class _WithoutScalars:
    def sensitivities(self, ops: GateOps, y: Array, *scalars: Array) -> tuple[Array, ...]:
        return ()


@dataclass(frozen=True)
class Sparsemax(_WithoutScalars):
    """p = [z − τ]₊ with the τ for which p sums to 1: the point of the simplex that is nearest to z.

    The sum is convex and decreasing in τ and piecewise linear. Newton's iteration from the left climbs to the
    root without overshooting, and reaches it as soon as the support stops changing. A step that leaves a
    share r of the support leaves at most 1 − r of the excess: in the worst case r is near 0.7, and the
    support is down to one expert, or the excess to nothing, after about 2 log₂ N steps.
    """

    def closed_form(self, x: NumPyArray) -> NumPyArray:
        return sparsemax_by_sorting(x)

    def value(self, ops: GateOps, x: Array, *scalars: Array) -> Array:
        kernel = ops.thresholds
        largest = ops.max(x, axis=-1)[..., None]
        memory = kernel.allocate(x)

        def correction(tau: Array) -> tuple[Array]:
            total, support = kernel.sum_clipped(x, (tau,), None, memory)
            return ((total - 1) / support,)

        width = int(x.shape[-1])
        steps = 1 + min(width, 8 + 2 * width.bit_length())
        tau, rest = kernel.refine(correction, largest - _start(), steps, _resolution(ops, largest, 1.0))
        return kernel.clip(x, (tau, rest), None, memory)

    def jacobian_product(self, ops: GateOps, y: Array, v: Array, *scalars: Array) -> Array:
        return centre(ops, ops.sign(y), v)


@dataclass(frozen=True)
class Entmax15(_WithoutScalars):
    """p = [z − τ]₊²/4 with the τ for which p sums to 1.

    Newton's iteration solves ‖[z − τ]₊‖₂ = 2, whose left side is convex, decreasing and almost linear. From
    the left, every step divides excess times slope by at least four. That product starts at N or less: log₄ N
    steps bring it to 1, where the convergence is quadratic.
    """

    def closed_form(self, x: NumPyArray) -> NumPyArray:
        return entmax15_by_sorting(x)

    def value(self, ops: GateOps, x: Array, *scalars: Array) -> Array:
        kernel = ops.thresholds
        largest = ops.max(x, axis=-1)[..., None]
        memory = kernel.allocate(x)

        # This sum is not linear in the last correction, which must not be as coarse as large logits: so τ is
        # measured from the largest logit.
        def correction(tau: Array) -> tuple[Array]:
            norm, total = kernel.measure_clipped(x, (largest, tau), memory)
            return (norm * (norm - 2) / total,)

        steps = 6 + (int(x.shape[-1]).bit_length() + 1) // 2
        tau, rest = kernel.refine(correction, ops.zeros_like(largest) - 2 * _start(), steps, noise(ops, x))
        root = kernel.multiply(kernel.clip(x, (largest, tau, rest), None, memory), 0.5)
        return kernel.multiply(root, root)

    def jacobian_product(self, ops: GateOps, y: Array, v: Array, *scalars: Array) -> Array:
        return centre(ops, ops.thresholds.root(y), v)


@dataclass(frozen=True)
class SoftTopK(_WithoutScalars):
    """p = clip(z − τ, 0, ε)/(k ε) with the τ for which p sums to 1.

    k p is the nearest point of the hypersimplex to z/ε. The root lies between the k-th largest z and ε below
    it. The sum is neither convex nor concave there: corrections stay in the interval known to hold the root,
    and if neither they nor the interval have halved, the next step goes to the interval's middle.

    Args:
        k: a positive integer. If fewer logits are finite, each of them gets the same weight.
        eps: ε, positive.
    """

    k: int
    eps: float

    closed_form = None

    def value(self, ops: GateOps, x: Array, *scalars: Array) -> Array:
        kernel = ops.thresholds
        # A finite number instead of −∞, which leaves room for a sum of two.
        kth = ops.clip(
            ops.kth_largest(x, self.k), -(2.0**1022 if ops.dtype_name(x) == "float64" else 2.0**126)
        )
        memory = kernel.allocate(x)
        tolerance = self.k * _resolution(ops, kth, self.eps)

        def correction(tau: Array, low: Array, high: Array, last: Array, width: Array) -> tuple[Array, ...]:
            total, inside = kernel.sum_clipped(x, (tau,), self.eps, memory)
            excess = total - self.k * self.eps
            low, high = ops.where(excess > 0, tau, low), ops.where(excess < 0, tau, high)
            change = excess / ops.clip(inside, 1)
            change = ops.maximum(ops.minimum(change, high - tau), low - tau)
            slow = (ops.abs(change) > ops.abs(last) / 2) & (high - low > width / 2)
            halving = slow & (ops.abs(change) > tolerance)
            change = ops.where(halving, (low + high) / 2 - tau, change)
            return change, low, high, change, high - low

        wide = ops.zeros_like(kth) + 2 * self.eps
        start, known = kth - _start() * self.eps, (kth - self.eps, kth, wide, wide)
        steps = 64 if "64" in ops.dtype_name(x) else 32
        tau, rest = kernel.refine(correction, start, steps, tolerance, known)
        chosen = kernel.clip(x, (tau, rest), self.eps, memory)
        total = ops.sum(chosen, axis=-1, keepdims=True)
        enough = total > (self.k - 0.5) * self.eps
        return kernel.multiply(chosen, 1 / ops.where(enough, kth * 0 + self.k * self.eps, total))

    def jacobian_product(self, ops: GateOps, y: Array, v: Array, *scalars: Array) -> Array:
        # A weight at the top is 1/k up to rounding.
        top = (1 - noise(ops, y)) / self.k
        inside = ops.sign(ops.clip(y * (top - y), 0))
        return centre(ops, inside, v) / (self.k * self.eps)


def _resolution(ops: GateOps, logit: Array, unit: float) -> Array:
    """The part of a correction at the root that is due to rounding: noise, or what τ cannot represent."""
    return ops.epsilon(logit) * (16 * unit + ops.abs(logit))


def noise(ops: GateOps, x: Array) -> float:
    """The part of a correction at the root that is due to rounding: a few units in the last place of 1."""
    return 16 * float(ops.epsilon(x))


def centre(ops: GateOps, slopes: Array, v: Array) -> Array:
    """The product of diag(s) − s sᵀ / Σs with v; zero if all slopes are."""
    total = ops.sum(slopes, axis=-1, keepdims=True)
    mean = ops.thresholds.multiply_rows(slopes, v) / (total + (total == 0))
    return ops.thresholds.multiply(v - mean, slopes)
