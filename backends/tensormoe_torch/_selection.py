"""Slices of tensors by integer indices, and gradients added where they were read."""

from collections.abc import Sequence

import torch

from tensormoe.arrays.selection import first, front, key_of
from tensormoe.typing import Shape

_PLAIN = (torch.Tensor, torch.nn.Parameter)


class TorchSelection:
    """The operations of `ProgramOps` that read and write by indices."""

    def can_gather(self, arrays: Sequence[torch.Tensor], /) -> bool:
        # Sharded and quantized tensors may lack these operations.
        return all(type(each) in _PLAIN for each in arrays)

    def is_accelerated(self, x: torch.Tensor, /) -> bool:
        return not x.is_cpu

    def choose(self, coefficients: torch.Tensor, k: int, /) -> torch.Tensor:
        # NaN is larger than any number.
        return torch.topk(coefficients.detach().abs(), k, sorted=False).indices

    def take(self, coefficients: torch.Tensor, indices: torch.Tensor, /) -> torch.Tensor:
        return torch.gather(coefficients, -1, indices)

    def put(self, gradient: torch.Tensor, indices: torch.Tensor, like: torch.Tensor, /) -> torch.Tensor:
        # No place occurs twice in a row, so nothing is added in an order that changes.
        return gradient.new_zeros(tuple(like.shape)).scatter(-1, indices, gradient)

    def gather(self, array: torch.Tensor, indices: Sequence[torch.Tensor], axes: Shape, /) -> torch.Tensor:
        if axes == (0,) and array.is_cpu:
            # Whole rows are copied several times as fast as by an indexing expression.
            (rows,) = indices
            return array.index_select(0, rows.flatten()).reshape(*rows.shape, *array.shape[1:])
        read: torch.Tensor = array[key_of(indices, axes, array.dim())]
        order = front(axes, array.dim())
        return read if order == tuple(range(read.dim())) else read.permute(order)

    def scatter(
        self, gradient: torch.Tensor, indices: Sequence[torch.Tensor], axes: Shape, like: torch.Tensor, /
    ) -> torch.Tensor:
        zeros = gradient.new_zeros(tuple(like.shape))
        if axes == (0,) and gradient.is_cpu:
            (rows,) = indices
            return zeros.index_add(0, rows.flatten(), gradient.flatten(0, 1))
        order = first(axes, zeros.dim())
        key = key_of(indices, tuple(range(len(axes))), len(axes))
        # On a GPU this adds in the same order each time, which index_add does not.
        total = zeros.permute(order).index_put(key, gradient, accumulate=True)
        return total.permute(sorted(range(len(order)), key=order.__getitem__))
