"""Soft ranks: the projection of logits onto the permutahedron, the hull of all permutations of 1 … n."""

from ..arrays.protocols import GateOps
from ..typing import Array


def soft_ranks(ops: GateOps, z: Array) -> Array:
    """The point nearest to z in the convex hull of all permutations of (1, …, n); the largest z ranks n.

    In descending order, z minus (n, n − 1, …, 1) has an isotonic regression: blocks that share their mean.
    Within a block, the projection is z minus the block's mean of z plus its mean of the ranks. The blocks are
    constant almost everywhere, so differentiating this line gives the exact Jacobian I − B, where B averages
    over each block.

    A block ends where every mean of a stretch that ends there exceeds every mean of a stretch that begins
    after it. Checking this takes n² numbers for each row, and no loop.
    """
    same, rank = (ops.stop_gradient(part) for part in _blocks(ops, ops.stop_gradient(z)))
    size = ops.sum(same, axis=-1)
    differences = ops.where(same > 0, z[..., :, None] - z[..., None, :], 0.0)
    mean_rank = ops.sum(same * rank[..., None, :], axis=-1) / size
    # A NaN or an infinity anywhere makes the whole row NaN.
    flaw = ops.sum(z * 0, axis=-1, keepdims=True)
    return ops.sum(differences, axis=-1) / size + mean_rank + flaw


def _blocks(ops: GateOps, z: Array) -> tuple[Array, Array]:
    """Ones (…, n, n) where entries share a block, and every entry's rank with ties broken by position."""
    n = int(z.shape[-1])
    counter = ops.cumsum(ops.zeros_like(z) + 1, -1)
    earlier = counter[..., None, :] < counter[..., :, None]
    mine, others = z[..., :, None], z[..., None, :]
    precedes = (others > mine) | ((others == mine) & earlier)
    place = 1 + ops.sum(ops.where(precedes, 1.0, mine * 0), axis=-1)

    heights = -ops.sort(-z, axis=-1) - (n + 1 - counter)
    row, column = counter[..., :, None], counter[..., None, :]
    within = column >= row
    sums = ops.cumsum(ops.where(within, heights[..., None, :], 0.0), -1)
    means = sums / ops.where(within, column - row + 1, 1.0)
    # The least mean of stretches that end at a place, and the largest of those that begin there.
    least = -ops.max(ops.where(within, -means, -float("inf")), axis=-2)
    most = ops.max(ops.where(within, means, -float("inf")), axis=-1)
    begins = ops.where(least[..., :-1] > most[..., 1:], 1.0, most[..., 1:] * 0)
    number = ops.cumsum(ops.concatenate([counter[..., :1] * 0, begins], axis=-1), -1)
    block = ops.sum(ops.where(place[..., :, None] == column, number[..., None, :], 0.0), axis=-1)
    same = ops.where(block[..., :, None] == block[..., None, :], 1.0, mine * 0)
    return same, n + 1 - place
