"""A lowered contraction: straight-line instructions, run forwards and backwards."""

from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain as join

from ..arrays.protocols import Nonlinearity, ProgramOps
from ..typing import Array, Shape
from .gathering import Choose, Take
from .instructions import Cut, Instruction, Pointwise, PointwiseProduct, Reshape, Transpose
from .memory import find_borrowers, find_overwrites


@dataclass(frozen=True)
class Shaped:
    """The shape of a register whose values are not kept."""

    shape: Shape


@dataclass(frozen=True)
class Program:
    """Instructions in order. The registers start as the operands; the last one's register is the result.

    Args:
        num_operands: how many arrays `run` takes.
        instructions: the k-th writes register `num_operands + k`.
        releases: for each instruction, the intermediate registers that nothing reads after it.
    """

    num_operands: int
    instructions: tuple[Instruction, ...]
    releases: tuple[tuple[int, ...], ...]
    # For each instruction, whether it may compute in its source's memory.
    overwrites: tuple[bool, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "overwrites", find_overwrites(self.num_operands, self.instructions))

    def run(self, ops: ProgramOps, operands: Sequence[Array]) -> Array:
        """Compute the contraction.

        Args:
            ops: a backend object (see `tensormoe.get_backend`).
            operands: that framework's arrays, in the contraction's order; the first one's leading axis
                is the batch, of any size.

        Returns:
            The output array.
        """
        registers: list[Array] = list(operands)
        batch = registers[0].shape[0]
        steps = zip(self.instructions, self.releases, self.overwrites, strict=True)
        for instruction, finished, overwrites in steps:
            compute = instruction.overwrite if overwrites else instruction.run
            registers.append(compute(ops, registers, batch))
            for register in finished:
                registers[register] = None
        return registers[-1]

    def vjp(self, ops: ProgramOps, operands: Sequence[Array], cotangent: Array) -> tuple[Array, ...]:
        """Reverse mode: the gradient of Σ output ∗ cotangent with respect to each operand.

        Args:
            ops: a backend object.
            operands: as for `run`.
            cotangent: an array of the output's shape.

        Returns:
            One array per operand, of its shape.
        """
        _, registers = self.forward(ops, operands)
        gradients = self.backward(ops, registers, cotangent, range(self.num_operands))
        return tuple(
            ops.zeros_like(x) if gradient is None else gradient
            for x, gradient in zip(operands, gradients, strict=True)
        )

    def forward(
        self, ops: ProgramOps, operands: Sequence[Array], recompute: bool = False
    ) -> tuple[Array, list[Array | Shaped]]:
        """Like `run`, but keep what `backward` needs.

        Args:
            ops, operands: as for `run`.
            recompute: whether to drop all values that are cheap to recompute.

        Returns:
            The output, and all registers; those that are not kept have only a shape.
        """
        registers: list[Array] = list(operands)
        kept = self._costly if recompute else self._read
        batch = registers[0].shape[0]
        for instruction, finished in zip(self.instructions, self.releases, strict=True):
            registers.append(instruction.run(ops, registers, batch))
            for register in finished:
                if register not in kept:
                    registers[register] = Shaped(tuple(registers[register].shape))
        result = registers[-1]
        if len(registers) > self.num_operands:
            registers[-1] = Shaped(tuple(result.shape))
        return result, registers

    def backward(
        self, ops: ProgramOps, registers: list[Array | Shaped], cotangent: Array, wanted: Collection[int]
    ) -> tuple[Array | None, ...]:
        """Carry a cotangent back through a run.

        Args:
            ops: a backend object.
            registers: as `forward` returns them; missing values are recomputed. The list is emptied on the
                way, to free memory as soon as possible.
            cotangent: an array of the output's shape.
            wanted: the numbers of the operands whose gradients are wanted.

        Returns:
            One gradient per operand; None for one that is not wanted or that the output does not depend on.
        """
        batch = registers[0].shape[0]
        active = self._find_dependents(frozenset(wanted))
        gradients = {len(registers) - 1: cotangent}
        for number in reversed(range(len(self.instructions))):
            instruction, written = self.instructions[number], self.num_operands + number
            gradient = gradients.pop(written, None)
            # Nothing before this instruction reads its result.
            registers.pop()
            if gradient is None or written not in active:
                continue
            for register in instruction.reads:
                self._restore(ops, registers, register, batch)
            if number in self._borrowers:
                gradient = ops.copy(gradient)
            for position, register in enumerate(instruction.sources):
                if register in active:
                    share = instruction.vjp(ops, registers, gradient, position)
                    known = gradients.get(register)
                    gradients[register] = share if known is None else known + share
        return tuple(gradients.get(n) if n in active else None for n in range(self.num_operands))

    def _restore(self, ops: ProgramOps, registers: list[Array], register: int, batch: int) -> None:
        """Recompute a register's values, and those they depend on, if only the shape was kept."""
        if not isinstance(registers[register], Shaped):
            return
        instruction = self.instructions[register - self.num_operands]
        for source in instruction.sources:
            self._restore(ops, registers, source, batch)
        registers[register] = instruction.run(ops, registers, batch)

    def _find_dependents(self, operands: Collection[int]) -> set[int]:
        """These operands and all registers that depend on them."""
        depending = set(operands)
        for number, instruction in enumerate(self.instructions):
            if instruction.differentiable and not depending.isdisjoint(instruction.sources):
                depending.add(self.num_operands + number)
        return depending

    @property
    def only_views(self) -> bool:
        """Whether the result may be an operand's own memory: axes in another order, merged, split or cut."""
        return all(isinstance(instruction, Transpose | Reshape | Cut) for instruction in self.instructions)

    @cached_property
    def _borrowers(self) -> frozenset[int]:
        """The instructions whose reverse mode gets a copy of its gradient."""
        return find_borrowers(self.num_operands, self.instructions)

    @cached_property
    def _read(self) -> frozenset[int]:
        """The registers whose values reverse mode needs."""
        return frozenset(register for instruction in self.instructions for register in instruction.reads)

    @cached_property
    def _costly(self) -> frozenset[int]:
        """The fewest registers from which those that reverse mode needs are cheap to compute."""
        needed = set(self._read)
        for number in reversed(range(len(self.instructions))):
            if self.num_operands + number in needed and self.instructions[number].cheap:
                needed.remove(self.num_operands + number)
                needed |= set(self.instructions[number].sources)
        return frozenset(needed)


