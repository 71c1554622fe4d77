"""Gate activations: logits to mixture weights, each with its exact derivative.

The Jacobians of these maps are symmetric (they are gradients of convex functions), so one product with a
vector serves forward and reverse mode.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .backend import Array, backend_of
from .errors import TensorMoEError


@dataclass(frozen=True)
class _Entmax15:
    """p = [z − τ]₊² with z = x/2 and the τ for which p sums to 1.

    The excess ‖[z − τ]₊‖₂ − 1 is convex and decreasing in τ, so Newton's iteration from the left of its root
    climbs to it without overshooting, and divides excess times slope by four at least in every step. That
    product starts at N or less: log₄ N steps bring it to 1, where the convergence is quadratic.
    """

    def value(self, tl: Any, x: Array) -> Array:
        z = x / 2
        z = z - tl.max(z, axis=-1)[..., None]
        tau = -1
        for _ in range(4 + (int(x.shape[-1]).bit_length() + 1) // 2):
            excess = tl.clip(z - tau, 0)
            squares = tl.sum(excess * excess, axis=-1, keepdims=True)
            tau = tau + (squares - tl.sqrt(squares)) / tl.sum(excess, axis=-1, keepdims=True)
        excess = tl.clip(z - tau, 0)
        squares = excess * excess
        return squares / tl.sum(squares, axis=-1, keepdims=True)

    def jacobian_product(self, tl: Any, y: Array, v: Array) -> Array:
        inside = y > 0
        # Two `where`s, so that differentiating once more meets no infinite slope at 0.
        root = tl.where(inside, tl.sqrt(tl.where(inside, y, y + 1)), y * 0)
        mean = tl.sum(root * v, axis=-1) / tl.sum(root, axis=-1)
        return root * (v - mean[..., None])


def _softmax(tl: Any, x: Array) -> Array:
    # Every framework has its own, with its own exact derivative.
    return tl.softmax(x)


def _entmax15(tl: Any, x: Array) -> Array:
    return tl.differentiable(_Entmax15(), x)


ACTIVATIONS: dict[str, Callable[[Any, Array], Array]] = {"softmax": _softmax, "entmax15": _entmax15}


def softmax(x: Array, axis: int = -1) -> Array:
    """Softmax: exp(x) divided by its sum.

    Args:
        x: logits, floating point, any shape.
        axis: the axis that is to sum to 1.

    Returns:
        The same framework's array of the same shape and element type; computed in float32 at least.

    Examples:
        >>> import numpy as np
        >>> import tensormoe as tm
        >>> tm.softmax(np.array([0.0, np.log(3.0)]))
        array([0.25, 0.75])
    """
    return _along("softmax", x, axis)


def entmax15(x: Array, axis: int = -1) -> Array:
    """1.5-entmax: between softmax and sparsemax; weights of low logits are exactly 0.

    Args:
        x: logits, floating point, any shape.
        axis: the axis that is to sum to 1.

    Returns:
        The same framework's array of the same shape and element type; computed in float32 at least.

    Source: Peters, Niculae and Martins, "Sparse Sequence-to-Sequence Models", 2019, definition 1 with
    α = 1.5. The threshold is found by Newton's iteration and not by sorting.

    Examples:
        >>> import numpy as np
        >>> import tensormoe as tm
        >>> tm.entmax15(np.array([2.0, 2.0, -1.0]))
        array([0.5, 0.5, 0. ])
    """
    return _along("entmax15", x, axis)


def _along(name: str, x: Array, axis: int) -> Array:
    tl = backend_of(x)
    dtype = tl.dtype_name(x)
    if "float" not in dtype:
        raise TensorMoEError("x", dtype, "pass logits of a floating-point type")
    if not isinstance(axis, int) or not -x.ndim <= axis < x.ndim:
        raise TensorMoEError("axis", axis, f"pass an integer; x has {x.ndim} axes")
    if x.shape[axis] == 0:
        raise TensorMoEError("x", tuple(x.shape), f"axis {axis} has no entries that could sum to 1")
    last = axis in (-1, x.ndim - 1)
    logits = x if last else tl.moveaxis(x, axis, -1)
    y = tl.cast(ACTIVATIONS[name](tl, tl.cast(logits, at_least_float32(dtype))), dtype)
    return y if last else tl.moveaxis(y, -1, axis)


def at_least_float32(dtype: str) -> str:
    """The type that gates and normalisations compute in: float32 in place of the half-precision ones."""
    return "float32" if dtype in ("float16", "bfloat16") else dtype
