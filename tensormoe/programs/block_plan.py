"""Plans of blocks: their layers as one program, and its costs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod

from ..arrays.protocols import Nonlinearity
from ..displays import write_line
from ..typing import Shape
from .contraction import name_operands
from .layouts import count_saved
from .plan import Plan
from .program import Program, chain_registers


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
        return chain_plans(self._plans, self.nonlinearity)

    @property
    def batch_size(self) -> int:
        """The number of input vectors that the costs are given for."""
        return self._plans[0].batch_size

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all layers; those of a step that several take are counted once."""
        return sum(plan.macs for plan in self._plans) - self.common

    @cached_property
    def common(self) -> int:
        """Multiply-accumulates that are spared, since layers that share cores have steps in common.

        Examples:
            >>> import tensormoe as tm
            >>> block = tm.MuMoEBlockSpec(8, 16, 6, experts=4, factorization=tm.CP(rank=5), shared="expert1")
            >>> block.plan(batch_size=10).common == 10 * 4 * 5
            True
        """
        _, registers = _chain(self._plans, self.nonlinearity)
        known: set[int] = set()
        spared = 0
        for plan, places in zip(self._plans, registers, strict=True):
            results = [places[register] for register in plan.results]
            spared += sum(step.macs for step, at in zip(plan.steps, results, strict=True) if at in known)
            known |= {*results}
        return spared

    @property
    def traffic(self) -> int:
        """Elements that the steps of all layers read and write; see `Plan.traffic`."""
        return sum(plan.traffic for plan in self._plans)

    @property
    def parameters(self) -> int:
        """Elements of the trained cores of all layers, those of a shared one counted once."""
        fixed = {(n, name) for n, plan in enumerate(self._plans) for name in plan.contraction.fixed}
        return sum(prod(shape) for name, shape in self._cores.items() if name not in fixed)

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
        return (self._plans[0].shapes[0], *coefficients, *self._cores.values())

    @property
    def _cores(self) -> dict[tuple[int, str], Shape]:
        """The shapes of the cores of all layers, those of a shared one once."""
        names = name_operands([plan.contraction for plan in self._plans])
        pairs = zip(names, self._plans, strict=True)
        return {
            name: shape
            for own, plan in pairs
            for name, shape in zip(own, plan.shapes[1 + _levels(plan) :], strict=True)
        }

    def __repr__(self) -> str:
        return f"<BlockPlan: {self.macs:,} MACs at batch size {self.batch_size:,}>"

    def __str__(self) -> str:
        tables = (f"{_title(name, plan)}\n{plan}" for name, plan in self.layers.items())
        return "\n\n".join([*tables, *self._remarks])

    def _repr_html_(self) -> str:
        tables = (write_line(_title(name, plan)) + plan._repr_html_() for name, plan in self.layers.items())
        return "".join([*tables, *map(write_line, self._remarks)])

    @property
    def _remarks(self) -> list[str]:
        saved = f"saved for backward: {self.saved:,} elements, {self.saved_recomputing:,} recomputing"
        shared = [f"in common to layers that share cores: {self.common:,} MACs"] if self.common else []
        return [*shared, saved]


def chain_plans(plans: Sequence[Plan], function: Nonlinearity) -> Program:
    """The program of layers as one, which takes each shared core once."""
    return _chain(plans, function)[0]


def _chain(plans: Sequence[Plan], function: Nonlinearity) -> tuple[Program, list[list[int]]]:
    names = name_operands([plan.contraction for plan in plans])
    return chain_registers([plan.program for plan in plans], [*map(_levels, plans)], function, names)


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
