"""Plans of blocks: their layers as one program, and its costs."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod

from ..arrays.protocols import Nonlinearity
from ..typing import Shape
from .layouts import count_saved
from .plan import Plan
from .program import Program, chain


@dataclass(frozen=True)
class BlockPlan:
    """The plans of a block's layers, with the nonlinearity before the last; printed one after the other.

    Args:
        layers: the plan of each layer by its name in `spec.layers`.
        nonlinearity: a name, or a function of the user's own.

    Examples:
        >>> import tensormoe as tm
        >>> plan = tm.MuMoEBlockSpec(8, 16, 6, experts=4, factorization=tm.CP(rank=5)).plan(batch_size=10)
        >>> plan.macs == plan.layers["first"].macs + plan.layers["second"].macs
        True
    """

    layers: Mapping[str, Plan]
    nonlinearity: Nonlinearity

    @cached_property
    def program(self) -> Program:
        """The program of all layers as one: of x, the coefficients, and the cores of each."""
        return chain([plan.program for plan in self._plans], [*map(_levels, self._plans)], self.nonlinearity)

    @property
    def batch_size(self) -> int:
        """The number of input vectors that the costs are given for."""
        return self._plans[0].batch_size

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all layers."""
        return sum(plan.macs for plan in self._plans)

    @property
    def traffic(self) -> int:
        """Elements that the steps of all layers read and write; see `Plan.traffic`."""
        return sum(plan.traffic for plan in self._plans)

    @property
    def parameters(self) -> int:
        """Elements of the trained cores of all layers."""
        return sum(plan.parameters for plan in self._plans)

    @property
    def peak(self) -> int:
        """The largest of the layers' peaks, each with the results that wait meanwhile to be multiplied."""
        *before, last = self._plans
        hidden = prod(last.shapes[0])
        return max(last.peak, *(number * hidden + plan.peak for number, plan in enumerate(before)))

    @cached_property
    def saved(self) -> int:
        """Elements of intermediate results that training keeps for the backward pass; see `Plan.saved`."""
        return count_saved(self.program, self._shapes, recompute=False)

    @cached_property
    def saved_recomputing(self) -> int:
        """The same in a block that recomputes: `recompute=True` in PyTorch and JAX."""
        return count_saved(self.program, self._shapes, recompute=True)

    @property
    def _plans(self) -> tuple[Plan, ...]:
        return tuple(self.layers.values())

    @property
    def _shapes(self) -> tuple[Shape, ...]:
        """The shapes of what the program takes: x, the coefficients, and the cores of all layers."""
        mixed = max(self._plans, key=_levels)
        coefficients = mixed.shapes[1 : 1 + _levels(mixed)]
        cores = (shape for plan in self._plans for shape in plan.shapes[1 + _levels(plan) :])
        return (self._plans[0].shapes[0], *coefficients, *cores)

    def __repr__(self) -> str:
        return f"<BlockPlan: {self.macs:,} MACs at batch size {self.batch_size:,}>"

    def __str__(self) -> str:
        saved = f"saved for backward: {self.saved:,} elements, {self.saved_recomputing:,} recomputing"
        return "\n\n".join([*(f"{_title(name, plan)}\n{plan}" for name, plan in self.layers.items()), saved])


def _title(name: str, plan: Plan) -> str:
    """A layer's name and, since (8, 16) could be taken for the experts of two layers, its levels."""
    counts = [shape[-1] for shape in plan.shapes[1 : 1 + _levels(plan)]]
    if len(counts) < 2:
        return f"{name} layer"
    levels = f"{len(counts)} levels of {' and '.join(map(str, counts))}"
    return f"{name} layer, {prod(counts):,} experts on {levels}"


def _levels(plan: Plan) -> int:
    """The expert levels of a layer, whose coefficients follow x."""
    return len(plan.contraction.data) - 1
