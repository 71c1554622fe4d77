"""α-entmax for any α from 1 to 4, which may be a learned scalar."""

from dataclasses import dataclass
from math import factorial
from typing import Any

from ..typing import Array
from .newton import centred, noise

# In place of α − 1 = 0. Every formula below tends to softmax's, to the last bit.
_SMALLEST = 1e-20


@dataclass(frozen=True)
class Entmax:
    """p = [1 + h (x − μ)]₊^(1/h) with h = α − 1 and the μ for which p sums to 1.

    In this form, h → 0 is softmax and loses no digits on the way. Up to α = 2, Newton's iteration on
    ‖[1 + h (x − μ)]₊‖, the norm of exponent 1/h, climbs to the root from the left as 1.5-entmax's does, and
    for h → 0 is there after one step. Above α = 2 a weight's slope at the edge of the support is infinite:
    there the smallest weight of the support is the unknown.

    Args:
        alpha: α, or None where it is passed as a scalar array.
    """

    alpha: float | None = None

    def value(self, tl: Any, x: Array, *scalars: Array) -> Array:
        x = x - tl.max(x, axis=-1)[..., None]
        if self.alpha is not None:
            h = max(self.alpha - 1, _SMALLEST)
            return _convex(tl, x, h) if h <= 1 else _steep(tl, x, h)
        h = tl.clip(scalars[0] - 1, _SMALLEST)
        return tl.where(h <= 1, _convex(tl, x, tl.clip(h, None, 1)), _steep(tl, x, tl.clip(h, 1)))

    def jacobian_product(self, tl: Any, y: Array, v: Array, *scalars: Array) -> Array:
        return centred(tl, _power(tl, y, 1 - self._h(scalars)), v)

    def sensitivities(self, tl: Any, y: Array, *scalars: Array) -> tuple[Array, ...]:
        """∂p/∂α: Correia, Niculae and Martins, "Adaptively Sparse Transformers", 2019, proposition 1.

        With L = ln p and averages ⟨·⟩ over p, it equals p (⟨F⟩ − F − L⟨E⟩ + E⟨L⟩) / (1 + h⟨E⟩), where
        E = (e^(−hL) − 1)/h and F = (e^(−hL) − 1 + hL)/h²; no term grows as h goes to 0.
        """
        h = self._h(scalars)
        log = tl.log(tl.where(y > 0, y, 1.0))
        first, second = _exponential_remainders(tl, -h * log)
        e, f = -log * first, log * log * second

        def mean(values: Array) -> Array:
            return tl.sum(y * values, axis=-1, keepdims=True)

        slopes = mean(f) - f - log * mean(e) + e * mean(log)
        return (y * slopes / (1 + h * mean(e)),)

    def _h(self, scalars: tuple[Array, ...]) -> Any:
        return (scalars[0] if self.alpha is None else self.alpha) - 1


def _convex(tl: Any, x: Array, h: Any) -> Array:
    """For h ≤ 1, with the largest x at 0, where μ cannot be less than 0."""

    def logarithm(mu: Array) -> tuple[Array, Array]:
        """Ln u of u = 1 + h (x − μ) where u is positive, and where it is."""
        t = h * (x - mu)
        return _log1p(tl, tl.where(t > -1, t, 0.0)), t > -1

    def correction(mu: Array) -> tuple[Array]:
        log, inside = logarithm(mu)
        total = tl.sum(tl.where(inside, tl.exp(log / h), 0.0), axis=-1, keepdims=True)
        slope = tl.sum(tl.where(inside, tl.exp(log / h - log), 0.0), axis=-1, keepdims=True)
        return (-total * _expm1(tl, -h * tl.log(total)) / (h * slope),)

    mu, rest = tl.refine(correction, tl.zeros_like(x[..., :1]), _steps(x), noise(tl, x))
    log, inside = logarithm(mu + rest)
    weights = tl.where(inside, tl.exp(log / h), 0.0)
    return weights / tl.sum(weights, axis=-1, keepdims=True)


