"""The text of a certificate: definitions, and lemmas on what each array is."""

from collections.abc import Iterable, Mapping, Sequence

from .forms import Factor, Form, Index, Place, Term
from .names import Names

# How an index is given to a lemma: its value, and a proof of its bound.
Given = tuple[str, str]


class Script:
    """Collects lines, and writes closed forms.

    Attributes:
        lines: what is written so far.
        fitting: the lemmas that say that an operation is defined, with what they say.
        positive: the sizes that are assumed not to be 0.
    """

    def __init__(self, names: Names) -> None:
        self.names = names
        self.lines: list[str] = []
        self.fitting: list[tuple[str, str]] = []
        self.positive: list[str] = []
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
        factors = sorted(term.factors, key=lambda factor: factor.rank)
        return sign(self.in_order(term.summed)) + (" ⊗ ".join(map(write_factor, factors)) or "one")

    def state(self, name: str, form: Form, shape_proof: str, proof: str) -> None:
        """The lemmas on an array's shape and entries."""
        indices = form.indices
        bounds = [f"({hypothesis(index)} : {index.name} < {index.size})" for index in indices]
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
    return f"H{index.name}"


def give(indices: Sequence[Index], known: Mapping[Index, Given]) -> list[str]:
    """The arguments of a lemma about these indices."""
    given = [known.get(index, (index.name, hypothesis(index))) for index in indices]
    return [value for value, _ in given] + [bound for _, bound in given]


def rename_given(known: Mapping[Index, Index]) -> dict[Index, Given]:
    """Indices that are given under other names."""
    return {index: (other.name, hypothesis(other)) for index, other in known.items()}


def below(indices: Iterable[Index]) -> str:
    """The way below the signs of sums over these indices."""
    return "".join(f"apply sum_ext; intros {index.name} {hypothesis(index)}; " for index in indices)


def sign(indices: Iterable[Index]) -> str:
    """The signs of sums over these indices."""
    return "".join(f"Σ {index.name} < {index.size}, " for index in indices)


def write_list(items: Iterable[str]) -> str:
    """A list."""
    return f"[{'; '.join(items)}]"


def enclose(text: str) -> str:
    """The text in parentheses, unless it is one word."""
    return f"({text})" if " " in text else text


def write_size(place: Place) -> str:
    """The size of an axis, as the prelude's `prod` computes it."""
    *first, text = [index.size for index in place] or ["1"]
    for size in reversed(first):
        text = f"{enclose(size)} * {enclose(text)}"
    return text


def write_place(place: Place) -> str:
    """The index along an axis: its indices merged, as the prelude's `flat` computes it."""
    if not place:
        return "0"
    text = place[0].name
    for index in place[1:]:
        text = f"{enclose(text)} * {enclose(index.size)} + {index.name}"
    return text


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
    if not factor.extended:
        return f"{factor.name} {write_places(factor.places)}"
    size = enclose(factor.places[-1][-1].size.removeprefix("S "))
    return f"z {size} {factor.name} {' '.join(enclose(write_place(place)) for place in factor.places)}"
