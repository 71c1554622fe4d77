"""The inner loops of sparse gates, which find a threshold τ by iteration.

They are one object, separate from other operations, so that a framework can replace it with a better one.
"""

from collections.abc import Callable
from typing import TypeAlias

from ..typing import Array
from .array_ops import ArrayOps

# Takes a value and what the last correction remembered; returns the correction and what to remember.
Correction: TypeAlias = Callable[..., tuple[Array, ...]]


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
        self,
        correction: Correction,
        start: Array,
        limit: int,
        tolerance: Array | float,
        memory: tuple[Array, ...] = (),
    ) -> tuple[Array, Array]:
        """Add corrections until none exceeds a tolerance, at most `limit` − 1 times.

        Args:
            correction: takes the value and the memory; returns the correction and the new memory.
            start: the first value.
            limit: the largest number of corrections to compute. While a framework traces, so that values are
                not available, exactly this many are computed.
            tolerance: the largest correction that ends the iteration, or one for each row.
            memory: what the first correction receives.

        Returns:
            The value and the last correction, which is not added.
        """
        value = start
        for _ in range(limit - 1):
            change, *remembered = correction(value, *memory)
            if self.settles(change, tolerance):
                return value, change
            value, memory = value + change, tuple(remembered)
        return value, correction(value, *memory)[0]

    def settles(self, change: Array, tolerance: Array | float) -> bool:
        """Whether all changes are known to be within a tolerance; unknown while a framework traces."""
        return bool(self.ops.all(self.ops.abs(change) <= tolerance))
