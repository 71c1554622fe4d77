"""Gate activations as functions of any framework's arrays."""

from collections.abc import Callable
from functools import partial
from typing import Any

from ..arrays.backend import at_least_float32
from ..arrays.protocols import GateOps
from ..arrays.registry import backend_of
from ..errors import TensorMoEError
from ..typing import Array
from .activations import WEIGHTINGS, check_options
from .soft_rank import soft_ranks


def softmax(x: Array, axis: int = -1) -> Array:
    """Softmax: exp(x) divided by its sum.

    Args:
        x: logits, floating point, any shape; an entry of -inf gets exactly 0.
        axis: the axis that is to sum to 1.

    Returns:
        The same framework's array of the same shape and element type; computed in float32 at least. A NaN
        makes its whole row NaN.

    Raises:
        TensorMoEError: x is not a floating-point array, or has no such axis; or, unless it is traced, a row
            of it is -inf throughout.

    Examples:
        >>> import numpy as np
        >>> import tensormoe as tm
        >>> tm.softmax(np.array([0.0, np.log(3.0)]))
        array([0.25, 0.75])
    """
    return _along(WEIGHTINGS["softmax"], x, axis)


def sparsemax(x: Array, axis: int = -1) -> Array:
    """Sparsemax: the point of the simplex nearest to x; weights of low logits are exactly 0.

    Args, Returns and Raises: as for `softmax`.

    Source: Martins and Astudillo, "From Softmax to Sparsemax", 2016, equation 2. The threshold is found by
    Newton's iteration, without sorting.

    Examples:
        >>> import numpy as np
        >>> import tensormoe as tm
        >>> tm.sparsemax(np.array([1.0, 0.5, -1.0]))
        array([0.75, 0.25, 0.  ])
    """
    return _along(WEIGHTINGS["sparsemax"], x, axis)


def entmax15(x: Array, axis: int = -1) -> Array:
    """1.5-entmax: between softmax and sparsemax; weights of low logits are exactly 0.

    Args, Returns and Raises: as for `softmax`.

    Source: Peters, Niculae and Martins, "Sparse Sequence-to-Sequence Models", 2019, definition 1 with
    α = 1.5. The threshold is found by Newton's iteration, without sorting.

    Examples:
        >>> import numpy as np
        >>> import tensormoe as tm
        >>> tm.entmax15(np.array([2.0, 2.0, -1.0]))
        array([0.5, 0.5, 0. ])
    """
    return _along(WEIGHTINGS["entmax15"], x, axis)


def entmax(x: Array, alpha: Any, axis: int = -1) -> Array:
    """α-entmax: softmax at α = 1, 1.5-entmax at 1.5, sparsemax at 2, and sparser beyond.

    Args:
        x: as for `softmax`.
        alpha: α from 1 to 4: a number, or a scalar array of x's framework, which may be learned.
        axis: the axis that is to sum to 1.

    Returns:
        As for `softmax`; differentiable with respect to x and to a scalar array α.

    Raises:
        TensorMoEError: as for `softmax`, and an α outside 1 … 4 or an array of more than one.

    Source: Peters, Niculae and Martins, "Sparse Sequence-to-Sequence Models", 2019, definition 1; the
    derivative with respect to α is from Correia, Niculae and Martins, "Adaptively Sparse Transformers",
    2019, proposition 1.

    Examples:
        >>> import numpy as np
        >>> import tensormoe as tm
        >>> tm.entmax(np.array([1.0, 0.5, -1.0]), alpha=2)
        array([0.75, 0.25, 0.  ])
    """
    return _along(WEIGHTINGS["entmax"], x, axis, alpha=alpha)


def soft_top_k(x: Array, k: int, eps: float = 1.0, axis: int = -1) -> Array:
    """A soft choice of k: the point nearest to x/ε with entries from 0 to 1 that sum to k, divided by k.

    At k = 1 it is sparsemax of x/ε; for ε → 0 each of the k largest gets 1/k.

    Args:
        x: as for `softmax`. A row with fewer than k finite logits gives these equal weights.
        k: how many to choose, from 1 to the number of logits.
        eps: ε, positive; how soft the choice is, in units of x.
        axis: the axis that is to sum to 1.

    Returns:
        As for `softmax`.

    Raises:
        TensorMoEError: as for `softmax`, and a k or ε that does not fit.

    Source: Blondel, Teboul, Berthet and Djolonga, "Fast Differentiable Sorting and Ranking", 2020, the
    projection on the permutahedron of k ones (definition 1). That polytope is the hypersimplex, so the
    projection is clip(x/ε − τ, 0, 1) with one τ.

    Examples:
        >>> import numpy as np
        >>> import tensormoe as tm
        >>> tm.soft_top_k(np.array([2.0, 1.0, 0.75, -1.0]), k=2)
        array([0.5  , 0.3125, 0.1875, 0.    ])
    """
    return _along(WEIGHTINGS["soft_top_k"], x, axis, k=k, eps=eps)


