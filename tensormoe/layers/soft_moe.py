"""The soft MoE: what a factorized layer must equal. It shares no code with what plans or lowers."""

from collections.abc import Sequence
from math import prod

from ..arrays.registry import backend_of
from ..errors import TensorMoEError
from ..typing import Array


def soft_moe(weight: Array, coefficients: Sequence[Array], x: Array) -> Array:
    """y_o = Σ W[n1 … nE, i, o] Π_e a_e[n_e] x[i], from the whole weight tensor.

    Every token is multiplied by its own weight matrix, the mix of all experts' matrices by its coefficients.
    This costs ∏N_e·I·O per token: use it as the definition to compare a layer with.

    Args:
        weight: W (N1, …, NE, I, O), or (N1, …, NE, I+1, O) whose last row is the experts' bias; (I, O) of a
            layer without experts.
        coefficients: E arrays (…, N_e).
        x: (…, I).

    Returns:
        y (…, O), in the framework of x.

    Raises:
        TensorMoEError: shapes that do not fit each other.

    Source: Oldfield et al., "Multilinear Mixture of Experts: Scalable Expert Specialization through
    Factorization", 2024, section 3.

    Examples:
        >>> import numpy as np
        >>> import tensormoe as tm
        >>> experts = np.array([[[1.0], [0.0]], [[0.0], [2.0]]])     # two experts, each 2 → 1
        >>> tm.soft_moe(experts, [np.array([0.5, 0.5])], np.array([3.0, 4.0]))
        array([5.5])
    """
    ops = backend_of(x)
    if not isinstance(coefficients, list | tuple):
        raise TensorMoEError("coefficients", type(coefficients), "pass a list of arrays, one for each level")
    arrays = (x, weight, *coefficients)
    if not all(ops.is_tensor(array) and "float" in ops.dtype_name(array) for array in arrays):
        kinds = [getattr(array, "dtype", type(array)) for array in arrays]
        remedy = f"pass arrays of the backend {ops.tensormoe_name}, dense and of a floating-point type"
        raise TensorMoEError("x, weight, coefficients", kinds, remedy)
    if any(array.dtype != x.dtype or _has_values(array) != _has_values(x) for array in arrays):
        kinds = [array.dtype for array in arrays]
        raise TensorMoEError("x, weight, coefficients", kinds, "pass arrays of one type and on one device")
    if len(x.shape) == 0 or len(weight.shape) < 2:
        shapes = tuple(x.shape), tuple(weight.shape)
        raise TensorMoEError("x, weight", shapes, "pass x (…, I) and weight (N1, …, NE, I[+1], O)")
    leading, in_features = tuple(x.shape[:-1]), x.shape[-1]
    *experts, rows, out_features = weight.shape
    if rows not in (in_features, in_features + 1):
        raise TensorMoEError(
            "x", tuple(x.shape), f"weight has {rows} input rows: pass {rows} or {rows - 1} features"
        )
    expected = [(*leading, n) for n in experts]
    if [tuple(a.shape) for a in coefficients] != expected:
        received = [tuple(a.shape) for a in coefficients]
        raise TensorMoEError("coefficients", received, f"weight and x call for shapes {expected}")
    tokens = prod(leading)
    mixture = ops.reshape(ops.zeros_like(x[..., :1]) + 1, (tokens, 1))
    for a in coefficients:
        pairs = mixture[:, :, None] * ops.reshape(a, (tokens, 1, a.shape[-1]))
        mixture = ops.reshape(pairs, (tokens, pairs.shape[1] * pairs.shape[2]))
    flat = ops.reshape(weight, (prod(experts), rows * out_features))
    matrices = ops.reshape(ops.matmul(mixture, flat), (tokens, rows, out_features))
    y = ops.matmul(ops.reshape(x, (tokens, 1, in_features)), matrices[:, :in_features])
    y = ops.reshape(y, (tokens, out_features))
    if rows > in_features:
        y = y + matrices[:, in_features]
    return ops.reshape(y, (*leading, out_features))


def _has_values(array: Array) -> bool:
    """Whether a tensor is not on PyTorch's meta device, where there are only shapes."""
    return not getattr(array, "is_meta", False)
