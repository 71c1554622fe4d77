"""Normalisations of the gate's logits, without learned parameters, and the block's input LayerNorm."""

from ..arrays.protocols import GateOps
from ..typing import Array

EPSILON = 1e-5
MOMENTUM = 0.1


def layer_norm(ops: GateOps, x: Array) -> Array:
    """Scale each vector along the last axis to mean 0 and variance 1."""
    return ops.layer_norm(x, EPSILON)


def batch_norm(
    ops: GateOps, x: Array, mean: Array, variance: Array, training: bool
) -> tuple[Array, tuple[Array, Array]]:
    """Scale each feature to mean 0 and variance 1 over all tokens.

    In training it uses this batch's statistics and updates the running ones; otherwise it uses the running
    ones. One token has no variance: its logits become 0 and the running variance stays. An empty batch
    updates nothing.

    Args:
        x: (T, N).
        mean, variance: the running statistics (N,); the variance is the unbiased one.

    Returns:
        The normalised x, and the new running mean and variance.
    """
    tokens = x.shape[0]
    if not training or tokens == 0:
        dtype = ops.dtype_name(x)
        scale = ops.sqrt(ops.cast(variance, dtype) + EPSILON)
        return (x - ops.cast(mean, dtype)) / scale, (mean, variance)
    # A sum of numbers far from 0 loses digits that their differences from its mean still have.
    origin = ops.sum(ops.stop_gradient(x), axis=0) / tokens
    from_origin = x - origin
    centre = ops.sum(from_origin, axis=0) / tokens
    deviations = from_origin - centre
    squares = ops.sum(deviations * deviations, axis=0)
    moved_mean = _move(ops, mean, origin + centre)
    moved_variance = variance if tokens == 1 else _move(ops, variance, squares / (tokens - 1))
    return deviations / ops.sqrt(squares / tokens + EPSILON), (moved_mean, moved_variance)


def _move(ops: GateOps, running: Array, current: Array) -> Array:
    dtype = ops.dtype_name(running)
    current = ops.cast(ops.stop_gradient(current), dtype)
    return (1 - MOMENTUM) * running + MOMENTUM * current
