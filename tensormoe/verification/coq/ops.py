"""The operations that a program asks of a backend, on arrays that write them down."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from . import choices
from .arrays import Noted
from .forms import (
    FIRST,
    Factor,
    Form,
    Index,
    Place,
    Term,
    UnsayableError,
    enclose,
    meet,
    rename,
    short_of,
    write_size,
)
from .padding import pad
from .script import below, hypothesis, rename_given, write_groups, write_list, write_places, write_shape


class CertificateOps:
    """What a program asks of a backend."""

    def copy(self, array: Noted, /) -> Noted:
        return array

    def transpose(self, array: Noted, axes: Sequence[int], /) -> Noted:
        form, order = array.form.transpose(axes), write_list(str(axis) for axis in axes)
        entry = f"transpose_entry {order} {array.name} {write_places(form.axes)} _ eq_refl"
        proof = f"exact (eq_trans ({entry}) {array.at({})})."
        return array.define(f"transpose {order} {array.name}", form, proof, [array])

    def reshape(self, array: Noted, shape: Sequence[int], /) -> Noted:
        form = array.form.reshape(shape)
        bounds = "(Forall2_nil lt)"
        for index in reversed(form.units):
            bounds = f"(Forall2_cons _ _ {hypothesis(index)} {bounds})"
        groups = f"{write_groups(array.form.axes)} {write_groups(form.axes)}"
        entry = (
            f"reshape_entry {groups} {array.name} {write_list(index.name for index in form.units)}\n"
            f"  {write_places(form.axes)} {write_places(array.form.axes)} {array.name}_shape eq_refl {bounds}"
            " eq_refl eq_refl"
        )
        fits = f"exact (reshape_fitting {groups} _ {array.name}_shape eq_refl)."
        body = f"reshape {write_shape(form.axes)} {array.name}"
        return array.define(body, form, f"exact (eq_trans ({entry}) {array.at({})}).", [array], fits)

    def sum(self, array: Noted, /, axis: int) -> Noted:
        form, inner = array.form.sum(axis), array.form.axes[axis]
        group = write_groups([inner])[1:-1]
        entry = f"total_entry {axis} _ _ {group} {write_places(form.axes)} {array.name}_shape eq_refl"
        proof = (
            f"eapply eq_trans; [exact ({entry}) |]. cbn [sums firstn skipn app].\n"
            f"  eapply eq_trans; [{below(inner)}exact {array.at({})} | by_laws]."
        )
        return array.define(f"total {axis} {array.name}", form, proof, [array])

    def matmul(self, a: Noted, b: Noted, /) -> Noted:
        known, form = _multiply(a.form, b.form)
        inner = a.form.axes[-1]
        group = write_groups([inner])[1:-1]
        entry = f"matmul_entry _ _ _ {group} {write_places(form.axes)} {a.name}_shape eq_refl"
        entries = f"{a.at({})} {b.at(rename_given(known))}"
        proof = (
            f"eapply eq_trans; [exact ({entry}) |]. cbn [sums last removelast app].\n"
            f"  eapply eq_trans; [{below(inner)}exact (f_equal2 mul {entries}) | by_laws]."
        )
        return a.define(f"matmul {a.name} {b.name}", form, proof, [a, b], _fit_product(a, b))

    def affine(self, a: Noted, b: Noted, /) -> Noted:
        """The input, followed by a 1, times a matrix."""
        (index,), short = b.form.axes[-2], a.form.axes[-1]
        factor = _read_input(a)
        if write_size(short_of(index)) != write_size(short):
            raise UnsayableError(a.name, "a matrix has other rows than those of the input and the bias")
        whole = replace(index, name=short[0].name) if short else index
        axes = (*a.form.axes[:-1], (whole,))
        extended = replace(factor, places=(*factor.places[:-1], (whole,)), extended=True)
        z = Form(axes, (Term((extended,)),))
        known, form = _multiply(z, b.form)
        x = f"{factor.name} {write_places(extended.places)}"
        size = enclose(write_size(short))
        entry = f"affine_entry _ _ _ {size} {write_places(form.axes)} {a.name}_shape eq_refl"
        at_b, at_a = (
            b.at(rename_given(known)),
            f"exact {a.at({each: (each.name, 'H_low') for each in short})}",
        )
        if not short:
            at_a = f"assert ({whole.name} = 0) as -> by lia; {at_a}"
        second = self_close(b, known)
        proof = (
            f"eapply eq_trans; [exact ({entry}) |]. cbn [last removelast app].\n"
            f"  eapply eq_trans; [{below([whole])}refine (f_equal2 mul (if_lt _ _ _ ({x}) _ _) {at_b}); "
            f"intros H_low; {at_a} |].\n"
            f"  change (Σ {whole.name} < {whole.size}, {a.script.close(z)} ⊗ ({second}) = "
            f"{a.script.close(form)}). by_laws."
        )
        return a.define(f"affine {a.name} {b.name}", form, proof, [a, b], _fit_product(a, b))

    def zeros_like(self, array: Noted, /) -> Noted:
        return array.define(f"zeros {array.name}", Form(array.form.axes, ()), "reflexivity.", [array])

    def concatenate(self, arrays: Sequence[Noted], /, axis: int) -> Noted:
        """The rows of the inputs, and that of the bias; or an array with zeros around it."""
        held = [number for number, array in enumerate(arrays) if array.form.terms]
        if len(held) == 1:
            (number,), axis = held, axis % len(arrays[0].form.axes)
            array, sizes = arrays[number], [each.shape[axis] for each in arrays]
            ends = sum(sizes[:number]), sum(sizes[number + 1 :])
            return array.claim(pad(array.script, array.name, array.form, axis, *ends))
        if len(arrays) != 2:
            raise UnsayableError(f"{len(arrays)} arrays", "only the row of the bias is put behind others")
        a, b = arrays
        axis %= len(a.form.axes)
        short, known = a.form.axes[axis], meet(a.form, b.form)
        whole = _lengthen(a, axis)
        if whole is None or b.form.axes[axis] or len(a.form.terms) != len(b.form.terms):
            raise UnsayableError(a.name, "only the row of the bias is put behind others")
        axes = (*a.form.axes[:axis], (whole,), *a.form.axes[axis + 1 :])
        form = Form.of(axes, [extend(term, short, whole) for term in a.form.terms])
        i, size = whole.name, enclose(write_size(short))
        rest = f"exact {a.at({each: (each.name, 'H_low') for each in short})} |"
        if short:
            first = f"eapply eq_trans; [{rest} low H_low]"
        else:
            first = f"assert ({i} = 0) as -> by lia. eapply eq_trans; [{rest} first_row]"
        entry = f"concatenate_entry {axis} _ _ _ {write_places(axes)} {a.name}_shape"
        proof = (
            f"eapply eq_trans; [exact ({entry}) |].\n"
            "  cbn [nth put firstn skipn app]. "
            f"destruct (Nat.ltb_spec {i} {size}) as [H_low | H_low].\n"
            f"  - {first}.\n"
            f"  - assert ({i} = {size}) as -> by lia. rewrite Nat.sub_diag. "
            f"eapply eq_trans; [exact {b.at(rename_given(known))} | last_row]."
        )
        return a.define(f"concatenate {axis} {a.name} {b.name}", form, proof, [a, b])

    def choose(self, coefficients: Noted, k: int, /) -> Noted:
        return choices.choose(coefficients, k)

    def take(self, coefficients: Noted, indices: Noted, /) -> Noted:
        return choices.take(coefficients, indices)

    def put(self, gradient: Noted, indices: Noted, like: Noted, /) -> Noted:
        return choices.put(gradient, indices, like)

    def gather(self, array: Noted, indices: Sequence[Noted], axes: Sequence[int], /) -> Noted:
        return choices.gather(array, indices, axes)

    def scatter(
        self, gradient: Noted, indices: Sequence[Noted], axes: Sequence[int], like: Noted, /
    ) -> Noted:
        return choices.scatter(gradient, indices, axes, like)

    def __getattr__(self, name: str) -> Any:
        raise UnsayableError(name, "an operation that has no definition in the prelude")


def _read_input(array: Noted) -> Factor:
    """The input, or a block's hidden values, that an array is."""
    terms = array.form.terms
    if len(terms) == 1 and not terms[0].summed and len(terms[0].factors) == 1:
        (factor,) = terms[0].factors
        if factor.rank <= 0 and factor.places[-1] == array.form.axes[-1] and not factor.extended:
            return factor
    raise UnsayableError(array.name, "only the input itself is followed by a 1")


