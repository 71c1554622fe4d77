"""Proofs that candidates share: those whose programs differ in nothing but sizes are proved once.

A proof takes sizes as names of indices, and holds for all sizes larger than 1 (see `tensormoe.prove`). In a
program, sizes occur in the shapes of reshapes alone. As all indices of an array are known, with their order,
a shape has only one meaning: which neighbouring indices make up each axis. With these meanings in place of
numbers, the programs of two candidates are equal exactly if they are one program at different sizes; what is
proved of one is then proved of the other. A program with any other instruction, or with a shape that has no
such meaning, is proved on its own, and so are those with split modes or shared cores.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

from ..layers.layer_spec import MuMoESpec
from ..networks.notation import BATCH
from ..programs.contraction import Contraction
from ..programs.instructions import (
    Add,
    Affine,
    AppendOne,
    Instruction,
    Matmul,
    Multiply,
    Reshape,
    Sum,
    Transpose,
)
from ..programs.program import Program
from ..verification.proof.prove import prove_program
from ..verification.prove import prove

# The indices that are merged into one axis, in order; of size 1 none.
Axis = tuple[str, ...]
Axes = tuple[Axis, ...]
# Follows the name of an index without its last value, which belongs to the bias.
_SHORT = "−"


class NoMeaningError(Exception):
    """A program that says more than which indices it merges."""


def prove_shared(spec: MuMoESpec) -> bool:
    """Prove all programs of a layer as `tensormoe.prove` does, each once for all sizes.

    Raises:
        ProofError: names the first step that breaks, and why.
    """
    for _, program in spec.stage.programs:
        try:
            statement = _Statement(*state(spec.contraction, program), spec.contraction, program)
        except (NoMeaningError, IndexError):
            prove(spec.contraction, program)
        else:
            prove_once(statement)
    return True


@dataclass(frozen=True)
class _Statement:
    """What a program does whatever the sizes, with one contraction and program as an example."""

    subject: Contraction
    steps: tuple[object, ...]
    contraction: Contraction = field(compare=False)
    program: Program = field(compare=False)


@lru_cache(maxsize=4096)
def prove_once(statement: _Statement) -> None:
    """Prove a program, unless one that means the same is proved already."""
    prove_program(statement.contraction, statement.program)


def state(contraction: Contraction, program: Program) -> tuple[Contraction, tuple[object, ...]]:
    """A contraction and a program without their sizes: of these, only which are 1 is told.

    Raises:
        NoMeaningError: a program that holds sizes elsewhere.
    """
    if contraction.splits or contraction.is_shared or contraction.active:
        raise NoMeaningError
    # A single input besides a bias takes no part in sums, either.
    inputs = contraction.data[0].indices[-1] if contraction.affine else ""
    told = tuple((each, min(size, 2 + (each == inputs))) for each, size in contraction.sizes)
    reading = _Reading(contraction)
    subject = replace(contraction, sizes=told)
    return subject, (program.num_operands, program.releases, *map(reading.read, program.instructions))


class _Reading:
    """Reads instructions one after the other, and knows the axes of all registers."""

    def __init__(self, contraction: Contraction) -> None:
        self.sizes = {**dict(contraction.sizes), BATCH: -1}
        self.registers: list[Axes] = []
        for operand in contraction.arrays:
            indices = operand.indices
            if contraction.affine and not self.registers:
                short = indices[-1] + _SHORT
                self.sizes[short] = self.sizes[indices[-1]] - 1
                indices = (*indices[:-1], short)
            self.registers.append(tuple((each,) if self.sizes[each] != 1 else () for each in indices))

    def read(self, instruction: Instruction) -> object:
        """The instruction, or what a reshape means."""
        told: object = instruction
        sources = [self.registers[source] for source in instruction.sources]
        match instruction:
            case Transpose(axes=order):
                result = tuple(sources[0][axis] for axis in order)
            case Sum(axis=axis):
                result = (*sources[0][:axis], *sources[0][axis + 1 :])
            case Reshape(shape=shape):
                result = self._merge(sources[0], shape)
                told = (instruction.source, result)
            case AppendOne():
                result = (*sources[0][:-1], self._lengthen(sources[0][-1]))
            case Affine():
                result = _contract((*sources[0][:-1], self._lengthen(sources[0][-1])), sources[1])
            case Matmul():
                result = _contract(*sources)
            case Multiply() | Add():
                result = _stretch(*sources)
            case _:
                raise NoMeaningError
        self.registers.append(result)
        return told

    def _merge(self, axes: Axes, shape: Sequence[int]) -> Axes:
        """The indices that make up each axis of a shape. All are larger than 1: there is at most one way."""
        left = [index for axis in axes for index in axis]
        merged: list[Axis] = []
        for size in shape:
            own, product = [], 1
            while product != size:
                if not left or abs(product) > abs(size):
                    raise NoMeaningError
                own.append(left.pop(0))
                product *= self.sizes[own[-1]]
            merged.append(tuple(own))
        if left:
            raise NoMeaningError
        return tuple(merged)

    def _lengthen(self, axis: Axis) -> Axis:
        if len(axis) != 1 or not axis[0].endswith(_SHORT):
            raise NoMeaningError
        return (axis[0].removesuffix(_SHORT),)


def _contract(left: Axes, right: Axes) -> Axes:
    """The axes of a matrix product; leading ones are those of both, or a matrix has none."""
    if len(right) < 2 or left[-1] != right[-2] or (right[:-2] and right[:-2] != left[:-2]):
        raise NoMeaningError
    return (*left[:-1], right[-1])


def _stretch(left: Axes, right: Axes) -> Axes:
    """The axes of an elementwise operation."""
    length = max(len(left), len(right))
    pairs = zip(*((*((),) * (length - len(axes)), *axes) for axes in (left, right)), strict=True)
    result = []
    for one, other in pairs:
        if one and other and one != other:
            raise NoMeaningError
        result.append(one or other)
    return tuple(result)
