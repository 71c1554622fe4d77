"""α-entmax for any α from 1 to 4, which may be a learned scalar."""

from collections.abc import Callable
from dataclasses import dataclass
from math import exp, factorial

from ..arrays.protocols import GateOps
from ..typing import Array
from .magnitude import below_largest, noise
from .newton import centre

# Replaces α − 1 = 0. Every formula below then equals softmax's to the last bit.
_SMALLEST = 1e-20


@dataclass(frozen=True)
class Entmax:
    """p = [1 + h (x − μ)]₊^(1/h) with h = α − 1 and the μ for which p sums to 1.

    In this form, h → 0 is softmax and loses no digits on the way. Up to α = 2, Newton's iteration on
    ‖[1 + h (x − μ)]₊‖, the norm of exponent 1/h, climbs to the root from the left like 1.5-entmax's, and for
    h → 0 reaches it in one step. From h = 1/4 on, the unknown is τ = μ − 1/h, from which the distances of
    logits close to it are exact. Above α = 2 a weight's slope at the edge of the support is infinite: there
    the smallest weight of the support is the unknown.

    Args:
        alpha: α, or None if it is passed as a scalar array.
    """

    alpha: float | None = None

    closed_form = None

    def value(self, ops: GateOps, x: Array, *scalars: Array) -> Array:
        x = below_largest(ops, x)
        if self.alpha is not None:
            h = max(self.alpha - 1, _SMALLEST)
            return _flat(ops, x, h) if h < 0.25 else _convex(ops, x, h) if h <= 1 else _steep(ops, x, h)
        h = ops.clip(scalars[0] - 1, _SMALLEST)
        flat, convex = _flat(ops, x, ops.clip(h, None, 0.25)), _convex(ops, x, ops.clip(h, 0.25, 1))
        return ops.where(h < 0.25, flat, ops.where(h <= 1, convex, _steep(ops, x, ops.clip(h, 1))))

    def jacobian_product(self, ops: GateOps, y: Array, v: Array, *scalars: Array) -> Array:
        """J v; above α = 2, s = p^(2 − α) is so large for small p that digits would cancel in v − ⟨v⟩."""
        h = self._h(scalars)
        slopes = _power(ops, _at_least(ops, y, h), 1 - h)
        if isinstance(h, float) and h <= 1:
            return centre(ops, slopes, v)
        # J v does not change with a shift of v: let v be 0 where s is largest.
        steepest = ops.stop_gradient(slopes) >= ops.max(ops.stop_gradient(slopes), axis=-1)[..., None]
        count = ops.sum(ops.where(steepest, 1.0, y * 0), axis=-1, keepdims=True)
        shift = ops.sum(ops.where(steepest, v, v * 0), axis=-1, keepdims=True) / count
        return centre(ops, slopes, v - shift)

    def sensitivities(self, ops: GateOps, y: Array, *scalars: Array) -> tuple[Array, ...]:
        """∂p/∂α: Correia, Niculae and Martins, "Adaptively Sparse Transformers", 2019, proposition 1.

        With L = ln p and averages ⟨·⟩ over p, it equals p (⟨F⟩ − F − L⟨E⟩ + E⟨L⟩) / (1 + h⟨E⟩), where
        E = (e^(−hL) − 1)/h and F = (e^(−hL) − 1 + hL)/h²; no term grows as h goes to 0.
        """
        h = self._h(scalars)
        y = _at_least(ops, y, h)
        log = ops.log(ops.where(y > 0, y, 1.0))
        first, second = _exponential_remainders(ops, -h * log)
        e, f = -log * first, log * log * second

        def mean(values: Array) -> Array:
            return ops.sum(y * values, axis=-1, keepdims=True)

        slopes = mean(f) - f - log * mean(e) + e * mean(log)
        return (y * slopes / (1 + h * mean(e)),)

    def _h(self, scalars: tuple[Array, ...]) -> Array | float:
        return (scalars[0] if self.alpha is None else self.alpha) - 1


def _at_least(ops: GateOps, y: Array, h: Array | float) -> Array:
    """Positive weights no smaller than e^(−69/h), since their power −h would overflow."""
    if isinstance(h, float) and h <= 0.5:
        return y
    least = exp(-69 / h) if isinstance(h, float) else ops.exp(-69 / ops.clip(h, _SMALLEST))
    return ops.where(y > 0, ops.clip(y, least), y)


def _flat(ops: GateOps, x: Array, h: Array | float) -> Array:
    """For h ≤ 1/4, with the largest x at 0, where μ cannot be less than 0."""

    def logarithm(parts: tuple[Array, ...]) -> tuple[Array, Array]:
        t = h * _subtract(x, parts)
        return _log1p(ops, ops.where(t > -1, t, 0.0)), t > -1

    return _by_norm(ops, x, h, ops.zeros_like(x[..., :1]), logarithm)


def _convex(ops: GateOps, x: Array, h: Array | float) -> Array:
    """For h from 1/4 to 1, with the largest x at 0, where τ cannot be less than −1/h."""

    def logarithm(parts: tuple[Array, ...]) -> tuple[Array, Array]:
        distance = _subtract(x, parts)
        return ops.log(h * ops.where(distance > 0, distance, 1.0)), distance > 0

    return _by_norm(ops, x, h, ops.zeros_like(x[..., :1]) - 1 / h, logarithm)


