"""PyTorch's own activation functions, in memory that nothing else needs where that is allowed."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch.nn import functional

from tensormoe.arrays import nonlinearities as pointwise
from tensormoe.arrays.protocols import Elementwise

from ._memory import disposable

_aten = torch.ops.aten
_Pull = Callable[[Any, torch.Tensor, torch.Tensor], torch.Tensor]


def _native(
    value: Callable[[torch.Tensor], torch.Tensor],
    within: Callable[[torch.Tensor], torch.Tensor],
    backward: Callable[..., torch.Tensor],
    differentiable: _Pull,
) -> Elementwise:
    """A function of PyTorch's.

    Args:
        value: from x to f(x).
        within: the same in the memory of x.
        backward: from a gradient and x to the gradient with respect to x, in the memory `grad_input`.
        differentiable: the `pull` that may itself be differentiated.
    """

    def overwrite(tl: Any, x: torch.Tensor) -> torch.Tensor:
        return within(x) if disposable(x) else value(x)

    def pull(tl: Any, x: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
        if disposable(gradient) and disposable(x):
            return backward(gradient, x, grad_input=gradient)
        return differentiable(tl, x, gradient)

    return Elementwise(lambda tl, x: value(x), pull, overwrite)


def _gelu_pull(tl: Any, x: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    pulled: torch.Tensor = _aten.gelu_backward(gradient, x)
    return pulled


def _relu_backward(gradient: torch.Tensor, x: torch.Tensor, *, grad_input: torch.Tensor) -> torch.Tensor:
    pulled: torch.Tensor = _aten.threshold_backward.grad_input(gradient, x, 0, grad_input=grad_input)
    return pulled


_CORE = pointwise.POINTWISE
POINTWISE = {
    "gelu": _native(functional.gelu, _aten.gelu_, _aten.gelu_backward.grad_input, _gelu_pull),
    "gelu_tanh": _native(
        partial(functional.gelu, approximate="tanh"),
        partial(_aten.gelu_, approximate="tanh"),
        partial(_aten.gelu_backward.grad_input, approximate="tanh"),
        _CORE["gelu_tanh"].pull,
    ),
    "relu": _native(torch.relu, torch.relu_, _relu_backward, _CORE["relu"].pull),
    "silu": _native(functional.silu, _aten.silu_, _aten.silu_backward.grad_input, _CORE["silu"].pull),
}
