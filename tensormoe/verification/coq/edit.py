"""Certificates of edits: two layers that differ in some experts agree wherever these have no part.

Both programs are in the file, each with the theorem that it computes its mixture. What one expert makes of an
input is a definition of its own, `of_expert`. That it is the same before and after for all experts but those
that were edited is a premise: it is about numbers, which `tm.editing.certify` compares, and Coq does not see.
"""

from collections.abc import Sequence
from dataclasses import replace

from ...networks.notation import BATCH
from ...programs.contraction import Contraction, Operand
from ...programs.program import Program
from .export import THEOREM, close_file, open_program, run_program, state_operands, state_result
from .forms import Index
from .heading import write_heading
from .names import Names
from .ops import CertificateOps
from .script import Script, hypothesis, sign, write_places
from .statement import Letters, Statement, Use

BEFORE, DIFFERENCE, AGREEMENT = (
    "before_is_soft_moe",
    "edit_changes_these_experts",
    "edit_changes_nothing_else",
)
_BEFORE = Letters("y_before", "W_before", "V_before")
_RESERVED = (
    *("y_before", "W_before", "V_before", "of_expert", "of_expert_before", "edited", "kept", "vanish"),
    *(BEFORE, DIFFERENCE, AGREEMENT, "y_by_experts", "y_before_by_experts"),
)


def export_edit(before: tuple[Contraction, Program], after: tuple[Contraction, Program]) -> str:
    """The theorem that an edit changes the shares of some experts alone, as a file for Coq.

    Args:
        before: the contraction of the layer as it was, and its program.
        after: those of the edited layer.

    Raises:
        TensorMoEError: something that a certificate cannot speak about yet.
    """
    contractions = [after[0], _set_apart(before[0])]
    names = Names(contractions, reserved=_RESERVED)
    statements = [Statement(contractions[0], names), Statement(contractions[1], names, _BEFORE)]
    script = Script(names)
    arrays = [*dict.fromkeys(array for statement in statements for array in statement.arrays)]
    open_program(script, statements, arrays)
    operands = dict(zip(arrays, state_operands(script, statements, arrays), strict=True))
    results = []
    pairs = zip(statements, (after[1], before[1]), (THEOREM, BEFORE), strict=True)
    for statement, program, theorem in pairs:
        given = [operands[array] for array in statement.arrays]
        result = run_program(script, program, CertificateOps(), given)[-1]
        state_result(script, statement, result, theorem)
        _state_by_experts(script, statement)
        results.append(f"{result.name} {write_places(names.output(statement.contraction))}")
    _state_edit(script, statements, results)
    script.fitting = [*dict.fromkeys(script.fitting)]
    heading = write_heading(script, statements, False, edit=True)
    return close_file(script, [THEOREM, BEFORE, DIFFERENCE, AGREEMENT], heading)


def _set_apart(contraction: Contraction) -> Contraction:
    """The layer before: with names of its own for cores, bonds and parts."""
    modes = {index for operand in contraction.data for index in operand.indices} | {*contraction.output}

    def tell(index: str) -> str:
        return index if index in modes else f"{index}_before"

    operands = (
        Operand(each.name if BATCH in each.indices else f"{each.name}_before", tuple(map(tell, each.indices)))
        for each in contraction.operands
    )
    splits = (replace(split, parts=tuple(map(tell, split.parts))) for split in contraction.splits)
    sizes = tuple((tell(index), size) for index, size in contraction.sizes)
    return replace(contraction, operands=tuple(operands), splits=tuple(splits), sizes=sizes)


def _experts(statement: Statement) -> list[Index]:
    """The variables of the experts, of all levels."""
    return _summed(statement, statement.data[1:])


def _summed(statement: Statement, uses: Sequence[Use]) -> list[Index]:
    """The variables of uses that the result lacks."""
    return [index for use in uses for index in statement.spread(use) if index not in statement.output]


def _name(statement: Statement) -> str:
    return "of_expert" if statement.letters.result == "y" else "of_expert_before"


def _call(statement: Statement) -> str:
    """What one expert makes of an input."""
    given = [use.name for use in statement.uses if use not in statement.data[1:]]
    variables = [index.name for index in (*statement.output, *_experts(statement))]
    return " ".join([_name(statement), *given, *variables])


