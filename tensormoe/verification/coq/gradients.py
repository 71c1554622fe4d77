"""The theorems on gradients: what reverse mode gives is the derivative, exactly, in every direction."""

from collections.abc import Sequence

from ...programs.program import Program
from .arrays import Noted
from .choices import unmark
from .forms import FIRST, Index, enclose, inside, match_axes, write_size
from .ops import CertificateOps
from .script import Script, below, rename_given, sign, write_factor, write_places, write_shape
from .statement import Statement


def state_gradients(
    script: Script, statement: Statement, program: Program, registers: Sequence[Noted], cotangent: Noted
) -> list[str]:
    """State ⟨dy, y(operand + d)⟩ = ⟨dy, y(operand)⟩ + ⟨gradient, d⟩ for every operand, and each d.

    An array that is used m times moves in one use after the other: the left-hand side is the sum of these,
    and the right-hand side has m times ⟨dy, y⟩.

    Returns:
        The names of the theorems.
    """
    script.reverse = True
    script.emit("(* THE REVERSE MODE. *)")
    count = len(statement.arrays)
    given = [*registers]
    gradients = program.backward(CertificateOps(), given, cotangent, range(count))  # type: ignore[arg-type]
    return state_each(script, [statement], statement.arrays, registers, gradients)


def state_each(
    script: Script,
    statements: Sequence[Statement],
    arrays: Sequence[str],
    operands: Sequence[Noted],
    gradients: Sequence[Noted | None],
) -> list[str]:
    """State the theorem of each array that has a gradient; return their names."""
    theorems = []
    for array, operand, gradient in zip(arrays, operands, gradients, strict=False):
        if gradient is None:
            script.emit(f"(* The program does not read {array}. *)")
        else:
            state_gradient(script, statements, array, operand, gradient)
            theorems.append(f"gradient_of_{array}")
    return theorems


def state_gradient(
    script: Script, statements: Sequence[Statement], array: str, operand: Noted, gradient: Noted
) -> None:
    """State that an array's gradient is the derivative of the results that it is in."""
    statements = [statement for statement in statements if array in statement.arrays]
    moved = f"(fun i => {array} i ⊕ d i)"
    left, right = [], []
    for statement in statements:
        same = [use.array for use in statement.uses]
        for place, use in enumerate(statement.uses):
            if use.array == array:
                left.append(_pair(script, statement, [*same[:place], moved, *same[place + 1 :]]))
                right.append(_pair(script, statement, same))
    units = operand.form.units
    entry, every = write_places(operand.form.axes), [*map(script.names.as_one, units)]
    there = write_places(tuple(map(script.names.as_one, place)) for place in operand.form.axes)
    change = f"{sign(every)}{gradient.name} {there} ⊗ d {there}"
    script.emit(
        f"Theorem gradient_of_{array} : shape {gradient.name} = {write_shape(operand.form.axes)} /\\ "
        f"forall d : list nat -> R,\n  {' ⊕ '.join(left)} =\n  {' ⊕ '.join(right)} ⊕\n  ({change}).",
        f"Proof.\n  split; [exact {gradient.name}_shape | intros d].",
    )
    known = match_axes(f"the gradient of {array}", gradient.form.axes, operand.form.axes)
    closed = script.close(gradient.form.rename(known))
    # Where an array is used several times, the terms' sums may come in another order.
    entries = f"exact (f_equal2 mul {gradient.at(rename_given(known))} eq_refl)"
    inner = f"first [{entries} | eapply eq_trans; [{entries} | by_laws]]"
    if any(array == statement.extended for statement in statements):
        # Over all rows, of which the last moves by nothing.
        (token,), short = operand.form.axes
        single = script.names.single
        row = short[0] if short else single or FIRST
        if not short:
            closed = script.close(gradient.form.rename(known).rename({FIRST: row}))
        size = enclose(write_size(short))
        rows = f"({closed}) ⊗ pad {size} d {token.name} {row.name}"
        flat = f"{sign([token])}Σ {row.name} < S {size}, {rows}"
        lemma = f"sum_pad {size} {token.name} d (fun {row.name} => {closed})"
        way = below(short) or "rewrite sum_one; cbv beta; "
        proof = f"{below([token])}eapply eq_trans; [| exact ({lemma})]; {way}{inner}"
    elif any(factor.name == "mark" for term in gradient.form.terms for factor in term.factors):
        # Where it was read.
        form = gradient.form.rename(known)
        flat, at_marks = unmark(script, units, form, operand.form.axes)
        proof = (
            f"eapply eq_trans; [{below(units)}{inner} |]. symmetry. eapply eq_trans; [{at_marks} | by_laws]"
        )
    else:
        flat = _spread(units, f"({closed}) ⊗ d {entry}")
        proof = f"{below(units)}{inner}"
    script.emit(
        f"  assert (E : ({change}) =\n    {flat}).\n  {{ {proof}. }}",
        f"  rewrite E. clear E. {' '.join(each.unfolding for each in statements)} by_laws.",
        "Qed.",
        "",
    )


def _spread(units: Sequence[Index], text: str) -> str:
    """The sums over an array's indices, each over all values that its parts make up."""
    for index in reversed(units):
        limited = f"{write_factor(inside(index))} ⊗ ({text})" if index.digits else text
        text = sign(index.variables) + limited
    return text


def _pair(script: Script, statement: Statement, given: Sequence[str]) -> str:
    """The result for some arrays, paired with its cotangent."""
    places = script.names.output(statement.contraction)
    limits = [inside(index) for place in places for index in place if index.digits]
    cotangent = " ⊗ ".join(
        [*map(write_factor, limits), f"{statement.letters.cotangent} {write_places(places)}"]
    )
    return f"({sign(statement.output)}{cotangent} ⊗ {statement.call(given)})"
