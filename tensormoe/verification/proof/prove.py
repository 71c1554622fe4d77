"""Proofs that a program computes its contraction, and its reverse mode the derivatives, for all values.

The program itself is run, on symbolic arrays. Of the contraction only its operands and output are read;
nothing here knows how programs are made.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ...arrays.protocols import ProgramOps
from ...errors import TensorMoEError
from ...networks.notation import INPUT, Indices
from ...programs.contraction import Contraction
from ...programs.instructions import Instruction
from ...programs.program import Program
from .derivation import ProofStep, line, theorem
from .symbolic import BIAS, INPUTS, LawError, Part, Symbolic, SymbolicBackend, Term, World

_COTANGENT = "∂y"


class ProofError(TensorMoEError):
    """A program that is not proved to compute its contraction.

    Attributes:
        step: the number of the first instruction that breaks, counted from 1; None if each is lawful but what
            comes out is not what the contraction defines.
    """

    def __init__(self, received: str, reason: str, step: int | None = None) -> None:
        super().__init__("program", received, reason)
        self.step = step


@dataclass(frozen=True)
class Proof:
    """A derivation; prints as a theorem with its proof. See `tensormoe.prove`."""

    contraction: Contraction
    steps: tuple[ProofStep, ...]

    def __str__(self) -> str:
        return theorem(self.contraction, self.steps)


@dataclass(frozen=True)
class BlockProof:
    """The proofs of a block's two layers; printed one after the other."""

    first: Proof
    second: Proof

    def __str__(self) -> str:
        return f"First layer\n\n{self.first}\n\nSecond layer\n\n{self.second}"


def prove_program(contraction: Contraction, program: Program) -> Proof:
    """Prove that a program computes a contraction, for all values and whatever the sizes.

    The program is run on arrays that have indices in place of values. Every step must be allowed by the laws
    of commutative semirings, and the result must be the sum of products that defines the contraction: the
    weight tensor multiplied out, then summed with coefficients and input. Each bond is summed once, after all
    that carry it were multiplied in; a merged axis knows its indices and their order, so that equal sizes
    hide nothing. The program's reverse mode is run likewise: each gradient is the sum of the other factors.

    Sizes are read as names of indices: the derivation holds for all sizes of the indices that are larger
    than 1 here. An index of size 1 takes no part, nor does the sum over a single input beside a bias.

    Args:
        contraction: what is to be computed, such as `spec.contraction`.
        program: what computes it, such as `spec.plan().program`.

    Raises:
        ProofError: names the first step that breaks, and why.
    """
    names = [op.name for op in contraction.operands]
    if program.num_operands != len(names):
        remedy = f"the contraction has {len(names)}: {', '.join(names)}"
        raise TensorMoEError("program", f"{program.num_operands} operands", remedy)
    if len(set(names)) < len(names) or _COTANGENT in names:
        raise TensorMoEError("contraction", names, f"each operand has a name of its own, none {_COTANGENT!r}")
    _check_releases(program)
    try:
        proof = Proof(contraction, _forward(contraction, program))
        _backward(contraction, program)
    except LawError as reason:
        raise ProofError("the program", f"it {reason}") from None
    return proof


def _check_releases(program: Program) -> None:
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


def _forward(contraction: Contraction, program: Program) -> tuple[ProofStep, ...]:
    world = World.of(contraction)
    names = [op.name for op in contraction.operands]
    steps: list[ProofStep] = []

    def noted(number: int, instruction: Instruction, sources: Sequence[Symbolic], result: Symbolic) -> None:
        _check_sums(sources, result)
        named = [names[source] for source in instruction.sources]
        names.append(f"t{number}")
        steps.append(line(number, instruction, list(zip(named, sources, strict=True)), result))

    operands = [world.operand(op.name, op.indices) for op in contraction.operands]
    found = _watched(program, noted).run(SymbolicBackend(), operands)
    every = frozenset(names[: len(operands)])
    _check_result("the result", found, contraction.output, _expected(world, every, contraction.output))
    return tuple(steps)


def _backward(contraction: Contraction, program: Program) -> None:
    """Check that the gradient with respect to each operand is the sum of the products of all others."""
    world = World.of(contraction, (_COTANGENT, contraction.output))
    operands = [world.operand(op.name, op.indices) for op in contraction.operands]
    cotangent = world.operand(_COTANGENT, contraction.output)
    gradients = _watched(program).vjp(SymbolicBackend(), operands, cotangent)
    every = frozenset(op.name for op in contraction.operands) | {_COTANGENT}
    for op, operand, gradient in zip(contraction.operands, operands, gradients, strict=True):
        expected = _expected(world, every - {op.name}, op.indices)
        if op.name == world.data:
            expected = replace(expected, rows=INPUTS)
        _check_result(f"the gradient of {op.name}", gradient, op.indices, expected, operand)