def _steep(tl: Any, x: Array, h: Any) -> Array:
    """For h ≥ 1: first the smallest logit z of the support, by bisection among the sorted; then its weight v.

    The weights are (h (x_j − z) + v^h)^(1/h), norms of exponent h and so convex in v: Newton's iteration from
    the right descends to the v for which they sum to 1.
    """
    # No x below −1/h is in the support; one of −∞, taken from itself, would be NaN.
    x = tl.clip(x, -2)
    # The multiplication comes last: compilers fuse it with a subtraction, and z less z would not be 0.
    gaps = h * (x - _smallest_of_support(tl, x, h))
    inside = gaps >= 0

    def weights(v: Array) -> Array:
        return tl.where(inside, _power(tl, tl.clip(gaps, 0) + _power(tl, v, h), 1 / h), tl.abs(gaps) * 0)

    def correction(v: Array) -> tuple[Array]:
        found = weights(v)
        ratio = v / tl.where(found > 0, found, 1.0)
        slope = tl.sum(tl.where(inside, _power(tl, ratio, h - 1), 0.0), axis=-1, keepdims=True)
        change = (1 - tl.sum(found, axis=-1, keepdims=True)) / tl.clip(slope, 1)
        return (tl.where(v + change < 0, -v, change),)

    count = tl.sum(tl.where(inside, 1.0, tl.abs(gaps) * 0), axis=-1, keepdims=True)
    v, rest = tl.refine(correction, 1 / count, _steps(x), noise(tl, x))
    found = weights(v + rest)
    return found / tl.sum(found, axis=-1, keepdims=True)


def _smallest_of_support(tl: Any, x: Array, h: Any) -> Array:
    """The smallest logit above which the weights sum to less than 1, (…, 1)."""
    width = int(x.shape[-1])
    descending = -tl.sort(-x, axis=-1)
    positions = tl.positions(width, x)

    def at(position: Array) -> Array:
        return tl.sum(tl.where(positions == position, descending, 0.0), axis=-1, keepdims=True)

    last = tl.zeros_like(x[..., :1])
    for bit in reversed(range((width - 1).bit_length())):
        candidate = last + 2**bit
        total = tl.sum(_power(tl, h * (x - at(candidate)), 1 / h), axis=-1, keepdims=True)
        last = tl.where((candidate < width) & (total < 1), candidate, last)
    return at(last)


def _steps(x: Array) -> int:
    return 8 + 2 * int(x.shape[-1]).bit_length()


def _power(tl: Any, base: Array, exponent: Any) -> Array:
    """base^exponent where the base is positive, 0 elsewhere; NaN stays."""
    log = tl.log(tl.where(base > 0, base, 1.0))
    return tl.where(base > 0, tl.exp(exponent * log), base * 0)


def _log1p(tl: Any, x: Array) -> Array:
    """ln(1 + x) without loss for small x.

    By the area tangent, as XLA's algebra undoes W. Kahan's x ln(1 + x)/((1 + x) − 1).
    """
    small = tl.abs(x) < 0.5
    argument = tl.where(small, x, 0.0)
    return tl.where(small, 2 * tl.arctanh(argument / (2 + argument)), tl.log(1 + x))


def _expm1(tl: Any, x: Array) -> Array:
    """e^x − 1 without loss for small x."""
    return 2 * tl.sinh(x / 2) * tl.exp(x / 2)


def _exponential_remainders(tl: Any, t: Array) -> tuple[Array, Array]:
    """(e^t − 1)/t and (e^t − 1 − t)/t²."""
    small = tl.abs(t) < 0.5
    argument = tl.where(small, t, 0.0)
    series = tl.zeros_like(t)
    for n in range(15, 1, -1):
        series = series * argument + 1 / factorial(n)
    divisor = tl.where(small, 1.0, t)
    second = tl.where(small, series, (tl.exp(divisor) - 1 - divisor) / divisor / divisor)
    return 1 + t * second, second
