"""Arrays that write down what is done with them, as definitions and lemmas of a certificate."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from .forms import Factor, Form, Index, Place, Term, UnsayableError, meet, row_of, short_of
from .script import (
    Given,
    Script,
    below,
    enclose,
    give,
    hypothesis,
    rename_given,
    write_groups,
    write_list,
    write_places,
    write_shape,
    write_size,
)

# What is defined for shapes that stretch to each other.
_ELEMENTWISE = ("multiply", "plus", "pointwise_product", "pointwise_vjp")


@dataclass(frozen=True, eq=False)
class Noted:
    """An array of a certificate.

    Args:
        script: where its operations are written.
        name: what it is called.
        form: what it is claimed to be.
    """

    script: Script
    name: str
    form: Form

    @property
    def shape(self) -> tuple[int, ...]:
        return self.form.shape

    def at(self, known: Mapping[Index, Given]) -> str:
        """The lemma on its entry, at indices that are given otherwise than by their own names."""
        return f"({' '.join([f'{self.name}_is', *give(self.form.indices, known)])})"

    def define(
        self, body: str, form: Form, proof: str, sources: Sequence["Noted"], fits: str = ""
    ) -> "Noted":
        """An array that an operation gives.

        Args:
            body: the operation.
            form: what is claimed.
            proof: of the claim on its entries.
            sources: the arrays that the operation takes.
            fits: the proof that the operation is defined, if it is not the prelude's.
        """
        script = self.script
        name = f"t{sum(line.startswith('Definition t') for line in script.lines) + 1}"
        shapes = ", ".join(f"{source.name}_shape" for source in sources)
        shapes = f"({shapes})" if len(sources) > 1 else shapes
        script.emit(f"Definition {name} := {body}.")
        operation, arguments = body.split(" ", 1)
        if operation.startswith("pointwise_"):
            # Without the function, which says nothing about shapes.
            arguments = arguments.split(" ", 1)[1]
        if operation not in ("zeros", "plus_one", "pointwise"):
            kind = "elementwise" if operation in _ELEMENTWISE else operation
            script.state_fit(name, f"{kind}_fits {arguments}", fits or f"fits {shapes}.")
        script.state(name, form, f"unfold {name}. shape_of {shapes}.", f"unfold {name}. {proof}")
        return Noted(script, name, form)

    def __mul__(self, other: "Noted") -> "Noted":
        known = meet(self.form, other.form)
        form = self.form.multiply(other.form.rename(known))
        start = self._meet(other, known, form, "mul")
        return self.define(f"multiply {self.name} {other.name}", form, f"{start} by_laws.", [self, other])

    def __add__(self, other: "Noted | int") -> "Noted":
        if not isinstance(other, Noted):
            return self._add_one()
        known = meet(self.form, other.form)
        right = other.form.rename(known)
        form = self.form.add(right)
        end = "by_laws." if self.form.terms and right.terms else "ring."
        proof = f"{self._meet(other, known, form, 'add')} {end}"
        return self.define(f"plus {self.name} {other.name}", form, proof, [self, other])

    def _add_one(self) -> "Noted":
        form = Form(self.form.axes, (*self.form.terms, Term()))
        proof = f"eapply eq_trans; [exact (f_equal2 add {self.at({})} eq_refl) | ring]."
        return self.define(f"plus_one {self.name}", form, proof, [self])

    def _meet(self, other: "Noted", known: Mapping[Index, Index], form: Form, operation: str) -> str:
        """The beginning of a proof on an elementwise operation."""
        shapes = f"{write_places(form.axes)} {self.name}_shape {other.name}_shape"
        entries = f"{self.at({})} {other.at(rename_given(known))}"
        return (
            f"eapply eq_trans; [exact (elementwise_entry _ _ _ _ _ {shapes}) |]. stretch.\n"
            f"  eapply eq_trans; [exact (f_equal2 {operation} {entries}) |]."
        )

    def __getitem__(self, key: Any) -> "Noted":
        result = self
        for axis, cut in enumerate(read_cuts(key, len(self.form.axes))):
            start, stop, _ = cut.indices(result.shape[axis])
            if (start, stop) != (0, result.shape[axis]):
                result = result.cut(axis, start, stop)
        return result

    def cut(self, axis: int, start: int, stop: int) -> "Noted":
        """The range from start to stop of an axis: the inputs without the bias, or its row alone."""
        place, form = self.form.axes[axis], self.form
        if not form.terms and (start, stop) == (0, 1):
            return self._cut_zeros(axis)
        if len(place) != 1 or not place[0].size.startswith("S "):
            raise UnsayableError(f"the range {start} to {stop}", "only the row of the bias is cut off")
        (index,) = place
        short, row = short_of(index), row_of(index)
        kept: Place
        if (start, stop) == (0, index.count - 1):
            cut, kept, low = short, (short,), "0"
            given = (index.name, f"(Nat.lt_lt_succ_r _ _ {hypothesis(index)})")
        elif (start, stop) == (index.count - 1, index.count):
            cut, kept, low = row, (), row.name
            given = (row.name, "(Nat.lt_succ_diag_r _)")
        else:
            raise UnsayableError(f"the range {start} to {stop}", "only the row of the bias is cut off")
        axes = (*form.axes[:axis], kept, *form.axes[axis + 1 :])
        after = Form(axes, tuple(restrict(term, index, cut) for term in form.terms))
        entry = "cbn [slice entry nth put firstn skipn app]; rewrite ?Nat.add_0_r; reflexivity"
        end = f"exact {self.at({index: given})}"
        if any(factor.extended for term in form.terms for factor in term.factors):
            rest = f"low {hypothesis(index)}" if kept else "last_row"
            end = f"eapply eq_trans; [{end} | {rest}]"
        size = enclose(write_size(kept))
        body = f"slice {axis} {enclose(low)} {size} {self.name}"
        return self.define(body, after, f"eapply eq_trans; [{entry} | {end}].", [self])

    def _cut_zeros(self, axis: int) -> "Noted":
        place = self.form.axes[axis]
        for index in place:
            # x[..., :1] has an entry.
            assumed = f"Hypothesis some_{index.name} : 0 < {index.size}."
            if assumed not in self.script.lines:
                self.script.emit(assumed)
        form = Form((*self.form.axes[:axis], (), *self.form.axes[axis + 1 :]), ())
        return self.define(f"slice {axis} 0 1 {self.name}", form, "reflexivity.", [self])


def restrict(term: Term, index: Index, cut: Index) -> Term:
    """The term at the rows of the inputs, or at that of the bias, where x's 1 drops out."""
    factors = []
    for factor in term.replace({index: cut}).factors:
        whole = factor.extended and any(cut in place for place in factor.places)
        if whole and not cut.size:
            continue
        factors.append(replace(factor, extended=factor.extended and not whole))
    return Term(tuple(factors), term.summed)


