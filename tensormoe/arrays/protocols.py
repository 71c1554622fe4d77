"""What a framework has to offer, as protocols: one for programs, one for gates.

The prover, exact residues and counted roundings implement `ProgramOps`, too, so that the very program that a
framework runs is proved, checked in exact arithmetic and bounded.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from ..typing import Array, Shape

# From a value and what the last correction remembered, to what is to be added and what to remember.
Correction: TypeAlias = Callable[..., tuple[Array, ...]]


class ProgramOps(Protocol):
    """The operations that a program may use, beside + and ∗ of arrays and slices of an axis."""

    def transpose(self, tensor: Array, axes: Shape | None = None) -> Array:
        """The array with its axes in this order."""

    def reshape(self, tensor: Array, newshape: Shape) -> Array:
        """The array with neighbouring axes merged, split, or inserted with size 1, in row-major order."""

    def sum(self, tensor: Array, axis: int | None = None) -> Array:
        """The sum over one axis."""

    def matmul(self, a: Array, b: Array) -> Array:
        """The matrix product over the last two axes; equal leading axes are a batch of products."""

    def affine(self, x: Array, matrix: Array) -> Array:
        """The product of x (…, T, I), extended by a constant 1, with a matrix (…, I + 1, M)."""

    def concatenate(self, tensors: Sequence[Array], axis: int) -> Array:
        """Arrays joined along an axis."""

    def zeros_like(self, tensor: Array) -> Array:
        """Zeros of an array's shape and type."""

    def copy(self, tensor: Array) -> Array:
        """The same values in memory of their own."""

    @property
    def nonlinearities(self) -> "dict[str, Elementwise]":
        """Nonlinearities that the framework computes better than the core, by name."""


class Differentiable(Protocol):
    """A function of one array whose Jacobian is symmetric and known in closed form; hashable.

    It may also depend on scalars, which are then passed along everywhere.
    """

    def value(self, ops: Any, x: Array, *scalars: Array) -> Array:
        """The function's value."""

    def jacobian_product(self, ops: Any, y: Array, v: Array, *scalars: Array) -> Array:
        """J v at the point whose value is y, where J = ∂y/∂x."""

    def sensitivities(self, ops: Any, y: Array, *scalars: Array) -> tuple[Array, ...]:
        """∂y/∂scalar at the point whose value is y, for each scalar."""


@dataclass(frozen=True)
class Elementwise:
    """A function of each element.

    Args:
        value: from a backend object and x to f(x).
        vjp: from a backend object, x and a gradient with respect to f(x) to one with respect to x; perhaps
            in the same memory.
        overwrite: like `value`, perhaps in the memory of x; None where nothing is gained by that.
    """

    value: Callable[[Any, Array], Array]
    vjp: Callable[[Any, Array, Array], Array]
    overwrite: Callable[[Any, Array], Array] | None = None


GateOps: TypeAlias = Any
