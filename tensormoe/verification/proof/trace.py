"""A program run so that each instruction is noted, and names itself where it breaks."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from ...arrays.protocols import ProgramOps
from ...errors import TensorMoEError
from ...programs.instructions import Instruction
from ...programs.program import Program
from .symbolic import Symbolic
from .world import LawError

# What is called with an instruction's number, counted from 1, the instruction, its sources and its result.
Note = Callable[[int, Instruction, Sequence[Symbolic], Symbolic], None]


class ProofError(TensorMoEError):
    """A program that is not proved to compute what it should.

    Attributes:
        step: the number of the first instruction that breaks, counted from 1; None if each is lawful but what
            comes out is not what the definition says.

    Examples:
        >>> from dataclasses import replace
        >>> import tensormoe as tm
        >>> plan = tm.MuMoESpec(8, 6, experts=4, factorization=tm.CP(rank=5), bias=False).plan()
        >>> first, *rest = plan.program.instructions
        >>> wrong = replace(first, source=1)
        >>> try:
        ...     tm.prove(plan.contraction, replace(plan.program, instructions=(wrong, *rest)))
        ... except tm.ProofError as error:
        ...     print(error.step)
        1
    """

    def __init__(self, received: str, reason: str, step: int | None = None) -> None:
        super().__init__("program", received, reason)
        self.step = step


def renumber(error: ProofError, program: Program, origins: Sequence[int]) -> ProofError:
    """An error of a program that was rewritten, with the step of the given one.

    Args:
        error: of the rewritten program.
        program: the given one.
        origins: the number of each rewritten step there, from 0 on.
    """
    if error.step is None:
        return error
    number = origins[error.step - 1]
    return ProofError(f"step {number + 1}: {program.instructions[number]}", error.remedy, number + 1)


def trace(program: Program, note: Note | None = None) -> Program:
    """The same program, whose instructions call `note`; one that breaks raises a `ProofError`."""
    numbered = enumerate(program.instructions, start=1)
    kinds = {True: _Traced, False: _TracedCostly}
    traced = tuple(kinds[bool(i.cheap)](i.source, n, i, note) for n, i in numbered)
    return replace(program, instructions=traced)


def differentiate(
    program: Program, ops: ProgramOps, operands: Sequence[Symbolic], cotangent: Symbolic
) -> Iterator[Sequence[Symbolic]]:
    """The gradients in reverse mode, with all values kept and with the cheap ones recomputed."""
    traced = trace(program)
    for recompute in (False, True):
        _, registers = traced.forward(ops, operands, recompute)
        gradients = traced.backward(ops, registers, cotangent, range(program.num_operands))
        pairs = zip(operands, gradients, strict=True)
        yield [ops.zeros_like(x) if gradient is None else gradient for x, gradient in pairs]


def check_releases(program: Program) -> None:
    """Raise the error of releases that do not fit the instructions."""
    steps = program.instructions
    if len(program.releases) != len(steps):
        remedy = f"pass one for each of {len(steps)} instructions"
        raise TensorMoEError("program", f"{len(program.releases)} releases", remedy)
    result = program.num_operands + len(steps) - 1
    for number, (step, released) in enumerate(zip(steps, program.releases, strict=True)):
        # What a step cannot read is its own mistake.
        for register in {*released} - {*step.sources}:
            if not 0 <= register <= program.num_operands + number or register == result:
                remedy = f"step {number + 1} may release what exists by then, but not the result"
                raise TensorMoEError("program", f"a release of register {register}", remedy)


@dataclass(frozen=True)
class _Traced(Instruction):
    number: int
    traced: Instruction
    note: Note | None

    @property
    def sources(self) -> tuple[int, ...]:
        return self.traced.sources

    @property
    def reads(self) -> tuple[int, ...]:
        return self.traced.reads

    @property
    def differentiable(self) -> bool:
        return self.traced.differentiable

    def run(self, ops: ProgramOps, registers: Sequence[Any], batch: int) -> Any:
        # No instruction may write to registers but its own.
        held = tuple(registers)
        with self.blame("it "):
            sources = [_read(held, source) for source in self.sources]
            result = _symbolic(self.traced.run(ops, held, batch))
            if type(self.traced).overwrite is not Instruction.overwrite:
                _compare(_symbolic(self.traced.overwrite(ops, held, batch)), result)
            if self.note:
                self.note(self.number, self.traced, sources, result)
        return result

    def vjp(self, ops: ProgramOps, registers: Sequence[Any], gradient: Any, position: int) -> Any:
        with self.blame("backwards it "):
            return _symbolic(self.traced.vjp(ops, tuple(registers), gradient, position))

    @contextmanager
    def blame(self, way: str) -> Iterator[None]:
        """Turn whatever is raised inside into a `ProofError` that names the instruction."""
        try:
            yield
        except ProofError:
            raise
        except Exception as error:
            reason = error if isinstance(error, LawError) else f"raises {type(error).__name__}: {error}"
            raise ProofError(f"step {self.number}: {self.traced}", f"{way}{reason}", self.number) from error


class _TracedCostly(_Traced):
    cheap = False


def _symbolic(result: Any) -> Symbolic:
    if not isinstance(result, Symbolic):
        raise LawError(f"returns {type(result).__name__}, which is not an array")
    return result


def _compare(overwritten: Symbolic, result: Symbolic) -> None:
    if overwritten.axes != result.axes or {*overwritten.terms} != {*result.terms}:
        raise LawError("computes something else where it may overwrite its source")


def _read(registers: Sequence[Any], source: int) -> Symbolic:
    if not 0 <= source < len(registers):
        raise LawError(f"reads register {source}, which nothing has written")
    array: Symbolic | None = registers[source]
    if array is None:
        raise LawError(f"reads register {source}, which was released")
    return array
