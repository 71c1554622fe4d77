"""Exact arithmetic: integers modulo a prime, behind the interface of a backend."""

from functools import cache
from typing import Any

import numpy as np

from ...arrays.backend import Backend

# A Mersenne prime, 2^61 − 1.
PRIME = 2**61 - 1


class Residues(np.ndarray[Any, Any]):
    """Python's integers, which have no limit, modulo the prime. A result without axes stays an array."""

    def __array_wrap__(self, array: Any, context: Any = None, return_scalar: bool = False) -> "Residues":
        return np.asarray(array % PRIME, dtype=object).view(Residues)


class _Exact(Backend):
    tensormoe_name = "integers"

    def from_numpy(self, array: Any) -> Residues:
        return np.array(array, dtype=object).view(Residues)

    def matmul(self, a: Residues, b: Residues) -> Residues:
        return self.from_numpy(np.matmul(np.asarray(a), np.asarray(b)) % PRIME)

    def sum(self, array: Residues, axis: int | None = None, keepdims: bool = False) -> Residues:
        return self.from_numpy(np.sum(np.asarray(array), axis=axis, keepdims=keepdims) % PRIME)


@cache
def residues() -> Any:
    """The backend object: TensorLy's for NumPy, with arrays of integer objects.

    Examples:
        >>> from tensormoe.verification.arithmetic.residues import PRIME, residues
        >>> ops = residues()
        >>> ops.sum(ops.from_numpy([PRIME - 1, 5])).item()
        4
    """
    from tensorly.backend.numpy_backend import NumpyBackend

    kind = type("ExactBackend", (_Exact, NumpyBackend), {}, backend_name="tensormoe-integers")
    return kind()