def released(num_operands: int, instructions: Sequence[Instruction]) -> tuple[tuple[int, ...], ...]:
    """For each instruction, the intermediates that it reads last."""
    last = {source: n for n, instruction in enumerate(instructions) for source in instruction.sources}
    return tuple(
        tuple(s for s in dict.fromkeys(i.sources) if s >= num_operands and last[s] == n)
        for n, i in enumerate(instructions)
    )


def chain(
    programs: Sequence[Program],
    levels: Sequence[int],
    function: Nonlinearity,
    cores: Sequence[Sequence[Hashable]] | None = None,
) -> Program:
    """The programs of layers as one; see `chain_registers`."""
    return chain_registers(programs, levels, function, cores)[0]


def chain_registers(
    programs: Sequence[Program],
    levels: Sequence[int],
    function: Nonlinearity,
    cores: Sequence[Sequence[Hashable]] | None = None,
) -> tuple[Program, list[list[int]]]:
    """The programs of layers as one: the last reads what the others make of the first operand.

    That is the first program's result after the nonlinearity; with three programs, times the second's result.

    Args:
        programs: one, two or three.
        levels: how many operands that follow the first one are the coefficients, for each program. The same
            coefficients serve all programs; one without experts takes none.
        function: the nonlinearity.
        cores: what names the operands that each program has of its own: those of one name are one operand,
            and what several programs make of it alike is computed once. By default no two are the same.

    Returns:
        A program that takes the first operand, the coefficients, and those that the programs have of their
        own; and for each program where its registers are.
    """
    *before, last = programs
    if not before:
        return last, [[*range(last.num_operands + len(last.instructions))]]
    own = [program.num_operands - 1 - shared for program, shared in zip(programs, levels, strict=True)]
    names = cores or [[(number, place) for place in range(size)] for number, size in enumerate(own)]
    operands = {name: place for place, name in enumerate(dict.fromkeys(join(*names)), start=1 + max(levels))}
    merges, count = len(operands) < sum(own), 1 + max(levels) + len(operands)
    instructions: list[Instruction] = []
    # What is chosen by the coefficients is the same in all, and what is made of the same cores.
    known: dict[Instruction, int] = {}

    def append(number: int, x: int) -> list[int]:
        """Add a program that reads x; return where its registers are."""
        places: list[int] = [x, *range(1, 1 + levels[number]), *(operands[name] for name in names[number])]
        for each in programs[number].instructions:
            moved = each.rewire(places)
            if moved not in known:
                instructions.append(moved)
            register = known.get(moved, count + len(instructions) - 1)
            if merges or isinstance(moved, Choose | Take):
                known[moved] = register
            places.append(register)
        return places

    registers = [append(number, 0) for number in range(len(before))]
    first, *factors = [places[-1] for places in registers]
    instructions.append(
        PointwiseProduct(first, factors[0], function) if factors else Pointwise(first, function)
    )
    registers.append(append(len(before), count + len(instructions) - 1))
    return Program(count, tuple(instructions), released(count, instructions)), registers
