"""Certificates of layers: a contraction, its program and its reverse mode as a file for Coq."""

from collections.abc import Sequence

from ...networks.notation import BATCH
from ...programs.contraction import Contraction
from ...programs.program import Program
from .arrays import Noted, state_operand
from .chosen import CHOSEN, state_choice
from .forms import UnsayableError, match_axes, write_size
from .gradients import state_gradients
from .heading import write_heading
from .names import Names, read_prelude
from .ops import CertificateOps
from .script import Script, hypothesis, rename_given, write_places
from .statement import Statement

THEOREM, FITS = "program_is_soft_moe", "program_fits"
_GROUP = 16


def export(contraction: Contraction, program: Program, gradients: bool = True) -> str:
    """The theorem that a program computes a contraction, with its proof, as a file for Coq.

    The program is run on arrays that write down each operation as a definition, and what its result is as a
    lemma. Nothing is taken from `tensormoe.prove`; whether a lemma holds, Coq decides.

    Args:
        contraction: what should be computed, such as `stage.contraction`.
        program: what computes it, such as `spec.plan().program`.
        gradients: whether to include the reverse mode.

    Returns:
        The text of a file, which is the same for the same arguments.

    Raises:
        TensorMoEError: something that a certificate cannot speak about yet.

    Examples:
        >>> import tensormoe as tm
        >>> from tensormoe.verification.coq.export import export
        >>> plan = tm.MuMoESpec(8, 6, experts=4, factorization=tm.CP(rank=5)).plan()
        >>> text = export(plan.contraction, plan.program)
        >>> print(text[text.index("Theorem program_is_soft_moe") :].split(" :")[0])
        Theorem program_is_soft_moe b o
    """
    names = Names([contraction])
    statement = Statement(contraction, names)
    script = Script(names)
    open_program(script, [statement], statement.arrays)
    operands = state_operands(script, [statement], statement.arrays)
    cotangent = None
    if gradients:
        places = names.output(contraction)
        cotangent = state_operand(script, "dy", places, len(operands))
    registers = run_program(script, program, CertificateOps(), operands)
    theorems = [THEOREM]
    if statement.choices:
        theorems = [CHOSEN, THEOREM]
    state_result(script, statement, registers[-1], theorems[0])
    if statement.choices:
        state_choice(script, statement, registers[-1].name, THEOREM)
    if cotangent is not None:
        theorems += state_gradients(script, statement, program, registers, cotangent)
    return close_file(script, theorems, write_heading(script, [statement], gradients))


def open_program(
    script: Script, statements: Sequence[Statement], arrays: Sequence[str], functions: str = ""
) -> None:
    """The sizes, the definitions, and the values that are arbitrary."""
    if script.names.sizes:
        script.emit(f"Variables {' '.join(script.names.sizes)} : nat.", "")
    for choice in script.names.choices:
        (token,) = script.names.places([BATCH])[0]
        bound = f"{token.name} < {token.size} -> j < {choice.size} -> {choice.name} [{token.name}; j]"
        script.emit(
            f"Variable {choice.name} : list nat -> nat.",
            f"Hypothesis {choice.name}_in : forall {token.name} j, {bound} < {choice.whole.size}.",
            "",
        )
    script.emit(*(line for statement in statements for line in statement.define()))
    script.emit("", "Section Program.")
    for limit in {limit.size: limit for limit in script.names.limits.values()}.values():
        script.emit(f"Hypothesis {limit.proof} : {limit.size} <= {write_size(limit.digits)}.")
    script.emit("(* Any values; dy is the cotangent of y. *)")
    script.emit(f"Variables {' '.join(arrays)} dy : list nat -> R.", *[functions] * bool(functions), "")


def state_operands(script: Script, statements: Sequence[Statement], arrays: Sequence[str]) -> list[Noted]:
    """The arrays that the program takes, each with the axes of its first use."""
    operands = []
    for rank, array in enumerate(arrays):
        statement = next(each for each in statements if array in each.arrays)
        operands.append(state_operand(script, array, statement.places(array), rank))
    return operands


