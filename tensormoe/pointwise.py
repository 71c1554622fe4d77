"""The activation functions between the two layers of a block."""

from collections.abc import Callable
from math import pi, sqrt
from typing import Any

from .extras import Array


def _gelu(tl: Any, x: Array) -> Array:
    return tl.gelu(x)


def _gelu_tanh(tl: Any, x: Array) -> Array:
    return 0.5 * x * (1 + tl.tanh(sqrt(2 / pi) * (x + 0.044715 * x * x * x)))


def _relu(tl: Any, x: Array) -> Array:
    # Not a clip: frameworks differ in a clip's derivative at its bound.
    return tl.where(x > 0, x, tl.zeros_like(x))


def _silu(tl: Any, x: Array) -> Array:
    return 0.5 * x * (1 + tl.tanh(0.5 * x))


POINTWISE: dict[str, Callable[[Any, Array], Array]] = {
    "gelu": _gelu,
    "gelu_tanh": _gelu_tanh,
    "relu": _relu,
    "silu": _silu,
}
