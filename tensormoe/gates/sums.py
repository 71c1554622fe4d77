"""Sums over the tokens of a batch, however many there are.

Added one after the other in float32, a million numbers lose three digits or more, which some frameworks do.
In blocks they lose none that matter: the error grows with the block, not with the batch.
"""

from ..arrays.protocols import GateOps
from ..typing import Array

# Tokens that are added one after the other, and that one matrix product sums over.
_BLOCK, _ROWS = 512, 2048


def sum_tokens(ops: GateOps, x: Array) -> Array:
    """The sum (…) of x (T, …) over the first axis."""
    while isinstance(count := x.shape[0], int) and count > 2 * _BLOCK:
        blocks, rest = _split(ops, x, count, _BLOCK)
        sums = ops.sum(blocks, axis=1)
        x = sums if rest is None else ops.concatenate([sums, rest], axis=0)
    return ops.sum(x, axis=0)


def multiply_tokens(ops: GateOps, a: Array, h: Array) -> Array:
    """Σ_t a_t h_tᵀ, (K, d), of a (T, K) and h (T, d)."""
    count = a.shape[0]
    if not isinstance(count, int) or count <= 2 * _ROWS:
        return ops.matmul(ops.transpose(a), h)
    (left, left_rest), (right, right_rest) = (_split(ops, each, count, _ROWS) for each in (a, h))
    total = sum_tokens(ops, ops.matmul(ops.transpose(left, (0, 2, 1)), right))
    return total if left_rest is None else total + ops.matmul(ops.transpose(left_rest), right_rest)


def _split(ops: GateOps, x: Array, count: int, size: int) -> tuple[Array, Array | None]:
    """Whole blocks of tokens, (T // size, size, …), and the tokens that are left over, if any."""
    whole = count - count % size
    shape = (whole // size, size, *x.shape[1:])
    return (ops.reshape(x[:whole], shape), x[whole:]) if whole < count else (ops.reshape(x, shape), None)
