"""Sums of contractions and shared cores: each term is lowered alone, and equal steps are taken once.

In a weight tensor, a term without the input mode stands in the last row: zeros are put before it.
"""

from collections.abc import Sequence
from dataclasses import replace

from ..networks.notation import BATCH, INPUT, Indices
from .contraction import Contraction
from .instructions import Add, Instruction, Pad, Reshape
from .lowering import lower
from .path import Path, split_path
from .program import Program, released
from .steps import Step, Tensor


def lower_sum(contraction: Contraction, path: Path) -> tuple[Program, tuple[Step, ...]]:
    """Lower a contraction of any number of terms; its path is that of each term, one after the other."""
    if not contraction.counts and not contraction.is_shared:
        return lower(contraction, path)
    merger = _Merger(contraction)
    parts = zip(contraction.terms, contraction.positions, split_path(contraction, path), strict=True)
    results = [merger.append(term, part, operands) for term, operands, part in parts]
    total = results[0]
    for result in results[1:]:
        total = merger.add(total, result)
    count, instructions = merger.count, tuple(merger.instructions)
    return Program(count, instructions, released(count, instructions)), tuple(merger.steps)


class _Merger:
    """Collects the instructions and steps of terms, none twice."""

    def __init__(self, contraction: Contraction) -> None:
        self.contraction = contraction
        self.count = len(contraction.arrays)
        self.instructions: list[Instruction] = []
        self.steps: list[Step] = []
        self._registers: dict[Instruction, int] = {}
        # The steps' results by register.
        self._names: dict[int, str] = {}

    def emit(self, instruction: Instruction) -> int:
        """The register of an instruction's result, which is computed once."""
        if instruction not in self._registers:
            self._registers[instruction] = self.count + len(self.instructions)
            self.instructions.append(instruction)
        return self._registers[instruction]

    def append(self, term: Contraction, path: Path, operands: Sequence[int]) -> Tensor:
        """Add what computes one term from these operands, and return its result."""
        program, steps = lower(term, path)
        registers = [*operands]
        for instruction in program.instructions:
            registers.append(self.emit(instruction.rewire(registers)))
        names = {operand.name: operand.name for operand in term.operands}

        def move(tensor: Tensor) -> Tensor:
            return replace(tensor, register=registers[tensor.register], name=names[tensor.name])

        for step in steps:
            register = registers[step.result.register]
            # Slices, and what is padded, are called like what they are read from.
            new = f"t{self._products() + 1}" if step.is_product else step.result.name
            names[step.result.name] = self._names.get(register, new)
            if register not in self._names:
                left, *right = map(move, step.factors)
                other = right[0] if right else None
                self._record(Step(left, other, move(step.result), step.kind, step.summed))
        last = steps[-1].result.name if steps else term.operands[0].name
        return self._place(Tensor(registers[-1], names[last], term.output))

    def add(self, left: Tensor, right: Tensor) -> Tensor:
        """The sum of two results, each the same along the indices that it lacks."""
        both = {*left.indices, *right.indices}
        order = tuple(index for index in self.contraction.output if index in both)
        register = self.emit(Add(self._align(left, order), self._align(right, order)))
        result = Tensor(register, f"t{self._products() + 1}", order)
        self._record(Step(left, right, result, "add", ()))
        return result

    def _place(self, tensor: Tensor) -> Tensor:
        """The rows of a weight tensor that a term stands in, with zeros at the others."""
        bias, rows = self.contraction.bias, dict(self.contraction.sizes).get(INPUT, 0)
        if not bias or (INPUT in tensor.indices and bias == "row"):
            return tensor
        further = bias == "further row"
        axis = self._axis(tensor)
        if INPUT in tensor.indices:
            return replace(tensor, register=self.emit(Pad(tensor.register, axis, 0, 1)))
        indices = (*tensor.indices[:axis], INPUT, *tensor.indices[axis:])
        sizes = {BATCH: -1, **dict(self.contraction.sizes), INPUT: 1}
        row = self.emit(Reshape(tensor.register, tuple(sizes[index] for index in indices)))
        return replace(tensor, register=self.emit(Pad(row, axis, rows + further - 1, 0)), indices=indices)

    def _axis(self, tensor: Tensor) -> int:
        """Where the input mode stands, or would stand, among a tensor's indices."""
        order = self.contraction.output
        before = order[: order.index(INPUT)]
        return sum(index in before for index in tensor.indices)

    def _products(self) -> int:
        """How many steps there are that multiply or add."""
        return sum(step.is_product for step in self.steps)

    def _record(self, step: Step) -> None:
        self._names[step.result.register] = step.result.name
        self.steps.append(step)

    def _align(self, tensor: Tensor, order: Indices) -> int:
        """The tensor with axes of size 1 for what it lacks; leading axes are stretched without them."""
        trailing = order[order.index(tensor.indices[0]) :] if tensor.indices else ()
        if trailing == tensor.indices:
            return tensor.register
        sizes = {BATCH: -1, **dict(self.contraction.sizes)}
        if INPUT in sizes:
            sizes[INPUT] += self.contraction.bias == "further row"
        shape = tuple(sizes[index] if index in tensor.indices else 1 for index in trailing)
        return self.emit(Reshape(tensor.register, shape))
