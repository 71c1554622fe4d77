"""Arrays that write down what is done with them, as definitions and lemmas of a certificate."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..cuts import read_cuts
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
    row_of,
    short_of,
    write_size,
)
from .padding import Claim, cut
from .script import Given, Script, give_form, hypothesis, rename_given, write_places, write_shape

# What only some certificates have a definition of.
_FURTHER = ("pad_axis", "take_at", "put_back", "gather", "scatter")
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
        return f"({' '.join([f'{self.name}_is', *give_form(self.form, known)])})"

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
        number = sum(line.startswith("Definition t") for line in script.lines) + 1
        name = f"t{number}"
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
        further = f", {operation}" if operation in _FURTHER else ""
        count = len(script.sums)
        short = script.shorten(number, form)
        defined = ", ".join([name, *[*script.sums][count:]])
        script.state(name, short, f"unfold {name}{further}. shape_of {shapes}.", f"unfold {defined}. {proof}")
        return Noted(script, name, short)

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
        cuts = read_cuts(key, len(self.form.axes))
        if cuts is None:
            raise UnsayableError(str(key), "only ranges are read")
        for axis, each in enumerate(cuts):
            start, stop, _ = each.indices(result.shape[axis])
            if (start, stop) != (0, result.shape[axis]):
                result = result.cut(axis, start, stop)
        return result

    def cut(self, axis: int, start: int, stop: int) -> "Noted":
        """The range from start to stop of an axis: the inputs without the bias, or its row alone."""
        place, form = self.form.axes[axis], self.form
        if not form.terms:
            return Zeros(self.script, self.name, form, axis, stop - start)
        claim = cut(self.script.names, self.name, form, axis, start, stop)
        if claim is not None:
            return self.claim(claim)
        if len(place) != 1 or not place[0].size.startswith("S "):
            raise UnsayableError(f"the range {start} to {stop}", "only the row of the bias is cut off")
        (index,) = place
        kept, held, low, rest = short_of(index), FIRST, "0", "first_row"
        given = ("0", "(Nat.lt_0_succ _)")
        if (start, stop) == (0, index.count - 1):
            if kept:
                (held,), rest = kept, f"low {hypothesis(index)}"
                given = (index.name, f"(Nat.lt_lt_succ_r _ _ {hypothesis(index)})")
        elif (start, stop) == (index.count - 1, index.count):
            held, kept, rest = row_of(index), (), "last_row"
            low, given = held.name, (held.name, "(Nat.lt_succ_diag_r _)")
        else:
            raise UnsayableError(f"the range {start} to {stop}", "only the row of the bias is cut off")
        axes = (*form.axes[:axis], kept, *form.axes[axis + 1 :])
        after = Form(axes, tuple(restrict(term, index, held) for term in form.terms))
        there = write_places((*form.axes[:axis], (held,), *form.axes[axis + 1 :]))
        entry = f"apply slice_entry with (j := {there})"
        entry += "; cbn [nth put firstn skipn app]; rewrite ?Nat.add_0_r; reflexivity"
        end = f"exact {self.at({index: given})}"
        if any(factor.extended for term in form.terms for factor in term.factors):
            end = f"eapply eq_trans; [{end} | {rest}]"
        size = enclose(write_size(kept))
        body = f"slice {axis} {enclose(low)} {size} {self.name}"
        return self.define(body, after, f"eapply eq_trans; [{entry} | {end}].", [self])

    def claim(self, claim: Claim) -> "Noted":
        """What an operation on this array alone gives."""
        return self.define(claim.body, claim.form, claim.proof, [self], claim.fits)


@dataclass(frozen=True, eq=False)
class Zeros(Noted):
    """A range of an array of zeros, which is not written before it is known what it is for.

    Args:
        axis: along which it is cut.
        count: how many values are left there.
    """

    axis: int
    count: int

    @property
    def shape(self) -> tuple[int, ...]:
        return (*self.form.shape[: self.axis], self.count, *self.form.shape[self.axis + 1 :])

    def __add__(self, other: "Noted | int") -> "Noted":
        if isinstance(other, Noted) or self.count != 1:
            raise UnsayableError(self.name, "only a 1 is added to some zeros")
        return self._cut(self.axis) + other

    def _cut(self, axis: int) -> Noted:
        place = self.form.axes[axis]
        for index in place:
            # x[..., :1] has an entry.
            if index.size not in self.script.positive:
                self.script.positive.append(index.size)
                self.script.emit(f"Hypothesis some_{index.name} : 0 < {index.size}.")
        form = Form((*self.form.axes[:axis], (), *self.form.axes[axis + 1 :]), ())
        whole = Noted(self.script, self.name, self.form)
        return whole.define(f"slice {axis} 0 1 {self.name}", form, "reflexivity.", [whole])


def restrict(term: Term, index: Index, cut: Index) -> Term:
    """The term at the rows of the inputs, or at that of the bias, where x's 1 drops out."""
    factors = []
    for factor in term.replace({index: cut}).factors:
        whole = factor.extended and any(cut in place for place in factor.places)
        if whole and cut == row_of(index):
            continue
        if whole and cut == FIRST:
            factor = replace(factor, places=(*factor.places[:-1], ()))
        factors.append(replace(factor, extended=factor.extended and not whole))
    return Term(tuple(factors), term.summed)


def state_operand(script: Script, name: str, places: Sequence[Place], rank: int) -> Noted:
    """An operand as an array."""
    form = Form(tuple(places), (Term((Factor(rank, name, tuple(places)),)),))
    array = Noted(script, f"{name}'", form)
    script.emit(f"Definition {array.name} := Array {write_shape(places)} {name}.")
    script.state(array.name, form, "reflexivity.", "reflexivity.")
    return array
