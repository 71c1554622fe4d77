"""Plans: a contraction's path, its program and its cost, for any batch size."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import prod
from typing import TypeAlias, TypeVar

from ..displays import draw_table, write_line
from ..errors import non_negative_integer, positive_integer
from ..networks.notation import BATCH
from ..tables import fold, table
from ..typing import Shape
from .contraction import Contraction, dense_contraction
from .copies import Copy, find_copies
from .costs import PlannedStep, count_peak, price, show
from .layouts import count_saved
from .path import Optimize, Path, find_path
from .program import Program
from .steps import Step
from .sums import lower_sum
from .traffic import count_traffic

Choice = TypeVar("Choice")
# The headings of a table, and its cells.
Rows: TypeAlias = tuple[Sequence[str], Sequence[Sequence[str]]]

# The smallest batch size that each of a layer's paths is chosen for, and the size it is searched at.
LARGE_BATCH = 1024
_BUCKETS = ((182, LARGE_BATCH), (23, 64), (3, 8), (0, 1))
# Smaller batches get their own path only if it takes at most this share of the operations.
_WORTHWHILE = 0.9


@dataclass(frozen=True)
class Plan:
    """How a contraction is computed, and what it costs.

    Args:
        contraction: what is computed.
        batch_size: the number of input vectors for which the path was chosen and the costs are given.
        path: for each step the positions of its operands among the live tensors, as in opt_einsum.
        steps: the pairwise products, in order.
        program: the steps as instructions, for any batch size.
        peak: the largest number of elements that the results of steps hold at one time. Operands belong to
            the caller and are not counted, nor are temporary copies for a change of layout.

    Examples:
        >>> import tensormoe as tm
        >>> plan = tm.MuMoESpec(8, 6, experts=4, factorization=tm.CP(rank=5), bias=False).plan(batch_size=10)
        >>> plan.macs, plan.soft_moe.macs
        (900, 1920)
    """

    contraction: Contraction
    batch_size: int
    path: Path
    steps: tuple[PlannedStep, ...]
    program: Program
    peak: int

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all steps."""
        return sum(step.macs for step in self.steps)

    @property
    def largest(self) -> int:
        """Elements of the largest result of a step."""
        return max(step.size for step in self.steps)

    @cached_property
    def traffic(self) -> int:
        """Elements that the steps read and write; with few tokens, what takes most of their time.

        Examples:
            >>> import tensormoe as tm
            >>> stage = tm.MuMoESpec(64, 64, 256, tm.Dense()).stage
            >>> stage.plan(batch_size=1).traffic // stage.plan(batch_size=1, active=2).traffic
            41
        """
        return count_traffic(self.program, self.shapes)

    @cached_property
    def saved(self) -> int:
        """Elements of intermediate results that training keeps from the forward for the backward pass."""
        return count_saved(self.program, self.shapes, recompute=False)

    @cached_property
    def saved_recomputing(self) -> int:
        """The same in a layer that recomputes: `recompute=True` in PyTorch and JAX."""
        return count_saved(self.program, self.shapes, recompute=True)

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """The shapes of the operands at the plan's batch size."""
        sizes = {**dict(self.contraction.sizes), BATCH: self.batch_size}
        x, *others = (tuple(sizes[index] for index in op.indices) for op in self.contraction.arrays)
        # The constant 1 that multiplies the bias is appended on the way.
        return (*x[:-1], x[-1] - self.contraction.affine), *others

    @cached_property
    def copies(self) -> tuple[Copy, ...]:
        """The cores that every call copies first, each with the notation that would avoid it."""
        return find_copies(self.contraction, self.path, self.program)

    @cached_property
    def soft_moe(self) -> "Plan":
        """The plan of the same layer with its weight tensor materialized."""
        return plan(dense_contraction(self.contraction), self.batch_size)

    @property
    def results(self) -> tuple[int, ...]:
        """The program's register of each step's result."""
        return tuple(step.result.register for step in _lower(self.contraction, self.path)[1])

    @property
    def parameters(self) -> int:
        """Elements of the operands without a batch that are trained: the cores."""
        return self._count_cores(fixed=False)

    @property
    def fixed(self) -> int:
        """Elements of the cores that are not trained."""
        return self._count_cores(fixed=True)

    def _count_cores(self, fixed: bool) -> int:
        sizes = dict(self.contraction.sizes)
        cores = self.contraction.arrays[len(self.contraction.data) :]
        chosen = [core for core in cores if (core.name in self.contraction.fixed) == fixed]
        return sum(prod(sizes[index] for index in core.indices) for core in chosen)

    def at(self, batch_size: int) -> "Plan":
        """The same path with the costs at another batch size."""
        return follow(self.contraction, self.path, non_negative_integer("batch_size", batch_size))

    def __str__(self) -> str:
        return _write(self)

    def __repr__(self) -> str:
        return f"<Plan: {len(self.steps)} steps, {self.macs:,} MACs at batch size {self.batch_size:,}>"

    def _repr_html_(self) -> str:
        tables = draw_table(*_steps(self), text_columns=2), draw_table(*_totals(self))
        return "".join((*tables, *map(write_line, _remarks(self))))


def plan(
    contraction: Contraction,
    batch_size: int,
    optimize: Optimize = "auto",
    memory_limit: int | None = None,
) -> Plan:
    """Find the path with the fewest operations, lower it, and count its cost.

    Args:
        contraction: what to compute.
        batch_size: the number of input vectors to plan for; the program serves any.
        optimize: "auto", the name of one of opt_einsum's searches, or a path.
        memory_limit: the largest intermediate allowed, in elements, or None.

    Raises:
        TensorMoEError: a batch size that is not a positive integer, or a memory limit that no path meets.
    """
    return _plan(contraction, positive_integer("batch_size", batch_size), optimize, memory_limit)


