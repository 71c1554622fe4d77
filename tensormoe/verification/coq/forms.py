"""Closed forms: what each array of a program is claimed to be, as a sum of sums of products.

They suggest the lemmas of a certificate, and nothing rests on them: a wrong one makes a lemma that Coq
refuses. Indices are variables: where two arrays meet along an axis, those of the second become those of the
first, so an array may be used several times, each time with other indices.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

from ...errors import TensorMoEError


class UnsayableError(TensorMoEError):
    """A program, or a step of one, that certificates cannot speak about."""

    def __init__(self, received: object, reason: str) -> None:
        super().__init__("certificate", received, f"{reason}; this cannot be exported to Coq yet")


@dataclass(frozen=True)
class Index:
    """A variable of a closed form.

    Args:
        name: the variable, or the text of a number.
        size: the text of its bound; "" for a number.
        count: how many values it has in the program at hand.
        digits: the parts that number it, if they make up more values than it has; then it has no variable.
        proof: that its size is at most that of these parts.
        stem: of a place that is chosen, by the indices that are its digits: the name of the choice.
    """

    name: str
    size: str = ""
    count: int = 0
    digits: tuple["Index", ...] = ()
    proof: str = ""
    stem: str = ""

    @property
    def variables(self) -> tuple["Index", ...]:
        """Itself, or its parts."""
        return self.digits or (self,)

    def rename(self, known: Mapping["Index", "Index"]) -> "Index":
        """The index by another name, or with other names of its parts."""
        if not self.digits:
            return known.get(self, self)
        digits = tuple(known.get(digit, digit) for digit in self.digits)
        name = write_place(digits)
        if self.stem:
            name = f"{self.stem} [{'; '.join(digit.name for digit in digits)}]"
        return replace(self, name=name, digits=digits)


# Indices merged into one place; the last varies fastest. That of an index of size 1 is empty.
Place = tuple[Index, ...]


def enclose(text: str) -> str:
    """The text in parentheses, unless it is one word or has them."""
    whole = text.startswith("(") and text.find(")") == len(text) - 1
    return f"({text})" if " " in text and not whole else text


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
        text = f"{enclose(text)} * {enclose(index.size)} + {enclose(index.name)}"
    return text


def variables(indices: Iterable[Index]) -> tuple[Index, ...]:
    """The variables of indices: of those that parts number, the parts."""
    return tuple(each for index in indices for each in index.variables)


@dataclass(frozen=True)
class Factor:
    """An operand at some indices.

    Args:
        rank: which operand it is: factors are written in this order.
        name: what it is called.
        places: one for each axis.
        extended: whether it stands for the operand followed by a 1.
        limit: for a factor that is 1 inside an index's values and 0 beyond, or 1 in one row: which.
        is_sum: whether it stands for a sum that is defined apart.
    """

    rank: int
    name: str
    places: tuple[Place, ...]
    extended: bool = False
    limit: str = ""
    is_sum: bool = False

    def replace(self, known: Mapping[Index, Index]) -> "Factor":
        """The factor with some indices replaced."""
        places = tuple(
            tuple(known.get(index) or index.rename(known) for index in place) for place in self.places
        )
        return replace(self, places=places)


@dataclass(frozen=True)
class Term:
    """A product of factors, summed over some indices."""

    factors: tuple[Factor, ...] = ()
    summed: tuple[Index, ...] = ()

    @property
    def indices(self) -> set[Index]:
        """All indices in it."""
        places = (place for factor in self.factors for place in factor.places)
        return {index for place in places for index in variables(place)} | {*self.summed}

    def replace(self, known: Mapping[Index, Index]) -> "Term":
        """The term with some indices replaced, wherever they stand."""
        factors = tuple(factor.replace(known) for factor in self.factors)
        return Term(factors, tuple(known.get(index, index) for index in self.summed))

    def avoid(self, taken: Iterable[Index]) -> "Term":
        """The same term, with other names for the sums over indices that are taken."""
        used = {index.name for index in (*taken, *self.indices)}
        names = {index.name for index in taken}
        return self.replace(rename([index for index in self.summed if index.name in names], used))

    def rename(self, known: Mapping[Index, Index]) -> "Term":
        """The term with free indices renamed, none of which a sum catches."""
        return self.avoid([*known, *known.values()]).replace(known)

    def __mul__(self, other: "Term") -> "Term":
        other = other.avoid(self.indices)
        left = self.avoid(other.indices)
        return Term((*left.factors, *other.factors), (*left.summed, *other.summed))


@dataclass(frozen=True)
class Form:
    """An array: its axes, and the terms whose sum its entries are."""

    axes: tuple[Place, ...]
    terms: tuple[Term, ...]

    @staticmethod
    def of(axes: Sequence[Place], terms: Iterable[Term]) -> "Form":
        """The form, with no sum over an index of its axes."""
        free = variables(index for axis in axes for index in axis)
        if len({index.name for index in free}) < len(free):
            raise UnsayableError([index.name for index in free], "an index is on two axes")
        return Form(tuple(axes), tuple(term.avoid(free) for term in terms))

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(prod(index.count for index in axis) for axis in self.axes)

    @property
    def units(self) -> tuple[Index, ...]:
        """What stands on its axes, in order."""
        return tuple(index for axis in self.axes for index in axis)

    @property
    def indices(self) -> tuple[Index, ...]:
        """The variables of its axes, in order."""
        return variables(self.units)

    @property
    def limits(self) -> tuple[Index, ...]:
        """Those on its axes that their parts make up more values than."""
        return tuple(index for index in self.units if index.digits)

    def rename(self, known: Mapping[Index, Index]) -> "Form":
        """The form with indices of its axes renamed."""
        axes = [tuple(index.rename(known) for index in axis) for axis in self.axes]
        return Form.of(axes, [term.rename(known) for term in self.terms])

    def transpose(self, order: Sequence[int]) -> "Form":
        """The axes in another order."""
        return Form(tuple(self.axes[axis] for axis in order), self.terms)

    def reshape(self, shape: Sequence[int]) -> "Form":
        """Axes merged and split, row by row."""
        left = [*self.units]
        axes = []
        for size in shape:
            taken: list[Index] = []
            while left and prod(index.count for index in taken) < size:
                taken.append(left.pop(0))
            if prod(index.count for index in taken) != size:
                raise UnsayableError(tuple(shape), "an index is split")
            axes.append(tuple(taken))
        if left:
            raise UnsayableError(tuple(shape), "an index is left over")
        return Form(tuple(axes), self.terms)

    def sum(self, axis: int) -> "Form":
        """The sum over an axis."""
        over = self.axes[axis]
        limits = tuple(inside(index) for index in over if index.digits)
        summed = variables(over)
        terms = [Term((*limits, *term.factors), (*term.summed, *summed)) for term in self.terms]
        return Form((*self.axes[:axis], *self.axes[axis + 1 :]), tuple(terms))

    def insert(self, axis: int) -> "Form":
        """An axis of size 1 more."""
        return Form((*self.axes[:axis], (), *self.axes[axis:]), self.terms)

    def multiply(self, other: "Form") -> "Form":
        """The product with an array whose axes meet its own."""
        terms = [one * another for one in self.terms for another in other.terms]
        return Form.of(_stretch(self, other), terms)

    def add(self, other: "Form") -> "Form":
        """The sum with an array whose axes meet its own."""
        return Form.of(_stretch(self, other), (*self.terms, *other.terms))


# The row of a single input.
FIRST = Index("0")
# Factors that are 1 or 0 stand behind all operands.
LAST = 2**20


def short_of(index: Index) -> Place:
    """The place of the inputs alone, from an index with the row of the bias; of any other itself."""
    if not index.size.startswith("S "):
        return (index,)
    return (Index(index.name, index.size[2:], index.count - 1),) if index.count > 2 else ()


def row_of(index: Index) -> Index:
    """The row of the bias, as a number."""
    return Index(index.size[2:])


def meet(left: Form, right: Form) -> dict[Index, Index]:
    """New names for the second's indices: the first's where they meet, and others where they clash."""
    known: dict[Index, Index] = {}
    for one, other in zip(reversed(left.axes), reversed(right.axes), strict=False):
        if one and other:
            known |= match(one, other)
    apart = [index for index in right.indices if index not in known]
    taken = {index.name for index in left.indices}
    clash = [index for index in apart if index.name in taken]
    return known | rename(clash, taken | {index.name for index in right.indices})


def inside(index: Index) -> Factor:
    """The factor that is 1 at an index's values, and 0 at those that its parts make up beyond."""
    return Factor(LAST, "inside", (index.digits,), limit=index.size)


