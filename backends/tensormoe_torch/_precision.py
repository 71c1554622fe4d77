"""Matrix products that keep their precision in a backward pass, wherever that is called from."""

from typing import Any

import torch

from ._private import is_in_forward_mode, is_transformed


class _Product(torch.autograd.Function):
    """A product of two matrices. PyTorch's own derivative is a product that autocast casts, if it is on."""

    @staticmethod
    def forward(ctx: Any, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(a, b)
        return torch.mm(a, b)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        a, b = ctx.saved_tensors
        by_a, by_b = ctx.needs_input_grad
        with torch.autocast(a.device.type, enabled=False):
            return (
                multiply_precisely(gradient, b.mT) if by_a else None,
                multiply_precisely(a.mT, gradient) if by_b else None,
            )


def multiply_precisely(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """The matrix product, for use where autocast is off for a while."""
    differentiated = torch.is_grad_enabled() and (a.requires_grad or b.requires_grad)
    if not differentiated or a.dim() != 2 or b.dim() != 2 or torch.compiler.is_compiling():
        return torch.matmul(a, b)
    if is_in_forward_mode((a, b)) or is_transformed(a) or is_transformed(b):
        return torch.matmul(a, b)
    product: torch.Tensor = _Product.apply(a, b)  # type: ignore[no-untyped-call]
    return product
