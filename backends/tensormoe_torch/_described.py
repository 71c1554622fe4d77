"""What code that expects `nn.Linear` asks of a layer: sizes, element type, device."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from tensormoe.layers.spec import Spec

Groups = tuple[str, ...]


class Described(nn.Module):
    """A module that holds a specification, and its tensors in groups."""

    spec: Spec
    _gate_groups: Groups
    _mixture_groups: Groups

    @property
    def in_features(self) -> int:
        """I."""
        return self.spec.in_features

    @property
    def out_features(self) -> int:
        """O."""
        return self.spec.out_features

    @property
    def experts(self) -> tuple[int, ...]:
        """The number of experts of each level, (N1, …, NE)."""
        return self.spec.experts

    @property
    def dtype(self) -> torch.dtype:
        """The element type of the parameters."""
        return self._parameter().dtype

    @property
    def device(self) -> torch.device:
        """The device of the parameters."""
        return self._parameter().device

    def _parameter(self) -> torch.Tensor:
        """One of the parameters; the gate's, if there is one, as they are never quantized."""
        group: Any = self._modules[(self._gate_groups or self._mixture_groups)[0]]
        parameter: torch.Tensor = next(iter(group.values()))
        return parameter

    def _tensors(self, groups: Groups, x: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
        """The tensors of groups by their full names. Each group is called, as tools hook that."""
        modules: Mapping[str, Any] = self._modules
        tensors: dict[str, torch.Tensor] = {}
        for group in groups:
            tensors = {**tensors, **modules[group](x)} if tensors else modules[group](x)
        return tensors
