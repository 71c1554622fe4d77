"""Logits of any size: distances from the largest, and what rounding does to sums of weights.

A single difference of floating-point numbers is accurate relative to itself, whatever the size of the two;
and a difference within reach of a threshold is a small number. So gate activations subtract first and divide
by ε, or by a temperature, afterwards.
"""

from ..arrays.protocols import GateOps
from ..typing import Array


def below_largest(ops: GateOps, x: Array) -> Array:
    """X minus the largest entry of its row; a row that has a NaN or +∞, or only −∞, becomes NaN."""
    largest = ops.stop_gradient(ops.max(x, axis=-1)[..., None])
    # ∞ − ∞ is NaN, but only in the entries that are infinite.
    return x - (largest + largest * 0)


def within_range(ops: GateOps, x: Array, unit: float) -> float:
    """A positive number as near to `unit` as normal numbers of x's type come, whose inverse is one, too."""
    # Literals: see arrays/tracing.py.
    limit = 2.0**126 if ops.dtype_name(x) == "float32" else 2.0**1022
    return min(max(unit, 1 / limit), limit)


def noise(ops: GateOps, x: Array) -> float:
    """What rounding may do to a sum of weights near 1: a few units in the last place."""
    return 16 * float(ops.epsilon(x))
