"""What a trial of one operation is, and how it is differentiated."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from ..typing import NumPyArray

# From a backend object and arrays to an array or several.
Operation: TypeAlias = Callable[..., Any]


@dataclass(frozen=True)
class Trial:
    """One operation on arrays.

    Args:
        name: the protocol and the operation, "ProgramOps.matmul".
        inputs: in float64; they are rounded to the type that is tried.
        operation: from the backend object and the framework's arrays to an array or several.
        expected: the same from NumPy's arrays.
        smooth: whether the derivative with respect to every input is tried, too.
        rough: whether what is expected are differences.
    """

    name: str
    inputs: tuple[NumPyArray, ...]
    operation: Operation
    expected: Callable[..., Any]
    smooth: bool = False
    rough: bool = False


def numbers(*shape: int) -> NumPyArray:
    """Numbers of either sign, no two of them equal or near 0, in no order."""
    count = int(np.prod(shape))
    return np.reshape(np.sin(np.arange(1.0, count + 1)) * 2 + 0.01 * np.arange(count), shape)


def differentiate(function: Callable[[NumPyArray], NumPyArray], x: NumPyArray) -> NumPyArray:
    """∂ Σ function(x) ∗ c / ∂x at each entry by central differences, c the `cotangent` of its result."""
    slopes = np.zeros_like(x)
    weights = cotangent(function(x))
    for place in np.ndindex(*x.shape):
        step = np.zeros_like(x)
        step[place] = 1e-6
        slopes[place] = np.sum((function(x + step) - function(x - step)) * weights) / 2e-6
    return slopes


def cotangent(y: NumPyArray) -> NumPyArray:
    """What a result is weighed by, where its derivative is asked for."""
    return np.reshape(np.cos(np.arange(y.size) + 1.0), y.shape)
