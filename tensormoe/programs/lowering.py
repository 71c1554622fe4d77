"""From a contraction and a path of pairs to a program of reshapes, matrix products and multiplications.

The batch is the first axis of every intermediate that carries it, so it flows through the products without
being permuted. If an order of axes is free, the one that moves fewer elements is used.
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

from ..networks.notation import BATCH, INPUT, Indices
from .contraction import Contraction
from .instructions import Affine, AppendOne, Cut, Instruction, Matmul, Multiply, Pad, Reshape, Sum, Transpose
from .program import Program, released
from .slices import gather
from .steps import Step, Tensor

Pair = tuple[int, ...]

# Stands for the batch when layouts are compared; any size well above 1 leads to the same choice.
_TYPICAL_BATCH = 1024


@dataclass(frozen=True)
class _Groups:
    """The indices of two operands, grouped by what a product does with them."""

    batch: Indices
    left: Indices
    summed: Indices
    right: Indices

    @property
    def result(self) -> Indices:
        return (*self.batch, *self.left, *self.right)


def lower(contraction: Contraction, path: Sequence[Pair]) -> tuple[Program, tuple[Step, ...]]:
    """Lower a path of pairs, given as positions among the live tensors, results appended last."""
    whole, contraction = contraction, contraction.gathered.in_parts
    closings = _closings(contraction, path)
    lowering = _Lowering(contraction, closings, _find_readers(contraction, path, closings))
    live, moved = gather(whole, lowering.emit)
    views = zip(live, contraction.operands, strict=True)
    live = [lowering.take(tensor, operand.indices, whole.padded, moved) for tensor, operand in views]
    for pair in path:
        chosen = [live[position] for position in pair]
        live = [tensor for position, tensor in enumerate(live) if position not in pair]
        keep = {*contraction.output, *(index for tensor in live for index in tensor.indices)}
        goal = None if live else contraction.output
        first, *second = (lowering.sum_dangling(tensor, chosen, keep) for tensor in chosen)
        live.append(lowering.pair(first, second[0], keep, goal) if second else first)
    # A single operand has an empty path.
    result = lowering.sum_dangling(live[0], live, {*contraction.output})
    lowering.give(lowering.permute(result, contraction.output), whole.output, whole.padded)
    count = len(contraction.operands)
    instructions = tuple(lowering.instructions)
    return Program(count, instructions, released(count, instructions)), (*moved, *lowering.steps)


def _closings(contraction: Contraction, path: Sequence[Pair]) -> list[tuple[set[str], bool]]:
    """For each step of a path, the indices that it sums over, and whether all its factors carry the batch."""
    live = [set(operand.indices) for operand in contraction.operands]
    closings = []
    for pair in path:
        chosen = [live[position] for position in pair]
        live = [indices for position, indices in enumerate(live) if position not in pair]
        result = set().union(*chosen)
        kept = result & set(contraction.output).union(*live)
        closings.append((result - kept, all(BATCH in indices for indices in chosen)))
        live.append(kept)
    return closings


def _find_readers(
    contraction: Contraction, path: Sequence[Pair], closings: list[tuple[set[str], bool]]
) -> list[Indices]:
    """For each pair, the order of the core that sums over its result, at once or after multiplications."""
    # What is live: the pair that made it, and the order of its axes if it is a core.
    live: list[tuple[int, Indices]] = [
        (-1, () if BATCH in operand.indices else operand.indices) for operand in contraction.operands
    ]
    pairs = 0
    readers: dict[int, int | Indices] = {}
    for positions, (summed, _) in zip(path, closings, strict=True):
        chosen = [live[position] for position in positions]
        live = [each for position, each in enumerate(live) if position not in positions]
        if len(chosen) == 1:
            live += chosen
            continue
        for (maker, _), (_, order) in (chosen, chosen[::-1]):
            readers[maker] = order if summed else pairs
        live.append((pairs, ()))
        pairs += 1
    orders: list[Indices] = [()] * pairs
    for maker in reversed(range(pairs)):
        reader = readers.get(maker, ())
        orders[maker] = orders[reader] if isinstance(reader, int) else reader
    return orders


class _Lowering:
    """Collects instructions; each method appends some and returns the tensor they compute."""

    def __init__(
        self, contraction: Contraction, closings: list[tuple[set[str], bool]], readers: list[Indices]
    ) -> None:
        self.closings = closings
        self.readers = readers
        self.sizes = dict(contraction.sizes)
        self.affine = contraction.affine
        self.count = len(contraction.operands)
        self.instructions: list[Instruction] = []
        self.steps: list[Step] = []

    def size(self, indices: Iterable[str]) -> int:
        """The product of sizes; negative where the batch is a factor, as in a program's shapes."""
        return prod(-1 if index == BATCH else self.sizes[index] for index in indices)

    def emit(self, instruction: Instruction) -> int:
        self.instructions.append(instruction)
        return self.count + len(self.instructions) - 1

    def permute(self, tensor: Tensor, order: Indices) -> Tensor:
        """The tensor with its axes in this order."""
        if tensor.indices == order:
            return tensor
        axes = tuple(tensor.indices.index(index) for index in order)
        return replace(tensor, register=self.emit(Transpose(tensor.register, axes)), indices=order)

    def take(self, tensor: Tensor, parts: Indices, padded: Mapping[str, int], moved: list[Step]) -> Tensor:
        """An operand with the parts of some indices in their place; with zeros, where there are more."""
        if tensor.indices == parts:
            return tensor
        result = replace(tensor, indices=parts)
        for axis, index in enumerate(tensor.indices):
            if index in padded:
                further = padded[index] - self.sizes[index]
                register = self.emit(Pad(result.register, axis, 0, further))
                result = replace(result, name=f"{tensor.name}'", register=register)
        if result.name != tensor.name:
            moved.append(Step(tensor, None, result, "pad", ()))
        shape = tuple(self.size([index]) for index in parts)
        return replace(result, register=self.emit(Reshape(result.register, shape)))

    def give(self, tensor: Tensor, whole: Indices, padded: Mapping[str, int]) -> Tensor:
        """The result with some indices in place of their parts, and without what padding added."""
        if tensor.indices == whole:
            return tensor
        shape = tuple(padded.get(index) or self.size([index]) for index in whole)
        result = replace(tensor, register=self.emit(Reshape(tensor.register, shape)), indices=whole)
        for axis, index in enumerate(whole):
            if index in padded:
                cut = Cut(result.register, axis, self.sizes[index])
                result = replace(result, register=self.emit(cut))
        return result

    def sum_dangling(self, tensor: Tensor, chosen: list[Tensor], keep: set[str]) -> Tensor:
        """Sum over the indices that no other tensor and no output carries."""
        others = {index for other in chosen if other is not tensor for index in other.indices}
        for index in tensor.indices:
            if index not in keep and index not in others:
                axis = tensor.indices.index(index)
                rest = tuple(name for name in tensor.indices if name != index)
                tensor = replace(tensor, register=self.emit(Sum(tensor.register, axis)), indices=rest)
        return tensor

    def pair(self, left: Tensor, right: Tensor, keep: set[str], goal: Indices | None) -> Tensor:
        """Multiply two tensors, summing over every index that neither `keep` nor the output needs."""
        if BATCH in right.indices and BATCH not in left.indices:
            left, right = right, left
        if self.affine and right.register == 0:
            left, right = right, left
        affine = self.affine and left.register == 0
        if affine and (INPUT in keep or INPUT not in right.indices):
            left = replace(left, register=self.emit(AppendOne(left.register)))
            affine = False
        return self.product(left, right, keep, goal, affine)

    def product(
        self, left: Tensor, right: Tensor, keep: set[str], goal: Indices | None, affine: bool
    ) -> Tensor:
        """The step itself: a multiplication if nothing is summed, otherwise a matrix product."""
        if any(index in right.indices and index not in keep for index in left.indices):
            if affine:
                groups = _group_indices(left, right, keep, True)
            else:
                left, right, groups = self.cheapest(left, right, keep, goal)
            if BATCH in left.indices and BATCH not in right.indices:
                # Permuting a core is cheaper than permuting intermediates, and the plan says how to avoid it.
                groups = replace(groups, right=self.arrange(groups.right))
            register = self.matmul(left, right, groups, affine)
            kind = "batched matmul" if groups.batch else "matmul"
            order, summed = groups.result, groups.summed
        else:
            left, right, order = _stretch(left, right, self.readers[len(self.steps)])
            register = self.multiply(left, right, order)
            kind, summed = "multiply", ()
        result = Tensor(register, f"t{len(self.steps) + 1}", order)
        self.steps.append(Step(left, right, result, kind, summed))
        return result

    def arrange(self, free: Indices) -> Indices:
        """Order indices so that later steps need not permute the tensor that carries them.

        A step that sums over some of them reads them next to the batch or last; a step with a core, last.
        """
        front: Indices = ()
        back: Indices = ()
        for summed, batched in self.closings:
            closed = tuple(index for index in free if index in summed)
            rest = tuple(index for index in free if index not in summed)
            if batched and (*rest, *closed) != free:
                front = (*front, *closed)
            else:
                back = (*closed, *back)
            free = rest
        return (*front, *free, *back)

    def cheapest(
        self, left: Tensor, right: Tensor, keep: set[str], goal: Indices | None
    ) -> tuple[Tensor, Tensor, _Groups]:
        """The side and the order of summed indices that permute the fewest elements."""
        swappable = (BATCH in left.indices) == (BATCH in right.indices)
        sides = [(left, right), (right, left)] if swappable else [(left, right)]
        options = [
            (first, second, _group_indices(first, second, keep, by_first))
            for (first, second), by_first in itertools.product(sides, (True, False))
        ]
        return min(options, key=lambda option: self.count_moved(option[0], option[1], option[2], goal))

    def count_moved(self, left: Tensor, right: Tensor, groups: _Groups, goal: Indices | None) -> int:
        """Elements permuted by a choice of layout, with a typical batch."""
        changes = [
            (left.indices, (*groups.batch, *groups.left, *groups.summed)),
            (right.indices, (*groups.batch, *groups.summed, *groups.right)),
            (groups.result, goal or groups.result),
        ]
        moved = [abs(self.size(old)) * _TYPICAL_BATCH ** (BATCH in old) for old, new in changes if old != new]
        return sum(moved)

    def matmul(self, left: Tensor, right: Tensor, groups: _Groups, affine: bool) -> int:
        batch = [groups.batch] if groups.batch else []
        b = self.merge(right, [*batch, groups.summed, groups.right])
        if affine:
            # x alone is one entry short.
            self.sizes[INPUT] -= 1
        a = self.merge(left, [*batch, groups.left, groups.summed])
        if affine:
            self.sizes[INPUT] += 1
        register = self.emit(Affine(a, b) if affine else Matmul(a, b))
        if all(len(group) == 1 for group in (*batch, groups.left, groups.right)):
            return register
        return self.emit(Reshape(register, tuple(self.size([index]) for index in groups.result)))

    def merge(self, tensor: Tensor, groups: list[Indices]) -> int:
        """The tensor with each group of indices merged into one axis."""
        tensor = self.permute(tensor, tuple(index for group in groups for index in group))
        if all(len(group) == 1 for group in groups):
            return tensor.register
        return self.emit(Reshape(tensor.register, tuple(self.size(group) for group in groups)))

    def multiply(self, left: Tensor, right: Tensor, order: Indices) -> int:
        return self.emit(Multiply(self.align(left, order), self.align(right, order)))

    def align(self, tensor: Tensor, order: Indices) -> int:
        """The tensor with its axes in this order, and axes of size 1 for the indices that it lacks."""
        tensor = self.permute(tensor, tuple(index for index in order if index in tensor.indices))
        # Leading axes need no insertion: every framework stretches those by itself.
        trailing = order[order.index(tensor.indices[0]) :] if tensor.indices else ()
        if trailing == tensor.indices:
            return tensor.register
        shape = tuple(self.size([index]) if index in tensor.indices else 1 for index in trailing)
        return self.emit(Reshape(tensor.register, shape))


