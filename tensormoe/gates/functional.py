"""Gate activations as functions of any framework's arrays."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

from ..arrays.backend import Backend, at_least_float32
from ..arrays.checks import check_kind, check_real
from ..arrays.registry import backend_of
from ..errors import TensorMoEError
from ..memory import check_memory
from ..typing import Array
from .activations import WEIGHTINGS, check_options
from .soft_rank import soft_ranks


def softmax(x: Array, axis: int = -1) -> Array:
    """Softmax: exp(x) divided by its sum. Use it if every expert should take part.

    Args:
        x: logits, floating point, any shape; an entry of -inf gets exactly 0.
        axis: the axis that sums to 1.

    Returns:
        An array of the same framework, shape and element type, computed in at least float32. A NaN or +inf
        makes its whole row NaN, without a warning.

    Raises:
        TensorMoEError: x is not a floating-point array or has no such axis, or (unless x is traced) a whole
            row is -inf.

    Examples:
        >>> import numpy as np
        >>> import tensormoe as tm
        >>> tm.softmax(np.array([0.0, np.log(3.0)]))
        array([0.25, 0.75])
    """
    return _along(WEIGHTINGS["softmax"], x, axis)


def sparsemax(x: Array, axis: int = -1) -> Array:
    """Sparsemax: the point of the simplex nearest to x; weights of low logits are exactly 0.

    Use it for few active experts; it is sparser than `entmax15`.

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

    It is the default of `tm.Gate`.

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

    Use it to choose the sparsity, or to learn it.

    Args:
        x: as for `softmax`.
        alpha: α from 1 to 4: a number, or a scalar array of x's framework, which may be learned.
        axis: the axis that is to sum to 1.

    Returns:
        As for `softmax`; differentiable with respect to x, and to α if it is a scalar array.

    Raises:
        TensorMoEError: as for `softmax`, and an α that is outside 1 … 4 or not a scalar.

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

    At k = 1 it is sparsemax of x/ε; for ε → 0 each of the k largest gets 1/k, and logits equal to the k-th
    share what is left.

    Args:
        x: as for `softmax`. In a row with fewer than k finite logits, these get equal weights.
        k: how many to choose, from 1 to the number of logits.
        eps: ε, positive; how soft the choice is, in units of x.
        axis: the axis that is to sum to 1.

    Returns:
        As for `softmax`.

    Raises:
        TensorMoEError: as for `softmax`, and an invalid k or ε.

    Source: Blondel, Teboul, Berthet and Djolonga, "Fast Differentiable Sorting and Ranking", 2020, the
    projection onto the permutahedron of k ones (definition 1). That polytope is the hypersimplex, so the
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
        x: as for `softmax`. Of logits equal to the k-th largest, the first are kept.
        k: how many to keep, from 1 to the number of logits.
        axis: the axis that is to sum to 1.

    Returns:
        As for `softmax`. It jumps where the k-th and the next logit trade places, and no derivative shows
        that.

    Raises:
        TensorMoEError: as for `softmax`, and an invalid k.

    Source: Shazeer et al., "Outrageously Large Neural Networks: The Sparsely-Gated Mixture-of-Experts
    Layer", 2017, equations 3 and 5, without the noise.

    Examples:
        >>> import numpy as np
        >>> import tensormoe as tm
        >>> tm.top_k(np.array([np.log(3.0), 0.0, -1.0]), k=2)
        array([0.75, 0.25, 0.  ])
    """
    return _along(WEIGHTINGS["top_k"], x, axis, k=k)


def relu(x: Array) -> Array:
    """ReLU: the positive logits, 0 elsewhere; the weights have no fixed sum.

    Use it if the sum of a token's coefficients may be large, small or 0.

    Args:
        x: as for `softmax`.

    Returns:
        An array of the same framework, shape and element type. The derivative at 0 is 0; a NaN stays NaN.

    Raises:
        TensorMoEError: x is not a floating-point array (…, N).

    Examples:
        >>> import numpy as np
        >>> import tensormoe as tm
        >>> tm.relu(np.array([2.0, 0.5, -1.0]))
        array([2. , 0.5, 0. ])
    """
    return _along(WEIGHTINGS["relu"], x, -1)


def sigmoid(x: Array) -> Array:
    """Sigmoid: 1/(1 + exp(−x)), so that experts don't compete; the weights have no fixed sum.

    Args, Returns and Raises: as for `relu`; computed in at least float32.

    Examples:
        >>> import numpy as np
        >>> import tensormoe as tm
        >>> tm.sigmoid(np.array([0.0, np.log(3.0)]))
        array([0.5 , 0.75])
    """
    return _along(WEIGHTINGS["sigmoid"], x, -1)


def relu_top_k(x: Array, k: int, axis: int = -1) -> Array:
    """ReLU of the k largest logits, 0 elsewhere: at most k experts; the weights have no fixed sum.

    Args:
        x: as for `softmax`. Of logits equal to the k-th largest, the first are kept.
        k: how many to keep, from 1 to the number of logits.
        axis: the axis of the experts.

    Returns:
        As for `relu`; a NaN makes its whole row NaN. It jumps where the k-th and the next logit trade places,
        unless both are negative.

    Raises:
        TensorMoEError: as for `relu`, and an invalid k.

    Source: Oldfield et al., "Towards Interpretability Without Sacrifice: Faithful Dense Layer Decomposition
    with Mixture of Decoders", 2025, section 2.

    Examples:
        >>> import numpy as np
        >>> import tensormoe as tm
        >>> tm.relu_top_k(np.array([2.0, 0.5, 1.0, -1.0]), k=2)
        array([2., 0., 1., 0.])
    """
    return _along(WEIGHTINGS["relu_top_k"], x, axis, k=k)


def jump_relu(x: Array, threshold: float) -> Array:
    """JumpReLU: the logits above a threshold, 0 elsewhere; the weights have no fixed sum.

    Args:
        x: as for `softmax`.
        threshold: at least 0. It is not learned.

    Returns:
        As for `relu`. It jumps at the threshold, and no derivative shows that.

    Raises:
        TensorMoEError: as for `relu`, and a threshold that is negative or not finite.

    Source: Rajamanoharan et al., "Jumping Ahead: Improving Reconstruction Fidelity with JumpReLU Sparse
    Autoencoders", 2024, equation 4; without its estimate of a derivative for the threshold.

    Examples:
        >>> import numpy as np
        >>> import tensormoe as tm
        >>> tm.jump_relu(np.array([2.0, 0.5, -1.0]), threshold=1.0)
        array([2., 0., 0.])
    """
    return _along(WEIGHTINGS["jump_relu"], x, -1, threshold=threshold)


def soft_rank(x: Array, eps: float = 1.0, descending: bool = True, axis: int = -1) -> Array:
    """Soft ranks: from hard ranks for ε → 0 to their mean for large ε. They sum to n(n+1)/2.

    They are not mixture weights: in a gate, use `soft_top_k`. Each row takes memory for n² numbers.

    Args:
        x: floating-point values of any shape. Entries of -inf rank below all others and get no gradient;
            equal entries share the mean of their ranks.
        eps: ε, positive; how soft the ranks are, in units of x.
        descending: whether the largest value has rank 1; otherwise the smallest has.
        axis: the axis along which values are ranked.

    Returns:
        An array of the same framework, shape and element type, computed in at least float32.

    Raises:
        TensorMoEError: as for `softmax`, and an invalid ε or `descending`.

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