@lru_cache(maxsize=1024)
def _plan(contraction: Contraction, batch_size: int, optimize: Optimize, memory_limit: int | None) -> Plan:
    return follow(contraction, find_path(contraction, batch_size, optimize, memory_limit), batch_size)


@lru_cache(maxsize=1024)
def plans_by_batch(
    contraction: Contraction, optimize: Optimize = "auto", memory_limit: int | None = None
) -> tuple[tuple[int, Plan], ...]:
    """The plans of a layer, each with the smallest batch size that it is chosen for, falling to 0.

    A path that pays off for a large batch, such as multiplying cores with each other first, can cost a single
    vector tens of times what it needs. With a memory limit, every plan meets it for all batches that it is
    chosen for, up to 1,024 vectors.
    """
    paths: list[Path] = []
    for _, batch_size in _BUCKETS:
        paths.append(find_path(contraction, batch_size, optimize, memory_limit, paths))
    kept: list[tuple[int, Plan]] = []
    largest_batch = LARGE_BATCH
    for least, batch_size in _BUCKETS:
        plans = [follow(contraction, path, batch_size) for path in dict.fromkeys(paths)]
        fitting = [each for each in plans if _fits(each.at(largest_batch), memory_limit)]
        own = min(fitting, key=lambda each: (each.macs, each.peak))
        if kept and own.macs > _WORTHWHILE * kept[-1][1].at(batch_size).macs:
            own = kept.pop()[1]
        kept.append((least, own))
        largest_batch = least - 1
    return tuple(kept)


def _fits(plan: Plan, memory_limit: int | None) -> bool:
    return memory_limit is None or plan.largest <= memory_limit


@lru_cache(maxsize=1024)
def follow(contraction: Contraction, path: Path, batch_size: int) -> Plan:
    """The plan of a path."""
    sizes = {**dict(contraction.gathered.sizes), BATCH: batch_size}
    program, steps = _lower(contraction, path)
    planned = tuple(price(step, sizes) for step in steps)
    return Plan(contraction, batch_size, path, planned, program, count_peak(steps, planned))


@lru_cache(maxsize=1024)
def _lower(contraction: Contraction, path: Path) -> tuple[Program, tuple[Step, ...]]:
    return lower_sum(contraction, path)


def _write(plan: Plan) -> str:
    """A plan's steps and totals, next to those of the soft MoE; without experts, of one matrix.

    The plan of a weight tensor has no other next to it.
    """
    text = table(*_steps(plan), text_columns=2) + "\n\n" + table(*_totals(plan))
    remarks = fold(*_remarks(plan))
    return f"{text}\n\n{remarks}" if remarks else text


def _steps(plan: Plan) -> Rows:
    copies = [
        (f"   {show(copy.core, copy.indices)} → {show(copy.core, copy.order)}", "copy", "0", f"{copy.size:,}")
        for copy in plan.copies
    ]
    steps = [
        (f"{number}  {step.expression}", step.kind, f"{step.macs:,}", f"{step.size:,}")
        for number, step in enumerate(plan.steps, start=1)
    ]
    return ("step", "kind", "MACs", "elements"), [*copies, *steps]


def _remarks(plan: Plan) -> list[str]:
    return [*_remark_on_padding(plan.contraction), *map(str, plan.copies)]


def _remark_on_padding(contraction: Contraction) -> list[str]:
    """Which indices have parts that make up more values."""
    sizes, shown = dict(contraction.sizes), []
    for split in contraction.splits:
        if split.mode in contraction.padded:
            shown.append(f"{split.mode} from {sizes[split.mode]:,} to {' · '.join(map(str, split.sizes))}")
    return [f"padded with zeros: {', '.join(dict.fromkeys(shown))}"] if shown else []


def _totals(plan: Plan) -> Rows:
    fields = {
        "MACs": "macs",
        "peak live elements": "peak",
        "saved for backward": "saved",
        "parameters": "parameters",
        **({"fixed elements": "fixed"} if plan.fixed else {}),
        **({"elements read or written": "traffic"} if plan.contraction.active else {}),
    }
    figures = {name: getattr(plan, field) for name, field in fields.items()}
    heading = f"total at batch size {plan.batch_size:,}"
    if plan.contraction.is_weight:
        return (heading, "this plan"), [(name, f"{ours:,}") for name, ours in figures.items()]
    compared = [(name, ours, getattr(plan.soft_moe, fields[name])) for name, ours in figures.items()]
    totals = [
        (name, f"{ours:,}", f"{theirs:,}", f"{theirs / ours:,.1f} ×" if ours else "–")
        for name, ours, theirs in compared
    ]
    other = "soft MoE" if len(plan.contraction.data) > 1 else "one matrix"
    return (heading, "this plan", other, "ratio"), totals


def for_batch(choices: tuple[tuple[int, Choice], ...], batch_size: int | None) -> Choice:
    """The choice for a batch of this size; None for an unknown size, which is probably large.

    Args:
        choices: each with the smallest batch size that it is chosen for, in descending order down to 0.
        batch_size: the number of input vectors.
    """
    if batch_size is None:
        return choices[0][1]
    return next(choice for least, choice in choices if batch_size >= least)
