"""Programs with shared cores, made to read each use of a core from a register of its own.

A contraction that uses a core twice is not linear in it. The same contraction with an array of its own for
each use is, and so is the program whose readers of the core each read such an array. If that program is
proved, the given one follows, with equal arrays. Reverse mode adds up what a register's readers give it and
is linear in what it carries back, so the gradient of a shared core is the sum of the gradients of its uses.

Nothing says which reader stands for which use. All assignments are tried, in order; one that breaks a step
rules out all that agree with it up to there.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from ...programs.instructions import Binary, Instruction, Pointwise, PointwiseProduct
from ...programs.program import Program, released
from .trace import ProofError, renumber

Result = TypeVar("Result")


def group_uses(names: Sequence[Hashable]) -> tuple[tuple[int, ...], ...]:
    """For each name, where it occurs."""
    return tuple(tuple(n for n, other in enumerate(names) if other == name) for name in dict.fromkeys(names))


def prove_separately(
    program: Program, uses: Sequence[Sequence[int]], names: Sequence[str], prove: Callable[[Program], Result]
) -> tuple[Program, Result]:
    """A program with a register for each use that can be proved, and what its proof gives.

    Args:
        program: what is to be proved; it takes one array for each element of `uses`.
        uses: where the uses of each array are among the operands of the proof.
        names: of the arrays.
        prove: raises a `ProofError` unless a program is right.
    """
    if all(len(each) == 1 for each in uses):
        return program, prove(program)
    check_reads(program)
    template = _Template(program, uses, names)
    chosen: list[int] | None = template.first()
    furthest: ProofError | None = None
    while chosen is not None:
        try:
            separate = template.fill(chosen)
            return separate, prove(separate)
        except ProofError as error:
            furthest = max(furthest or error, error, key=lambda each: each.step or template.length + 1)
            chosen = template.following(chosen, error.step)
    raise template.translate(furthest)


def check_reads(program: Program) -> None:
    """Raise an error if an instruction reads what does not exist, or was released."""
    gone: set[int] = set()
    for number, (step, finished) in enumerate(zip(program.instructions, program.releases, strict=True)):
        for source in step.sources:
            exists = 0 <= source < program.num_operands + number
            if source in gone or not exists:
                reason = (
                    f"it reads register {source}, which {'was released' if exists else 'nothing has written'}"
                )
                raise ProofError(f"step {number + 1}: {step}", reason, number + 1)
        gone |= {*finished}


@dataclass
class _Read:
    """Where an instruction reads a shared core: its number, and which of its sources that is."""

    step: int
    position: int
    array: int


class _Template:
    """A program in which each reader of what depends on a shared core has a copy of its own to read."""

    def __init__(self, program: Program, uses: Sequence[Sequence[int]], names: Sequence[str]) -> None:
        self._program, self._uses = program, uses
        self._count = max(place for each in uses for place in each) + 1
        self._shared = {array for array, each in enumerate(uses) if len(each) > 1}
        self._steps: list[tuple[Instruction, list[int]]] = []
        self._origins: list[int] = []
        self._reads: list[_Read] = []
        depending = self._find_dependents()
        copies = self._count_copies(depending)
        for array in self._shared:
            if copies[array] != len(uses[array]):
                asked = f"the definition uses {names[array]} {len(uses[array])} times"
                raise ProofError("the program", f"{asked}, and it {copies[array]} times")
        self._write(depending, copies)

    @property
    def length(self) -> int:
        """The number of instructions."""
        return len(self._steps)

    def first(self) -> list[int]:
        """The first assignment of uses to readers."""
        return self._complete([])

    def following(self, chosen: list[int], step: int | None) -> list[int] | None:
        """The next assignment that differs in what is read up to a broken step; None if there is none."""
        last = len(self._steps) if step is None else step
        for place in reversed(range(sum(read.step < last for read in self._reads))):
            later = [use for use in self._left(chosen[:place]) if use > chosen[place]]
            if later:
                return self._complete([*chosen[:place], min(later)])
        return None

    def fill(self, chosen: Sequence[int]) -> Program:
        """The program with these uses at its readers."""
        steps = [(instruction, [*sources]) for instruction, sources in self._steps]
        for read, use in zip(self._reads, chosen, strict=True):
            steps[read.step][1][read.position] = use
        instructions = tuple(rewire(*step) for step in steps)
        return Program(self._count, instructions, released(self._count, instructions))

    def translate(self, error: ProofError | None) -> ProofError:
        """An error with the number of the given program's step."""
        if error is None:
            return ProofError("the program", "no assignment of a shared core's uses was tried")
        return renumber(error, self._program, self._origins)

    def _left(self, chosen: Sequence[int]) -> list[int]:
        """The uses that the reader after these may stand for."""
        array = self._reads[len(chosen)].array
        return [use for use in self._uses[array] if use not in chosen]

    def _complete(self, chosen: list[int]) -> list[int]:
        while len(chosen) < len(self._reads):
            chosen = [*chosen, min(self._left(chosen))]
        return chosen

    def _find_dependents(self) -> set[int]:
        """The registers that depend on a shared core; a nonlinearity's result is complete."""
        depending = {*self._shared}
        for register, each in enumerate(self._program.instructions, start=self._program.num_operands):
            if depending & {*each.sources} and not isinstance(each, Pointwise | PointwiseProduct):
                depending.add(register)
        return depending

    def _count_copies(self, depending: set[int]) -> list[int]:
        """How many copies of each register are read; one of those that depend on no shared core."""
        first, steps = self._program.num_operands, self._program.instructions
        copies = [0] * (first + len(steps))
        copies[-1] = 1
        for register in reversed(range(first, len(copies))):
            copies[register] = copies[register] if register in depending else 1
            for source in steps[register - first].sources:
                copies[source] += copies[register]
        return copies

    def _write(self, depending: set[int], copies: Sequence[int]) -> None:
        """Write each instruction as often as it takes, each time with sources of its own."""
        waiting = {register: [register] for register in range(self._program.num_operands)}
        waiting |= {array: [each[0]] for array, each in enumerate(self._uses)}
        for number, each in enumerate(self._program.instructions):
            register = self._program.num_operands + number
            written = []
            for _ in range(copies[register]):
                sources = []
                for position, source in enumerate(each.sources):
                    if source in self._shared:
                        self._reads.append(_Read(len(self._steps), position, source))
                    own = source in depending and source not in self._shared
                    sources.append(waiting[source].pop(0) if own else waiting[source][0])
                self._steps.append((each, sources))
                self._origins.append(number)
                written.append(self._count + len(self._steps) - 1)
            waiting[register] = written


def rewire(instruction: Instruction, sources: Sequence[int]) -> Instruction:
    """An instruction that reads these registers; one register may become two."""
    if isinstance(instruction, Binary):
        return replace(instruction, source=sources[0], other=sources[1])
    return instruction.rewire(dict(zip(instruction.sources, sources, strict=True)))  # type: ignore[arg-type]
