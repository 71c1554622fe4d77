"""Reading at chosen places: entries of coefficients, and slices of cores, by the numbers in J.

J [b; j] is the j-th place that the input b chooses. In closed forms it stands where the index itself would:
a1 [b; J [b; j]]. Reverse mode adds what was read to its place, which is a sum of products with `same`: that
is 1 where a place is an entry's own, and 0 elsewhere.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ...networks.notation import BATCH
from .arrays import Noted
from .forms import FIRST, Factor, Form, Index, Place, Term, UnsayableError, enclose, match, same
from .names import Choice
from .script import (
    Given,
    Script,
    below,
    hypothesis,
    rename_given,
    sign,
    write_factor,
    write_list,
    write_places,
)


@dataclass(frozen=True, eq=False)
class Places(Noted):
    """The places that are chosen along an axis of coefficients.

    Args:
        choice: of which mode.
    """

    choice: Choice


def choose(coefficients: Noted, k: int) -> Places:
    """The places of so many coefficients: any that differ."""
    token, *rest = coefficients.form.axes
    names = [factor.name for term in coefficients.form.terms for factor in term.factors]
    for choice in coefficients.script.names.choices:
        if k == choice.count and names == [choice.array] and rest == [(choice.whole,)]:
            return Places(
                coefficients.script, choice.name, Form((token, choice.place), (Term(),)), choice=choice
            )
    raise UnsayableError(coefficients.name, "places are chosen by something else than a level's coefficients")


def take(coefficients: Noted, places: Noted) -> Noted:
    """The coefficients at chosen places."""
    token, (choice,) = coefficients.form.axes[0], _read([places])
    known = _known(coefficients.form, [1], [choice], token)
    form = _put(coefficients.form, [token, choice.place], known)
    given, name = f"{choice.name} {choice.size}", coefficients.name
    entry = (
        f"take_at_entry {given} {name} {write_places(form.axes)} {_there(coefficients.form, known)} eq_refl"
    )
    fits = f"unfold take_at_fits. rewrite {name}_shape. split; [reflexivity | exact {choice.name}_in]."
    proof = f"exact (eq_trans ({entry}) {coefficients.at(_bounds(known))})."
    return coefficients.define(f"take_at {given} {name}", form, proof, [coefficients], fits)


def put(gradient: Noted, places: Noted, like: Noted) -> Noted:
    """Entries put back at the places that they were taken from."""
    axes, (choice,) = like.form.axes, _read([places])
    fresh = match(axes[0], gradient.form.axes[0]) | match(choice.place, gradient.form.axes[1])
    known = _known(like.form, [1], [choice], axes[0])
    form = _mark(gradient.form.rename(fresh), axes, known, choice.place)
    given = f"{choice.name} {like.name} {gradient.name}"
    entry = f"put_back_entry {given} _ {write_places(axes)} {gradient.name}_shape"
    marks = " ⊗ ".join(map(write_factor, _marks(known)))
    proof = (
        f"eapply eq_trans; [exact ({entry}) |]. cbn [nth].\n  eapply eq_trans; [{_through(choice.place)}"
        f"exact (f_equal2 mul (eq_refl ({marks})) {gradient.at(rename_given(fresh))}) | by_laws]."
    )
    fits = f"unfold put_back_fits. rewrite {like.name}_shape, {gradient.name}_shape. repeat split."
    return gradient.define(f"put_back {given}", form, proof, [like, gradient], fits)


def gather(array: Noted, places: Sequence[Noted], axes: Sequence[int]) -> Noted:
    """Slices of a core at chosen places of some axes."""
    (token,), choices = array.script.names.places([BATCH]), _read(places)
    known = _known(array.form, axes, choices, token)
    rest = [place for axis, place in enumerate(array.form.axes) if axis not in axes]
    form = _put(array.form, [token, *(choice.place for choice in choices), *rest], known)
    sizes = f"{token[0].size} {write_list(choice.size for choice in choices)}"
    given, name = f"{_write(axes, choices)} {sizes}", array.name
    read = f"{write_places(form.axes)} {_there(array.form, known)}"
    entry = f"gather_entry {given} {name} _ {read} {name}_shape eq_refl"
    each = "".join(f"apply Forall2_cons; [exact {choice.name}_in |]. " for choice in choices)
    fits = f"unfold gather_fits. rewrite {name}_shape. {each}apply Forall2_nil."
    proof = f"exact (eq_trans ({entry}) {array.at(_bounds(known))})."
    return array.define(f"gather {given} {name}", form, proof, [array], fits)


def scatter(gradient: Noted, places: Sequence[Noted], axes: Sequence[int], like: Noted) -> Noted:
    """What was read, added to where it was read."""
    choices, (token, *others) = _read(places), gradient.form.axes
    rest = [place for axis, place in enumerate(like.form.axes) if axis not in axes]
    fresh: dict[Index, Index] = {}
    for one, other in zip([*(choice.place for choice in choices), *rest], others, strict=True):
        fresh |= match(one, other)
    known = _known(like.form, axes, choices, token)
    over = (*token, *(index for choice in choices for index in choice.place))
    form = _mark(gradient.form.rename(fresh), like.form.axes, known, over)
    given = f"{_write(axes, choices)} {like.name} {gradient.name}"
    entry = f"scatter_entry {given} _ {write_places(like.form.axes)} {gradient.name}_shape"
    marks = "one"
    for mark in reversed(_marks(known)):
        marks = f"{write_factor(mark)} ⊗ {enclose(marks)}"
    through = below(token) + "".join(_through(choice.place) for choice in choices)
    proof = (
        f"eapply eq_trans; [exact ({entry}) |]. cbn [hd tl length firstn sums].\n"
        f"  eapply eq_trans; [{through}"
        f"exact (f_equal2 mul (eq_refl ({marks})) {gradient.at(rename_given(fresh))}) | by_laws]."
    )
    fits = f"unfold scatter_fits. rewrite {like.name}_shape, {gradient.name}_shape. reflexivity."
    return gradient.define(f"scatter {given}", form, proof, [like, gradient], fits)


def unmark(script: Script, units: Sequence[Index], form: Form, axes: Sequence[Place]) -> tuple[str, str]:
    """The pairing of a gradient with d where it was read, and the proof that this is its pairing with d.

    Args:
        script: of the certificate.
        units: the indices of the gradient.
        form: of the gradient.
        axes: of the array that it is the gradient of.
    """
    texts, proofs = [], []
    for term in form.terms:
        marks = [factor for factor in term.factors if is_mark(factor)]
        factors = tuple(factor for factor in term.factors if factor not in marks)
        chosen = {factor.places[1][0]: factor.places[0][0] for factor in marks}
        over = [*(index for index in units if index not in chosen), *script.in_order(term.summed)]
        product = script.write_product(factors)
        proof, known = "eq_refl", dict[Index, Index]()
        for index, place in reversed(chosen.items()):
            entry = write_places([tuple(known.get(each, each) for each in axis) for axis in axes])
            one = f"(one_of {index.size} ({place.name}) (fun {index.name} => d {entry}) {_bound(place)})"
            known[index] = place
            bound = f"{index.name} {hypothesis(index)}"
            under = f"(sum_ext _ _ _ (fun {bound} => f_equal2 mul eq_refl {proof}))"
            proof = one if proof == "eq_refl" else f"(eq_trans {one} {under})"
        there = write_places([tuple(chosen.get(each, each) for each in axis) for axis in axes])
        texts.append(f"({sign(over)}{product} ⊗ d {there})")
        proofs.append(f"{below(over)}exact (f_equal2 mul eq_refl {proof})")
    steps = proofs[-1]
    for each in reversed(proofs[:-1]):
        steps = f"apply (f_equal2 add); [{each} | {steps}]"
    return " ⊕ ".join(texts), steps


def is_mark(factor: Factor) -> bool:
    """Whether a factor is 1 where an entry's place is a chosen one."""
    return factor.name == "same" and any(index.stem for index in factor.places[0])


