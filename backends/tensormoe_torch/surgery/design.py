"""What takes a module's place: a specification, and the module that is built from it."""

from dataclasses import dataclass

import torch
from torch import nn

from tensormoe.layers.block_spec import MuMoEBlockSpec
from tensormoe.layers.spec import Spec

from .._module import MuMoE, MuMoEBlock
from .dense import Dense
from .find import Place
from .linear import Linear


@dataclass(frozen=True)
class Design:
    """What is replaced, and by what.

    Args:
        place: the module.
        dense: what it computes with, if that is known.
        new: a specification, or a module of the caller's own.
    """

    place: Place
    dense: Dense | None
    new: Spec | nn.Module

    @property
    def outside(self) -> str | None:
        """The linear map beside the module that goes with it, by its name there: an identity takes its place.

        A block takes the place of both; a layer, or a module of the caller's own, that of the module alone.
        """
        if self.dense is None or not isinstance(self.new, MuMoEBlockSpec):
            return None
        return self.dense.outside

    @property
    def linears(self) -> tuple[Linear, ...]:
        """The linear maps that are replaced; none if they are not known."""
        if self.dense is None:
            return ()
        alone = self.dense.outside is not None and self.outside is None
        return (self.dense.first,) if alone else self.dense.linears

    @property
    def parameters(self) -> int:
        """The parameters that are replaced."""
        modules = [each.module for each in self.linears] or [self.place.module]
        return sum(parameter.numel() for module in modules for parameter in module.parameters())

    @property
    def macs(self) -> int | None:
        """The multiply-accumulates a token that are replaced; None if they are not known."""
        return sum(each.in_features * each.out_features for each in self.linears) or None

    def build(self) -> nn.Module:
        """The new module, with the element type, the device, the mode and the dropout of the old one."""
        if isinstance(self.new, nn.Module):
            return self.new
        old = self.place.module
        like = next((p for p in old.parameters() if p.is_floating_point()), torch.empty(0))
        kind = MuMoEBlock if isinstance(self.new, MuMoEBlockSpec) else MuMoE
        module = kind.from_spec(self.new, dtype=like.dtype, device=like.device)
        if self.dense is not None and self.dense.dropout is not None:
            module.add_module("dropout", self.dense.dropout)
            module.register_forward_hook(_drop)
        return module.train(old.training)


def _drop(module: nn.Module, inputs: object, output: object) -> object:
    """The dropout of a block's output, as a forward hook; coefficients that come with it stay as they are."""
    dropout = module.get_submodule("dropout")
    return (dropout(output[0]), *output[1:]) if isinstance(output, tuple) else dropout(output)
