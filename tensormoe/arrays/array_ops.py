"""The operations that TensorLy's backends define, with the types that TensorLy leaves out."""

from collections.abc import Sequence
from typing import Any, Protocol

from ..typing import Array, NumPyArray, Shape


class ArrayOps(Protocol):
    """The operations of TensorLy's backends that this library uses, as NumPy defines them."""

    def is_tensor(self, value: object, /) -> bool:
        """Whether a value is an array of the framework."""

    def tensor(self, values: Any, /) -> Array:
        """The array with these values."""

    def to_numpy(self, array: Array, /) -> NumPyArray:
        """A NumPy array with the values."""

    def ones(self, shape: Shape, /) -> Array:
        """Ones of a shape, in the framework's default floating-point type."""

    def arange(self, start: float, stop: float, /) -> Array:
        """The numbers from `start` in steps of 1, below `stop`."""

    def zeros_like(self, array: Array, /) -> Array:
        """Zeros of an array's shape and type."""

    def copy(self, array: Array, /) -> Array:
        """A copy in its own memory."""

    def transpose(self, array: Array, axes: Shape | None = None, /) -> Array:
        """The array with its axes in this order; reversed by default."""

    def reshape(self, array: Array, shape: Shape, /) -> Array:
        """The array in another shape, in row-major order."""

    def moveaxis(self, array: Array, source: int, destination: int, /) -> Array:
        """The array with one axis in another place."""

    def concatenate(self, arrays: Sequence[Array], /, axis: int) -> Array:
        """Arrays joined along an axis."""

    def matmul(self, a: Array, b: Array, /) -> Array:
        """The matrix product over the last two axes."""

    def sum(self, array: Array, /, axis: int | None = None, keepdims: bool = False) -> Array:
        """The sum over one axis, or over all."""

    def cumsum(self, array: Array, /, axis: int) -> Array:
        """The cumulative sums along an axis."""

    def max(self, array: Array, /, axis: int | None = None) -> Array:
        """The largest entry along an axis, or of all."""

    def argmax(self, array: Array, /, axis: int) -> Array:
        """The position of the largest entry along an axis."""

    def sort(self, array: Array, /, axis: int) -> Array:
        """The entries along an axis in ascending order."""

    def all(self, condition: Array, /) -> Array:
        """Whether all of a condition holds."""

    def where(self, condition: Array, x: Array | float, y: Array | float, /) -> Array:
        """X where the condition holds, y elsewhere."""

    def maximum(self, a: Array, b: Array | float, /) -> Array:
        """The larger of two, elementwise."""

    def minimum(self, a: Array, b: Array | float, /) -> Array:
        """The smaller of two, elementwise."""

    def clip(
        self, array: Array, least: Array | float | None = None, most: Array | float | None = None, /
    ) -> Array:
        """Entries clipped to the range from `least` to `most`; None is no bound."""

    def abs(self, array: Array, /) -> Array:
        """|x|."""

    def sign(self, array: Array, /) -> Array:
        """1, 0 or −1, of the array's type."""

    def sqrt(self, array: Array, /) -> Array:
        """√x."""

    def exp(self, array: Array, /) -> Array:
        """The exponential e^x."""

    def log(self, array: Array, /) -> Array:
        """The natural logarithm ln x."""

    def sinh(self, array: Array, /) -> Array:
        """The hyperbolic sine."""

    def tanh(self, array: Array, /) -> Array:
        """The hyperbolic tangent."""

    def arctanh(self, array: Array, /) -> Array:
        """The inverse of `tanh`."""
