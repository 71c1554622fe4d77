"""What the steps of a plan cost."""

from dataclasses import dataclass
from math import prod

from ..networks.notation import Indices
from .steps import Step


@dataclass(frozen=True)
class PlannedStep:
    """A step with its cost at the plan's batch size.

    Args:
        expression: the product in index notation, "x[… i] input[i r] → t2[… r]".
        kind: "matmul", "batched matmul", "multiply" or, between the terms of a sum, "add"; "gather" where a
            core's slices are read for each token, "pad" where data are filled up with zeros.
        macs: multiply-accumulates; only products that sum count any.
        size: elements of the result.

    Examples:
        >>> import tensormoe as tm
        >>> plan = tm.MuMoESpec(8, 6, experts=4, factorization=tm.CP(rank=5), bias=False).plan(batch_size=10)
        >>> plan.steps[0].expression, plan.steps[0].macs
        ('x[… i] input[i r] → t1[… r]', 400)
    """

    expression: str
    kind: str
    macs: int
    size: int


def price(step: Step, sizes: dict[str, int]) -> PlannedStep:
    """A step with its cost at the given sizes."""
    size = prod(sizes[index] for index in step.result.indices)
    macs = size * prod(sizes[index] for index in step.summed) if step.summed else 0
    sign = {"add": " + ", "gather": " at "}.get(step.kind, " ")
    factors = sign.join(show(each.name, each.indices) for each in step.factors)
    return PlannedStep(f"{factors} → {show(step.result.name, step.result.indices)}", step.kind, macs, size)


def show(name: str, indices: Indices) -> str:
    """A tensor with its indices, "x[… i]"."""
    return f"{name}[{' '.join(indices)}]"


def count_peak(steps: tuple[Step, ...], planned: tuple[PlannedStep, ...]) -> int:
    """The largest number of elements that the results of steps hold at one time."""
    live: dict[str, int] = {}
    peak = 0
    last = {each.name: n for n, step in enumerate(steps) for each in step.factors}
    for n, (step, cost) in enumerate(zip(steps, planned, strict=True)):
        live[step.result.name] = cost.size
        peak = max(peak, sum(live.values()))
        for name in {each.name for each in step.factors}:
            if last[name] == n:
                live.pop(name, None)
    return peak
