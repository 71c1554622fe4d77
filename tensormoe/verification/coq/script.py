"""The text of a certificate: definitions, and lemmas on what each array is."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from .forms import LAST, Factor, Form, Index, Place, Term, enclose, write_place, write_size
from .names import Names

# How an index is given to a lemma: its value, and a proof of its bound.
Given = tuple[str, str]
# How many factors a product may have before it is defined apart.
LONGEST = 12


class Script:
    """Collects lines, and writes closed forms.

    Attributes:
        lines: what is written so far.
        fitting: the lemmas that say that an operation is defined, with what they say.
        positive: the sizes that are assumed not to be 0.
        reverse: whether it is reverse mode that is written.
        sums: long sums of products, by the names that they are defined by.
    """

    def __init__(self, names: Names) -> None:
        self.names = names
        self.lines: list[str] = []
        self.fitting: list[tuple[str, str]] = []
        self.positive: list[str] = []
        self.reverse = False
        self.sums: dict[str, Term] = {}
        self._ranks = {index.name: rank for rank, index in enumerate(names.whole(names.order))}

    def emit(self, *lines: str) -> None:
        """Add lines."""
        self.lines += lines

    def in_order(self, indices: Iterable[Index]) -> list[Index]:
        """Indices as the contraction lists them; then those that are renamed."""
        return sorted(indices, key=lambda index: (self._ranks.get(index.name, len(self._ranks)), index.name))

    def close(self, form: Form) -> str:
        """The entries of a form."""
        products = [self._write(term) for term in form.terms]
        return " ⊕ ".join(f"({text})" if len(products) > 1 else text for text in products) or "zero"

    def _write(self, term: Term) -> str:
        return sign(self.in_order(term.summed)) + self.write_product(term.factors)

    def write_product(self, factors: Sequence[Factor]) -> str:
        """A product."""
        ordered = sorted(factors, key=lambda factor: factor.rank)
        return " ⊗ ".join(map(write_factor, ordered)) or "one"

    def shorten(self, number: int, form: Form) -> Form:
        """Define long sums of an array's entries apart, so that what is made of these is not longer still."""
        terms = []
        for term in form.terms:
            inputs = {each for factor in term.factors if factor.rank <= 0 for each in factor.places[-1]}
            # What is 0 somewhere, and rows of inputs, are looked at again.
            seen = any(factor.limit for factor in term.factors) or not inputs.isdisjoint(form.units)
            if len(term.factors) <= LONGEST or seen:
                terms.append(term)
                continue
            name = f"sum{number}" + f"_{len(terms) + 1}" * bool(terms)
            places = tuple((index,) for index in form.indices if index in term.indices)
            heads = " ".join(index.name for (index,) in places)
            self.emit(f"Definition {name} {heads} :=\n  {self._write(term)}.")
            self.sums[name] = term
            terms.append(Term((Factor(LAST - 1, name, places, is_sum=True),)))
        return Form(form.axes, tuple(terms))

    def unfold(self, names: Iterable[str], form: Form) -> str:
        """The tactic that unfolds these names, and the sums that are in a form."""
        return f"unfold {', '.join([*names, *self._sums_in(form.terms)])}."

    def _sums_in(self, terms: Iterable[Term]) -> list[str]:
        """The names of sums in terms and in each other; the last defined first."""
        held = {factor.name for term in terms for factor in term.factors if factor.is_sum}
        found = []
        for name, term in reversed(self.sums.items()):
            if name in held:
                found.append(name)
                held |= {factor.name for factor in term.factors if factor.is_sum}
        return found

    def is_extended(self, term: Term) -> bool:
        """Whether an input that a 1 follows is in a term."""
        return any(
            factor.extended or (factor.is_sum and self.is_extended(self.sums[factor.name]))
            for factor in term.factors
        )

    def state(self, name: str, form: Form, shape_proof: str, proof: str) -> None:
        """The lemmas on an array's shape and entries."""
        indices = form.indices
        bounds = [bind(index) for index in (*indices, *form.limits)]
        quantified = "".join(f" {text}" for text in [*(index.name for index in indices), *bounds])
        self.emit(
            f"Lemma {name}_shape : shape {name} = {write_shape(form.axes)}.", f"Proof. {shape_proof} Qed."
        )
        self.emit(f"Lemma {name}_is{quantified} :\n  {name} {write_places(form.axes)} = {self.close(form)}.")
        self.emit(f"Proof. {proof} Qed.", "")

    def state_fit(self, name: str, claim: str, proof: str) -> None:
        """The lemma that an operation is defined for its operands' shapes."""
        self.fitting.append((f"{name}_fits", claim))
        self.emit(f"Lemma {name}_fits : {claim}.", f"Proof. {proof} Qed.")


