"""Copies of cores: where a notation's order of axes is not the one that a product reads."""

from dataclasses import dataclass, replace
from itertools import islice, permutations
from math import prod

from ..networks.notation import BATCH, Indices
from .contraction import Contraction, Operand
from .instructions import Affine, Instruction, Matmul, Reshape, Transpose
from .layouts import Layout
from .path import Path
from .program import Program
from .sums import lower_sum

# All orders of five indices.
_TRIED = 120


@dataclass(frozen=True)
class Copy:
    """A core that every call copies, because a product reads its axes in another order.

    Args:
        core: the core's name.
        indices: its order in the notation.
        order: the order to write in the notation to avoid the copy; the same order if there is none.
        size: how many elements it has.
    """

    core: str
    indices: Indices
    order: Indices
    size: int

    def __str__(self) -> str:
        now, better = " ".join(self.indices), " ".join(self.order)
        advice = "" if now == better else f": write {better!r} instead of {now!r}"
        return f"core {self.core!r} is copied at each call{advice}"


def find_copies(contraction: Contraction, path: Path, program: Program) -> tuple[Copy, ...]:
    """The cores that a program copies at each call, with the order that would avoid it.

    Args:
        contraction: what the program computes.
        path: the path that it was lowered from.
        program: the instructions.
    """
    sizes = dict(contraction.sizes)
    copies = []
    for number, operand in enumerate(contraction.arrays):
        if BATCH not in operand.indices and _is_copied(contraction, program, number):
            uses = sum(each.name == operand.name for each in contraction.operands)
            # The order that suits one use of a shared core may not suit another.
            order = operand.indices if uses > 1 else _find_order(contraction, path, program, number)
            size = prod(sizes[index] for index in operand.indices)
            copies.append(Copy(operand.name, operand.indices, order, size))
    return tuple(copies)


def _find_order(contraction: Contraction, path: Path, program: Program, number: int) -> Indices:
    """An order of an operand's indices in which the same path does not copy it."""
    operand = contraction.arrays[number]
    # Usually it is the order that the program transposes to; the last resort is to try them all.
    read = [tuple(operand.indices[axis] for axis in each.axes) for each in _transposes(program, number)]
    for order in (*read, *islice(permutations(operand.indices), _TRIED)):
        moved = Operand(operand.name, order)
        operands = tuple(moved if each == operand else each for each in contraction.operands)
        changed = replace(contraction, operands=operands)
        program, _ = lower_sum(changed, path)
        if not _is_copied(changed, program, number):
            return order
    return operand.indices


def _transposes(program: Program, number: int) -> list[Transpose]:
    return [each for each in program.instructions if isinstance(each, Transpose) and each.source == number]


def _is_copied(contraction: Contraction, program: Program, number: int) -> bool:
    """Whether a program copies a contiguous operand before a product takes it."""
    sizes = dict(contraction.sizes)
    shape = tuple(sizes[index] for index in contraction.arrays[number].indices)
    return _copies(program, number, Layout.of(shape))


def _copies(program: Program, register: int, layout: Layout) -> bool:
    """Whether one of a register's readers, or of those of its views, copies it before a product."""
    numbered = enumerate(program.instructions, start=program.num_operands)
    readers = [(number, each) for number, each in numbered if register in each.sources]
    return any(_is_copy(program, number, each, layout) for number, each in readers)


def _is_copy(program: Program, number: int, reader: Instruction, layout: Layout) -> bool:
    match reader:
        case Transpose(axes=axes):
            return _copies(program, number, layout.transpose(axes))
        case Reshape(shape=shape):
            reshaped = layout.reshape(shape)
            return reshaped is None or _copies(program, number, reshaped)
        case Matmul() | Affine():
            return not layout.is_matrix
    return False
