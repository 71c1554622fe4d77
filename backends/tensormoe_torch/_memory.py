"""Which results may be written to memory that is chosen here, and which memory that is."""

import torch

from ._private import count_modes, is_tracing, is_transformed

# Rows that start at a multiple of this many elements are written by whole vector registers.
_ALIGNMENT = 8
# Below this many elements the choice of memory takes longer than it saves.
_WORTHWHILE = 2**16


def is_readable(tensor: torch.Tensor) -> bool:
    """Whether Python can read a tensor's values: it is not traced, mapped or without storage."""
    return (
        not torch.compiler.is_compiling()
        # Of a traced call, by torch.jit or make_fx, the graph is wanted; values would become constants in it.
        and not is_tracing()
        and not count_modes()
        and not tensor.is_meta
        and type(tensor) in (torch.Tensor, torch.nn.Parameter)
        and not is_transformed(tensor)
        and not (tensor.is_cuda and torch.cuda.is_current_stream_capturing())
    )


def is_disposable(tensor: torch.Tensor) -> bool:
    """Whether a tensor made here may be overwritten: its values are readable and no derivative needs them."""
    return is_readable(tensor) and not (torch.is_grad_enabled() and tensor.requires_grad)


def allocate_aligned(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor | None:
    """Memory for the product of two large matrices, if its rows would otherwise start anywhere.

    On CPUs a product whose columns are not a multiple of the vector registers' width takes up to a quarter
    longer, unless its rows are padded so that each starts at such a multiple.
    """
    columns = b.shape[-1]
    padding = -columns % _ALIGNMENT
    if padding == 0 or a.dim() != 2 or b.dim() != 2 or not (is_readable(a) and is_readable(b)):
        return None
    if a.shape[0] * columns < _WORTHWHILE or not (a.is_cpu and b.is_cpu) or torch.is_autocast_enabled("cpu"):
        return None
    if a.dtype != b.dtype or a.dtype not in (torch.float32, torch.float64):
        return None
    if torch.is_grad_enabled() and (a.requires_grad or b.requires_grad):
        return None
    return a.new_empty(a.shape[0], columns + padding)[:, :columns]
