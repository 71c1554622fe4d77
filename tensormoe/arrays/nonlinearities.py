"""The activation functions between the two layers of a block, with their derivatives."""

from math import pi, sqrt
from typing import Any

from ..errors import TensorMoEError
from ..typing import Array
from .protocols import Elementwise


def elementwise(tl: Any, name: str) -> Elementwise:
    """The activation function of this name in `POINTWISE`; the framework's own, where it has one."""
    own: Elementwise | None = tl.pointwise.get(name)
    return POINTWISE[name] if own is None else own


def _no_error_function(tl: Any, *_: Array) -> Array:
    raise TensorMoEError(
        "activation", "gelu", f"{tl.tensormoe_name} offers no error function: use 'gelu_tanh'"
    )


def _cubic_tanh(tl: Any, x: Array) -> Array:
    return tl.tanh(sqrt(2 / pi) * (x + 0.044715 * x * x * x))


def _gelu_tanh(tl: Any, x: Array) -> Array:
    return 0.5 * x * (1 + _cubic_tanh(tl, x))


def _gelu_tanh_pull(tl: Any, x: Array, gradient: Array) -> Array:
    tanh = _cubic_tanh(tl, x)
    slope = sqrt(2 / pi) * (1 + 3 * 0.044715 * x * x)
    return gradient * (0.5 * (1 + tanh) * (1 + x * (1 - tanh) * slope))


def _relu(tl: Any, x: Array) -> Array:
    # Not a clip: frameworks differ in a clip's derivative at its bound.
    return tl.where(x > 0, x, tl.zeros_like(x))


def _relu_pull(tl: Any, x: Array, gradient: Array) -> Array:
    return tl.where(x > 0, gradient, tl.zeros_like(x))


def _silu(tl: Any, x: Array) -> Array:
    return 0.5 * x * (1 + tl.tanh(0.5 * x))


def _silu_pull(tl: Any, x: Array, gradient: Array) -> Array:
    sigmoid = 0.5 * (1 + tl.tanh(0.5 * x))
    return gradient * (sigmoid * (1 + x * (1 - sigmoid)))


POINTWISE: dict[str, Elementwise] = {
    "gelu": Elementwise(_no_error_function, _no_error_function),
    "gelu_tanh": Elementwise(_gelu_tanh, _gelu_tanh_pull),
    "relu": Elementwise(_relu, _relu_pull),
    "silu": Elementwise(_silu, _silu_pull),
}
