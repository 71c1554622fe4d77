"""What is known about the indices and operands of symbolic arrays, and the laws of sums of products.

An index that is split has digits: the parts of its splits, or the finest parts where splits are nested. An
axis with all of its values is that of its digits, merged in order. So the parts are never confused with
others of equal size.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from itertools import product
from math import prod

from ...networks.notation import BATCH, INPUT, Indices
from ...networks.splits import Split, refine
from ...programs.contraction import Contraction
from .choices import Choice, add_choices, find_choices
from .padding import Padding, find_padding

# Larger than any product of other sizes and prime: multiples of it show how often the batch is a factor.
ANY_BATCH = 2**521 - 1

# The rows of an input mode that a term is restricted to, if not all.
INPUTS, BIAS = "inputs", "bias"
# An input mode, and which of its rows.
Rows = tuple[str, str]


class LawError(Exception):
    """An operation that no law covers; its text says why."""


@dataclass(frozen=True)
class Part:
    """A range of an index along an axis."""

    index: str
    start: int
    stop: int

    @property
    def size(self) -> int:
        return self.stop - self.start


# The indices merged into one axis, the last one varying fastest. An axis of size 1 holds none.
Axis = tuple[Part, ...]


@dataclass(frozen=True)
class Term:
    """A product of operands, each at most once, summed over some of the indices that they carry.

    Args:
        factors: names of operands.
        summed: indices. Those of size 1 do not occur: a sum over one value is that value.
        rows: the input modes of which the term is restricted to some rows, with `INPUTS` or `BIAS`.
    """

    factors: frozenset[str] = frozenset()
    summed: frozenset[str] = frozenset()
    rows: frozenset[Rows] = frozenset()

    def rows_of(self, index: str) -> str | None:
        """`INPUTS` or `BIAS`, if the term is restricted to these rows of an input mode."""
        return dict(self.rows).get(index)


@dataclass(frozen=True)
class World:
    """What is known about the indices and operands.

    Args:
        sizes: of every index.
        carriers: the operands that carry each index.
        data: for each input mode with a bias row, the operand that stands for itself followed by a 1; of a
            weight tensor alone none.
        short: the operands that lack the bias row of their input mode.
        digits: the digits of each split index and of each of its parts.
        choices: what chooses some of an index of an operand, by that index.
        products: the operands that are multiplied with each other: those of each term of a contraction.
        padded: the indices whose parts make up more values; see `padding`.
    """

    sizes: dict[str, int]
    carriers: dict[str, frozenset[str]]
    data: dict[str, str]
    products: tuple[frozenset[str], ...]
    short: frozenset[str]
    digits: dict[str, Indices]
    choices: dict[str, Choice] = field(default_factory=dict)
    padded: dict[str, Padding] = field(default_factory=dict)

    @staticmethod
    def of(contractions: Sequence[Contraction], *further: tuple[str, Sequence[str]]) -> "World":
        """The world of contractions, with further operands given by name and indices."""
        choices = find_choices(contractions)
        operands = {op.name: op.indices for each in contractions for op in each.operands} | dict(further)
        operands |= {each.name: each.indices for each in choices.values()}
        digits, finest = find_digits([split for each in contractions for split in each.splits])
        # Sorted, so that of two sizes the larger one, with a bias, is kept.
        sizes = dict(sorted(pair for each in contractions for pair in each.sizes)) | finest
        data = {each.operands[0].indices[-1]: each.operands[0].name for each in contractions if each.affine}
        short = {*data.values()}
        for each in contractions:
            # One that has no bias may share its input with one that has.
            if not each.affine and each.data:
                short |= {op.name for op in each.cores if {*op.indices} & {*each.data[0].indices} & {*data}}
            if each.bias:
                data[INPUT] = ""
            if each.bias == "further row":
                sizes[INPUT] += 1
                short |= {operand.name for operand in each.operands if INPUT in operand.indices}
        held = {
            name: {digit for index in indices for digit in digits.get(index, (index,))}
            | ({*data} & {*indices} if name not in short else set())
            for name, indices in operands.items()
        }
        names = {index for indices in held.values() for index in indices}
        carriers = {i: frozenset(name for name, own in held.items() if i in own) for i in names}
        terms = [term for each in contractions for term in each.terms]
        products = tuple(add_choices(choices, [op.name for op in term.operands]) for term in terms)
        padded = find_padding(contractions, operands)
        sizes = {BATCH: ANY_BATCH, **sizes}
        return World(sizes, carriers, data, products, frozenset(short), digits, choices, padded)

    def axis(self, part: Part) -> Axis:
        """A range of an index along an axis; all of it, without a bias row or padding, are its digits."""
        split = part.index in self.digits and part.index not in self.padded
        if split and (part.start, part.stop) == (0, self._count_digits(part.index)):
            return self.digits_along(part.index)
        return () if part.size == 1 else (part,)

    def digits_along(self, index: str) -> Axis:
        """The axis of a split index's parts."""
        digits = (Part(each, 0, self.sizes[each]) for each in self.digits[index])
        return tuple(digit for digit in digits if digit.size > 1)

    def shorten(self, axis: Axis, stop: int) -> Axis | None:
        """The axis of a padded index's own values, the first ones of its parts; None if these are others."""
        for index, padding in self.padded.items():
            if axis == self.digits_along(index) and stop == padding.size:
                return (Part(index, 0, stop),)
        return None

    def lengthen(self, axis: Axis, size: int, terms: Sequence[Term]) -> Axis | None:
        """The axis of a padded index's parts, where zeros follow its own values; None if they make none."""
        padding = self.padded.get(axis[0].index) if len(axis) == 1 else None
        if padding is None or (axis[0].start, axis[0].stop, size) != (0, padding.size, padding.whole):
            return None
        # Behind what lacks the row of the biases, as many zeros may be that row.
        rows = self.short if size == self.sizes[axis[0].index] else frozenset()
        ends = all(padding.ends(term.factors - rows) for term in terms)
        return self.digits_along(axis[0].index) if ends else None

    def carriers_along(self, index: str) -> frozenset[str]:
        """The operands that carry an index, or the digits of one that is split."""
        return frozenset().union(*(self.carriers.get(each, ()) for each in self.expand([index])))

    def expand(self, indices: Iterable[str]) -> set[str]:
        """Indices, and the digits of those that are split."""
        return {each for index in indices for each in (index, *self.digits.get(index, ()))}

    def find_digits(self, indices: Iterable[str]) -> set[str]:
        """What sums over these indices run over: the digits of those that are split."""
        names = (each for index in indices for each in self.digits.get(index, (index,)))
        return {each for each in names if self.sizes[each] > 1}

    def is_digit(self, index: str) -> bool:
        """Whether a sum may run over an index: over the digits of what is split, not over it."""
        return self.digits.get(index, (index,)) == (index,)

    def mode_of(self, index: str) -> str:
        """The input mode, if it has a further row and this is one of its digits; otherwise the index."""
        return next((mode for mode in self.data if index in self.digits.get(mode, ())), index)

    def _count_digits(self, index: str) -> int:
        return prod(self.sizes[each] for each in self.digits[index])

    def carries(self, term: Term, index: str) -> bool:
        return not term.factors.isdisjoint(self.carriers.get(index, ()))

    def missing(self, term: Term, index: str) -> frozenset[str]:
        """The factors that a sum over an index still has to wait for."""
        # In the bias row the factor of x is 1.
        ones = {operand for mode, operand in self.data.items() if term.rows_of(mode) == BIAS}
        present = term.factors | ones
        waiting = [
            (self.carriers[index] & factors) - present
            for factors in self.products
            if self.carriers[index] & factors
        ]
        return min(waiting, key=len, default=frozenset())

    def rows(self, part: Part) -> Rows | None:
        """Which rows of an input mode a range is; None for all of an index."""
        whole = self.sizes[part.index]
        if (part.start, part.stop) == (0, whole):
            return None
        if part.index in self.data:
            if (part.start, part.stop) == (0, whole - 1):
                return part.index, INPUTS
            if (part.start, part.stop) == (whole - 1, whole):
                return part.index, BIAS
        raise LawError(f"takes the range {part.start} to {part.stop} of {part.index} alone")

    def multiply(self, a: Term, b: Term) -> Term:
        """The product of two sums of products, by the distributive law."""
        twice = a.factors & b.factors
        if twice:
            raise LawError(f"multiplies {list_names(twice)} in twice")
        for one, other in ((a, b), (b, a)):
            for index in sorted(one.summed):
                if self.carries(other, index):
                    late = list_names(other.factors & self.carriers[index])
                    raise LawError(f"multiplies in {late}, which carries {index}, after the sum over {index}")
        rows = ((index, self._meet(a, b, index)) for index in self.data)
        met = frozenset((index, kept) for index, kept in rows if kept)
        return Term(a.factors | b.factors, a.summed | b.summed, met)

    def _meet(self, a: Term, b: Term, index: str) -> str | None:
        """The rows of an input mode that two factors have in common, which must be the same."""
        rows = {term.rows_of(index) for term in (a, b) if term.rows_of(index) or self.carries(term, index)}
        if len(rows) > 1:
            shown = f"{show_rows(a.rows_of(index))} and {show_rows(b.rows_of(index))}"
            raise LawError(f"multiplies different rows of {index}: {shown}")
        return rows.pop() if rows else None

    def sum_over(self, term: Term, axis: Axis) -> Term:
        for part in axis:
            padding = self.padded.get(part.index)
            # A sum over the own values alone is one over all values of the parts if the others are 0.
            if not (padding.ends(term.factors) if padding else self.carries(term, part.index)):
                raise LawError(f"sums over {part.index} a product that does not depend on it")
            if not term.summed.isdisjoint(self.digits[part.index] if padding else [part.index]):
                raise LawError(f"sums over {part.index} twice")
        # Summed over all rows, what is 0 except in the bias row is that row.
        once = {part.index for part in axis if term.rows_of(part.index) == BIAS}
        return replace(term, summed=term.summed | self.find_digits({part.index for part in axis} - once))

    def restrict(self, term: Term, rows: Rows | None) -> Term:
        if rows is None or rows in term.rows:
            return term
        index, kept = rows
        left = term.rows_of(index)
        if left is not None:
            raise LawError(f"takes {show_rows(kept)} of {index} where only {show_rows(left)} is left")
        if index in term.summed:
            raise LawError(f"takes {show_rows(kept)} of {index} after the sum over it")
        return replace(term, rows=term.rows | {rows})

    def join(self, terms: Sequence[Term], axes: Sequence[Axis]) -> tuple[Term, ...]:
        """The terms, with x's part and the bias's part of one sum over an input mode made one.

        Σ(i < I) W[i] x[i] + W[I] · 1 = Σ(i) W[i] z[i], as z = (x, 1).
        """
        joined = list(terms)
        for index, (inputs, bias) in product(self.data, product(terms, terms)):
            if inputs in joined and bias in joined and self._are_parts(inputs, bias, index):
                joined.remove(inputs)
                joined.remove(bias)
                digits = self.find_digits({index})
                summed = set() if index in indices_of(axes) else digits - indices_of(axes)
                rows = inputs.rows - {(index, INPUTS)}
                joined.append(Term(inputs.factors, (inputs.summed - digits) | summed, rows))
        return tuple(joined)

    def _are_parts(self, inputs: Term, bias: Term, index: str) -> bool:
        """Whether two terms are the two parts of one sum over an input mode."""
        digits = self.find_digits({index})
        return (
            inputs.rows - bias.rows == {(index, INPUTS)}
            and bias.rows - inputs.rows == {(index, BIAS)}
            and inputs.factors == bias.factors | {self.data[index]}
            and inputs.summed - digits == bias.summed - digits
        )


