"""Exact arithmetic: integers modulo a prime, behind the interface of a backend."""

from functools import cache
from typing import Any

import numpy as np

from ..extras import Extras

# A Mersenne prime, 2^61 − 1.
PRIME = 2**61 - 1


class _Residues(Extras):
    """Arrays hold Python's integers, which have no limit; long sums are reduced modulo the prime."""

    tensormoe_name = "integers"

    def matmul(self, a: Any, b: Any) -> Any:
        return np.matmul(a, b) % PRIME

    def sum(self, array: Any, axis: int | None = None) -> Any:
        return np.sum(array, axis=axis) % PRIME


@cache
def residues() -> Any:
    """The backend object: TensorLy's for NumPy, with arrays of integer objects."""
    from tensorly.backend.numpy_backend import NumpyBackend

    kind = type("ResidueBackend", (_Residues, NumpyBackend), {}, backend_name="tensormoe-integers")
    return kind()