def extend(term: Term, short: Index, whole: Index) -> Term:
    """The term with x followed by a 1, from its rows of the inputs."""
    if not any(short in place for factor in term.factors for place in factor.places):
        raise UnsayableError(short.name, "rows are put together that are not those of one sum")
    factors = tuple(
        replace(moved, extended=moved.extended or lacks_row(factor, short))
        for factor, moved in zip(term.factors, term.replace({short: whole}).factors, strict=True)
    )
    return Term(factors, term.summed)


def lacks_row(factor: Factor, short: Index) -> bool:
    """Whether a factor is the input, or a block's hidden values, at rows without the bias."""
    return factor.rank <= 0 and any(short in place for place in factor.places)


def read_cuts(key: Any, count: int) -> list[slice]:
    """One slice for each axis."""
    keys = list(key) if isinstance(key, tuple) else [key]
    missing = [slice(None)] * (count - len(keys) + (Ellipsis in keys))
    if Ellipsis in keys:
        place = keys.index(Ellipsis)
        keys[place : place + 1] = missing
    else:
        keys += missing
    if len(keys) != count or not all(isinstance(cut, slice) and cut.step in (None, 1) for cut in keys):
        raise UnsayableError(str(key), "only ranges are read")
    return keys


def state_operand(script: Script, name: str, places: Sequence[Place], rank: int) -> Noted:
    """An operand as an array."""
    form = Form(tuple(places), (Term((Factor(rank, name, tuple(places)),)),))
    array = Noted(script, f"{name}'", form)
    script.emit(f"Definition {array.name} := Array {write_shape(places)} {name}.")
    script.state(array.name, form, "reflexivity.", "reflexivity.")
    return array


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
        for index in reversed(form.indices):
            bounds = f"(Forall2_cons _ _ {hypothesis(index)} {bounds})"
        groups = f"{write_groups(array.form.axes)} {write_groups(form.axes)}"
        entry = (
            f"reshape_entry {groups} {array.name} {write_list(index.name for index in form.indices)}\n"
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
        (index,), (short,) = b.form.axes[-2], a.form.axes[-1]
        factor = _read_input(a)
        if short_of(index).size != short.size:
            raise UnsayableError(a.name, "a matrix has other rows than those of the input and the bias")
        whole = replace(index, name=short.name)
        axes = (*a.form.axes[:-1], (whole,))
        z = Form(axes, (Term((replace(factor, places=axes, extended=True),)),))
        known, form = _multiply(z, b.form)
        x = f"{factor.name} {write_places(axes)}"
        entry = f"affine_entry _ _ _ {enclose(short.size)} {write_places(form.axes)} {a.name}_shape eq_refl"
        at_b, at_a = b.at(rename_given(known)), a.at({short: (short.name, "H_low")})
        second = self_close(b, known)
        proof = (
            f"eapply eq_trans; [exact ({entry}) |]. cbn [last removelast app].\n"
            f"  eapply eq_trans; [{below([whole])}refine (f_equal2 mul (if_lt _ _ _ ({x}) _ _) {at_b}); "
            f"intros H_low; exact {at_a} |].\n"
            f"  change (Σ {whole.name} < {whole.size}, {a.script.close(z)} ⊗ ({second}) = "
            f"{a.script.close(form)}). by_laws."
        )
        return a.define(f"affine {a.name} {b.name}", form, proof, [a, b], _fit_product(a, b))

    def zeros_like(self, array: Noted, /) -> Noted:
        return array.define(f"zeros {array.name}", Form(array.form.axes, ()), "reflexivity.", [array])

    def concatenate(self, arrays: Sequence[Noted], /, axis: int) -> Noted:
        """The rows of the inputs, and that of the bias."""
        if len(arrays) != 2:
            raise UnsayableError(f"{len(arrays)} arrays", "only the row of the bias is put behind others")
        a, b = arrays
        axis %= len(a.form.axes)
        if len(a.form.axes[axis]) != 1 or b.form.axes[axis] or len(a.form.terms) != len(b.form.terms):
            raise UnsayableError(a.name, "only the row of the bias is put behind others")
        ((short,),) = [a.form.axes[axis]]
        whole = Index(short.name, f"S {short.size}", short.count + 1)
        axes = (*a.form.axes[:axis], (whole,), *a.form.axes[axis + 1 :])
        form = Form.of(axes, [extend(term, short, whole) for term in a.form.terms])
        i, low = short.name, {short: (short.name, "H_low")}
        known = meet(a.form, b.form)
        entry = f"concatenate_entry {axis} _ _ _ {write_places(axes)} {a.name}_shape"
        proof = (
            f"eapply eq_trans; [exact ({entry}) |].\n"
            "  cbn [nth put firstn skipn app]. "
            f"destruct (Nat.ltb_spec {i} {enclose(short.size)}) as [H_low | H_low].\n"
            f"  - eapply eq_trans; [exact {a.at(low)} | low H_low].\n"
            f"  - assert ({i} = {short.size}) as -> by lia. rewrite Nat.sub_diag. "
            f"eapply eq_trans; [exact {b.at(rename_given(known))} | last_row]."
        )
        return a.define(f"concatenate {axis} {a.name} {b.name}", form, proof, [a, b])

    def __getattr__(self, name: str) -> Any:
        raise UnsayableError(name, "an operation that has no definition in the prelude")


def _read_input(array: Noted) -> Factor:
    """The input, or a block's hidden values, that an array is."""
    terms = array.form.terms
    if len(terms) == 1 and not terms[0].summed and len(terms[0].factors) == 1:
        (factor,) = terms[0].factors
        if factor.rank <= 0 and factor.places == array.form.axes:
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
