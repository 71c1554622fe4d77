"""PyTorch's own nonlinearities, in memory that nothing else needs where that is allowed."""

from collections.abc import Callable
from functools import partial

import torch
from torch.nn import functional

from tensormoe.arrays import nonlinearities
from tensormoe.arrays.protocols import Elementwise, GateOps

from ._memory import is_disposable

_aten = torch.ops.aten
_VJP = Callable[[GateOps, torch.Tensor, torch.Tensor], torch.Tensor]


def _native(
    value: Callable[[torch.Tensor], torch.Tensor],
    within: Callable[[torch.Tensor], torch.Tensor],
    backward: Callable[..., torch.Tensor],
    differentiable: _VJP,
) -> Elementwise:
    """A function of PyTorch's.

    Args:
        value: from x to f(x).
        within: the same in the memory of x.
        backward: from a gradient and x to the gradient with respect to x, in the memory `grad_input`.
        differentiable: the `vjp` that may itself be differentiated.
    """

    def overwrite(ops: GateOps, x: torch.Tensor) -> torch.Tensor:
        return within(x) if is_disposable(x) else value(x)

    def vjp(ops: GateOps, x: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
        if is_disposable(gradient) and is_disposable(x):
            return backward(gradient, x, grad_input=gradient)
        return differentiable(ops, x, gradient)

    return Elementwise(lambda ops, x: value(x), vjp, overwrite)


def _gelu_vjp(ops: GateOps, x: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    pulled: torch.Tensor = _aten.gelu_backward(gradient, x)
    return pulled


def _relu_backward(gradient: torch.Tensor, x: torch.Tensor, *, grad_input: torch.Tensor) -> torch.Tensor:
    pulled: torch.Tensor = _aten.threshold_backward.grad_input(gradient, x, 0, grad_input=grad_input)
    return pulled


def _sigmoid_backward(gradient: torch.Tensor, x: torch.Tensor, *, grad_input: torch.Tensor) -> torch.Tensor:
    y = torch.sigmoid(x)
    pulled: torch.Tensor = _aten.sigmoid_backward.grad_input(gradient, y, grad_input=grad_input)
    return pulled


def _tanh_backward(gradient: torch.Tensor, x: torch.Tensor, *, grad_input: torch.Tensor) -> torch.Tensor:
    y = torch.tanh(x)
    pulled: torch.Tensor = _aten.tanh_backward.grad_input(gradient, y, grad_input=grad_input)
    return pulled


def _relu2_backward(gradient: torch.Tensor, x: torch.Tensor, *, grad_input: torch.Tensor) -> torch.Tensor:
    return grad_input.mul_(torch.relu(x).mul_(2))


def _quick_gelu_backward(
    gradient: torch.Tensor, x: torch.Tensor, *, grad_input: torch.Tensor
) -> torch.Tensor:
    # The function is SiLU of 1.702 x, divided by 1.702.
    pulled: torch.Tensor = _aten.silu_backward.grad_input(gradient, 1.702 * x, grad_input=grad_input)
    return pulled


_CORE = nonlinearities.NONLINEARITIES
NONLINEARITIES = {
    "gelu": _native(functional.gelu, _aten.gelu_, _aten.gelu_backward.grad_input, _gelu_vjp),
    "gelu_tanh": _native(
        partial(functional.gelu, approximate="tanh"),
        partial(_aten.gelu_, approximate="tanh"),
        partial(_aten.gelu_backward.grad_input, approximate="tanh"),
        _CORE["gelu_tanh"].vjp,
    ),
    "quick_gelu": _native(
        lambda x: x * torch.sigmoid(1.702 * x),
        lambda x: x.mul_(torch.sigmoid(1.702 * x)),
        _quick_gelu_backward,
        _CORE["quick_gelu"].vjp,
    ),
    "relu": _native(torch.relu, torch.relu_, _relu_backward, _CORE["relu"].vjp),
    "relu2": _native(
        lambda x: torch.relu(x).square(),
        lambda x: torch.relu_(x).square_(),
        _relu2_backward,
        _CORE["relu2"].vjp,
    ),
    "sigmoid": _native(torch.sigmoid, torch.sigmoid_, _sigmoid_backward, _CORE["sigmoid"].vjp),
    "silu": _native(functional.silu, _aten.silu_, _aten.silu_backward.grad_input, _CORE["silu"].vjp),
    "tanh": _native(torch.tanh, torch.tanh_, _tanh_backward, _CORE["tanh"].vjp),
}