def same(place: Place, row: Index) -> Factor:
    """The factor that is 1 where a place is a row, and 0 elsewhere."""
    return Factor(LAST, "same", (place, (row,)), limit="row")


def sizes_of(place: Place) -> list[list[str]]:
    """The sizes of the indices along an axis, and of their parts."""
    return [[index.size, *(digit.size for digit in index.digits)] for index in place]


def match(one: Place, other: Place) -> dict[Index, Index]:
    """The indices of one axis, by those of another of the same size."""
    if sizes_of(one) != sizes_of(other):
        names = [" ".join(index.name for index in place) for place in (one, other)]
        raise UnsayableError(names, "axes of different sizes meet")
    return dict(zip(variables(other), variables(one), strict=True))


def match_axes(what: str, axes: Sequence[Place], expected: Sequence[Place]) -> dict[Index, Index]:
    """The expected indices of an array's axes, by its own."""
    if [*map(sizes_of, axes)] != [*map(sizes_of, expected)]:
        names = [" ".join(index.name for index in axis) for axis in axes]
        raise UnsayableError(f"{what} with axes {', '.join(names)}", "it has other axes than it should")
    return {
        index: other
        for axis, place in zip(axes, expected, strict=True)
        for index, other in zip(variables(axis), variables(place), strict=True)
    }


def rename(indices: Iterable[Index], used: set[str]) -> dict[Index, Index]:
    """A name of its own for each index, none of those that are used."""
    known = {}
    for index in indices:
        name = index.name
        while name in used:
            name += "'"
        used = used | {name}
        known[index] = replace(index, name=name)
    return known


def _stretch(left: Form, right: Form) -> list[Place]:
    count = max(len(left.axes), len(right.axes))
    padded = [((),) * (count - len(form.axes)) + form.axes for form in (left, right)]
    return [one or other for one, other in zip(*padded, strict=True)]
