"""Copies of cores: where a notation's order of axes is not the one that a product reads."""

from collections.abc import Iterator
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
    for number, operand in enumerate(contraction.operands):
        if BATCH not in operand.indices and _is_copied(contraction, program, number):
            order = _find_order(contraction, path, program, number)
            size = prod(sizes[index] for index in operand.indices)
            copies.append(Copy(operand.name, operand.indices, order, size))
    return tuple(copies)


def _find_order(contraction: Contraction, path: Path, program: Program, number: int) -> Indices:
    """An order of an operand's indices in which the same path does not copy it."""
    operand = contraction.operands[number]
    # Usually it is the order that the program transposes to; the last resort is to try them all.
    read = [tuple(operand.indices[axis] for axis in each.axes) for each in _transposes(program, number)]
    for order in (*read, *islice(permutations(operand.indices), _TRIED)):
        operands = list(contraction.operands)
        operands[number] = Operand(operand.name, order)
        changed = replace(contraction, operands=tuple(operands))
        program, _ = lower_sum(changed, path)
        if not _is_copied(changed, program, number):
            return order
    return operand.indices


def _transposes(program: Program, number: int) -> list[Transpose]:
    return [each for each in program.instructions if isinstance(each, Transpose) and each.source == number]


def _is_copied(contraction: Contraction, program: Program, number: int) -> bool:
    """Whether a program copies a contiguous operand before a product takes it."""
    sizes = dict(contraction.sizes)
    shape = tuple(sizes[index] for index in contraction.operands[number].indices)
    layout = Layout.of(shape)
    for instruction in _trace(program, number):
        match instruction:
            case Transpose(axes=axes):
                layout = layout.transpose(axes)
            case Reshape(shape=shape):
                reshaped = layout.reshape(shape)
                if reshaped is None:
                    return True
                layout = reshaped
            case Matmul() | Affine():
                return not layout.is_matrix
            case _:
                return False
    return False


def _trace(program: Program, register: int) -> Iterator[Instruction]:
    """The chain of instructions that starts at an operand, each reading the result of the one before."""
    for number, instruction in enumerate(program.instructions, start=program.num_operands):
        if register in instruction.sources:
            yield instruction
            register = number
