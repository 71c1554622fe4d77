"""Arrays with a known shape, degree and rounding but no values, and the operations on them.

A program that runs on these arrays yields the degree of the polynomial that it computes, and how far rounding
may take a result from its exact value, before any value is known.

Sources: Higham, "Accuracy and Stability of Numerical Algorithms", 2002, section 3.1: k roundings in sequence
are one factor 1 + θ with |θ| ≤ γ_k = k u / (1 − k u), u the unit roundoff. Jeannerod and Rump, "Improved
Error Bounds for Inner Products in Floating-Point Arithmetic", 2013: a sum of n numbers in any order is off by
at most (n − 1) u times the sum of their absolute values, however large n is.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Any

import numpy as np

from ...arrays.protocols import Nonlinearity, ProgramDefaults
from ...typing import Shape

# The unit roundoff of each floating-point type: 2^−p for p significant bits.
UNITS = {"float64": 2.0**-53, "float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8}


def gamma(roundings: float, unit: float) -> float:
    """γ_k = k u / (1 − k u); infinite if k u reaches 1."""
    return roundings * unit / (1 - roundings * unit) if roundings * unit < 1 else inf


def compound(*bounds: float) -> float:
    """The relative error of a product whose factors have these: Π(1 + b) − 1."""
    total = 0.0
    for bound in bounds:
        total += bound + total * bound
    return total


@dataclass(frozen=True)
class Precision:
    """A floating-point type as a framework computes in it.

    Matrix products of half-precision numbers are accumulated in float32 and rounded once, as all frameworks
    do.

    Args:
        dtype: the type's name.
        widens_sums: whether other sums are, too; otherwise each addition is rounded to the type.
    """

    dtype: str
    widens_sums: bool = True

    def rounding(self, operations: int) -> float:
        """The relative error of a result of this many multiplications and additions."""
        unit = UNITS[self.dtype]
        accumulator = min(unit, UNITS["float32"])
        return compound(gamma(operations, accumulator), unit if accumulator < unit else 0.0)

    def summing(self, terms: int) -> float:
        """The relative error of a sum of this many numbers."""
        additions = max(terms - 1, 0)
        return self.rounding(additions) if self.widens_sums else additions * UNITS[self.dtype]


@dataclass(frozen=True)
class Counted:
    """An array by its shape.

    Args:
        shape: of the array.
        precision: in which it is computed.
        degree: of its entries as polynomials in the operands.
        bound: |computed − exact| ≤ bound · m, where m is the same polynomial of the absolute values.
    """

    shape: Shape
    precision: Precision
    degree: int = 1
    bound: float = 0.0

    def __add__(self, other: Any) -> "Counted":
        if not isinstance(other, Counted):
            other = replace(self, degree=0, bound=0.0)
        shape = np.broadcast_shapes(self.shape, other.shape)
        bound = compound(max(self.bound, other.bound), self.precision.rounding(1))
        return Counted(shape, self.precision, max(self.degree, other.degree), bound)

    def __mul__(self, other: "Counted") -> "Counted":
        return self._times(other, np.broadcast_shapes(self.shape, other.shape), 1)

    def __matmul__(self, other: "Counted") -> "Counted":
        shape = (*np.broadcast_shapes(self.shape[:-2], other.shape[:-2]), self.shape[-2], other.shape[-1])
        # k products and k − 1 additions, of which each product meets at most k roundings in all.
        return self._times(other, shape, self.shape[-1])

    def __getitem__(self, key: Any) -> "Counted":
        return replace(self, shape=np.broadcast_to(0, self.shape)[key].shape)

    def _times(self, other: "Counted", shape: Shape, operations: int) -> "Counted":
        bound = compound(self.bound, other.bound, self.precision.rounding(operations))
        return Counted(shape, self.precision, self.degree + other.degree, bound)


class CountingOps(ProgramDefaults):
    """The operations of `ProgramOps` on counted arrays, except nonlinearities, which are not polynomials."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        raise NotImplementedError(f"programs of this library do not use {name}")

    def transpose(self, array: Counted, axes: Shape, /) -> Counted:
        return replace(array, shape=tuple(array.shape[axis] for axis in axes))

    def reshape(self, array: Counted, shape: Shape, /) -> Counted:
        return replace(array, shape=tuple(shape))

    def sum(self, array: Counted, /, axis: int) -> Counted:
        shape = (*array.shape[:axis], *array.shape[axis + 1 :])
        bound = compound(array.bound, array.precision.summing(array.shape[axis]))
        return replace(array, shape=shape, bound=bound)

    def matmul(self, a: Counted, b: Counted, /) -> Counted:
        return a @ b

    def zeros_like(self, array: Counted, /) -> Counted:
        return replace(array, degree=0, bound=0.0)

    def copy(self, array: Counted, /) -> Counted:
        return array

    def concatenate(self, arrays: Sequence[Counted], /, axis: int) -> Counted:
        axis %= len(arrays[0].shape)
        width = sum(array.shape[axis] for array in arrays)
        shape = (*arrays[0].shape[:axis], width, *arrays[0].shape[axis + 1 :])
        degree = max(array.degree for array in arrays)
        return Counted(shape, arrays[0].precision, degree, max(array.bound for array in arrays))

    def choose(self, coefficients: Counted, k: int, /) -> Counted:
        return Counted((coefficients.shape[0], k), coefficients.precision, degree=0)

    def take(self, coefficients: Counted, indices: Counted, /) -> Counted:
        return replace(coefficients, shape=indices.shape)

    def put(self, gradient: Counted, indices: Counted, like: Counted, /) -> Counted:
        return replace(gradient, shape=tuple(like.shape))

    def gather(self, array: Counted, indices: Sequence[Counted], axes: Shape, /) -> Counted:
        rest = (size for axis, size in enumerate(array.shape) if axis not in axes)
        return replace(array, shape=(indices[0].shape[0], *(each.shape[1] for each in indices), *rest))

    def scatter(
        self, gradient: Counted, indices: Sequence[Counted], axes: Shape, like: Counted, /
    ) -> Counted:
        # A token reads each place at most once; frameworks round each addition to the type.
        additions = indices[0].shape[0] * UNITS[gradient.precision.dtype]
        return replace(gradient, shape=tuple(like.shape), bound=compound(gradient.bound, additions))

    def nonlinear(self, function: Nonlinearity, x: Counted, /) -> Counted:
        raise NotImplementedError(function)

    def nonlinear_overwrite(self, function: Nonlinearity, x: Counted, /) -> Counted:
        raise NotImplementedError(function)

    def nonlinear_vjp(self, function: Nonlinearity, x: Counted, gradient: Counted, /) -> Counted:
        raise NotImplementedError(function)
