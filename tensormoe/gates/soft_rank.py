"""Soft ranks: the projection of logits onto the permutahedron, the hull of all permutations of 1 … n."""

from ..arrays.protocols import GateOps
from ..typing import Array
from .magnitude import within_range


def soft_ranks(ops: GateOps, x: Array, eps: float) -> Array:
    """The point nearest to x/ε in the convex hull of all permutations of (1, …, n); the largest x ranks n.

    In descending order, z = x/ε minus (n, n − 1, …, 1) has an isotonic regression: blocks that share their
    mean. Within a block, the projection is z minus the block's mean of z plus its mean of the ranks. The
    blocks are constant almost everywhere, so differentiating this line gives the exact Jacobian I − B, where
    B averages over each block.

    A block ends where every mean of a stretch that ends there exceeds every mean of a stretch that begins
    after it. Checking this takes n² numbers for each row, and no loop.

    Infinite entries share a block, and rank beyond all others.
    """
    scale = 1 / within_range(ops, x, eps)
    same, rank = (ops.stop_gradient(part) for part in _blocks(ops, ops.stop_gradient(x), scale))
    size = ops.sum(same, axis=-1)
    finite = ops.where(ops.abs(x) == float("inf"), 0.0, x)
    # Without an entry's difference from itself, whose gradient may be ∞ − ∞ where ε is tiny.
    others = (same > 0) & (rank[..., :, None] != rank[..., None, :])
    differences = ops.where(others, finite[..., :, None] - finite[..., None, :], 0.0)
    mean_rank = ops.sum(same * rank[..., None, :], axis=-1) / size
    return ops.sum(differences, axis=-1) * scale / size + mean_rank


def _blocks(ops: GateOps, x: Array, scale: float) -> tuple[Array, Array]:
    """Ones (…, n, n) where entries share a block, and every entry's rank with ties broken by position."""
    n = int(x.shape[-1])
    zero = ops.zeros_like(x)
    counter = ops.cumsum(zero + 1, -1)
    earlier = counter[..., None, :] < counter[..., :, None]
    mine, others, zeros = x[..., :, None], x[..., None, :], zero[..., None, :]
    precedes = (others > mine) | ((others == mine) & earlier)
    place = 1 + ops.sum(ops.where(precedes, 1.0, zeros), axis=-1)

    means, within = _means(ops, _heights(ops, x, scale), counter)
    # The least mean of stretches that end at a place, and the largest of those that begin there.
    least = -ops.max(ops.where(within, -means, -float("inf")), axis=-2)
    most = ops.max(ops.where(within, means, -float("inf")), axis=-1)
    begins = ops.where(least[..., :-1] > most[..., 1:], 1.0, zero[..., 1:])
    number = ops.cumsum(ops.concatenate([zero[..., :1], begins], axis=-1), -1)
    here = place[..., :, None] == counter[..., None, :]
    block = ops.sum(ops.where(here, number[..., None, :], 0.0), axis=-1)
    return ops.where(block[..., :, None] == block[..., None, :], 1.0, zeros), n + 1 - place


def _heights(ops: GateOps, x: Array, scale: float) -> Array:
    """X/ε in descending order minus (n, n − 1, …, 1), shifted to begin with 0; wide gaps are cut.

    A block ends at every gap above half of the number of entries on its two sides, however wide it is.
    """
    n = int(x.shape[-1])
    descending = -ops.sort(-x, axis=-1)
    gaps = (descending[..., :-1] - descending[..., 1:]) * scale
    gaps = ops.where(gaps < n / 2 + 1, gaps, n / 2 + 1)
    # Between equal infinities there is none.
    gaps = ops.where(descending[..., :-1] == descending[..., 1:], 0.0, gaps)
    return ops.concatenate([ops.zeros_like(x[..., :1]), ops.cumsum(1 - gaps, -1)], axis=-1)


def _means(ops: GateOps, heights: Array, counter: Array) -> tuple[Array, Array]:
    """The mean of each stretch by its first and last place, and where the first is not after the last."""
    row, column = counter[..., :, None], counter[..., None, :]
    within = column >= row
    sums = ops.cumsum(ops.where(within, heights[..., None, :], 0.0), -1)
    return sums / ops.where(within, column - row + 1, 1.0), within
