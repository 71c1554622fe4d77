"""What the expert levels of a layer have to do with each other."""

from itertools import pairwise

import numpy as np

from ..errors import TensorMoEError
from ..typing import NumPyArray
from .information import information
from .reading import Coefficients, read_levels


def conditional_usage(coefficients: Coefficients) -> tuple[NumPyArray, ...]:
    """How the inputs of each expert of a level use the experts of the next.

    Use it to see whether levels form a hierarchy: rows that differ do, equal rows are levels that choose each
    for itself.

    Args:
        coefficients: E arrays (…, N_e), as a layer of at least two levels returns them, of any framework.

    Returns:
        E − 1 matrices (N_{e−1}, N_e), Σ_t a_{e−1}[t, m] a_e[t, n] / Σ_tk a_{e−1}[t, m] a_e[t, k]. Each row
        sums to 1; that of an expert which no input uses is NaN.

    Raises:
        TensorMoEError: as `joint`, or one level.

    Examples:
        >>> import numpy as np
        >>> import tensormoe as tm
        >>> first = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
        >>> second = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
        >>> tm.analysis.conditional_usage([first, second])[0]
        array([[0.5, 0.5],
               [0. , 1. ]])
    """
    matrices = []
    for table in _tables(coefficients):
        total = table.sum(axis=1, keepdims=True)
        matrices.append(np.divide(table, total, out=np.full_like(table, np.nan), where=total > 0))
    return tuple(matrices)


def level_information(coefficients: Coefficients) -> tuple[float, ...]:
    """How much the expert of a level tells of that of the next: their mutual information over all inputs.

    Args:
        coefficients: as for `conditional_usage`.

    Returns:
        E − 1 numbers in nats: 0 for levels that are used independently, at most ln min(N_{e−1}, N_e).

    Raises:
        TensorMoEError: as `conditional_usage`, or two levels without an input that uses both.

    Source: Shannon, "A Mathematical Theory of Communication", 1948, section 12.

    Examples:
        >>> import numpy as np
        >>> import tensormoe as tm
        >>> level = np.array([[1.0, 0.0], [0.0, 1.0]])
        >>> [round(value, 4) for value in tm.analysis.level_information([level, level])]
        [0.6931]
    """
    tables = _tables(coefficients)
    if not all(table.any() for table in tables):
        raise TensorMoEError(
            "coefficients", "zeros", "no input uses two levels: pass those of inputs that do"
        )
    return tuple(information(table) for table in tables)


def _tables(coefficients: Coefficients) -> list[NumPyArray]:
    """Σ_t a_{e−1}[t, m] a_e[t, n] for each two levels that follow each other."""
    levels = [level.reshape(-1, level.shape[-1]) for level in read_levels(coefficients)]
    if len(levels) < 2:
        raise TensorMoEError("coefficients", len(levels), "one level has no hierarchy: pass at least two")
    return [before.T @ after for before, after in pairwise(levels)]
