"""Bytes: what the backward pass keeps."""

from typing import Any

import torch
from torch import nn


def saved_for_backward(module: nn.Module, x: torch.Tensor) -> int:
    """Bytes of the distinct storages that a forward pass keeps for the backward pass, parameters left out."""
    own = {p.untyped_storage().data_ptr() for p in module.parameters()}
    storages: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    def give(tensor: Any) -> Any:
        return tensor

    x = x.detach().clone().requires_grad_()
    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(keep, give):
        # The result holds the graph and so all storages: none is freed and counted again under its address.
        result = module(x)
    del result
    return sum(storages.values())
