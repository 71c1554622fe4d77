"""Coefficients of which only so many of a token differ from 0, by the word of whoever gives them."""

from collections.abc import Sequence

from ..arrays.backend import Backend, at_least_float32
from ..errors import TensorMoEError
from ..typing import Array
from .checks import read_coefficients
from .spec import Spec
from .stage import Stage


def keep_active(
    ops: Backend, spec: Spec | Stage, coefficients: Sequence[Array], x: Array, active: tuple[int, ...]
) -> list[Array]:
    """Coefficients of which at most so many differ from 0 for a token, with derivative 0 for the others."""
    _ = read_coefficients(ops, spec, coefficients, x)
    kept = []
    for a, k in zip(map(ops.as_array, coefficients), active, strict=True):
        dtype = ops.dtype_name(a)
        # A NaN is other than 0.
        used = ops.cast(a != 0, at_least_float32(dtype))
        if ops.holds(ops.sum(used, axis=-1) <= k) is False:
            remedy = f"more than active = {k} of a token's differ from 0: pass a larger number, or omit it"
            raise TensorMoEError("coefficients", tuple(a.shape), remedy)
        kept.append(a * ops.cast(used, dtype))
    return kept
