"""The nonlinearities between the two layers of a block, with their derivatives."""

from math import pi, sqrt

from ..errors import TensorMoEError
from ..typing import Array
from .protocols import Elementwise, GateOps


def _no_error_function(ops: GateOps, *_: Array) -> Array:
    raise TensorMoEError(
        "nonlinearity", "gelu", f"the backend {ops.tensormoe_name} has no error function: use 'gelu_tanh'"
    )


def _cubic_tanh(ops: GateOps, x: Array) -> Array:
    return ops.tanh(sqrt(2 / pi) * (x + 0.044715 * x * x * x))


def _gelu_tanh(ops: GateOps, x: Array) -> Array:
    return 0.5 * x * (1 + _cubic_tanh(ops, x))


def _gelu_tanh_vjp(ops: GateOps, x: Array, gradient: Array) -> Array:
    tanh = _cubic_tanh(ops, x)
    slope = sqrt(2 / pi) * (1 + 3 * 0.044715 * x * x)
    return gradient * (0.5 * (1 + tanh) * (1 + x * (1 - tanh) * slope))


def _relu(ops: GateOps, x: Array) -> Array:
    # Not a clip: frameworks differ in a clip's derivative at its bound.
    return ops.where(x > 0, x, ops.zeros_like(x))


def _relu_vjp(ops: GateOps, x: Array, gradient: Array) -> Array:
    return ops.where(x > 0, gradient, ops.zeros_like(x))


def _silu(ops: GateOps, x: Array) -> Array:
    return 0.5 * x * (1 + ops.tanh(0.5 * x))


def _silu_vjp(ops: GateOps, x: Array, gradient: Array) -> Array:
    sigmoid = 0.5 * (1 + ops.tanh(0.5 * x))
    return gradient * (sigmoid * (1 + x * (1 - sigmoid)))


NONLINEARITIES: dict[str, Elementwise] = {
    "gelu": Elementwise(_no_error_function, _no_error_function),
    "gelu_tanh": Elementwise(_gelu_tanh, _gelu_tanh_vjp),
    "relu": Elementwise(_relu, _relu_vjp),
    "silu": Elementwise(_silu, _silu_vjp),
}
