"""Sparse weights of few logits in closed form, by sorting in NumPy: fastest where call overhead dominates.

Sums cancel, so they are taken in float64. NumPy's ufuncs are called by their methods: for small arrays
NumPy's functions of the same names take several times as long as the ufuncs they call. NaN, infinities and
underflow pass without a warning: PyTorch's user has asked NumPy for nothing.
"""

import numpy as np

from ..typing import NumPyArray


@np.errstate(all="ignore")
def sparsemax_by_sorting(x: NumPyArray) -> NumPyArray:
    """The weights [τ' − d]₊ that sum to 1, d the distances from the largest logit.

    The k smallest distances alone give τ'_k from their mean. On the support, up to k*, it is no less than
    d_k and falls to τ'; beyond, d_k is above τ'.
    """
    distance, rising, count = _sort_distances(x, 1)
    tau = np.add.accumulate(rising, -1) / count + 1 / count
    return _rise(distance, rising, tau).astype(x.dtype)


@np.errstate(all="ignore")
def entmax15_by_sorting(x: NumPyArray) -> NumPyArray:
    """The weights [τ' − d]₊² that sum to 1, d half the distances from the largest logit.

    As for sparsemax, with τ'_k from the means of the distances and of their squares.
    """
    distance, rising, count = _sort_distances(x, 2)
    mean = np.add.accumulate(rising, -1) / count
    excess = (np.add.accumulate(rising * rising, -1) - 1) / count
    # Beyond the support the root may not exist, and any value will do.
    root = _rise(distance, rising, mean + np.sqrt(np.abs(mean * mean - excess)))
    return (root * root).astype(x.dtype)


def _sort_distances(x: NumPyArray, divisor: int) -> tuple[NumPyArray, NumPyArray, NumPyArray]:
    """The distances from the largest logit over the divisor, the same sorted up to 1, and 1 … N."""
    scaled = x.astype("float64") / divisor
    distance = np.maximum.reduce(scaled, -1)[..., None] - scaled
    # Logits further away have no weight; clipping keeps them from harming the means.
    rising = np.minimum(np.sort(distance, axis=-1), 1.0)
    return distance, rising, np.arange(1.0, x.shape[-1] + 1.0)


def _rise(distance: NumPyArray, rising: NumPyArray, tau: NumPyArray) -> NumPyArray:
    """[τ' − d]₊, where τ' is the τ'_k at the edge of the support."""
    edge = np.minimum.reduce(np.maximum(tau, rising), -1)[..., None]
    root: NumPyArray = np.maximum(edge - distance, 0)
    return root
