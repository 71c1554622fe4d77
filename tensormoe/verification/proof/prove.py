"""Proofs that a program computes its contraction, and its reverse mode the derivatives, for all values.

The program itself is run, on symbolic arrays. Only the operands and output of the contraction are read;
nothing here knows how programs are made.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from ...displays import draw_table, fold_away, write_text
from ...errors import TensorMoEError
from ...programs.contraction import Contraction, Operand
from ...programs.instructions import Instruction
from ...programs.program import Program
from ..coq.export import export
from .choices import tell_choices
from .claims import check_array, check_sums, gradients_of, products_of, whole_axes
from .derivation import ProofStep, line
from .sharing import group_uses, prove_separately
from .symbolic import Symbolic, read_operand
from .symbolic_ops import SymbolicOps
from .theorem import theorem
from .trace import ProofError, check_releases, differentiate, trace
from .world import LawError, World

# The name of the output's cotangent; the operands may not have it.
COTANGENT = "∂y"


@dataclass(frozen=True)
class Proof:
    """A derivation; prints as a theorem with its proof. See `tensormoe.prove`.

    Examples:
        >>> import tensormoe as tm
        >>> proof = tm.prove(tm.MuMoESpec(8, 6, experts=4, factorization=tm.CP(rank=5)))
        >>> print(str(proof).splitlines()[0])
        Theorem. For all values, every batch and all sizes of n, i, o, r,
    """

    contraction: Contraction
    steps: tuple[ProofStep, ...]
    program: Program = field(repr=False)

    def __str__(self) -> str:
        return theorem(self.contraction, self.steps)

    def __repr__(self) -> str:
        return f"<Proof: {len(self.steps)} steps>"

    def _repr_html_(self) -> str:
        rows = [(f"{step.number}", step.statement, step.law) for step in self.steps]
        steps = draw_table(("", "step", "law"), rows, text_columns=3)
        return steps + fold_away("the theorem with its proof", write_text(str(self)))

    def to_coq(self) -> str:
        """The theorem with its proof as a file for the proof assistant Coq: a certificate.

        Coq decides on its own whether it holds; it is not told what is derived here. The text is the same
        for the same layer. `tensormoe check FILE` and `coqc FILE` check it.

        Raises:
            TensorMoEError: something that certificates cannot speak about yet.

        Examples:
            >>> import tensormoe as tm
            >>> text = tm.prove(tm.MuMoESpec(8, 6, experts=4, factorization=tm.CP(rank=5))).to_coq()
            >>> print(*[line for line in text.splitlines() if line.startswith("Definition W")])
            Definition W (expert1 input output : list nat -> R) n i o :=
        """
        return export(self.contraction, self.program)


def prove_program(contraction: Contraction, program: Program) -> Proof:
    """Prove that a program computes a contraction, for all values and all sizes.

    The program is run on arrays that have indices instead of values. Every step must be allowed by the laws
    of commutative semirings, and the result must be the sum of products that defines the contraction: the
    weight tensor multiplied out, then summed with coefficients and input; in a sum
    of networks, one such product for each term. Each bond is summed once, after all
    that carry it were multiplied in; a merged axis keeps its indices and their order, so equal sizes hide
    nothing. The same holds for the program's reverse mode: each gradient is the sum of the products of the
    other factors. A core that is used more than once is read as one array for each use: equal arrays are a
    special case, and the gradient of the core is the sum of theirs.

    Sizes are read as names of indices: the derivation holds for all sizes of the indices that are larger
    than 1 here. An index of size 1 takes no part, nor does the sum over a single input besides a bias.

    Args:
        contraction: what should be computed, such as `stage.contraction`.
        program: what computes it, such as `spec.plan().program`.

    Raises:
        ProofError: names the first step that breaks, and why.
    """
    check_program(contraction.arrays, program)
    given, names, whole = (
        program,
        [op.name for op in contraction.operands],
        tell_choices(contraction.unshare()),
    )
    try:
        program, steps = prove_separately(
            program, group_uses(names), tuple(dict.fromkeys(names)), lambda each: _forward(whole, each)
        )
        _backward(whole, program)
    except LawError as reason:
        raise ProofError("the program", f"it {reason}") from None
    return Proof(contraction, steps, given)


def check_program(operands: Sequence[Operand], program: Program) -> None:
    """Raise an error if operands do not match, names are ambiguous, or releases do not fit."""
    names = [op.name for op in operands]
    if program.num_operands != len(names):
        remedy = f"the contraction has {len(names)}: {', '.join(names)}"
        raise TensorMoEError("program", f"{program.num_operands} operands", remedy)
    if len(set(names)) < len(names) or COTANGENT in names:
        remedy = f"each operand needs its own name, other than {COTANGENT!r}"
        raise TensorMoEError("contraction", names, remedy)
    check_releases(program)


def derive(
    program: Program, ops: SymbolicOps, names: Sequence[str], operands: Sequence[Symbolic]
) -> tuple[Symbolic, tuple[ProofStep, ...]]:
    """What a program computes from named operands, and each of its steps."""
    registers = [*names]
    steps: list[ProofStep] = []

    def note(number: int, instruction: Instruction, sources: Sequence[Symbolic], result: Symbolic) -> None:
        check_sums(sources, result)
        named = [registers[source] for source in instruction.sources]
        registers.append(f"t{number}")
        steps.append(line(number, instruction, list(zip(named, sources, strict=True)), result))

    return trace(program, note).run(ops, operands), tuple(steps)


def _forward(contraction: Contraction, program: Program) -> tuple[ProofStep, ...]:
    world = World.of([contraction])
    names = [op.name for op in contraction.operands]
    operands = [read_operand(world, op.name, op.indices) for op in contraction.operands]
    result, steps = derive(program, SymbolicOps(), names, operands)
    axes = whole_axes(world, contraction.output)
    check_array("the result", result, axes, products_of(world, contraction))
    return steps


def _backward(contraction: Contraction, program: Program) -> None:
    """Check that the gradient with respect to each operand is the sum of the products of all others."""
    world = World.of([contraction], (COTANGENT, contraction.output))
    operands = [read_operand(world, op.name, op.indices) for op in contraction.operands]
    cotangent = read_operand(world, COTANGENT, contraction.output)
    for gradients in differentiate(program, SymbolicOps(), operands, cotangent):
        for op, operand, gradient in zip(contraction.operands, operands, gradients, strict=True):
            expected = gradients_of(world, contraction, COTANGENT, op)
            check_array(f"the gradient of {op.name}", gradient, operand.axes, expected)
