"""Sums over the processes of `torch.distributed` that share a batch."""

import warnings
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
import torch.distributed as dist
from torch.autograd.function import once_differentiable

from tensormoe.errors import TensorMoEError
from tensormoe.gates.call import nothing_to_reduce
from tensormoe.typing import AllReduce

# What a pickle holds in place of a group of processes, which means nothing elsewhere.
_LOST = "a group of the processes that saved this module"


@dataclass(frozen=True)
class Processes:
    """The processes that share a module's batch, and what is summed over them.

    Args:
        group: the process group; by default all processes.
        synchronized: whether `norm="batch"` normalises over all of them.
        evaluation: whether statistics of the batch are summed outside training, too.
    """

    group: Any = None
    synchronized: bool = False
    evaluation: bool = False

    def sums(self, training: bool, normalizes: bool) -> tuple[AllReduce, AllReduce]:
        """The sums for the statistics of a router and for those of a batch norm.

        Args:
            training: whether the module trains.
            normalizes: whether it has a batch norm.
        """
        if not training and not self.evaluation:
            return nothing_to_reduce, nothing_to_reduce
        if self.synchronized:
            return self.sum, self.sum
        if normalizes and not torch.compiler.is_compiling() and self._are_several():
            _warn_of_shares()
        return self.sum, nothing_to_reduce

    def sum(self, tensor: torch.Tensor) -> torch.Tensor:
        """The sum of a constant over the processes; the tensor itself if there is only one."""
        if not self._are_several():
            return tensor
        if self.group == _LOST:
            remedy = "call tensormoe_torch.synchronize(model, process_group=...) after loading"
            raise TensorMoEError("process_group", self.group, remedy)
        total = tensor.detach().clone()
        dist.all_reduce(total, group=self.group)
        return total

    def _are_several(self) -> bool:
        if not (dist.is_available() and dist.is_initialized()):
            return False
        return dist.get_world_size(None if self.group == _LOST else self.group) > 1

    def __deepcopy__(self, memo: dict[int, Any]) -> "Processes":
        return self  # immutable, and its group belongs to this process

    def __reduce__(self) -> tuple[type["Processes"], tuple[Any, bool, bool]]:
        return Processes, (None if self.group is None else _LOST, self.synchronized, self.evaluation)


class SumOverProcesses(torch.autograd.Function):
    """A sum over processes by a function that autograd need not know.

    Every process has all of the sum, so the gradient of each summand is the sum of their gradients.
    """

    @staticmethod
    def forward(ctx: Any, tensor: torch.Tensor, function: AllReduce) -> torch.Tensor:
        ctx.function = function
        total: torch.Tensor = function(tensor.detach().clone())
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        return ctx.function(gradient.contiguous()), None


@cache
def _warn_of_shares() -> None:
    warnings.warn(
        'norm="batch" trains on several processes and normalises by each one\'s share of the batch: call '
        'tensormoe_torch.synchronize(model), or use norm="layer"',
        stacklevel=2,
    )
