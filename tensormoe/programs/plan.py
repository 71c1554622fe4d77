"""Plans: a contraction path from opt_einsum, its program and its cost, found from shapes alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import prod
from typing import TypeVar

import opt_einsum

from ..errors import TensorMoEError, positive_integer
from ..networks.notation import BATCH, Indices
from ..tables import table
from ..typing import Shape
from .contraction import Contraction, dense_contraction
from .lowering import Pair, Step, lower
from .program import Program

Chosen = TypeVar("Chosen")

# The batch sizes for which a layer has paths to choose from, and the size at which each is looked for.
_BUCKETS = ((182, 1024), (23, 64), (3, 8), (0, 1))
# A smaller batch gets a path of its own only if that takes at most this share of the operations.
_WORTHWHILE = 0.9

# Up to this many operands opt_einsum tries every path, and up to this many its dynamic programming. Either
# takes some ten milliseconds there and exponentially more above; its heuristics are quick at any number.
_EXHAUSTIVE, _DYNAMIC = 6, 12


@dataclass(frozen=True)
class PlannedStep:
    """A step with its cost at the plan's batch size.

    Args:
        expression: the product in index notation, "x[… i] input[i r] → t2[… r]".
        kind: "matmul", "batched matmul" or "multiply".
        macs: multiply-accumulates; a `multiply` accumulates nothing and counts 0.
        size: elements of the result.
    """

    expression: str
    kind: str
    macs: int
    size: int


@dataclass(frozen=True)
class Plan:
    """How a contraction is computed, and what that costs.

    Args:
        contraction: what is computed.
        batch_size: the number of input vectors for which the path was chosen and the costs are given.
        path: opt_einsum's: for each step the positions of its operands among the live tensors.
        steps: the pairwise products, in order.
        program: the same as instructions, for any batch size.
        peak: the largest number of elements that the results of steps hold at one time. Operands are
            the caller's and not counted, nor are copies that a change of layout may take in passing.
    """

    contraction: Contraction
    batch_size: int
    path: tuple[Pair, ...]
    steps: tuple[PlannedStep, ...]
    program: Program
    peak: int

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all steps."""
        return sum(step.macs for step in self.steps)

    @cached_property
    def soft_moe(self) -> "Plan":
        """The plan of the same layer with its weight tensor materialized."""
        return plan(dense_contraction(self.contraction), self.batch_size)

    @property
    def parameters(self) -> int:
        """Elements of the operands without a batch: the cores."""
        sizes = dict(self.contraction.sizes)
        cores = (op.indices for op in self.contraction.operands if BATCH not in op.indices)
        return sum(prod(sizes[index] for index in indices) for indices in cores)

    def at(self, batch_size: int) -> "Plan":
        """The same path with the costs at another batch size."""
        return _along(self.contraction, self.path, batch_size)

    def __str__(self) -> str:
        return _plan_table(self)


@dataclass(frozen=True)
class BlockPlan:
    """The plans of a block's two layers; printed one after the other."""

    first: Plan
    second: Plan

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

    def __str__(self) -> str:
        return f"first layer\n{self.first}\n\nsecond layer\n{self.second}"


def plan(contraction: Contraction, batch_size: int, memory_limit: int | None = None) -> Plan:
    """Find the path with the fewest operations, lower it, and count its cost.

    Args:
        contraction: what to compute.
        batch_size: the number of input vectors to plan for; the program serves any.
        memory_limit: the largest intermediate allowed, in elements, or None.

    Raises:
        TensorMoEError: a size that is no positive integer, or a memory limit that no pairwise path meets.
    """
    batch_size = positive_integer("batch_size", batch_size)
    if memory_limit is not None:
        memory_limit = positive_integer("memory_limit", memory_limit)
    return _plan(contraction, batch_size, memory_limit)


@lru_cache(maxsize=1024)
def _plan(contraction: Contraction, batch_size: int, memory_limit: int | None) -> Plan:
    sizes = {**dict(contraction.sizes), BATCH: batch_size}
    return _along(contraction, _path(contraction, sizes, memory_limit), batch_size)


@lru_cache(maxsize=1024)
def plans_by_batch(contraction: Contraction) -> tuple[tuple[int, Plan], ...]:
    """The plans by which a layer runs, each with the batch size from which on it is used, falling to 0.

    What a large batch repays, such as multiplying cores with each other first, may cost a single vector tens
    of times what it needs.
    """
    found: list[tuple[int, Plan]] = []
    for least, batch_size in _BUCKETS:
        own = plan(contraction, batch_size)
        if found and own.macs > _WORTHWHILE * found[-1][1].at(batch_size).macs:
            own = found.pop()[1]
        found.append((least, own))
    return tuple(found)


