"""Auxiliary losses of routers: functions of coefficients or logits that every framework differentiates."""

from collections.abc import Callable, Sequence
from typing import Any

from ..arrays.backend import Backend, at_least_float32
from ..arrays.checks import check_kind, check_real
from ..arrays.registry import backend_of
from ..errors import TensorMoEError, positive_integer
from ..typing import Array

# What a loss is of one level, from vectors (T, N).
Loss = Callable[[Backend, Array], Array]


def load_balance_loss(coefficients: Array | Sequence[Array], k: int = 1) -> Array:
    """The load-balancing loss of sparse mixtures: 1 for equal loads, N if one expert has all.

    Add a hundredth of it to the training loss, so that no expert starves. It takes coefficients that sum to
    1: those of a gate without a fixed sum, such as "relu", make it small by being small. For them use
    `load_entropy_loss`.

    Args:
        coefficients: one level (…, N), or E arrays (…, N_e) as a layer returns them, of any framework.
        k: how many experts each token is sent to: those with its k largest coefficients.

    Returns:
        N Σ_n f_n P_n, a scalar of the framework in at least float32: f_n is expert n's share of what tokens
        send, without a derivative, and P_n its mean coefficient. Of several levels the sum.

    Raises:
        TensorMoEError: not a floating-point array (…, N) with a token, or an invalid k.

    Source: Fedus, Zoph and Shazeer, "Switch Transformers: Scaling to Trillion Parameter Models with Simple
    and Efficient Sparsity", 2022, equations 4 to 6 without α; for k = 2 as Lepikhin et al., "GShard", 2020,
    but with both experts in f.

    Examples:
        >>> import numpy as np
        >>> import tensormoe as tm
        >>> float(tm.analysis.load_balance_loss(np.array([[0.75, 0.25], [0.25, 0.75]])))
        1.0
        >>> float(tm.analysis.load_balance_loss(np.array([[0.75, 0.25], [0.75, 0.25]])))
        1.5
    """
    chosen = positive_integer("k", k)

    def loss(ops: Backend, rows: Array) -> Array:
        tokens, experts = rows.shape
        if chosen > experts:
            raise TensorMoEError("k", k, f"there are {experts} experts: pass at most as many")
        constant = ops.stop_gradient(rows)
        left_out = ops.beyond_largest(constant, chosen)
        sent = ops.sum(ops.where(left_out, 0.0, ops.zeros_like(constant) + 1), axis=0)
        return ops.sum(sent * ops.sum(rows, axis=0)) * (experts / (chosen * tokens * tokens))

    return _add_levels("coefficients", coefficients, loss)


def z_loss(logits: Array | Sequence[Array]) -> Array:
    """The router's z-loss: the mean squared logarithm of the softmax's denominator.

    Add a thousandth of it to the training loss, so that logits stay small and half precision holds them.
    Its logarithm is that of a softmax gate. Of another gate it is only a bound, since ln Σ exp z lies from
    max z to max z + ln N, so that what it holds down is the largest logit. With a gate without a fixed sum,
    such as "relu", the logits are the coefficients: the loss then shrinks the mixture itself, and the least
    of it is not at 0 but where Σ exp z = 1, with all logits below 0 and no expert at work. To make such a
    gate sparse, penalise Σ a.

    Args:
        logits: the router's output: one level (…, N), or E arrays (…, N_e), of any framework. In PyTorch a
            forward hook on `layer.gate.router` sees it; `compute_gate` returns it.

    Returns:
        The mean over tokens of (ln Σ_n exp z_n)², a scalar of the framework in at least float32. Of several
        levels the sum.

    Raises:
        TensorMoEError: not a floating-point array (…, N) with a token.

    Source: Zoph et al., "ST-MoE: Designing Stable and Transferable Sparse Expert Models", 2022, equation 5.

    Examples:
        >>> import numpy as np
        >>> import tensormoe as tm
        >>> round(float(tm.analysis.z_loss(np.zeros((3, 4)))), 4)            # (ln 4)²
        1.9218
    """

    def loss(ops: Backend, rows: Array) -> Array:
        largest = ops.stop_gradient(ops.max(rows, axis=-1))
        logarithm = largest + ops.log(ops.sum(ops.exp(rows - largest[..., None]), axis=-1))
        return ops.sum(logarithm * logarithm) / rows.shape[0]

    return _add_levels("logits", logits, loss)