def run_program(
    script: Script, program: Program, ops: CertificateOps, operands: Sequence[Noted]
) -> list[Noted]:
    """Run a program as it runs on arrays, releases included, and note each step."""
    registers = [*operands]
    held: list[Noted | None] = [*operands]
    batch = registers[0].shape[0] if registers[0].shape else 1
    steps = zip(program.instructions, program.releases, strict=True)
    for number, (instruction, finished) in enumerate(steps, start=1):
        script.emit(f"(* Step {number} of the program: {instruction} *)")
        try:
            result = instruction.run(ops, held, batch)
        except (IndexError, ValueError, TypeError, AttributeError) as error:
            if isinstance(error, UnsayableError):
                raise
            reason = f"it raises {type(error).__name__}: {error}"
            raise UnsayableError(str(instruction), reason) from error
        if not isinstance(result, Noted):
            raise UnsayableError(str(instruction), "it does not give an array")
        registers.append(result)
        held.append(result)
        for register in finished:
            if not 0 <= register < len(held):
                raise UnsayableError(str(instruction), f"what is not there is released: register {register}")
            held[register] = None
    if held[-1] is None:
        raise UnsayableError("the result", "it is released")
    return registers


def state_result(script: Script, statement: Statement, result: Noted, theorem: str = THEOREM) -> None:
    """The theorem that the program's result is y."""
    output = statement.output
    places = script.names.output(statement.contraction)
    limits = [index for place in places for index in place if index.digits]
    premises = "".join(f"{index.name} < {index.size} -> " for index in (*output, *limits))
    variables = "".join(f" {index.name}" for index in output)
    known = match_axes("the result", result.form.axes, places)
    # A program that adds the row of the bias itself has a term for the other rows, and one for that.
    added = statement.extended and not all(map(script.is_extended, result.form.terms))
    end = "first [by_laws | by_rows]" if added else "by_laws"
    script.emit(
        "(* THE THEOREM. *)",
        f"Theorem {theorem}{variables} : {premises}".rstrip(),
        f"  {result.name} {write_places(places)} = {statement.call([use.array for use in statement.uses])}.",
        "Proof.",
        f"  intros {' '.join(hypothesis(index) for index in (*output, *limits))}.",
        f"  eapply eq_trans; [exact {result.at(rename_given(known))} |].",
        f"  {script.unfold(statement.defined, result.form)} {end}.",
        "Qed.",
        "",
    )


def close_file(script: Script, theorems: Sequence[str], heading: str) -> str:
    """The whole file, which ends with the question on what its theorems rest."""
    theorems = [*theorems, *_state_fits(script)]
    script.emit("(* All that is proved, and what it rests on. *)")
    script.emit(f"Definition certificate := ({', '.join(theorems)}).", "End Program.", "End Certificate.")
    script.emit("Print Assumptions certificate.")
    return f"{heading}\n{read_prelude(script.names.parts)}\n" + "\n".join(script.lines) + "\n"


def _state_fits(script: Script) -> list[str]:
    """The theorem that every operation is defined."""
    if not script.fitting:
        return []
    # In groups, where they are many: each "and" is checked together with all that follows in its group.
    starts = range(0, len(script.fitting), _GROUP)
    groups = [_conjoin(script.fitting[start : start + _GROUP]) for start in starts]
    if len(groups) > 1:
        groups = [_conjoin([(term, f"({claim})") for term, claim in groups])]
    ((term, conjunction),) = groups
    script.emit("(* Every operation, reverse mode included, is defined for its operands' shapes. *)")
    script.emit(f"Theorem {FITS} :\n  {conjunction}.", f"Proof. exact {term}. Qed.", "")
    return [FITS]


def _conjoin(fitting: Sequence[tuple[str, str]]) -> tuple[str, str]:
    """The proof of all of some claims, from theirs, and what it says."""
    proofs, claims = zip(*fitting, strict=True)
    term = proofs[-1]
    for proof in reversed(proofs[:-1]):
        term = f"(conj {proof} {term})"
    return term, " /\\\n  ".join(claims)