def _soft_rank(ops: Backend, x: Array, eps: float, descending: bool) -> Array:
    needed = math.prod(x.shape) * x.shape[-1] * getattr(x.dtype, "itemsize", 1)
    check_memory("x", tuple(x.shape), "soft ranks", needed, ops.memory_of(x))
    # A row that has a NaN or +∞, or only −∞, becomes NaN.
    flaw = ops.stop_gradient(ops.max(x, axis=-1))[..., None] * 0
    return soft_ranks(ops, -x if descending else x, eps) + flaw


def _along(function: Callable[..., Array], x: Array, axis: int, **options: Any) -> Array:
    """Apply a function of the last axis along any axis, in at least float32."""
    ops = backend_of(x)
    check_kind(ops, "x", x)
    check_real(ops, "x", x, wider=True)
    dtype = ops.dtype_name(x)
    if isinstance(axis, bool) or not isinstance(axis, int) or not -x.ndim <= axis < x.ndim:
        raise TensorMoEError("axis", axis, f"pass an integer; x has {x.ndim} axes")
    if x.shape[axis] == 0:
        raise TensorMoEError("x", tuple(x.shape), f"axis {axis} is empty: pass at least one logit along it")
    options = check_options(options, x.shape[axis])
    last = axis in (-1, x.ndim - 1)
    logits = ops.cast(x if last else ops.moveaxis(x, axis, -1), at_least_float32(dtype))
    with ops.without_warnings():
        y = ops.cast(ops.compute_precisely(partial(function, **options), logits), dtype)
    # A row of -inf comes out as NaN: only then is it worth looking for one.
    if ops.holds(y[..., 0] == y[..., 0]) is False and not ops.holds(
        ops.max(logits, axis=-1) != -float("inf")
    ):
        raise TensorMoEError("x", "a row of -inf", "leave at least one entry of every row finite")
    return y if last else ops.moveaxis(y, -1, axis)
