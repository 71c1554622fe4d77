"""Sparse weights: the parts of logits above a threshold τ, which Newton's iteration finds without sorting.

Small inputs, where call overhead dominates, are sorted by NumPy instead: see `gates/sorting.py`.

Every class here is a map from logits z to weights with a symmetric Jacobian, the gradient of a convex
function, so that one product with a vector serves forward and reverse mode. Logits and τ are measured from
the row's largest logit (in soft top-k from the k-th, in units of ε), so their size has no effect. The
iteration ends when what the weights sum to is off by no more than rounding. A single τ cannot be that exact
where thousands of logits lie close to it: z − τ is exact there, so the remainder is subtracted afterwards.
"""

from dataclasses import dataclass

from ..arrays.protocols import GateOps
from ..typing import Array, NumPyArray
from .magnitude import below_largest, noise, within_range
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
        z = below_largest(ops, x)
        memory, unit = kernel.allocate(z), 1 / noise(ops, z)

        def correction(offsets: tuple[Array, ...]) -> tuple[Array, ...]:
            total, support = kernel.sum_clipped(z, offsets, None, memory)
            excess = total - 1
            return excess / support, excess * unit

        width = int(z.shape[-1])
        steps = 1 + min(width, 8 + 2 * width.bit_length())
        offsets = kernel.refine(correction, ops.zeros_like(z[..., :1]) - _start(), steps)
        return kernel.clip(z, offsets, 1.0, memory)

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
        z = below_largest(ops, x)
        memory, unit = kernel.allocate(z), 1 / noise(ops, z)

        def correction(offsets: tuple[Array, ...]) -> tuple[Array, ...]:
            norm, total = kernel.measure_clipped(z, offsets, memory)
            change = norm * (norm - 2) / total
            return change, change * unit

        steps = 6 + (int(z.shape[-1]).bit_length() + 1) // 2
        offsets = kernel.refine(correction, ops.zeros_like(z[..., :1]) - 2 * _start(), steps)
        root = kernel.multiply(kernel.clip(z, offsets, 2.0, memory), 0.5)
        return kernel.multiply(root, root)

    def jacobian_product(self, ops: GateOps, y: Array, v: Array, *scalars: Array) -> Array:
        return centre(ops, ops.thresholds.root(y), v)


@dataclass(frozen=True)
class SoftTopK(_WithoutScalars):
    """p = clip(z/ε − τ, 0, 1)/k with the τ for which p sums to 1.

    k p is the nearest point of the hypersimplex to z/ε. Measured from the k-th largest z/ε, the root lies
    between −1 and 0. The sum is neither convex nor concave there: corrections stay in the interval known to
    hold the root, and if neither they nor the interval have halved, the next step goes to the interval's
    middle.

    Args:
        k: a positive integer. If fewer logits are finite, each of them gets the same weight.
        eps: ε, positive.
    """

    k: int
    eps: float

    closed_form = None

    def value(self, ops: GateOps, x: Array, *scalars: Array) -> Array:
        kernel = ops.thresholds
        z = self._distances(ops, x)
        # Many small weights next to k large ones lose digits in the sum.
        memory, unit = kernel.allocate(z), 1 / (4 * self.k * noise(ops, z))

        def correction(
            offsets: tuple[Array, ...], low: Array, high: Array, last: Array, width: Array
        ) -> tuple[Array, ...]:
            # The interval's ends are measured from τ.
            total, inside = kernel.sum_clipped(z, offsets, 1.0, memory)
            excess, zero = total - self.k, low * 0
            low, high = ops.where(excess > 0, zero, low), ops.where(excess < 0, zero, high)
            change = ops.maximum(ops.minimum(excess / ops.clip(inside, 1), high), low)
            slow = (ops.abs(change) > ops.abs(last) / 2) & (high - low > width / 2)
            size = ops.where(high > low, excess * unit, zero)
            change = ops.where(slow & (ops.abs(size) > 1), (low + high) / 2, change)
            return change, size, low - change, high - change, change, high - low

        top = ops.zeros_like(z[..., :1])
        start, known = top - _start(), (top - 1 + _start(), top + _start(), top + 2, top + 2)
        steps = 64 if "64" in ops.dtype_name(z) else 32
        chosen = kernel.clip(z, kernel.refine(correction, start, steps, known), 1.0, memory)
        total = ops.sum(chosen, axis=-1, keepdims=True)
        enough = total > self.k - 0.5
        return kernel.multiply(chosen, 1 / ops.where(enough, total * 0 + self.k, total))

    def _distances(self, ops: GateOps, x: Array) -> Array:
        """(x − its k-th largest)/ε."""
        kth, lowest = ops.kth_largest(x, self.k), _lowest(ops, x)
        kth = ops.where(kth < lowest, lowest, kth)
        # An infinite or undefined logit makes its row NaN.
        flaw = ops.max(x, axis=-1)[..., None] * 0
        return ops.thresholds.multiply(x - (kth + flaw), 1 / within_range(ops, x, self.eps))

    def jacobian_product(self, ops: GateOps, y: Array, v: Array, *scalars: Array) -> Array:
        # A weight at the top is 1/k up to rounding.
        top = (1 - noise(ops, y)) / self.k
        inside = ops.sign(ops.clip(y * (top - y), 0))
        return centre(ops, inside, v) / (self.k * within_range(ops, y, self.eps))


def _lowest(ops: GateOps, x: Array) -> float:
    """The lowest finite number of x's type."""
    # Literals: see arrays/tracing.py.
    return -(2 - 2.0**-23) * 2.0**127 if ops.dtype_name(x) == "float32" else -(2 - 2.0**-52) * 2.0**1023


def centre(ops: GateOps, slopes: Array, v: Array) -> Array:
    """The product of diag(s) − s sᵀ / Σs with v; zero if all slopes are."""
    total = ops.sum(slopes, axis=-1, keepdims=True)
    mean = ops.thresholds.multiply_rows(slopes, v) / (total + (total == 0))
    return ops.thresholds.multiply(v - mean, slopes)
