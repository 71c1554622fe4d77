"""What a replacement changed, in PyTorch: swapped modules, and their rows of the table."""

from dataclasses import dataclass

from torch import nn

from tensormoe.layers.replacement import Replacement, Row, describe_spec
from tensormoe.layers.spec import Spec

from .design import Design

__all__ = ["Replacement", "Row", "Swap", "describe"]


@dataclass(frozen=True)
class Swap:
    """A module that takes another's place in its parent."""

    parent: nn.Module
    attribute: str
    old: nn.Module
    new: nn.Module

    def do(self) -> None:
        """Put the new module in."""
        setattr(self.parent, self.attribute, self.new)

    def undo(self) -> None:
        """Put the old module back, in the mode that the new one is in."""
        setattr(self.parent, self.attribute, self.old.train(self.new.training))


def describe(design: Design, new: Spec | nn.Module) -> Row:
    """The row of a replaced module; in a dry run a specification stands for what would be built."""
    spec = getattr(new, "spec", None) if isinstance(new, nn.Module) else new
    fixed = 0
    if isinstance(spec, Spec):
        after, parameters, macs = describe_spec(spec), spec.num_parameters, spec.macs
        fixed = spec.num_fixed
    elif isinstance(new, nn.Module):
        after, macs = type(new).__name__, None
        parameters = sum(parameter.numel() for parameter in new.parameters())
    before = type(design.place.module).__name__ + (f", {design.outside}" if design.outside else "")
    costs = design.parameters, parameters, design.macs, macs
    return Row(design.place.names, before, after, *costs, fixed)
