"""Normalisations of the gate's logits, without learned parameters, and the block's input LayerNorm."""

from math import prod

from ..arrays.protocols import GateOps
from ..typing import AllReduce, Array
from .call import nothing_to_reduce

EPSILON = 1e-5
MOMENTUM = 0.1


def layer_norm(ops: GateOps, x: Array) -> Array:
    """Scale each vector along the last axis to mean 0 and variance 1."""
    return ops.layer_norm(x, EPSILON)


def batch_norm(
    ops: GateOps,
    x: Array,
    mean: Array,
    variance: Array,
    training: bool,
    pool: AllReduce = nothing_to_reduce,
) -> tuple[Array, tuple[Array, Array]]:
    """Scale each feature to mean 0 and variance 1 over all tokens.

    In training it uses this batch's statistics and updates the running ones; otherwise it uses the running
    ones. One token has no variance: its logits become 0 and the running variance stays. An empty batch
    updates nothing.

    Args:
        x: (…, N).
        mean, variance: the running statistics (N,); the variance is the unbiased one.
        pool: sums an array over all processes whose tokens count as one batch. Then all of them take part,
            even without tokens.

    Returns:
        The normalised x, and the new running mean and variance.
    """
    alone = pool is nothing_to_reduce
    if not training or (alone and prod(x.shape[:-1]) == 0):
        dtype = ops.dtype_name(x)
        scale = ops.sqrt(ops.cast(variance, dtype) + EPSILON)
        return (x - ops.cast(mean, dtype)) / scale, (mean, variance)
    tokens, degrees, some, several = _count(x) if alone else _count_all(ops, x, pool)
    # A sum of numbers far from 0 loses digits that their differences from its mean still have.
    origin = _sum(ops, ops.stop_gradient(x), pool) / tokens
    from_origin = x - origin
    centre = _sum(ops, from_origin, pool) / tokens
    deviations = from_origin - centre
    squares = _sum(ops, deviations * deviations, pool)
    moved_mean = _move(ops, mean, origin + centre, some)
    moved_variance = _move(ops, variance, squares / degrees, several)
    return deviations / ops.sqrt(squares / tokens + EPSILON), (moved_mean, moved_variance)


def _count(x: Array) -> tuple[Array, Array, bool, bool]:
    """The number of tokens, that of degrees of freedom, and whether there is a mean and a variance."""
    tokens = prod(x.shape[:-1])
    return (tokens, 1, True, False) if tokens == 1 else (tokens, tokens - 1, True, True)


def _count_all(ops: GateOps, x: Array, pool: AllReduce) -> tuple[Array, Array, Array, Array]:
    """The same over all processes, as arrays; without tokens the number is 1."""
    tokens = ops.reduce(pool, ops.sum(ops.zeros_like(x[..., 0]) + 1))
    return ops.clip(tokens, 1), ops.clip(tokens - 1, 1), tokens > 0, tokens > 1


def _sum(ops: GateOps, x: Array, pool: AllReduce) -> Array:
    total = ops.sum_leading(x, len(x.shape) - 1)
    return total if pool is nothing_to_reduce else ops.reduce(pool, total)


def _move(ops: GateOps, running: Array, current: Array, enough: Array) -> Array:
    """The running statistic after a batch, if that has enough tokens for one: a condition, known or not."""
    if enough is False:
        return running
    dtype = ops.dtype_name(running)
    current = ops.cast(ops.stop_gradient(current), dtype)
    moved = (1 - MOMENTUM) * running + MOMENTUM * current
    return moved if enough is True else ops.where(enough, moved, running)
