"""Arrays without values: sums of products over named indices.

A program that runs on these arrays yields the expression that it computes for all values at once. An axis is
a product of indices, in order, so axes of equal size are never confused. Only the laws of commutative
semirings are used. Anything they do not allow raises `LawError`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from math import prod
from typing import Any

from ...networks.notation import BATCH, INPUT
from ...programs.contraction import Contraction
from .choices import Choice, add_choices, find_choices

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
        data: for each input mode with a bias row, the operand that a 1 follows; of a weight alone none.
        short: the operands that lack the bias row of their input mode.
        products: the operands that are multiplied with each other: those of each term of a contraction.
        choices: what chooses some of an index of an operand, by that index.
    """

    sizes: dict[str, int]
    carriers: dict[str, frozenset[str]]
    data: dict[str, str]
    products: tuple[frozenset[str], ...]
    short: frozenset[str]
    choices: dict[str, Choice] = field(default_factory=dict)

    @staticmethod
    def of(contractions: Sequence[Contraction], *further: tuple[str, Sequence[str]]) -> "World":
        """The world of contractions, with further operands given by name and indices."""
        choices = find_choices(contractions)
        operands = {op.name: op.indices for each in contractions for op in each.operands} | dict(further)
        operands |= {each.name: each.indices for each in choices.values()}
        names = {index for indices in operands.values() for index in indices}
        carriers = {i: frozenset(name for name, held in operands.items() if i in held) for i in names}
        # Sorted, so that of two sizes the larger one, with a bias, is kept.
        sizes = dict(sorted(pair for each in contractions for pair in each.sizes))
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
        terms = [term for each in contractions for term in each.terms]
        products = tuple(add_choices(choices, [op.name for op in term.operands]) for term in terms)
        return World({BATCH: ANY_BATCH, **sizes}, carriers, data, products, frozenset(short), choices)

    def operand(self, name: str, indices: Sequence[str]) -> "Symbolic":
        """An operand as an array."""
        short = {index for index in indices if name in self.short and index in self.data}
        axes = [self.axis(Part(i, 0, self.sizes[i] - (i in short))) for i in indices]
        rows = frozenset((index, INPUTS) for index in short)
        return Symbolic(self, tuple(axes), (Term(frozenset({name}), rows=rows),))

    def axis(self, part: Part) -> Axis:
        return () if part.size == 1 else (part,)

    def carries(self, term: Term, index: str) -> bool:
        return not term.factors.isdisjoint(self.carriers.get(index, ()))

    def missing(self, term: Term, index: str) -> frozenset[str]:
        """The factors that a sum over an index still has to wait for."""
        # In the bias row the factor of x is 1.
        ones = {operand for mode, operand in self.data.items() if term.rows_of(mode) == BIAS}
        present = term.factors | ones
        carrying = (self.carriers[index] & factors for factors in self.products)
        waiting = [each - present for each in carrying if each]
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
        if twice := a.factors & b.factors:
            raise LawError(f"multiplies {_list(twice)} in twice")
        for one, other in ((a, b), (b, a)):
            for index in sorted(one.summed):
                if self.carries(other, index):
                    late = _list(other.factors & self.carriers[index])
                    raise LawError(f"multiplies in {late}, which carries {index}, after the sum over {index}")
        rows = ((index, self._meet(a, b, index)) for index in self.data)
        met = frozenset((index, kept) for index, kept in rows if kept)
        return Term(a.factors | b.factors, a.summed | b.summed, met)

    def _meet(self, a: Term, b: Term, index: str) -> str | None:
        """The rows of an input mode that two factors have in common, which must be the same."""
        rows = {term.rows_of(index) for term in (a, b) if term.rows_of(index) or self.carries(term, index)}
        if len(rows) > 1:
            shown = f"{_ranges(a.rows_of(index))} and {_ranges(b.rows_of(index))}"
            raise LawError(f"multiplies different rows of {index}: {shown}")
        return rows.pop() if rows else None

    def sum_over(self, term: Term, axis: Axis) -> Term:
        for part in axis:
            if not self.carries(term, part.index):
                raise LawError(f"sums over {part.index} a product that does not depend on it")
            if part.index in term.summed:
                raise LawError(f"sums over {part.index} twice")
        # Summed over all rows, what is 0 except in the bias row is that row.
        once = {part.index for part in axis if term.rows_of(part.index) == BIAS}
        return replace(term, summed=term.summed | {part.index for part in axis} - once)

    def restrict(self, term: Term, rows: Rows | None) -> Term:
        if rows is None or rows in term.rows:
            return term
        index, kept = rows
        left = term.rows_of(index)
        if left is not None:
            raise LawError(f"takes {_ranges(kept)} of {index} where only {_ranges(left)} is left")
        if index in term.summed:
            raise LawError(f"takes {_ranges(kept)} of {index} after the sum over it")
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
                summed = {index} - _indices(axes)
                rows = inputs.rows - {(index, INPUTS)}
                joined.append(Term(inputs.factors, (inputs.summed - {index}) | summed, rows))
        return tuple(joined)

    def _are_parts(self, inputs: Term, bias: Term, index: str) -> bool:
        """Whether two terms are the two parts of one sum over an input mode."""
        return (
            inputs.rows - bias.rows == {(index, INPUTS)}
            and bias.rows - inputs.rows == {(index, BIAS)}
            and inputs.factors == bias.factors | {self.data[index]}
            and inputs.summed - {index} == bias.summed - {index}
        )


