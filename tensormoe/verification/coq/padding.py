"""Zeros around arrays, and what is cut off: padded parts, and rows of weight tensors that biases stand in.

Parts that make up more values than their index number that index as well: i1 N + i2, where this is less than
the index's size. So nothing is divided: an array with the index itself is claimed at such parts alone, and a
padded one at all parts, times `inside`, which is 1 or 0. A row of a weight tensor is an index of its own:
what stands in some of its rows is multiplied with `same`, which is 1 where the rows are equal.
"""

from math import prod
from typing import NamedTuple

from ...networks.notation import INPUT
from .forms import (
    Factor,
    Form,
    Index,
    Place,
    Term,
    UnsayableError,
    enclose,
    inside,
    rename,
    same,
    sizes_of,
    variables,
    write_place,
    write_size,
)
from .names import Names
from .script import Script, below, give_form, hypothesis, write_groups, write_places


class Claim(NamedTuple):
    """What an operation is claimed to give.

    Args:
        body: the operation.
        form: what it gives.
        proof: of that.
        fits: that the operation is defined, if it is not as all others are.
    """

    body: str
    form: Form
    proof: str
    fits: str = ""


def pad(script: Script, name: str, form: Form, axis: int, before: int, after: int) -> Claim:
    """An array with so many zeros before and after it along an axis."""
    place, size = form.axes[axis], form.shape[axis]
    total, row = before + size + after, script.names.row
    to_parts = before == 0 and len(place) == 1 and _count(place[0].digits) == total
    # Reverse mode only cuts rows off.
    if row is not None and total == row.count and not (to_parts and script.reverse):
        row = rename([row], {index.name for index in form.indices})[row]
        if (before, after) == (0, 1) and enclose(write_size(place)) == enclose(
            _number(row).removeprefix("(").removesuffix(")")
        ):
            return _pad_by_a_row(name, form, axis, row)
        if after == 0 and not place:
            return _pad_to_a_row(name, form, axis, row)
    if to_parts:
        return _pad_to_parts(name, form, axis)
    raise UnsayableError(f"{before} zeros before, {after} behind", "no index has so many values")


def cut(names: Names, name: str, form: Form, axis: int, start: int, stop: int) -> Claim | None:
    """A range of an axis, if padding or a row of biases is cut off."""
    place, row = form.axes[axis], names.row
    for limit in names.limits.values():
        if (start, stop) == (0, limit.count) and sizes_of(limit.digits) == sizes_of(place):
            known = dict(zip(limit.digits, place, strict=True))
            return _cut_to_limit(name, form, axis, limit.rename(known))
    if row is None or sizes_of(place) != sizes_of((row,)):
        return None
    if (start, stop) == (row.count - 1, row.count):
        return _cut_rows(name, form, axis, (), Index(enclose(_number(row))), _number(row))
    if (start, stop) == (0, row.count - 1) and names.adds_row:
        inner = names.place(INPUT)
        known = rename(variables(inner), {index.name for index in form.indices} | {place[0].name})
        renamed = tuple(index.rename(known) for index in inner)
        return _cut_rows(name, form, axis, renamed, Index(enclose(write_place(renamed))), "0")
    return None


def _pad_to_parts(name: str, form: Form, axis: int) -> Claim:
    (index,) = form.axes[axis]
    after = _times(_put(form, axis, index.digits), inside(index))
    entry = f"pad_end_entry {axis} _ _ _ {write_places(form.axes)} {name}_shape eq_refl"
    proof = (
        f"eapply eq_trans; [exact ({entry}) |]. cbn [nth].\n"
        f"  eapply eq_trans; [refine (inside_ext _ _ _ _ _); intros {hypothesis(index)}; "
        f"exact {_at(name, form)} | by_laws]."
    )
    return _padded(name, axis, "0", write_size(index.digits), after, proof)


