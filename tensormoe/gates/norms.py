"""Normalisations of the gate's logits, without learned parameters, and the block's input LayerNorm."""

from typing import Any

from ..typing import Array

EPSILON = 1e-5
MOMENTUM = 0.1


def layer_norm(tl: Any, x: Array) -> Array:
    """Each vector of the last axis to mean 0 and variance 1."""
    return tl.layer_norm(x, EPSILON)


def batch_norm(
    tl: Any, x: Array, mean: Array, variance: Array, training: bool
) -> tuple[Array, tuple[Array, Array]]:
    """Each feature to mean 0 and variance 1 over all tokens.

    In training by the statistics of this batch, which also move the running ones; else by the running
    statistics. One token has no variance: its logits become 0 and the running variance stays. An empty
    batch moves nothing.

    Args:
        x: (T, N).
        mean, variance: the running statistics (N,); the variance is the unbiased one.

    Returns:
        The normalised x, and the new running mean and variance.
    """
    tokens = x.shape[0]
    if not training or tokens == 0:
        dtype = tl.dtype_name(x)
        scale = tl.sqrt(tl.cast(variance, dtype) + EPSILON)
        return (x - tl.cast(mean, dtype)) / scale, (mean, variance)
    batch_mean = tl.sum(x, axis=0) / tokens
    centred = x - batch_mean
    squares = tl.sum(centred * centred, axis=0)
    moved_mean = _moved(tl, mean, batch_mean)
    moved_variance = variance if tokens == 1 else _moved(tl, variance, squares / (tokens - 1))
    return centred / tl.sqrt(squares / tokens + EPSILON), (moved_mean, moved_variance)


def _moved(tl: Any, running: Array, current: Array) -> Array:
    dtype = tl.dtype_name(running)
    current = tl.cast(tl.stop_gradient(current), dtype)
    return (1 - MOMENTUM) * running + MOMENTUM * current
