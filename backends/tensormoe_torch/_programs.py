"""Programs under PyTorch's differentiation: what is kept between forward and backward, and how much."""

from typing import Any

import torch
import torch.autograd.forward_ad as fwAD

from tensormoe.arrays.backend import Backend
from tensormoe.programs.program import Program, Shaped

from ._memory import at_hand

# From this many elements on, our own reverse mode saves more than its calls from Python take.
_LARGE = 2**21


def compute(
    ops: Backend, program: Program, operands: tuple[torch.Tensor, ...], recompute: bool
) -> torch.Tensor:
    """A program's output, with reverse mode by `Program.backward` where that pays."""
    if _own_reverse_mode(operands, recompute):
        result: torch.Tensor = _Program.apply(ops, program, recompute, *operands)  # type: ignore[no-untyped-call]
        return result
    result = program.run(ops, operands)
    return result.contiguous()


def _own_reverse_mode(operands: tuple[torch.Tensor, ...], recompute: bool) -> bool:
    """Whether PyTorch is to ask us for gradients: not where it traces, maps or differentiates forwards."""
    if not torch.is_grad_enabled() or torch.compiler.is_compiling() or fwAD._current_level >= 0:
        return False
    if not all(at_hand(operand) for operand in operands) or not any(x.requires_grad for x in operands):
        return False
    return recompute or sum(operand.numel() for operand in operands) >= _LARGE


class _Program(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, ops: Backend, program: Program, recompute: bool, *operands: torch.Tensor
    ) -> torch.Tensor:
        result, registers = program.forward(ops, operands, recompute)
        ctx.ops, ctx.program = ops, program
        ctx.shapes = [each if isinstance(each, Shaped) else None for each in registers]
        ctx.save_for_backward(*(each for each in registers if isinstance(each, torch.Tensor)))
        device = operands[0].device.type
        ctx.autocast = device, torch.get_autocast_dtype(device), torch.is_autocast_enabled(device)
        output: torch.Tensor = result.contiguous()
        return output

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        program: Program = ctx.program
        saved = iter(ctx.saved_tensors)
        registers = [next(saved) if shape is None else shape for shape in ctx.shapes]
        if hasattr(ctx, "maybe_clear_saved_tensors"):
            # Else PyTorch holds all of them until the end, though the graph is not used again.
            ctx.maybe_clear_saved_tensors()
        wanted = [n for n, needed in enumerate(ctx.needs_input_grad[3:]) if needed]
        device, dtype, enabled = ctx.autocast
        with torch.autocast(device, dtype, enabled):
            if torch.is_grad_enabled():
                # For a second derivative intermediate values have to depend on the operands: computed again.
                _, registers = program.forward(ctx.ops, registers[: program.num_operands])
            return None, None, None, *program.backward(ctx.ops, registers, gradient, wanted)
