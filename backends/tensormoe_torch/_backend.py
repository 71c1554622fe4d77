"""TensorLy's PyTorch backend with the operations that it lacks."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from tensorly.backend.pytorch_backend import PyTorchBackend

from tensormoe.backend import Differentiable, Extras


class _Differentiable(torch.autograd.Function):
    """A function with a symmetric Jacobian J, known through the product J v."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: torch.Tensor, function: Differentiable) -> torch.Tensor:
        result: torch.Tensor = function.value(backend, x)
        return result

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
        ctx.function = inputs[1]
        ctx.save_for_backward(output)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        (output,) = ctx.saved_tensors
        return ctx.function.jacobian_product(backend, output, gradient), None


class _InBothModes(_Differentiable):
    """The same with forward mode, which torch.compile does not trace."""

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
        _Differentiable.setup_context(ctx, inputs, output)
        ctx.save_for_forward(output)

    @staticmethod
    def jvp(ctx: Any, tangent: torch.Tensor, _: None) -> torch.Tensor:
        (output,) = ctx.saved_tensors
        product: torch.Tensor = ctx.function.jacobian_product(backend, output, tangent)
        return product


class TorchBackend(Extras, PyTorchBackend, backend_name="tensormoe-torch"):  # type: ignore[misc, call-arg]
    """Arrays are `torch.Tensor`, on any device."""

    tensormoe_name = "torch"

    def cast(self, array: torch.Tensor, dtype: str) -> torch.Tensor:
        return array.to(getattr(torch, dtype))

    def from_numpy(self, array: Any) -> torch.Tensor:
        return torch.tensor(array)  # a copy: the caller's array stays the caller's

    def stop_gradient(self, array: torch.Tensor) -> torch.Tensor:
        return array.detach()

    def gelu(self, x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.gelu(x)

    def softmax(self, x: torch.Tensor) -> torch.Tensor:
        return torch.softmax(x, dim=-1)

    def differentiable(self, function: Differentiable, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor
        if torch.is_grad_enabled() and x.requires_grad:
            kind = _Differentiable if torch.compiler.is_compiling() else _InBothModes
            result = kind.apply(x, function)  # type: ignore[no-untyped-call]
        else:
            # autograd.Function costs tens of microseconds a call, which evaluation need not pay.
            result = function.value(self, x)
        return result

    def gradients(
        self,
        function: Callable[..., torch.Tensor],
        inputs: Sequence[torch.Tensor],
        cotangent: torch.Tensor,
    ) -> tuple[torch.Tensor, ...]:
        leaves = [tensor.detach().requires_grad_() for tensor in inputs]
        return torch.autograd.grad(function(*leaves), leaves, cotangent)

    def mixes_precision(self) -> bool:
        return torch.is_autocast_enabled("cpu") or torch.is_autocast_enabled("cuda")


backend = TorchBackend()
