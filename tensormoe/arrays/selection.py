"""Rows of arrays by integer indices, one list of them for each token; with NumPy, and for what indexes alike.

A program that gathers multiplies only those experts' slices of a core whose coefficients may differ from 0.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..typing import Array, Shape


def key_of(indices: Sequence[Array], axes: Shape, ndim: int) -> tuple[Any, ...]:
    """What to index an array of so many axes by, so that each of some axes is read at its own (T, k)."""
    key: list[Any] = [slice(None)] * ndim
    for place, (axis, chosen) in enumerate(zip(axes, indices, strict=True)):
        shape = [1] * len(axes)
        shape[place] = chosen.shape[1]
        key[axis] = chosen.reshape((chosen.shape[0], *shape))
    return tuple(key)


def front(axes: Shape, ndim: int) -> Shape:
    """The order of axes in which tokens and chosen axes of what `key_of` reads come first.

    Frameworks put them where the read axes stood if these are neighbours, and first otherwise.
    """
    start = axes[0] if axes[-1] - axes[0] == len(axes) - 1 else 0
    read = range(start, start + len(axes) + 1)
    return (*read, *(axis for axis in range(ndim + 1) if axis not in read))


def first(axes: Shape, ndim: int) -> Shape:
    """The order that puts these axes first."""
    return (*axes, *(axis for axis in range(ndim) if axis not in axes))


class NumPySelection:
    """The operations of `ProgramOps` that read and write by indices, on NumPy's arrays."""

    def can_gather(self, arrays: Sequence[Array], /) -> bool:
        return True

    def choose(self, coefficients: Array, k: int, /) -> Array:
        zero = np.asarray(coefficients) == 0
        chosen: Array = np.argsort(zero, axis=-1, kind="stable")[..., :k]
        return chosen

    def take(self, coefficients: Array, indices: Array, /) -> Array:
        return np.take_along_axis(coefficients, indices, axis=-1)

    def put(self, gradient: Array, indices: Array, like: Array, /) -> Array:
        result = np.zeros(tuple(like.shape), gradient.dtype)
        np.put_along_axis(result, indices, gradient, axis=-1)
        return result

    def gather(self, array: Array, indices: Sequence[Array], axes: Shape, /) -> Array:
        read: Array = array[key_of(indices, axes, array.ndim)]
        moved: Array = read.transpose(front(axes, array.ndim))
        return moved

    def scatter(self, gradient: Array, indices: Sequence[Array], axes: Shape, like: Array, /) -> Array:
        result = np.zeros(tuple(like.shape), gradient.dtype)
        rows = result.transpose(first(axes, result.ndim))
        np.add.at(rows, key_of(indices, tuple(range(len(axes))), rows.ndim), gradient)
        return result
