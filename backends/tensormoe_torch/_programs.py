"""Programs under PyTorch's differentiation: what is kept between forward and backward, and how much."""

from typing import Any

import torch

from tensormoe.arrays.backend import Backend
from tensormoe.arrays.protocols import Runnable

from ._memory import is_readable
from ._private import clear_saved_tensors, is_in_forward_mode

# From this many elements on, this reverse mode saves more time than its calls from Python take.
_LARGE = 2**21


def compute(
    ops: Backend, program: Runnable, operands: tuple[torch.Tensor, ...], recompute: bool
) -> torch.Tensor:
    """A program's output, with reverse mode by `Program.backward` where that pays."""
    if _own_reverse_mode(operands, recompute):
        result: torch.Tensor = _Program.apply(ops, program, recompute, *operands)  # type: ignore[no-untyped-call]
        return result
    output: torch.Tensor = program.run(ops, operands)
    return output.contiguous()


def _own_reverse_mode(operands: tuple[torch.Tensor, ...], recompute: bool) -> bool:
    """Whether PyTorch is to ask us for gradients: not where it traces, maps or differentiates forwards."""
    if not torch.is_grad_enabled() or torch.compiler.is_compiling() or is_in_forward_mode(operands):
        return False
    if not all(is_readable(operand) for operand in operands) or not any(x.requires_grad for x in operands):
        return False
    return recompute or sum(operand.numel() for operand in operands) >= _LARGE


class _Program(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, ops: Backend, program: Runnable, recompute: bool, *operands: torch.Tensor
    ) -> torch.Tensor:
        result, registers = program.forward(ops, operands, recompute)
        ctx.ops, ctx.program = ops, program
        # What is not kept has only a shape.
        ctx.shapes = [None if isinstance(each, torch.Tensor) else each for each in registers]
        ctx.save_for_backward(*(each for each in registers if isinstance(each, torch.Tensor)))
        device = operands[0].device.type
        ctx.autocast = device, torch.get_autocast_dtype(device), torch.is_autocast_enabled(device)
        output: torch.Tensor = result.contiguous()
        return output

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        program: Runnable = ctx.program
        saved = iter(ctx.saved_tensors)
        registers = [next(saved) if shape is None else shape for shape in ctx.shapes]
        clear_saved_tensors(ctx)
        wanted = [n for n, needed in enumerate(ctx.needs_input_grad[3:]) if needed]
        device, dtype, enabled = ctx.autocast
        with torch.autocast(device, dtype, enabled):
            if torch.is_grad_enabled():
                # For a second derivative intermediate values have to depend on the operands: computed again.
                _, registers = program.forward(ctx.ops, registers[: program.num_operands])
            return None, None, None, *program.backward(ctx.ops, registers, gradient, wanted)
