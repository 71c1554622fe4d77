"""TensorLy's PyTorch backend with the operations that it lacks."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from tensorly.backend.pytorch_backend import PyTorchBackend

from tensormoe.backend import Elementwise, Extras


class _Differentiable(torch.autograd.Function):
    """A function with a symmetric Jacobian J, known through its product: J v in both modes."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: torch.Tensor, function: Elementwise) -> torch.Tensor:
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


class TorchBackend(Extras, PyTorchBackend, backend_name="tensormoe-torch"):  # type: ignore[misc, call-arg]
    """Arrays are `torch.Tensor`, on any device."""

    tensormoe_name = "torch"

    def cast(self, array: torch.Tensor, dtype: str) -> torch.Tensor:
        return array.to(getattr(torch, dtype))

    def from_numpy(self, array: Any, like: torch.Tensor | None = None) -> torch.Tensor:
        # A copy: the caller's array stays the caller's.
        tensor = torch.tensor(array)
        return tensor if like is None else tensor.to(like.device)

    def stop_gradient(self, array: torch.Tensor) -> torch.Tensor:
        return array.detach()

    def gelu(self, x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.gelu(x)

    def softmax(self, x: torch.Tensor) -> torch.Tensor:
        return torch.softmax(x, dim=-1)

    def differentiable(self, function: Elementwise, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = _Differentiable.apply(x, function)  # type: ignore[no-untyped-call]
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