def _by_norm(
    ops: GateOps,
    x: Array,
    h: Array | float,
    start: Array,
    logarithm: Callable[[tuple[Array, ...]], tuple[Array, Array]],
) -> Array:
    """The weights u^(1/h) that sum to 1, by Newton's iteration on their norm of exponent 1/h.

    Args:
        ops, x, h: as above.
        start: the first value of the unknown that is subtracted from x.
        logarithm: takes the unknown's parts; returns ln u where u is positive, and a mask of where that is.
    """
    unit = 1 / noise(ops, x)

    def correction(parts: tuple[Array, ...]) -> tuple[Array, ...]:
        log, inside = logarithm(parts)
        total = ops.sum(ops.where(inside, ops.exp(log / h), 0.0), axis=-1, keepdims=True)
        slope = ops.sum(ops.where(inside, ops.exp(log / h - log), 0.0), axis=-1, keepdims=True)
        return -total * _expm1(ops, -h * ops.log(total)) / (h * slope), (total - 1) * unit

    log, inside = logarithm(ops.thresholds.refine(correction, start, _steps(x)))
    weights = ops.where(inside, ops.exp(log / h), 0.0)
    return weights / ops.sum(weights, axis=-1, keepdims=True)


def _steep(ops: GateOps, x: Array, h: Array | float) -> Array:
    """For h ≥ 1: find the smallest logit z of the support by bisection in sorted order, then its weight v.

    The weights are (h (x_j − z) + v^h)^(1/h), norms of exponent h and so convex in v: Newton's iteration from
    the right descends to the v for which they sum to 1.
    """
    # No x below −1/h is in the support; −∞ minus itself would be NaN.
    x = ops.where(x < -2, -2.0, x)
    # The multiplication comes last; otherwise z − z would not be 0: see arrays/tracing.py.
    gaps = h * (x - _smallest_of_support(ops, x, h))
    inside, unit = gaps >= 0, 1 / noise(ops, x)

    def weights(v: Array) -> Array:
        return ops.where(inside, _power(ops, ops.clip(gaps, 0) + _power(ops, v, h), 1 / h), ops.abs(gaps) * 0)

    def correction(parts: tuple[Array, ...]) -> tuple[Array, ...]:
        v = sum(parts)
        p = weights(v)
        ratio = v / ops.where(p > 0, p, 1.0)
        slope = ops.sum(ops.where(inside, _power(ops, ratio, h - 1), 0.0), axis=-1, keepdims=True)
        missing = 1 - ops.sum(p, axis=-1, keepdims=True)
        change = missing / ops.clip(slope, 1)
        return ops.where(v + change < 0, -v, change), missing * unit

    count = ops.sum(ops.where(inside, 1.0, ops.abs(gaps) * 0), axis=-1, keepdims=True)
    p = weights(sum(ops.thresholds.refine(correction, 1 / count, _steps(x))))
    return p / ops.sum(p, axis=-1, keepdims=True)


def _smallest_of_support(ops: GateOps, x: Array, h: Array | float) -> Array:
    """The smallest logit above which the weights sum to less than 1, (…, 1)."""
    width = int(x.shape[-1])
    descending = -ops.sort(-x, axis=-1)
    positions = ops.positions(width, x)

    def at(position: Array) -> Array:
        return ops.sum(ops.where(positions == position, descending, 0.0), axis=-1, keepdims=True)

    last = ops.zeros_like(x[..., :1])
    for bit in reversed(range((width - 1).bit_length())):
        candidate = last + 2**bit
        total = ops.sum(_power(ops, h * (x - at(candidate)), 1 / h), axis=-1, keepdims=True)
        last = ops.where((candidate < width) & (total < 1), candidate, last)
    return at(last)


def _subtract(x: Array, parts: tuple[Array, ...]) -> Array:
    for part in parts:
        x = x - part
    return x


def _steps(x: Array) -> int:
    return 8 + 2 * int(x.shape[-1]).bit_length()


def _power(ops: GateOps, base: Array, exponent: Array | float) -> Array:
    """base^exponent where the base is positive, 0 elsewhere; NaN stays."""
    log = ops.log(ops.where(base > 0, base, 1.0))
    return ops.where(base > 0, ops.exp(exponent * log), base * 0)


def _log1p(ops: GateOps, x: Array) -> Array:
    """ln(1 + x) without loss for small x.

    It uses artanh, because XLA's algebra undoes W. Kahan's x ln(1 + x)/((1 + x) − 1).
    """
    small = ops.abs(x) < 0.5
    argument = ops.where(small, x, 0.0)
    return ops.where(small, 2 * ops.arctanh(argument / (2 + argument)), ops.log(1 + x))


def _expm1(ops: GateOps, x: Array) -> Array:
    """e^x − 1 without loss for small x."""
    return 2 * ops.sinh(x / 2) * ops.exp(x / 2)


def _exponential_remainders(ops: GateOps, t: Array) -> tuple[Array, Array]:
    """(e^t − 1)/t and (e^t − 1 − t)/t²."""
    small = ops.abs(t) < 0.5
    argument = ops.where(small, t, 0.0)
    series = ops.zeros_like(t)
    for n in range(15, 1, -1):
        series = series * argument + 1 / factorial(n)
    divisor = ops.where(small, 1.0, t)
    second = ops.where(small, series, (ops.exp(divisor) - 1 - divisor) / divisor / divisor)
    return 1 + t * second, second
