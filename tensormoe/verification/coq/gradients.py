"""The theorems on gradients: what reverse mode gives is the derivative, exactly, in every direction."""

from collections.abc import Sequence

from ...programs.program import Program
from .arrays import Noted
from .choices import is_mark, unmark
from .forms import FIRST, Form, Index, Term, enclose, inside, match_axes, write_size
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
    units = operand.form.units
    every = [*map(script.names.as_one, units)]
    there = write_places(tuple(map(script.names.as_one, place)) for place in operand.form.axes)
    change = f"{sign(every)}{gradient.name} {there} ⊗ d {there}"
    moved = f"(fun i => {array} i ⊕ d i)"
    after, before, along = (_pair_all(script, statements, array, given) for given in (moved, array, "d"))
    script.emit(
        f"Theorem gradient_of_{array} : shape {gradient.name} = {write_shape(operand.form.axes)} /\\ "
        f"forall d : list nat -> R,\n  {after} =\n  {before} ⊕\n  ({change}).",
        f"Proof.\n  split; [exact {gradient.name}_shape |].",
    )
    known = match_axes(f"the gradient of {array}", gradient.form.axes, operand.form.axes)
    form, marked = gradient.form.rename(known), any(map(_is_marked, gradient.form.terms))
    at_d = f"(eq_refl (d {write_places(operand.form.axes)}))"
    entries = f"exact (f_equal2 mul {gradient.at(rename_given(known))} {at_d})"
    way = f"eapply eq_trans; [{below(units)}{entries} |]."
    names = [name for each in statements for name in each.defined]
    end = f"{script.unfold(names, gradient.form)} by_laws."
    if not marked and all(statement.is_linear_in(array) for statement in statements):
        script.emit(
            f"  assert (linear : forall d : list nat -> R,\n    {along} =\n    {change}).",
            f"  {{ intros d. symmetry. {way} {end} }}",
            f"  intros d. eapply eq_trans; [exact (linear {moved}) |].",
            f"  eapply eq_trans; [| exact (f_equal2 add (eq_sym (linear {array})) eq_refl)]. by_laws.",
        )
    else:
        if any(array == statement.extended for statement in statements):
            paired, proof = _add_row(script, operand, form, entries)
        elif marked:
            # Where it was read.
            paired, at_marks = unmark(script, units, form, operand.form.axes)
            proof = f"{way} symmetry. eapply eq_trans; [{at_marks} | by_laws]."
        else:
            paired = _spread(units, f"({script.close(form)}) ⊗ d {write_places(operand.form.axes)}")
            proof = f"{way} by_laws."
        script.emit(
            f"  intros d. assert (E : ({change}) =\n    {paired}).\n  {{ {proof} }}",
            f"  rewrite E. clear E. {end}",
        )
    script.emit("Qed.", "")


def _is_marked(term: Term) -> bool:
    return any(map(is_mark, term.factors))


def _spread(units: Sequence[Index], text: str) -> str:
    """The sums over an array's indices, each over all values that its parts make up."""
    for index in reversed(units):
        limited = f"{write_factor(inside(index))} ⊗ ({text})" if index.digits else text
        text = sign(index.variables) + limited
    return text


def _add_row(script: Script, operand: Noted, form: Form, entries: str) -> tuple[str, str]:
    """A gradient paired with a change over all rows, of which the last moves by nothing; and the proof."""
    (token,), short = operand.form.axes
    closed, row = script.close(form), short[0] if short else script.names.single or FIRST
    if not short:
        closed = script.close(form.rename({FIRST: row}))
    size = enclose(write_size(short))
    lemma = f"sum_pad {size} {token.name} d (fun {row.name} => {closed})"
    way = below(short) or "rewrite sum_one; cbv beta; "
    # Where an array is used several times, the terms' sums may come in another order.
    inner = f"first [{entries} | eapply eq_trans; [{entries} | by_laws]]"
    rows = f"{sign([token])}Σ {row.name} < S {size}, ({closed}) ⊗ pad {size} d {token.name} {row.name}"
    return rows, f"{below([token])}eapply eq_trans; [| exact ({lemma})]; {way}{inner}."


def _pair_all(script: Script, statements: Sequence[Statement], array: str, given: str) -> str:
    """The results, paired with their cotangents, with something else in place of one use of an array each."""
    pairs = []
    for statement in statements:
        arrays = [use.array for use in statement.uses]
        for place, use in enumerate(statement.uses):
            if use.array == array:
                pairs.append(_pair(script, statement, [*arrays[:place], given, *arrays[place + 1 :]]))
    return " ⊕ ".join(pairs)


def _pair(script: Script, statement: Statement, given: Sequence[str]) -> str:
    """The result for some arrays, paired with its cotangent."""
    places = script.names.output(statement.contraction)
    limits = [inside(index) for place in places for index in place if index.digits]
    cotangent = " ⊗ ".join(
        [*map(write_factor, limits), f"{statement.letters.cotangent} {write_places(places)}"]
    )
    return f"({sign(statement.output)}{cotangent} ⊗ {statement.call(given)})"
