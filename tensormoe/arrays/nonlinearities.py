"""The nonlinearities between the layers of a block, with their derivatives; and the user's own."""

from collections.abc import Callable
from functools import partial
from math import pi, sqrt
from types import FunctionType

from ..errors import TensorMoEError, one_of, shape_of
from ..typing import Array
from .protocols import Elementwise, GateOps, Nonlinearity


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


def _relu2(ops: GateOps, x: Array) -> Array:
    positive = _relu(ops, x)
    return positive * positive


def _relu2_vjp(ops: GateOps, x: Array, gradient: Array) -> Array:
    return gradient * (2 * _relu(ops, x))


def _sigmoid(ops: GateOps, x: Array) -> Array:
    return 0.5 * (1 + ops.tanh(0.5 * x))


def _sigmoid_vjp(ops: GateOps, x: Array, gradient: Array) -> Array:
    sigmoid = _sigmoid(ops, x)
    return gradient * (sigmoid * (1 - sigmoid))


def _tanh_vjp(ops: GateOps, x: Array, gradient: Array) -> Array:
    tanh = ops.tanh(x)
    return gradient * (1 - tanh * tanh)


def _silu(ops: GateOps, x: Array) -> Array:
    return x * _sigmoid(ops, x)


def _silu_vjp(ops: GateOps, x: Array, gradient: Array) -> Array:
    sigmoid = _sigmoid(ops, x)
    return gradient * (sigmoid * (1 + x * (1 - sigmoid)))


def _quick_gelu(ops: GateOps, x: Array) -> Array:
    return x * _sigmoid(ops, 1.702 * x)


def _quick_gelu_vjp(ops: GateOps, x: Array, gradient: Array) -> Array:
    # The function is SiLU of 1.702 x, divided by 1.702.
    return _silu_vjp(ops, 1.702 * x, gradient)


NONLINEARITIES: dict[str, Elementwise] = {
    "gelu": Elementwise(_no_error_function, _no_error_function),
    "gelu_tanh": Elementwise(_gelu_tanh, _gelu_tanh_vjp),
    "quick_gelu": Elementwise(_quick_gelu, _quick_gelu_vjp),
    "relu": Elementwise(_relu, _relu_vjp),
    "relu2": Elementwise(_relu2, _relu2_vjp),
    "silu": Elementwise(_silu, _silu_vjp),
    "sigmoid": Elementwise(_sigmoid, _sigmoid_vjp),
    "tanh": Elementwise(lambda ops, x: ops.tanh(x), _tanh_vjp),
    "identity": Elementwise(lambda ops, x: x, lambda ops, x, gradient: gradient),
}


def check_nonlinearity(value: object) -> None:
    """Raise an error unless a value is a nonlinearity's name, or a function."""
    if not callable(value):
        one_of("nonlinearity", value, tuple(NONLINEARITIES))


def name_of(function: Nonlinearity) -> str:
    """What a nonlinearity is called in plans, proofs and reports."""
    if isinstance(function, str):
        return function
    name = function.__name__ if isinstance(function, FunctionType) else type(function).__name__
    return name if name.isidentifier() else "f"


def own(function: Callable[[Array], Array]) -> Elementwise:
    """A function of the user's own, differentiated by the framework that it computes in."""
    return Elementwise(partial(_own, function), partial(_own_vjp, function))


def _own(function: Callable[[Array], Array], ops: GateOps, x: Array) -> Array:
    y = function(x)
    shape = shape_of(y)
    if shape != tuple(x.shape):
        remedy = f"it must return an array of the shape that it is given, {tuple(x.shape)}"
        raise TensorMoEError("nonlinearity", shape, remedy)
    return y


def _own_vjp(function: Callable[[Array], Array], ops: GateOps, x: Array, gradient: Array) -> Array:
    pulled = ops.gradients(partial(_own, function, ops), (x,), gradient)
    if pulled is None:
        remedy = f"the backend {ops.tensormoe_name} cannot differentiate a function of your own: use a name"
        raise TensorMoEError("nonlinearity", name_of(function), remedy)
    return pulled[0]