def _coefficients(statement: Statement) -> str:
    return f"({' ⊗ '.join(map(statement.write, statement.data[1:]))})"


def _state_by_experts(script: Script, statement: Statement) -> None:
    """What one expert makes of an input, and that the layer's result is the sum of these."""
    letters, calls = statement.letters, statement.calls
    x = statement.data[0]
    parts = []
    if letters.weight in calls:
        parts.append(f"{sign(_summed(statement, [x]))}{calls[letters.weight]} ⊗ {statement.write(x)}")
    if letters.bias in calls:
        parts.append(calls[letters.bias])
    name, given = _name(statement), [use.name for use in statement.uses if use not in statement.data[1:]]
    variables = " ".join(index.name for index in (*statement.output, *_experts(statement)))
    text = " ⊕ ".join(f"({part})" for part in parts)
    script.emit(
        "(* What one expert makes of an input; the result is the sum of these, times the coefficients. *)",
        f"Definition {name} ({' '.join(given)} : list nat -> R) ({variables} : nat) : R :=\n  {text}.",
        f"Lemma {letters.result}_by_experts ({' '.join(index.name for index in statement.output)} : nat) :",
        f"  {statement.call([use.array for use in statement.uses])} =",
        f"  {sign(_experts(statement))}{_call(statement)} ⊗ {_coefficients(statement)}.",
        f"Proof. unfold {letters.result}, {name}. by_laws. Qed.",
        "",
    )


def _state_edit(script: Script, statements: Sequence[Statement], results: Sequence[str]) -> None:
    """The theorems on what the edit changes, and on what it does not."""
    after, before = statements
    experts, output, coefficients = _experts(after), after.output, _coefficients(after)
    variables = " ".join(index.name for index in experts)
    bounds = " -> ".join(f"{index.name} < {index.size}" for index in experts)
    hypotheses = " ".join(map(hypothesis, experts))
    places = script.names.output(after.contraction)
    limits = [index for place in places for index in place if index.digits]
    held = [*output, *limits]
    premises = " -> ".join(f"{index.name} < {index.size}" for index in held)
    names = " ".join(index.name for index in output)
    intros = " ".join(map(hypothesis, held))
    edited = f"edited {variables}"
    kept = f"forall {variables}, {bounds} -> {edited} = false ->\n    {_call(after)} =\n    {_call(before)}"
    vanish = f"forall {variables}, {bounds} -> {edited} = true -> {coefficients} = zero"
    types = " -> ".join(["nat"] * len(experts) + ["bool"])
    share = f"{sign(experts)}if {edited} then {{}} ⊗ {coefficients} else zero"
    programs = [f"rewrite ({theorem} {names} {intros})" for theorem in (THEOREM, BEFORE)]
    sums = "rewrite y_by_experts, y_before_by_experts"
    below = "".join(f"apply sum_ext; intros {each.name} {hypothesis(each)}; " for each in experts)
    merged = "".join(
        f"rewrite !sum_plus; apply sum_ext; intros {each.name} {hypothesis(each)}; cbv beta; "
        for each in experts
    )
    script.emit(
        "(* THE EDIT. The experts for which [edited] is true may make anything else of an input. *)",
        f"Theorem {DIFFERENCE} {names} (edited : {types}) : {premises} ->",
        f"  ({kept}) ->",
        f"  {results[0]} ⊕ ({share.format(_call(before))}) =",
        f"  {results[1]} ⊕ ({share.format(_call(after))}).",
        f"Proof.\n  intros {intros} kept. {'; '.join(programs)}. {sums}.",
        f"  {merged}destruct ({edited}) eqn:E; [ring | rewrite (kept {variables} {hypotheses} E); ring].",
        "Qed.",
        "",
        f"Theorem {AGREEMENT} {names} (edited : {types}) : {premises} ->",
        f"  ({kept}) ->",
        f"  ({vanish}) ->",
        f"  {results[0]} = {results[1]}.",
        f"Proof.\n  intros {intros} kept vanish. {'; '.join(programs)}. {sums}.",
        f"  {below}destruct ({edited}) eqn:E; [rewrite (vanish {variables} {hypotheses} E); ring "
        f"| rewrite (kept {variables} {hypotheses} E); reflexivity].",
        "Qed.",
        "",
    )