def top_k(x: Array, k: int, axis: int = -1) -> Array:
    """Softmax over the k largest logits, 0 elsewhere: the gate of a sparse mixture of experts.

    Args:
        x: as for `softmax`. Logits equal to the k-th largest are all kept.
        k: how many to keep, from 1 to the number of logits.
        axis: the axis that is to sum to 1.

    Returns:
        As for `softmax`. It jumps where the k-th and the next logit trade places, which no derivative
        shows.

    Raises:
        TensorMoEError: as for `softmax`, and a k that does not fit.

    Source: Shazeer et al., "Outrageously Large Neural Networks: The Sparsely-Gated Mixture-of-Experts
    Layer", 2017, equations 3 and 5, without the noise.

    Examples:
        >>> import numpy as np
        >>> import tensormoe as tm
        >>> tm.top_k(np.array([np.log(3.0), 0.0, -1.0]), k=2)
        array([0.75, 0.25, 0.  ])
    """
    return _along(WEIGHTINGS["top_k"], x, axis, k=k)


def soft_rank(x: Array, eps: float = 1.0, descending: bool = True, axis: int = -1) -> Array:
    """Soft ranks: from hard ranks for ε → 0 to their mean for large ε. They sum to n(n+1)/2.

    They are not mixture weights: for a gate, see `soft_top_k`. Each row takes memory for n² numbers.

    Args:
        x: values, floating point, any shape. Entries of -inf rank below all others and get no gradient.
        eps: ε, positive; how soft the ranks are, in units of x.
        descending: whether rank 1 is the largest value's; otherwise it is the smallest's.
        axis: the axis along which values are ranked.

    Returns:
        The same framework's array of the same shape and element type; computed in float32 at least.

    Raises:
        TensorMoEError: as for `softmax`, and an ε or a `descending` that does not fit.

    Source: Blondel, Teboul, Berthet and Djolonga, "Fast Differentiable Sorting and Ranking", 2020,
    definition 1 with the quadratic regularization, and proposition 3.

    Examples:
        >>> import numpy as np
        >>> import tensormoe as tm
        >>> tm.soft_rank(np.array([5.0, 1.0, 2.0]), eps=2.0)
        array([1.  , 2.75, 2.25])
    """
    if not isinstance(descending, bool):
        raise TensorMoEError("descending", descending, "pass True or False")
    return _along(partial(_soft_rank, descending=descending), x, axis, eps=eps)


def _soft_rank(ops: GateOps, x: Array, eps: float, descending: bool) -> Array:
    z = x / eps
    # Anything n below the others ranks as -inf does; the gradient is to find no way there.
    finite = ops.where(x == -float("inf"), float("inf"), z)
    low = -ops.max(-ops.stop_gradient(finite), axis=-1)[..., None] - x.shape[-1]
    z = ops.where(x == -float("inf"), low, z)
    return soft_ranks(ops, -z if descending else z)


def _along(function: Callable[..., Array], x: Array, axis: int, **options: Any) -> Array:
    """A function of the last axis, along any axis, in float32 at least."""
    ops = backend_of(x)
    dtype = ops.dtype_name(x)
    if "float" not in dtype:
        raise TensorMoEError("x", dtype, "pass logits of a floating-point type")
    if not isinstance(axis, int) or not -x.ndim <= axis < x.ndim:
        raise TensorMoEError("axis", axis, f"pass an integer; x has {x.ndim} axes")
    if x.shape[axis] == 0:
        raise TensorMoEError("x", tuple(x.shape), f"axis {axis} has no entries that could sum to 1")
    options = check_options(options, x.shape[axis])
    last = axis in (-1, x.ndim - 1)
    logits = ops.cast(x if last else ops.moveaxis(x, axis, -1), at_least_float32(dtype))
    y = ops.cast(function(ops, logits, **options), dtype)
    # A row of -inf alone comes out as NaN: only then is it worth looking for one.
    if ops.holds(y[..., 0] == y[..., 0]) is False and not ops.holds(
        ops.max(logits, axis=-1) != -float("inf")
    ):
        raise TensorMoEError("x", "a row of -inf", "leave at least one entry of every row finite")
    return y if last else ops.moveaxis(y, -1, axis)