def _pad_to_a_row(name: str, form: Form, axis: int, row: Index) -> Claim:
    number = Index(enclose(_number(row)))
    after = _times(_put(form, axis, (row,)), same((number,), row))
    entry = f"pad_row_entry {axis} _ _ _ _ {write_places(after.axes)} {name}_shape eq_refl"
    proof = (
        f"eapply eq_trans; [exact ({entry}) |]. cbn [nth put firstn skipn app].\n"
        f"  eapply eq_trans; [exact (f_equal2 mul eq_refl {_at(name, form)}) | by_laws]."
    )
    return _padded(name, axis, number.name, row.size, after, proof)


def _pad_by_a_row(name: str, form: Form, axis: int, row: Index) -> Claim:
    place = form.axes[axis]
    inner = _times(form, same(variables(place), row)).sum(axis)
    after = Form(_put(form, axis, (row,)).axes, inner.terms)
    group = write_groups([place])[1:-1]
    entry = f"pad_sum_entry {axis} _ _ _ {group} {write_places(after.axes)} {name}_shape eq_refl"
    there = f"(eq_refl (same {enclose(write_place(place))} {row.name}))"
    proof = (
        f"eapply eq_trans; [exact ({entry}) |]. cbn [sums nth put firstn skipn app].\n"
        f"  eapply eq_trans; [{below(place)}exact (f_equal2 mul {there} {_at(name, form)}) | by_laws]."
    )
    return _padded(name, axis, "0", row.size, after, proof)


def _padded(name: str, axis: int, start: str, size: str, form: Form, proof: str) -> Claim:
    fits = f"apply pad_axis_fitting with (1 := {name}_shape); cbn [length nth]; lia."
    return Claim(f"pad_axis {axis} {enclose(start)} {enclose(size)} {name}", form, proof, fits)


def _cut_to_limit(name: str, form: Form, axis: int, limit: Index) -> Claim:
    after = _put(form, axis, (limit,))
    proof = f"eapply eq_trans; [{_read_slice(write_places(form.axes))} | exact {_at(name, form)}]."
    return Claim(f"slice {axis} 0 {enclose(limit.size)} {name}", after, proof)


def _cut_rows(name: str, form: Form, axis: int, inner: Place, number: Index, start: str) -> Claim:
    """The rows of the inputs, or that of the biases, as a sum over all rows."""
    (row,) = form.axes[axis]
    term = _times(form, same(variables(inner) or (number,), row))
    after = Form(_put(form, axis, inner).axes, term.sum(axis).terms)
    there = write_places(_put(form, axis, (number,)).axes)
    every = f"(fun {row.name} => {name} {write_places(form.axes)})"
    proof = (
        f"eapply eq_trans; [{_read_slice(there)} |].\n"
        f"  eapply eq_trans; [apply (one_of ({row.size}) {number.name} {every}); within_rows |].\n"
        f"  eapply eq_trans; [{below([row])}"
        f"exact (f_equal2 mul (eq_refl (same {number.name} {row.name})) {_at(name, form)}) | by_laws]."
    )
    size = enclose(write_size(inner))
    return Claim(f"slice {axis} {enclose(start)} {size} {name}", after, proof)


def _read_slice(there: str) -> str:
    return f"apply slice_entry with (j := {there}); cbn [nth put firstn skipn app]; read_rows"


def _at(name: str, form: Form) -> str:
    return f"({' '.join([f'{name}_is', *give_form(form, {})])})"


def _times(form: Form, factor: Factor) -> Form:
    return Form(form.axes, tuple(Term((*term.factors, factor), term.summed) for term in form.terms))


def _put(form: Form, axis: int, place: Place) -> Form:
    return Form((*form.axes[:axis], place, *form.axes[axis + 1 :]), form.terms)


def _number(row: Index) -> str:
    """The number of the last row."""
    return row.size[2:]


def _count(place: Place) -> int:
    return prod(index.count for index in place)