def token_entropy_loss(coefficients: Array | Sequence[Array]) -> Array:
    """The mean entropy of a token's coefficients: small where each token is certain of its expert.

    Use it with `load_entropy_loss`; alone, one expert for all tokens has the least. It sees shares a / Σ a
    alone: of a gate without a fixed sum it says nothing of how much a token's experts do together, and a
    token with no expert counts as certain.

    Args:
        coefficients: as for `load_balance_loss`.

    Returns:
        The mean over tokens of −Σ_n p_n ln p_n with p = a / Σ a, a scalar of the framework in at least
        float32. Of several levels the sum. A coefficient of exactly 0 gets no derivative.

    Raises:
        TensorMoEError: as `z_loss`.

    Source: Mustafa et al., "Multimodal Contrastive Learning with LIMoE: the Language-Image Mixture of
    Experts", 2022, the local entropy loss.

    Examples:
        >>> import numpy as np
        >>> import tensormoe as tm
        >>> round(float(tm.analysis.token_entropy_loss(np.array([[0.5, 0.5], [1.0, 0.0]]))), 4)
        0.3466
    """

    def loss(ops: Backend, rows: Array) -> Array:
        return ops.sum(_entropy(ops, rows)) / rows.shape[0]

    return _add_levels("coefficients", coefficients, loss)


def load_entropy_loss(coefficients: Array | Sequence[Array]) -> Array:
    """The negative entropy of the load: small where all experts do as much.

    Use it in place of `load_balance_loss` for soft gates, which send a token to all experts. Tokens count by
    their Σ a: of a gate without a fixed sum, those with large coefficients decide, and one without any is
    left out.

    Args:
        coefficients: as for `load_balance_loss`.

    Returns:
        Σ_n P_n ln P_n, where P_n is expert n's share of all coefficients, from −ln N to 0; a scalar of the
        framework in at least float32. Of several levels the sum.

    Raises:
        TensorMoEError: as `z_loss`.

    Source: Mustafa et al., "Multimodal Contrastive Learning with LIMoE: the Language-Image Mixture of
    Experts", 2022, the global entropy loss.

    Examples:
        >>> import numpy as np
        >>> import tensormoe as tm
        >>> round(float(tm.analysis.load_entropy_loss(np.array([[0.0, 1.0], [1.0, 0.0]]))), 4)
        -0.6931
    """

    def loss(ops: Backend, rows: Array) -> Array:
        return -_entropy(ops, ops.sum(rows, axis=0))

    return _add_levels("coefficients", coefficients, loss)


def _entropy(ops: Backend, weights: Array) -> Array:
    """The entropy of weights divided by their sum, over the last axis; 0 if all are 0."""
    total = ops.sum(weights, axis=-1, keepdims=True)
    # Where there is nothing, the logarithm of 1 keeps derivatives finite.
    shares = weights / ops.where(total > 0, total, 1.0)
    return -ops.sum(shares * ops.log(ops.where(shares > 0, shares, 1.0)), axis=-1)


def _add_levels(argument: str, arrays: Array | Sequence[Array], loss: Loss) -> Array:
    """The sum of the losses of all levels."""
    if not isinstance(arrays, list | tuple):
        return _apply(argument, arrays, loss)
    if not arrays:
        raise TensorMoEError(argument, arrays, "pass the arrays of at least one level")
    total, *others = (_apply(f"{argument}[{level}]", array, loss) for level, array in enumerate(arrays))
    for each in others:
        total = total + each
    return total


def _apply(argument: str, array: Any, loss: Loss) -> Array:
    try:
        ops = backend_of(array)
    except TensorMoEError as error:
        raise TensorMoEError(argument, type(array), error.remedy) from error
    array = ops.as_array(array)
    check_kind(ops, argument, array)
    check_real(ops, argument, array)
    if array.ndim == 0 or 0 in array.shape:
        raise TensorMoEError(argument, tuple(array.shape), "pass an array (…, N) with at least one token")
    wide = ops.cast(array, at_least_float32(ops.dtype_name(array)))
    return loss(ops, ops.reshape(wide, (-1, array.shape[-1])))