def hypothesis(index: Index) -> str:
    """What the bound of an index is called."""
    if index.digits:
        return f"H'{'_'.join(digit.name for digit in index.digits)}"
    return f"H{index.name}"


def bind(index: Index) -> str:
    """The bound of an index, as an assumption."""
    return f"({hypothesis(index)} : {index.name} < {index.size})"


def give_form(form: Form, known: Mapping[Index, Given]) -> list[str]:
    """The arguments of the lemma on an array of this form."""
    limits = []
    for index in form.limits:
        digits = [replace(digit, name=known[digit][0]) if digit in known else digit for digit in index.digits]
        limits.append(hypothesis(replace(index, digits=tuple(digits))))
    return [*give(form.indices, known), *limits]


def give(indices: Sequence[Index], known: Mapping[Index, Given]) -> list[str]:
    """The arguments of a lemma about these indices."""
    given = [known.get(index, (index.name, hypothesis(index))) for index in indices]
    return [value for value, _ in given] + [bound for _, bound in given]


def rename_given(known: Mapping[Index, Index]) -> dict[Index, Given]:
    """Indices that are given under other names."""
    return {index: (other.name, hypothesis(other)) for index, other in known.items()}


def below(indices: Iterable[Index]) -> str:
    """The way below the signs of sums over these indices."""
    return "".join(map(_below_each, indices))


def _below_each(index: Index) -> str:
    if not index.digits:
        return f"apply sum_ext; intros {index.name} {hypothesis(index)}; "
    # The sum over its own values, as one over all values of its parts.
    parts = write_list(digit.size for digit in index.digits)
    within = f"eapply eq_trans; [exact (sum_within {parts} {enclose(index.size)} _ {index.proof}) |]; "
    ends = f"refine (inside_ext {enclose(index.size)} ({index.name}) _ _ _); intros {hypothesis(index)}; "
    return f"{within}cbn [sums]; {below(index.digits)}{ends}"


def sign(indices: Iterable[Index]) -> str:
    """The signs of sums over these indices."""
    return "".join(f"Σ {index.name} < {index.size}, " for index in indices)


def write_list(items: Iterable[str]) -> str:
    """A list."""
    return f"[{'; '.join(items)}]"


def write_shape(places: Iterable[Place]) -> str:
    """A shape."""
    return write_list(map(write_size, places))


def write_places(places: Iterable[Place]) -> str:
    """A list of indices."""
    return write_list(map(write_place, places))


def write_groups(places: Iterable[Place]) -> str:
    """For each axis, the sizes of its indices."""
    return write_list(write_list(index.size for index in place) for place in places)


def write_factor(factor: Factor) -> str:
    """An operand at some indices; with a 1 at its end as `z`."""
    if factor.limit or factor.is_sum:
        limit = [enclose(factor.limit)] if factor.name == "inside" else []
        return " ".join([factor.name, *limit, *(enclose(write_place(place)) for place in factor.places)])
    if not factor.extended:
        return f"{factor.name} {write_places(factor.places)}"
    size = enclose(factor.places[-1][-1].size.removeprefix("S "))
    return f"z {size} {factor.name} {' '.join(enclose(write_place(place)) for place in factor.places)}"