def _group_indices(left: Tensor, right: Tensor, keep: set[str], by_left: bool) -> _Groups:
    first, second = (left, right) if by_left else (right, left)
    shared = [index for index in first.indices if index in second.indices]
    batch = sorted((index for index in shared if index in keep), key=lambda index: index != BATCH)
    return _Groups(
        batch=tuple(batch),
        left=tuple(index for index in left.indices if index not in right.indices),
        summed=tuple(index for index in shared if index not in keep),
        right=tuple(index for index in right.indices if index not in left.indices),
    )


def _stretch(left: Tensor, right: Tensor, reader: Indices) -> tuple[Tensor, Tensor, Indices]:
    """The operands of a multiplication and its result's order: the larger one's, then what it lacks.

    The indices of the core that reads the result stand in the core's order, unless that permutes an operand.
    """
    batched = (BATCH in left.indices, len(left.indices)), (BATCH in right.indices, len(right.indices))
    if batched[1] > batched[0]:
        left, right = right, left
    order = (*left.indices, *(index for index in right.indices if index not in left.indices))
    read = iter([index for index in reader if index in order])
    better = tuple(next(read) if index in reader else index for index in order)
    permuted = any(
        tuple(index for index in better if index in each.indices) != each.indices for each in (left, right)
    )
    return left, right, order if permuted else better
