"""How a framework runs, differentiates and compiles, with defaults for one that only runs."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from math import prod
from typing import Any

from ..typing import AllReduce, Array
from .protocols import Computed, Declared, Differentiable, Runnable


class Execution(Declared):
    """Running, differentiating and compiling; the defaults are for a framework that only computes values."""

    # The floating-point types that layers run in.
    float_types: tuple[str, ...] = ("float64", "float32")

    def as_array(self, value: Any) -> Array:
        """The framework's array that a value is or holds; any other value unchanged."""
        return value

    def objection(self, value: object) -> str | None:
        """What to pass instead, if a value is a special kind of array that cannot be computed with."""
        return None

    def place(self, array: Array) -> object:
        """Where an array lives, if it cannot meet one that lives elsewhere; None if it can."""
        return None

    def batch_size(self, x: Array) -> int | None:
        """How many vectors there are along the last axis; None if it is only a symbol."""
        size = prod(x.shape[:-1])
        return size if isinstance(size, int) else None

    def keeps_leading_axes(self, x: Array) -> bool:
        """Whether x of three axes and more is computed with as it is, instead of as rows (T, I).

        A framework says yes where merging axes would move data between devices. Then `compute` takes inputs
        with any leading axes, and so do the operations that gates use.
        """
        return False

    def can_gather(self, arrays: Sequence[Array]) -> bool:
        """Whether these arrays can be read by indices: `choose`, `take`, `gather` and their reverses."""
        return False

    def is_accelerated(self, x: Array) -> bool:
        """Whether x is on a GPU or the like, where calling an operation takes long compared with its work."""
        return False

    def mixes_precision(self) -> bool:
        """Whether products may mix element types at present, as under PyTorch's autocast."""
        return False

    def holds(self, condition: Array) -> bool | None:
        """Whether all of a condition holds; None while a framework traces."""
        return bool(self.all(condition))

    def stop_gradient(self, array: Array) -> Array:
        """The array as a constant of differentiation."""
        return array

    def reduce(self, function: AllReduce, array: Array) -> Array:
        """The sum of an array over processes by a function, and differentiated as such."""
        return function(array)

    def compute_precisely(self, function: Callable[..., Computed], x: Array, *arguments: object) -> Computed:
        """What a function of this object, x and arguments returns, its products as precise as their types."""
        return function(self, x, *arguments)

    def differentiable(self, function: Differentiable, x: Array, *scalars: Array) -> Array:
        """The function's value, differentiated by its own Jacobian product."""
        return function.value(self, x, *scalars)

    def compute(
        self, program: Runnable, inputs: Sequence[Array], cores: Sequence[Array], recompute: bool = False
    ) -> Array:
        """A program's output, from operands that carry tokens in front and operands that do not.

        With `recompute`, reverse mode keeps nothing that is cheap to recompute.
        """
        return program.run(self, (*inputs, *cores))

    def gradients(
        self, function: Callable[..., Array], inputs: Sequence[Array], cotangent: Array
    ) -> tuple[Array, ...] | None:
        """∂ Σ function(*inputs) ∗ cotangent / ∂ inputs by automatic differentiation; None without it."""
        return None

    def with_gradients(
        self, function: Callable[..., tuple[Array, Any]], inputs: Sequence[Array], cotangent: Array
    ) -> tuple[Array, Any, tuple[Array, ...]] | None:
        """The value of a function, what else it returns, and the value's `gradients`; None without them."""
        gradients = self.gradients(lambda *leaves: function(*leaves)[0], inputs, cotangent)
        return None if gradients is None else (*function(*inputs), gradients)

    def without_gradients(self) -> AbstractContextManager[Any]:
        """A context in which a framework does not record operations for derivatives."""
        return nullcontext()

    def without_warnings(self) -> AbstractContextManager[Any]:
        """A context in which overflow, underflow and NaN neither warn nor raise an error."""
        return nullcontext()

    def compile(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function compiled as a whole, if the framework compiles."""
        return function
