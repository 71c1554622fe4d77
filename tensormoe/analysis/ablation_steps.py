"""One layer without each of several experts: contractions whose output has an axis for ablations.

What an expert contributes is subtracted from the output; or, where a single core carries its level, from
that core's sum over experts, which is smaller than what a block's first layer gives.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import Protocol, TypeAlias

import numpy as np

from ..arrays.backend import Backend
from ..layers.functional import choose_program
from ..layers.stage import Stage
from ..networks.notation import BATCH, INPUT, OUTPUT, Indices, expert_modes
from ..programs.contraction import Contraction, Operand
from ..programs.plan import Plan, plan
from ..typing import Array, NumPyArray
from .ablation_subject import Ablations

# The axis of ablations: not a valid index name, so no bond can share it.
ABLATION = "n'"
# The experts of the ablations, by the mode of their level.
Numbers: TypeAlias = Mapping[str, NumPyArray]


@dataclass(frozen=True)
class Weights:
    """The coefficients of a batch, in every ablation.

    Args:
        levels: (T, N_e) each.
        own: those of the experts that are ablated, (T, A, 1).
        scale: by how much what is left is multiplied, (T, A, 1), or None.
        y: the output with all experts, (T, O), where it is known.
    """

    levels: list[Array]
    own: Array
    scale: Array | None
    y: Array | None

    def rescale(self, array: Array) -> Array:
        """What is left, (T, A, …), so that the coefficients sum to what they did."""
        return array if self.scale is None else array * self.scale


class Step(Protocol):
    """How a layer of a block runs."""

    @property
    def plans(self) -> tuple[Plan, ...]:
        """What it computes for every ablation."""

    def run(self, x: Array, weights: Weights) -> Array:
        """Its output (T, A, O), or (T, O) where that is the same in all ablations."""


@dataclass(frozen=True)
class Whole:
    """A layer that keeps its experts.

    Args:
        ops, stage, cores: the layer.
        plans: of inputs that differ between ablations; none if they are the same.
    """

    ops: Backend
    stage: Stage
    cores: list[Array]
    plans: tuple[Plan, ...] = ()

    def run(self, x: Array, weights: Weights) -> Array:
        if self.plans:
            return _compute(self.ops, self.plans[0], [x, *self._taken(weights), *self.cores])
        program = choose_program(self.ops, self.stage, x)
        return self.ops.compute(program, (x, *self._taken(weights)), self.cores)

    def _taken(self, weights: Weights) -> list[Array]:
        """The coefficients that the layer takes: none without experts."""
        return weights.levels[: self.stage.levels]


@dataclass(frozen=True)
class Subtract:
    """The layer's output less what each expert contributes.

    Args:
        whole: the layer with all experts.
        plan: of an expert's contribution, without its coefficient.
        selected: the cores, those with experts for the ablated ones alone.
        kept: the levels that keep theirs.
    """

    whole: Whole
    plan: Plan
    selected: list[Array]
    kept: tuple[int, ...]

    @property
    def plans(self) -> tuple[Plan, ...]:
        return (*self.whole.plans, self.plan)

    def run(self, x: Array, weights: Weights) -> Array:
        kept = [weights.levels[level] for level in self.kept]
        part = _compute(self.whole.ops, self.plan, [x, *kept, *self.selected])
        y = self.whole.run(x, weights) if weights.y is None else weights.y
        return weights.rescale((y if self.whole.plans else y[:, None]) - part * weights.own)


@dataclass(frozen=True)
class Mix:
    """The same where one core carries the level: its sum over experts, less each expert.

    Args:
        ops: the backend.
        plan: of the input, the other levels, that sum, and the other cores.
        core: the core, its experts first, the rest flat: (N, R).
        selected: the ablated ones' rows, (A, R).
        shape: the core's axes without its experts.
        cores: the others.
        level, kept: the level, and those that keep their experts.
    """

    ops: Backend
    plan: Plan
    core: Array
    selected: Array
    shape: tuple[int, ...]
    cores: list[Array]
    level: int
    kept: tuple[int, ...]

    @property
    def plans(self) -> tuple[Plan, ...]:
        return (self.plan,)

    def run(self, x: Array, weights: Weights) -> Array:
        mixed = self.ops.matmul(weights.levels[self.level], self.core)[:, None]
        left = weights.rescale(mixed - weights.own * self.selected)
        left = self.ops.reshape(left, (*left.shape[:2], *self.shape))
        kept = [weights.levels[level] for level in self.kept]
        return _compute(self.ops, self.plan, [x, *kept, left, *self.cores])


def _compute(ops: Backend, plan: Plan, operands: list[Array]) -> Array:
    # None of them as tokens, which may have any leading axes: the second one is that of ablations.
    return ops.compute(plan.program, (), operands)


def make_step(
    ops: Backend,
    stage: Stage,
    cores: Mapping[str, Array],
    ablations: Ablations,
    ablated: bool,
    spread: bool,
    known: bool,
    batch_size: int,
) -> Step:
    """How a layer runs.

    Args:
        ops, stage, cores: the layer.
        ablations: of which experts.
        ablated: whether the layer loses them.
        spread: whether its inputs differ between ablations.
        known: whether its output with all experts is known.
        batch_size: the number of inputs to plan for.
    """
    count, contraction = len(ablations), stage.contraction.unshare()
    ordered, network = [cores[name] for name in stage.network.shapes], stage.network.unshare()
    # Each use of a shared core is a core here: experts are selected of one and not of another.
    uses = zip(network.cores, stage.network.cores, strict=True)
    cores = {core.name: cores[use.name] for core, use in uses}
    modes = expert_modes(stage.levels)
    chosen = zip(ablations.levels, ablations.numbers, strict=True)
    numbers = {modes[level]: own for level, own in chosen} if ablated else {}
    for split in network.splits:
        if split.mode in numbers:
            numbers |= zip(split.parts, np.unravel_index(numbers[split.mode], split.sizes), strict=True)
    kept = tuple(level for level in range(stage.levels) if level not in ablations.levels)
    carrier = _find_carrier(stage, {*numbers}) if ablated and not known else None
    if carrier is not None:
        level, mode = ablations.levels[0], modes[ablations.levels[0]]
        axis = network.axes[mode][carrier]
        shape = tuple(size for place, size in enumerate(cores[carrier].shape) if place != axis)
        order = (axis, *(place for place in range(cores[carrier].ndim) if place != axis))
        flat = ops.reshape(ops.transpose(cores[carrier], order), (-1, prod(shape)))
        others = [core for name, core in cores.items() if name != carrier]
        mixed = plan(keep_experts(contraction, {mode}, count, spread, carrier), batch_size)
        return Mix(ops, mixed, flat, flat[numbers[mode]], shape, others, level, kept)
    wholes = (plan(keep_experts(stage.contraction, set(), count, True), batch_size),) if spread else ()
    whole = Whole(ops, stage, ordered, wholes)
    if not ablated:
        return whole
    own = plan(keep_experts(contraction, {*numbers}, count, spread), batch_size)
    selected = [_select(ops, cores[core.name], core.indices, numbers) for core in network.cores]
    return Subtract(whole, own, selected, kept)


def _find_carrier(stage: Stage, modes: set[str]) -> str | None:
    """The only core with experts of the only level, if it is smaller than what a difference would take."""
    network = stage.network.unshare()
    if len(modes) > 1:
        return None
    (mode,) = modes
    name, *others = network.axes[mode]
    size = prod(network.shapes[name]) // network.sizes[mode]
    return name if not others and size < stage.out_features + stage.in_features else None


def keep_experts(
    whole: Contraction, ablated: set[str], count: int, spread: bool, mixed: str | None = None
) -> Contraction:
    """A layer's contraction with an axis for ablations in its output.

    Args:
        whole: the layer's, of x, the coefficients and the cores.
        ablated: the expert modes whose places the axis takes, and whose coefficients are left out.
        count: the number of ablations.
        spread: whether x has the axis.
        mixed: the core in whose place stands its sum over experts, one for each input and ablation. It comes
            before the other cores.
    """
    x, *others = whole.operands
    data = [replace(x, indices=(BATCH, ABLATION, INPUT)) if spread else x]
    cores = []
    for operand in others:
        indices = operand.indices
        if ablated & {*indices} and BATCH not in indices:
            indices = (ABLATION, *(index for index in indices if index not in ablated))
        if operand.name == mixed:
            data.append(Operand(operand.name, (BATCH, *indices)))
        elif BATCH not in indices:
            cores.append(Operand(operand.name, indices))
        elif not ablated & {*indices}:
            data.append(operand)
    sizes = (*(each for each in whole.sizes if each[0] not in ablated), (ABLATION, count))
    return replace(whole, operands=(*data, *cores), output=(BATCH, ABLATION, OUTPUT), sizes=sizes)


def _select(ops: Backend, core: Array, indices: Indices, numbers: Numbers) -> Array:
    """A core with the experts of each ablation along its first axis; as it is if it has none."""
    axes = [axis for axis, index in enumerate(indices) if index in numbers]
    if not axes:
        return core
    order = (*axes, *(axis for axis in range(len(indices)) if axis not in axes))
    return ops.transpose(core, order)[tuple(numbers[indices[axis]] for axis in axes)]