def _read(places: Sequence[Noted]) -> list[Choice]:
    if not all(isinstance(each, Places) for each in places):
        raise UnsayableError(places[0].name, "it is read as places, and holds none")
    return [each.choice for each in places if isinstance(each, Places)]


def _known(form: Form, axes: Sequence[int], choices: Sequence[Choice], token: Place) -> dict[Index, Index]:
    """For the indices of axes that are read at places: the place that stands for each."""
    known = {}
    for axis, choice in zip(axes, choices, strict=True):
        place = form.axes[axis] if axis < len(form.axes) else ()
        if len(place) != 1 or place[0].size != choice.whole.size:
            raise UnsayableError(f"axis {axis}", "it is read at the places of another index")
        known[place[0]] = choice.at(token)
    return known


def _bound(place: Index) -> str:
    """That a place is one of the axis."""
    bounds = ["Nat.lt_0_1" if digit == FIRST else hypothesis(digit) for digit in place.digits]
    return f"({' '.join([f'{place.stem}_in', *(digit.name for digit in place.digits), *bounds])})"


def _bounds(known: Mapping[Index, Index]) -> dict[Index, Given]:
    return {index: (f"({place.name})", _bound(place)) for index, place in known.items()}


def _put(form: Form, axes: Sequence[Place], known: Mapping[Index, Index]) -> Form:
    over = [index for axis in axes for index in axis]
    return Form.of(axes, [term.avoid(over).replace(known) for term in form.terms])


def _there(form: Form, known: Mapping[Index, Index]) -> str:
    return write_places([tuple(known.get(index, index) for index in axis) for axis in form.axes])


def _marks(known: Mapping[Index, Index]) -> list[Factor]:
    return [same((place,), index) for index, place in known.items()]


def _mark(form: Form, axes: Sequence[Place], known: Mapping[Index, Index], over: Place) -> Form:
    """A form added to where it was read: the sum over all that was read, at its places."""
    marks = tuple(_marks(known))
    return Form.of(axes, [Term((*term.factors, *marks), (*term.summed, *over)) for term in form.terms])


def _through(place: Place) -> str:
    """The way below the sum over an axis of chosen places, which may be a single one."""
    return below(place) or "eapply eq_trans; [apply sum_one |]; cbv beta; "


def _write(axes: Sequence[int], choices: Sequence[Choice]) -> str:
    return f"{write_list(map(str, axes))} {write_list(choice.name for choice in choices)}"
