"""Plans of blocks: two layers as one program, and its costs."""

from dataclasses import dataclass
from functools import cached_property

from ..networks.notation import BATCH
from ..typing import Shape
from .layouts import count_saved
from .plan import Plan
from .program import Program, chain


@dataclass(frozen=True)
class BlockPlan:
    """The plans of a block's two layers, with the nonlinearity between them; printed one after the other.

    Examples:
        >>> import tensormoe as tm
        >>> plan = tm.MuMoEBlockSpec(8, 16, 6, experts=4, factorization=tm.CP(rank=5)).plan(batch_size=10)
        >>> plan.macs == plan.first.macs + plan.second.macs
        True
    """

    first: Plan
    second: Plan
    nonlinearity: str

    @cached_property
    def program(self) -> Program:
        """The program of both layers as one: of x, the coefficients, and the cores of each."""
        return chain(self.first.program, self.second.program, self._levels, self.nonlinearity)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of both layers."""
        return self.first.macs + self.second.macs

    @property
    def parameters(self) -> int:
        """Elements of the cores of both layers."""
        return self.first.parameters + self.second.parameters

    @property
    def peak(self) -> int:
        """The larger of the two layers' peaks."""
        return max(self.first.peak, self.second.peak)

    @cached_property
    def saved(self) -> int:
        """Elements of intermediate results that training keeps for the backward pass; see `Plan.saved`."""
        return count_saved(self.program, self._shapes, recompute=False)

    @cached_property
    def saved_recomputing(self) -> int:
        """The same in a block that recomputes: `recompute=True` in PyTorch and JAX."""
        return count_saved(self.program, self._shapes, recompute=True)

    @property
    def _shapes(self) -> tuple[Shape, ...]:
        """The shapes of what the program takes: x, the coefficients, and the cores of both layers."""
        return (*self.first.shapes, *self.second.shapes[1 + self._levels :])

    @property
    def _levels(self) -> int:
        return sum(BATCH in op.indices for op in self.first.contraction.operands) - 1

    def __repr__(self) -> str:
        return f"<BlockPlan: {self.macs:,} MACs at batch size {self.first.batch_size:,}>"

    def __str__(self) -> str:
        saved = f"saved for backward: {self.saved:,} elements, {self.saved_recomputing:,} recomputing"
        return f"first layer\n{self.first}\n\nsecond layer\n{self.second}\n\n{saved}"
