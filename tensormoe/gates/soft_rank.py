"""Soft ranks: the projection of logits on the permutahedron, whose corners are the permutations of 1 … n."""

from typing import Any

from ..typing import Array


def soft_ranks(tl: Any, z: Array) -> Array:
    """The point nearest to z in the convex hull of all permutations of (1, …, n); the largest z ranks n.

    In descending order, z less n, n − 1, …, 1 has an isotonic regression: blocks that share their mean.
    Within a block, the projection is z less the block's mean of z plus its mean of the ranks. The blocks
    are constant almost everywhere, so that differentiating this line gives the exact Jacobian I − B, with
    B the average over each block.

    A block ends where every mean of a stretch up to there exceeds every mean of a stretch from there: this
    takes n² numbers for each row, and no loop.
    """
    same, rank = (tl.stop_gradient(part) for part in _blocks(tl, tl.stop_gradient(z)))
    size = tl.sum(same, axis=-1)
    differences = tl.where(same > 0, z[..., :, None] - z[..., None, :], 0.0)
    mean_rank = tl.sum(same * rank[..., None, :], axis=-1) / size
    # A NaN or an infinity anywhere makes the whole row NaN.
    flaw = tl.sum(z * 0, axis=-1, keepdims=True)
    return tl.sum(differences, axis=-1) / size + mean_rank + flaw


def _blocks(tl: Any, z: Array) -> tuple[Array, Array]:
    """Which entries share a block, as ones (…, n, n), and every entry's rank with ties broken by position."""
    n = int(z.shape[-1])
    counter = tl.cumsum(tl.zeros_like(z) + 1, -1)
    earlier = counter[..., None, :] < counter[..., :, None]
    mine, others = z[..., :, None], z[..., None, :]
    precedes = (others > mine) | ((others == mine) & earlier)
    place = 1 + tl.sum(tl.where(precedes, 1.0, mine * 0), axis=-1)

    heights = -tl.sort(-z, axis=-1) - (n + 1 - counter)
    row, column = counter[..., :, None], counter[..., None, :]
    within = column >= row
    sums = tl.cumsum(tl.where(within, heights[..., None, :], 0.0), -1)
    means = sums / tl.where(within, column - row + 1, 1.0)
    # Of stretches that end at a place, and of those that begin at one.
    least = -tl.max(tl.where(within, -means, -float("inf")), axis=-2)
    most = tl.max(tl.where(within, means, -float("inf")), axis=-1)
    begins = tl.where(least[..., :-1] > most[..., 1:], 1.0, most[..., 1:] * 0)
    number = tl.cumsum(tl.concatenate([counter[..., :1] * 0, begins], axis=-1), -1)
    block = tl.sum(tl.where(place[..., :, None] == column, number[..., None, :], 0.0), axis=-1)
    same = tl.where(block[..., :, None] == block[..., None, :], 1.0, mine * 0)
    return same, n + 1 - place