def self_close(array: Noted, known: Mapping[Index, Index]) -> str:
    """The closed form of an array with some indices renamed."""
    return array.script.close(array.form.rename(known))


def _multiply(a: Form, b: Form) -> tuple[dict[Index, Index], Form]:
    """New names for the right-hand matrix's indices, and the form of the product."""
    left, right = a.insert(len(a.axes)), b.insert(len(b.axes) - 2)
    known = meet(left, right)
    every = left.multiply(right.rename(known))
    return known, every.sum(len(every.axes) - 2)


def _fit_product(a: Noted, b: Noted) -> str:
    sizes = [enclose(write_size(axis)) for axis in (*a.form.axes[-2:], b.form.axes[-1])]
    leading = write_shape(a.form.axes[:-2])
    return f"exists {', '.join([leading, *sizes])}. split; [exact {a.name}_shape | exact {b.name}_shape]."


def _lengthen(a: Noted, axis: int) -> Index | None:
    """The index of the inputs and the bias, from the axis of the inputs alone."""
    place, single = a.form.axes[axis], a.script.names.single
    if len(place) == 1:
        return Index(place[0].name, f"S {place[0].size}", place[0].count + 1)
    if place or single is None:
        return None
    return rename([single], {index.name for index in a.form.indices})[single]


def extend(term: Term, short: Place, whole: Index) -> Term:
    """The term with x followed by a 1, from its rows of the inputs."""
    (rows,) = short or (FIRST,)
    factors = [
        replace(factor, places=(*factor.places[:-1], (whole,)), extended=True)
        if lacks_row(factor, short)
        else factor.replace({rows: whole})
        for factor in term.factors
    ]
    if not any(whole in place for factor in factors for place in factor.places):
        raise UnsayableError(whole.name, "rows are put together that are not those of one sum")
    return Term(tuple(factors), term.summed)


def lacks_row(factor: Factor, short: Place) -> bool:
    """Whether a factor is the input, or a block's hidden values, at rows without the bias."""
    return factor.rank <= 0 and not factor.extended and factor.places[-1] == short