@dataclass(frozen=True)
class Symbolic:
    """An array: its axes, and the terms whose sum it is.

    A term is constant along the indices that it lacks. One that is restricted to rows of an input mode is 0
    at the other rows along an axis of that mode; on an array without such an axis it is the sum over these
    rows, or the only one of them. So it never stretches along that mode.
    """

    world: World
    axes: tuple[Axis, ...]
    terms: tuple[Term, ...]

    def __post_init__(self) -> None:
        names = [part.index for axis in self.axes for part in axis]
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise LawError(f"leaves {_list(twice)} on two axes")
        if len(set(self.terms)) < len(self.terms):
            raise LawError("adds the same product twice")

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(prod(part.size for part in axis) for axis in self.axes)

    def __add__(self, other: Any) -> "Symbolic":
        if other == 1 and not isinstance(other, Symbolic):
            other = Symbolic(self.world, self.axes, (Term(),))
        axes = _stretch(self, other)
        return Symbolic(self.world, axes, self.world.join((*self.terms, *other.terms), axes))

    def __mul__(self, other: Any) -> "Symbolic":
        axes = _stretch(self, other)
        pairs = product(self.terms, other.terms)
        return Symbolic(self.world, axes, tuple(self.world.multiply(a, b) for a, b in pairs))

    def _refuse(self, *_: Any) -> "Symbolic":
        raise LawError("uses an operation that no law of a commutative semiring covers")

    def _refuse_writing(self, *_: Any) -> "Symbolic":
        raise LawError("writes to an array's own memory, which others may read")

    __iadd__ = __isub__ = __imul__ = __itruediv__ = __imatmul__ = __setitem__ = _refuse_writing
    __sub__ = __rsub__ = __truediv__ = __rtruediv__ = __pow__ = __neg__ = __radd__ = __rmul__ = _refuse

    def __getitem__(self, key: Any) -> "Symbolic":
        result = self
        for number, cut in enumerate(_cuts(key, len(self.axes))):
            start, stop, _ = cut.indices(self.shape[number])
            result = result.cut(number, start, max(start, stop))
        return result

    def cut(self, number: int, start: int, stop: int) -> "Symbolic":
        """The range from start to stop of one axis."""
        axis = self.axes[number]
        if (start, stop) == (0, self.shape[number]):
            return self
        if len(axis) != 1:
            raise LawError(f"takes a range of {show(axis) or 'an axis of size 1'}")
        part = Part(axis[0].index, axis[0].start + start, axis[0].start + stop)
        # Zeros may be cut anywhere.
        rows = self.world.rows(part) if self.terms else None
        axes = (*self.axes[:number], self.world.axis(part), *self.axes[number + 1 :])
        return Symbolic(self.world, axes, tuple(self.world.restrict(term, rows) for term in self.terms))


def _stretch(a: Symbolic, b: Any) -> tuple[Axis, ...]:
    """The axes of an elementwise operation: aligned at the end, an axis of size 1 stretching."""
    if not isinstance(b, Symbolic):
        raise LawError(f"computes with the number {b!r}")
    count = max(len(a.axes), len(b.axes))
    left, right = (((),) * (count - len(array.axes)) + array.axes for array in (a, b))
    for one, other in zip(left, right, strict=True):
        if one and other and one != other:
            raise LawError(f"meets ({show(one)}) with ({show(other)}) along one axis")
    axes = tuple(one or other for one, other in zip(left, right, strict=True))
    for array in (a, b):
        _check_rows(array, _indices(axes) - _indices(array.axes))
    return axes


def _check_rows(array: Symbolic, indices: set[str]) -> None:
    """Raise an error if some of an input mode's rows are to be stretched along that mode."""
    for index in sorted(indices):
        kept = {term.rows_of(index) for term in array.terms} - {None}
        if kept:
            raise LawError(f"repeats {_ranges(kept.pop())} of {index} at other rows of {index}")


def _indices(axes: Iterable[Axis]) -> set[str]:
    return {part.index for axis in axes for part in axis}


def _cuts(key: Any, count: int) -> list[slice]:
    """One slice for each axis."""
    keys = list(key) if isinstance(key, tuple) else [key]
    missing = [slice(None)] * (count - len(keys) + (Ellipsis in keys))
    if Ellipsis in keys:
        place = keys.index(Ellipsis)
        keys[place : place + 1] = missing
    else:
        keys += missing
    if len(keys) != count or not all(isinstance(k, slice) and k.step in (None, 1) for k in keys):
        raise LawError(f"indexes an array of {count} axes by {key}")
    return keys


def show(axis: Sequence[Part]) -> str:
    """An axis as text: its indices in order."""
    return " ".join(part.index for part in axis)


def _list(names: Any) -> str:
    return ", ".join(sorted(names))


def _ranges(rows: str | None) -> str:
    return {None: "all rows", INPUTS: "the part of the inputs", BIAS: "the bias row"}[rows]