def find_digits(splits: Sequence[Split]) -> tuple[dict[str, Indices], dict[str, int]]:
    """The digits of each split index and of its parts, and the size of each digit.

    A digit has the name of the first part that it makes up alone.
    """
    digits: dict[str, Indices] = {}
    sizes: dict[str, int] = {}
    for mode in dict.fromkeys(split.mode for split in splits):
        own = [split for split in splits if split.mode == mode]
        finest = reduce(lambda known, split: replace(split, sizes=refine(known, split)), own)
        places = {part: held for split in own for part, held in _places(split, finest.sizes).items()}
        alone = {place[0]: part for part, place in reversed([*places.items()]) if len(place) == 1}
        names = [alone.get(place, f"{mode}.{place + 1}") for place in range(len(finest.sizes))]
        sizes |= zip(names, finest.sizes, strict=True)
        digits[mode] = tuple(names)
        digits |= {part: tuple(names[place] for place in held) for part, held in places.items()}
    return digits, sizes


def _places(split: Split, finest: Sequence[int]) -> dict[str, list[int]]:
    """Which of the finest parts each part is made up of."""
    places, following = {}, iter(enumerate(finest))
    for part, size in zip(split.parts, split.sizes, strict=True):
        held, count = [], 1
        while count < size:
            place, step = next(following)
            held.append(place)
            count *= step
        places[part] = held
    return places


def indices_of(axes: Iterable[Axis]) -> set[str]:
    """The indices of axes."""
    return {part.index for axis in axes for part in axis}


def list_names(names: Iterable[str]) -> str:
    """Names as text."""
    return ", ".join(sorted(names))


def show_rows(rows: str | None) -> str:
    """Rows of an input mode as text."""
    return {None: "all rows", INPUTS: "the part of the inputs", BIAS: "the bias row"}[rows]


def show(axis: Sequence[Part]) -> str:
    """An axis as text: its indices in order."""
    return " ".join(part.index for part in axis)
