"""The matrix products of a program, recorded while it runs on real arrays."""

from collections.abc import Sequence
from math import prod
from typing import TypeAlias

from ..arrays.protocols import Nonlinearity, ProgramDefaults, ProgramOps
from ..programs.program import Program
from ..typing import Array, Shape

# The two factors of a matrix product.
Product: TypeAlias = tuple[Array, Array]


class RecordingOps(ProgramDefaults):
    """The operations of another object, with a record of the matrix products.

    Args:
        ops: what computes.

    Attributes:
        products: the factors of every matrix product so far, contiguous. An added row of biases is left out.
    """

    def __init__(self, ops: ProgramOps) -> None:
        self.ops = ops
        self.products: list[Product] = []

    def matmul(self, a: Array, b: Array, /) -> Array:
        self._record(a, b)
        return self.ops.matmul(a, b)

    def affine(self, x: Array, matrix: Array, /) -> Array:
        self._record(x, matrix[..., :-1, :])
        return self.ops.affine(x, matrix)

    def _record(self, left: Array, right: Array) -> None:
        self.products.append((make_contiguous(self.ops, left), make_contiguous(self.ops, right)))

    def transpose(self, array: Array, axes: Shape, /) -> Array:
        return self.ops.transpose(array, axes)

    def reshape(self, array: Array, shape: Shape, /) -> Array:
        return self.ops.reshape(array, shape)

    def sum(self, array: Array, /, axis: int) -> Array:
        return self.ops.sum(array, axis=axis)

    def concatenate(self, arrays: Sequence[Array], /, axis: int) -> Array:
        return self.ops.concatenate(arrays, axis=axis)

    def zeros_like(self, array: Array, /) -> Array:
        return self.ops.zeros_like(array)

    def copy(self, array: Array, /) -> Array:
        return self.ops.copy(array)

    def nonlinear(self, function: Nonlinearity, x: Array, /) -> Array:
        return self.ops.nonlinear(function, x)

    def choose(self, coefficients: Array, k: int, /) -> Array:
        return self.ops.choose(coefficients, k)

    def take(self, coefficients: Array, indices: Array, /) -> Array:
        return self.ops.take(coefficients, indices)

    def put(self, gradient: Array, indices: Array, like: Array, /) -> Array:
        return self.ops.put(gradient, indices, like)

    def gather(self, array: Array, indices: Sequence[Array], axes: Shape, /) -> Array:
        return self.ops.gather(array, indices, axes)

    def scatter(self, gradient: Array, indices: Sequence[Array], axes: Shape, like: Array, /) -> Array:
        return self.ops.scatter(gradient, indices, axes, like)

    def nonlinear_overwrite(self, function: Nonlinearity, x: Array, /) -> Array:
        return self.ops.nonlinear_overwrite(function, x)

    def nonlinear_vjp(self, function: Nonlinearity, x: Array, gradient: Array, /) -> Array:
        return self.ops.nonlinear_vjp(function, x, gradient)


def record_products(ops: ProgramOps, program: Program, operands: Sequence[Array]) -> list[Product]:
    """The factors of every matrix product of a run."""
    recorder = RecordingOps(ops)
    program.run(recorder, operands)
    return recorder.products


def make_contiguous(ops: ProgramOps, array: Array) -> Array:
    """The array in row-major memory."""
    # To one axis and back, which copies an array that is not contiguous.
    shape = tuple(array.shape)
    return ops.reshape(ops.reshape(array, (prod(shape),)), shape)
