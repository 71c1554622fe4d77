"""Sums over the processes of `torch.distributed`."""

import torch
import torch.distributed as dist


def over_processes(tensor: torch.Tensor) -> torch.Tensor:
    """The sum of a constant over all processes; the tensor itself if there is only one."""
    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return tensor
    total = tensor.detach().clone()
    dist.all_reduce(total)
    return total
