"""The inner loops of sparse gates, which find a threshold τ by iteration.

They are one object, separate from other operations, so that a framework can replace it with a better one.
"""

from collections.abc import Callable
from typing import TypeAlias

from ..typing import Array
from .array_ops import ArrayOps

# Takes the parts of a value and what the last correction remembered; returns the correction, how far the
# value is off in units of what rounding may do, and what to remember.
Correction: TypeAlias = Callable[..., tuple[Array, ...]]
# From this many units on, corrections are collected in a number of their own.
COARSE = 2.0**13
# So many corrections are collected there while a framework traces.
FINE_STEPS = 4


class ThresholdKernel:
    """Loops over rows of logits, in a backend's own operations.

    Args:
        ops: the backend object.
    """

    def __init__(self, ops: ArrayOps) -> None:
        self.ops = ops

    def allocate(self, array: Array) -> Array | None:
        """Memory of an array's shape to compute in, if the framework benefits from it."""
        return None

    def clip(
        self, x: Array, offsets: tuple[Array, ...], top: float | None = None, memory: Array | None = None
    ) -> Array:
        """Subtract each of the offsets (…, 1) in turn and clip to 0 … top; possibly in the memory."""
        for offset in offsets:
            x = x - offset
        return self.ops.clip(x, 0, top)

    def sum_clipped(
        self, x: Array, offsets: tuple[Array, ...], top: float | None = None, memory: Array | None = None
    ) -> tuple[Array, Array]:
        """The sum of the result of `clip`, and how many entries lie between the bounds, each (…, 1)."""
        part = self.clip(x, offsets, top, memory)
        inside = self.ops.sign(part if top is None else part * (top - part))
        return self.ops.sum(part, axis=-1, keepdims=True), self.ops.sum(inside, axis=-1, keepdims=True)

    def measure_clipped(
        self, x: Array, offsets: tuple[Array, ...], memory: Array | None = None
    ) -> tuple[Array, Array]:
        """‖e‖₂ and ‖e‖₁ of the result e of `clip`, over the last axis, each (…, 1)."""
        part = self.clip(x, offsets, None, memory)
        squares = self.ops.sum(part * part, axis=-1, keepdims=True)
        return self.ops.sqrt(squares), self.ops.sum(part, axis=-1, keepdims=True)

    def multiply(self, x: Array, factor: Array | float) -> Array:
        """The product of an array that is no longer needed and a factor; possibly in the array's memory."""
        return x * factor

    def multiply_rows(self, a: Array, b: Array) -> Array:
        """The inner products of the last axes, (…, 1)."""
        return self.ops.sum(a * b, axis=-1, keepdims=True)

    def root(self, x: Array) -> Array:
        """√x for x ≥ 0, with a slope of 0 at 0 instead of an infinite one."""
        # The root of anything smaller is computed as 0; in float32 this is still a normal number.
        return self.ops.sign(x) * self.ops.sqrt(self.ops.clip(x, 1e-36))

    def refine(
        self, correction: Correction, start: Array, limit: int, memory: tuple[Array, ...] = ()
    ) -> tuple[Array, ...]:
        """Add corrections until what a value is off by is due to rounding, at most `limit` of them.

        Args:
            correction: takes the parts of the value, and the memory; returns a correction, how far the value
                is off in units of what rounding may do, and the new memory.
            start: the first value.
            limit: the largest number of corrections. While a framework traces, so that values are not
                available, exactly this many are computed.
            memory: what the first correction receives.

        Returns:
            The value in two parts, for a single number may not be exact enough: the second is small.
        """
        value, rest = start, None
        for left in range(limit - 1, -1, -1):
            change, size, *remembered = correction((value,) if rest is None else (value, rest), *memory)
            largest = self.largest(size)
            if largest is not None and largest <= 1:
                break
            memory = tuple(remembered)
            near = left <= FINE_STEPS if largest is None else largest <= COARSE
            if left and near:
                rest = change if rest is None else rest + change
            elif left:
                value = value + change
        return value, change if rest is None else rest + change

    def largest(self, size: Array) -> float | None:
        """The largest |size|; None while a framework traces."""
        return float(self.ops.max(self.ops.abs(size))) if 0 not in size.shape else 0.0
