"""Gate activations whose weights have no fixed sum, and the sums to expect of them at the start.

Each weight depends on its own logit, and on no distance from others: a shift of a row's logits counts.
"""

from math import erfc, lgamma, pi, sqrt

import numpy as np

from ..arrays.protocols import GateOps
from ..typing import Array, NumPyArray

# How far from 0 a normal number is looked for, and in how many steps.
_FAR, _STEPS = 12.0, 2000


def relu(ops: GateOps, x: Array) -> Array:
    """Max(x, 0), with the derivative 0 at 0."""
    # A NaN is not below 0, and stays.
    return ops.where(x <= 0, 0.0, x)


def sigmoid(ops: GateOps, x: Array) -> Array:
    """1/(1 + exp(−x)), accurate relative to itself; no power overflows."""
    negative = x < 0
    power = ops.exp(ops.where(negative, x, -x))
    return ops.where(negative, power, 1.0) / (1 + power)


def relu_top_k(ops: GateOps, x: Array, k: int) -> Array:
    """ReLU of the k largest of a row, 0 elsewhere."""
    constant = ops.stop_gradient(x)
    largest = ops.max(constant, axis=-1)[..., None]
    # A row with a NaN has no largest: all of it becomes NaN.
    flaw = ops.where(largest == largest, 0.0, largest)
    # One choice, nearly always the same way, is faster than one for each of the two reasons.
    return ops.where(ops.beyond_largest(constant, k) | (constant <= 0), 0.0, x) + flaw


def jump_relu(ops: GateOps, x: Array, threshold: float) -> Array:
    """The logits above a threshold, 0 elsewhere."""
    return ops.where(x <= threshold, 0.0, x)


def expected_squares(
    experts: int, k: int | None, threshold: float, temperature: float
) -> tuple[float, float]:
    """How large a mixture is expected to be, for independent standard normal logits z.

    The weights are z/t above a threshold and 0 elsewhere; with k, only those of the k largest logits.

    Returns:
        E (Σ a)² and N/(N − 1) E Σ (a − ā)²: the square of what all experts share, and that of what differs
        between them, where its parts are 1 for each expert and sum to zero.

    Examples:
        >>> from math import pi
        >>> from tensormoe.gates.unnormalised import expected_squares
        >>> both, apart = expected_squares(4, None, 0.0, 1.0)
        >>> abs(both - (4 / 2 + 4 * 3 / (2 * pi))) < 1e-4, abs(apart - 4 * (1 / 2 - 1 / (2 * pi))) < 1e-4
        (True, True)
    """
    z = threshold * temperature + np.linspace(0, _FAR, _STEPS + 1)
    step = _FAR / _STEPS
    mass = z / temperature * np.exp(-(z**2) / 2) / sqrt(2 * pi)
    above = np.array([erfc(value / sqrt(2)) / 2 for value in z])
    # Of two that are chosen, the lower one is, too: few of the others are above it.
    one, two = (_at_most(experts - number, above, k and k - number) for number in (1, 2))
    squares = experts * np.trapezoid(z / temperature * mass * one, dx=step)
    areas = (mass[1:] + mass[:-1]) / 2 * step
    higher = np.append(np.cumsum(areas[::-1])[::-1], 0)
    products = 2 * experts * (experts - 1) * np.trapezoid(mass * two * higher, dx=step)
    together = float(squares + products)
    apart = experts * float(squares) - together
    return together, apart / (experts - 1) if experts > 1 else 0.0


def _at_most(others: int, above: NumPyArray, most: int | None) -> NumPyArray:
    """The chance that at most so many of others lie above, where each does with a chance of its own."""
    if most is None or most >= others:
        return np.ones_like(above)
    chances = np.zeros_like(above)
    with np.errstate(divide="ignore"):
        logarithm, complement = np.log(above), np.log1p(-above)
    for number in range(most + 1):
        ways = lgamma(others + 1) - lgamma(number + 1) - lgamma(others - number + 1)
        power = number * logarithm if number else 0.0
        chances += np.exp(ways + power + (others - number) * complement)
    return chances
