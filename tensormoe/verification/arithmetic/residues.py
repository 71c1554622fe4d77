"""Exact arithmetic: integers modulo a prime."""

from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np

from ...arrays.protocols import Nonlinearity, ProgramDefaults
from ...arrays.selection import NumPySelection
from ...typing import Array, Shape

# A Mersenne prime, 2^61 − 1.
PRIME = 2**61 - 1


class Residues(np.ndarray[Any, Any]):
    """Python's integers, which have no limit, modulo the prime. A result without axes stays an array."""

    def __array_wrap__(self, array: Any, context: Any = None, return_scalar: bool = False) -> "Residues":
        return np.asarray(array % PRIME, dtype=object).view(Residues)


class ResidueOps(NumPySelection, ProgramDefaults):
    """The operations of `ProgramOps` on residues, except nonlinearities, which are not polynomials.

    Examples:
        >>> from tensormoe.verification.arithmetic.residues import PRIME, ResidueOps
        >>> ops = ResidueOps()
        >>> ops.sum(ops.from_numpy([PRIME - 1, 5]), 0).item()
        4
    """

    def from_numpy(self, array: Any) -> Residues:
        """Integers as residues."""
        return np.array(np.asarray(array, dtype=object) % PRIME, dtype=object).view(Residues)

    def transpose(self, array: Residues, axes: Shape, /) -> Residues:
        return self.from_numpy(np.transpose(array, axes))

    def reshape(self, array: Residues, shape: Shape, /) -> Residues:
        return self.from_numpy(np.reshape(array, shape))

    def sum(self, array: Residues, /, axis: int) -> Residues:
        return self.from_numpy(np.sum(np.asarray(array), axis=axis))

    def matmul(self, a: Residues, b: Residues, /) -> Residues:
        return self.from_numpy(np.matmul(np.asarray(a), np.asarray(b)))

    def concatenate(self, arrays: Sequence[Residues], /, axis: int) -> Residues:
        return self.from_numpy(np.concatenate(arrays, axis=axis))

    def zeros_like(self, array: Residues, /) -> Residues:
        return self.from_numpy(np.zeros(array.shape, dtype=object))

    def copy(self, array: Residues, /) -> Residues:
        return self.from_numpy(array)

    def put(self, gradient: Array, indices: Array, like: Array, /) -> Residues:
        return self.from_numpy(super().put(np.asarray(gradient), indices, like))

    def scatter(self, gradient: Array, indices: Sequence[Array], axes: Shape, like: Array, /) -> Residues:
        return self.from_numpy(super().scatter(np.asarray(gradient), indices, axes, like))

    def nonlinear(self, function: Nonlinearity, x: Residues, /) -> NoReturn:
        raise NotImplementedError(f"{function} is not a polynomial")

    def nonlinear_overwrite(self, function: Nonlinearity, x: Residues, /) -> NoReturn:
        raise NotImplementedError(f"{function} is not a polynomial")

    def nonlinear_vjp(self, function: Nonlinearity, x: Residues, gradient: Residues, /) -> NoReturn:
        raise NotImplementedError(f"{function} is not a polynomial")