def _expected(world: World, factors: frozenset[str], output: Indices) -> Term:
    """What the definition says: all factors, summed over every index that the output lacks."""
    carried = {index for index, names in world.carriers.items() if names & factors}
    return Term(factors, frozenset(i for i in carried - {*output} if world.sizes[i] > 1))


def _check_sums(sources: Sequence[Symbolic], result: Symbolic) -> None:
    """Raise `LawError` if an index was summed over while an operand that carries it is still to come."""
    before = {index for source in sources for term in source.terms for index in term.summed}
    for term in result.terms:
        for index in sorted(term.summed - before):
            # In the bias row the factor of x is 1.
            one = {result.world.data} if term.rows == BIAS else set()
            missing = result.world.carriers[index] - term.factors - one
            if missing:
                late = ", ".join(sorted(missing))
                raise LawError(f"sums over {index} before {late}, which carries it, has been multiplied in")


def _check_result(
    what: str, found: Symbolic, output: Indices, expected: Term, like: Symbolic | None = None
) -> None:
    world = found.world
    axes = like.axes if like else tuple(world.axis(Part(i, 0, world.sizes[i])) for i in output)
    reason = _difference(found, expected)
    if reason is None and found.axes != axes:
        shown = [" ".join(part.index for part in axis) or "1" for axis in found.axes]
        reason = f"its axes are {', '.join(shown)} where ({' '.join(output)}) is asked for"
    if reason is not None:
        raise ProofError(what, f"every step is lawful, but {reason}")


def _difference(found: Symbolic, expected: Term) -> str | None:
    """What tells an array from the one product that is expected; None if nothing does."""
    if found.terms == (expected,):
        return None
    if len(found.terms) != 1:
        return f"it is a sum of {len(found.terms)} products where the definition has one"
    term = found.terms[0]
    if expected.factors - term.factors:
        return f"it lacks the factor {', '.join(sorted(expected.factors - term.factors))}"
    if term.factors - expected.factors:
        return f"it has the further factor {', '.join(sorted(term.factors - expected.factors))}"
    if term.rows != expected.rows:
        lost = {INPUTS: "the bias row is left out", BIAS: "only the bias row is used"}
        return lost.get(term.rows or "", f"it uses all rows of {INPUT}")
    if expected.summed - term.summed:
        return f"it is not summed over {', '.join(sorted(expected.summed - term.summed))}"
    return f"it is summed over {', '.join(sorted(term.summed - expected.summed))}, which is to be kept"


Note = Callable[[int, Instruction, Sequence[Symbolic], Symbolic], None]


def _watched(program: Program, note: Note | None = None) -> Program:
    """The same program; an instruction that breaks names itself."""
    numbered = enumerate(program.instructions, start=1)
    return replace(program, instructions=tuple(_Watched(i.source, n, i, note) for n, i in numbered))


@dataclass(frozen=True)
class _Watched(Instruction):
    number: int
    watched: Instruction
    note: Note | None

    @property
    def sources(self) -> tuple[int, ...]:
        return self.watched.sources

    @property
    def reads(self) -> tuple[int, ...]:
        return self.watched.reads

    def run(self, ops: ProgramOps, registers: Sequence[Any], batch: int) -> Any:
        try:
            sources = [_read(registers, source) for source in self.sources]
            result: Symbolic = self.watched.run(ops, registers, batch)
            if self.note:
                self.note(self.number, self.watched, sources, result)
        except LawError as reason:
            raise self.error(reason) from None
        return result

    def vjp(self, ops: ProgramOps, registers: Sequence[Any], gradient: Any, position: int) -> Any:
        try:
            return self.watched.vjp(ops, registers, gradient, position)
        except LawError as reason:
            raise self.error(reason, "backwards it ") from None

    def error(self, reason: LawError, way: str = "it ") -> ProofError:
        return ProofError(f"step {self.number}: {self.watched}", f"{way}{reason}", self.number)


def _read(registers: Sequence[Any], source: int) -> Symbolic:
    if not 0 <= source < len(registers):
        raise LawError(f"reads register {source}, which nothing has written")
    found: Symbolic | None = registers[source]
    if found is None:
        raise LawError(f"reads register {source}, which was released")
    return found