def _along(contraction: Contraction, path: tuple[Pair, ...], batch_size: int) -> Plan:
    """The plan of a path."""
    sizes = {**dict(contraction.sizes), BATCH: batch_size}
    program, steps = lower(contraction, path)
    planned = tuple(_priced(step, sizes) for step in steps)
    return Plan(contraction, batch_size, path, planned, program, _peak(steps, planned))


def _path(contraction: Contraction, sizes: dict[str, int], memory_limit: int | None) -> tuple[Pair, ...]:
    symbols = {index: opt_einsum.get_symbol(n) for n, index in enumerate(sizes)}
    terms = ["".join(symbols[index] for index in op.indices) for op in contraction.operands]
    output = "".join(symbols[index] for index in contraction.output)
    shapes = [tuple(sizes[index] for index in op.indices) for op in contraction.operands]
    expression = f"{','.join(terms)}->{output}"
    searches = ["auto"] + ["dp"] * (len(terms) <= _DYNAMIC) + ["optimal"] * (len(terms) <= _EXHAUSTIVE)
    found = [_searched(search, expression, shapes, memory_limit) for search in searches]
    fitting = [candidate for candidate in found if candidate is not None]
    if not fitting:
        least = prod(sizes[index] for index in contraction.output)
        raise TensorMoEError(
            "memory_limit",
            memory_limit,
            "no sequence of pairwise products that was found keeps every intermediate within this many "
            f"elements (the output alone holds {least}): raise the limit or plan for a smaller batch",
        )
    _, _, path = min(fitting)
    return path


def _searched(
    search: str, expression: str, shapes: Sequence[Shape], memory_limit: int | None
) -> tuple[int, int, tuple[Pair, ...]] | None:
    """Operations, largest intermediate and path of one search; None if it found none within the limit."""
    try:
        path, info = opt_einsum.contract_path(
            expression, *shapes, shapes=True, optimize=search, memory_limit=memory_limit
        )
    except RuntimeError:  # how opt_einsum's dynamic programming says so
        return None
    # Its other searches answer with one n-ary step, thousands of times as slow, or exceed the limit.
    if any(len(pair) > 2 for pair in path):
        return None
    if memory_limit is not None and info.largest_intermediate > memory_limit:
        return None
    return int(info.opt_cost), int(info.largest_intermediate), tuple(tuple(pair) for pair in path)


def _priced(step: Step, sizes: dict[str, int]) -> PlannedStep:
    def shown(name: str, indices: Indices) -> str:
        return f"{name}[{' '.join(indices)}]"

    left, right, result = step.left, step.right, step.result
    size = prod(sizes[index] for index in result.indices)
    macs = size * prod(sizes[index] for index in step.summed) if step.summed else 0
    expression = (
        f"{shown(left.name, left.indices)} {shown(right.name, right.indices)} "
        f"→ {shown(result.name, result.indices)}"
    )
    return PlannedStep(expression, step.kind, macs, size)


def _peak(steps: tuple[Step, ...], planned: tuple[PlannedStep, ...]) -> int:
    live: dict[str, int] = {}
    peak = 0
    for step, cost in zip(steps, planned, strict=True):
        live[step.result.name] = cost.size
        peak = max(peak, sum(live.values()))
        live.pop(step.left.name, None)
        live.pop(step.right.name, None)
    return peak


def _plan_table(plan: Plan) -> str:
    """A plan's steps, totals, and the soft MoE's figures beside them."""
    steps = [
        (f"{number}  {step.expression}", step.kind, f"{step.macs:,}", f"{step.size:,}")
        for number, step in enumerate(plan.steps, start=1)
    ]
    text = table(("step", "kind", "MACs", "elements"), steps, text_columns=2)
    soft = plan.soft_moe
    figures = [
        ("MACs", plan.macs, soft.macs),
        ("peak live elements", plan.peak, soft.peak),
        ("parameters", plan.parameters, soft.parameters),
    ]
    totals = [(name, f"{ours:,}", f"{theirs:,}", f"{theirs / ours:,.1f} ×") for name, ours, theirs in figures]
    heading = f"total at batch size {plan.batch_size:,}"
    return text + "\n\n" + table((heading, "this plan", "soft MoE", "ratio"), totals)


def for_batch(choices: tuple[tuple[int, Chosen], ...], batch_size: int) -> Chosen:
    """The choice for a batch of this size, from pairs of the least batch size and what is used from there."""
    return next(choice for least, choice in choices if batch_size >= least)
