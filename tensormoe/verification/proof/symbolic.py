"""Arrays of no values: sums of products over named indices, and the backend that computes with them.

A program that runs on these arrays yields the expression that it computes for all values at once. An axis is
a product of indices, in order, so that axes of equal size are never confused. Only the laws of commutative
semirings are used. What they do not allow raises `LawError`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import prod
from typing import Any

from ...arrays.backend import Backend
from ...networks.notation import BATCH, INPUT
from ...programs.contraction import Contraction

# Larger than any product of other sizes and prime: multiples of it tell how often the batch is a factor.
ANY_BATCH = 2**521 - 1

# The rows of the input mode that a term is about, where they are not all.
INPUTS, BIAS = "inputs", "bias"


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
        rows: `INPUTS` or `BIAS` if the term is restricted to these rows of the input mode.
    """

    factors: frozenset[str] = frozenset()
    summed: frozenset[str] = frozenset()
    rows: str | None = None


@dataclass(frozen=True)
class World:
    """What is known of the indices and operands.

    Args:
        sizes: of every index.
        carriers: the operands that carry each index.
        data: the operand that stands for x followed by a constant 1, or None.
    """

    sizes: dict[str, int]
    carriers: dict[str, frozenset[str]]
    data: str | None

    @staticmethod
    def of(contraction: Contraction, *further: tuple[str, Sequence[str]]) -> "World":
        """The world of a contraction, with further operands given by name and indices."""
        operands = [(op.name, op.indices) for op in contraction.operands] + list(further)
        names = {index for _, indices in operands for index in indices}
        carriers = {index: frozenset(name for name, held in operands if index in held) for index in names}
        data = contraction.operands[0].name if contraction.affine else None
        return World({BATCH: ANY_BATCH, **dict(contraction.sizes)}, carriers, data)

    def operand(self, name: str, indices: Sequence[str]) -> "Symbolic":
        """An operand as an array."""
        short = name == self.data
        axes = [self.axis(Part(i, 0, self.sizes[i] - (short and i == INPUT))) for i in indices]
        return Symbolic(self, tuple(axes), (Term(frozenset({name}), rows=INPUTS if short else None),))

    def axis(self, part: Part) -> Axis:
        return () if part.size == 1 else (part,)

    def carries(self, term: Term, index: str) -> bool:
        return not term.factors.isdisjoint(self.carriers.get(index, ()))

    def rows(self, part: Part) -> str | None:
        """Which rows of the input mode a range is: `INPUTS`, `BIAS`, or None for all of an index."""
        whole = self.sizes[part.index]
        if (part.start, part.stop) == (0, whole):
            return None
        if self.data and part.index == INPUT:
            if (part.start, part.stop) == (0, whole - 1):
                return INPUTS
            if (part.start, part.stop) == (whole - 1, whole):
                return BIAS
        raise LawError(f"takes the range {part.start} to {part.stop} of {part.index} alone")

    def multiply(self, a: Term, b: Term) -> Term:
        """The product of two sums of products, by the distributive law."""
        twice = a.factors & b.factors
        if twice:
            raise LawError(f"multiplies {_list(twice)} in twice")
        for one, other in ((a, b), (b, a)):
            for index in sorted(one.summed):
                if self.carries(other, index):
                    late = _list(other.factors & self.carriers[index])
                    raise LawError(f"multiplies in {late}, which carries {index}, after the sum over {index}")
        rows = {term.rows for term in (a, b) if term.rows or self.carries(term, INPUT)}
        if len(rows) > 1:
            raise LawError(f"multiplies different rows of {INPUT}: {_ranges(a.rows)} and {_ranges(b.rows)}")
        return Term(a.factors | b.factors, a.summed | b.summed, rows.pop() if rows else None)

    def sum_over(self, term: Term, axis: Axis) -> Term:
        for part in axis:
            if not self.carries(term, part.index):
                raise LawError(f"sums over {part.index} a product that does not depend on it")
            if part.index in term.summed:
                raise LawError(f"sums over {part.index} twice")
        return replace(term, summed=term.summed | {part.index for part in axis})

    def restrict(self, term: Term, rows: str | None) -> Term:
        if rows is None or term.rows == rows:
            return term
        if term.rows is not None:
            raise LawError(f"takes {_ranges(rows)} of {INPUT} where only {_ranges(term.rows)} is left")
        if INPUT in term.summed:
            raise LawError(f"takes {_ranges(rows)} of {INPUT} after the sum over it")
        return replace(term, rows=rows)

    def join(self, terms: Sequence[Term], axes: Sequence[Axis]) -> tuple[Term, ...]:
        """The terms, with x's part and the bias's part of one sum over the input mode made one.

        Σ(i < I) W[i] x[i] + W[I] · 1 = Σ(i) W[i] z[i], as z = (x, 1).
        """
        if len(set(terms)) < len(terms):
            raise LawError("adds the same product twice")
        found = list(terms)
        free = _holds_input(axes)
        for inputs, bias in product(terms, terms):
            parts = (inputs.rows, bias.rows) == (INPUTS, BIAS)
            summed = inputs.summed - {INPUT}
            if inputs not in found or bias not in found:
                continue
            if parts and inputs.factors == bias.factors | {self.data} and summed == bias.summed - {INPUT}:
                found.remove(inputs)
                found.remove(bias)
                found.append(Term(inputs.factors, summed | (set() if free else {INPUT})))
        return tuple(found)


@dataclass(frozen=True)
class Symbolic:
    """An array: its axes, and the terms whose sum it is. A term is constant along indices that it lacks."""

    world: World
    axes: tuple[Axis, ...]
    terms: tuple[Term, ...]

    def __post_init__(self) -> None:
        names = [part.index for axis in self.axes for part in axis]
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise LawError(f"leaves {_list(twice)} on two axes")

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(prod(part.size for part in axis) for axis in self.axes)

    def __add__(self, other: Any) -> "Symbolic":
        if other == 1 and not isinstance(other, Symbolic):
            other = Symbolic(self.world, self.axes, (Term(),))
        axes = _stretch(self, other)
        holders = [array for array in (self, other) if array.terms]
        if len(holders) > 1 and _holds_input(axes) and not all(_holds_input(array.axes) for array in holders):
            raise LawError(f"adds what does not depend on {INPUT} at each of its rows")
        return Symbolic(self.world, axes, self.world.join((*self.terms, *other.terms), axes))

    def __mul__(self, other: Any) -> "Symbolic":
        axes = _stretch(self, other)
        pairs = product(self.terms, other.terms)
        return Symbolic(self.world, axes, tuple(self.world.multiply(a, b) for a, b in pairs))

    def _refuse(self, *_: Any) -> "Symbolic":
        raise LawError("uses an operation that no law of a commutative semiring covers")

    __sub__ = __rsub__ = __truediv__ = __rtruediv__ = __pow__ = __neg__ = __radd__ = __rmul__ = _refuse

    def __getitem__(self, key: Any) -> "Symbolic":
        found = self
        for number, cut in enumerate(_cuts(key, len(self.axes))):
            found = found.cut(number, *cut.indices(self.shape[number])[:2])
        return found

    def cut(self, number: int, start: int, stop: int) -> "Symbolic":
        """The range from start to stop of one axis."""
        axis = self.axes[number]
        if (start, stop) == (0, self.shape[number]):
            return self
        if len(axis) != 1:
            raise LawError(f"takes a range of {_names(axis) or 'an axis of size 1'}")
        part = Part(axis[0].index, axis[0].start + start, axis[0].start + stop)
        # Zeros may be cut anywhere.
        rows = self.world.rows(part) if self.terms else None
        axes = (*self.axes[:number], self.world.axis(part), *self.axes[number + 1 :])
        return Symbolic(self.world, axes, tuple(self.world.restrict(term, rows) for term in self.terms))


class SymbolicBackend:
    """The operations of a backend that programs use, on symbolic arrays."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        raise LawError(f"calls {name}, which no law of a commutative semiring covers")

    def transpose(self, array: Symbolic, axes: Sequence[int]) -> Symbolic:
        if sorted(axes) != list(range(len(array.axes))):
            raise LawError(f"is no permutation of {len(array.axes)} axes")
        return replace(array, axes=tuple(array.axes[axis] for axis in axes))

    def reshape(self, array: Symbolic, shape: Sequence[int]) -> Symbolic:
        """Merge and split axes in row-major order. An index is never split, so that its size may be any."""
        parts = [part for axis in array.axes for part in axis]
        axes = []
        for size in shape:
            taken: list[Part] = []
            while prod(part.size for part in taken) < size and parts:
                taken.append(parts.pop(0))
            if prod(part.size for part in taken) != size:
                shown = "a multiple of the batch" if size % ANY_BATCH == 0 and size else size
                raise LawError(f"makes no whole indices an axis of size {shown}: found ({_names(taken)})")
            axes.append(tuple(taken))
        if parts:
            raise LawError(f"leaves no axis for {_names(parts)}")
        return replace(array, axes=tuple(axes))

    def sum(self, array: Symbolic, axis: int) -> Symbolic:
        if not 0 <= axis < len(array.axes):
            raise LawError(f"has no axis {axis} to sum over")
        terms = tuple(array.world.sum_over(term, array.axes[axis]) for term in array.terms)
        return Symbolic(array.world, (*array.axes[:axis], *array.axes[axis + 1 :]), terms)

    def matmul(self, a: Symbolic, b: Symbolic) -> Symbolic:
        if len(a.axes) != len(b.axes) or len(a.axes) < 2:
            raise LawError(f"multiplies matrices with {len(a.axes)} and {len(b.axes)} axes")
        if a.axes[-1] != b.axes[-2]:
            raise LawError(
                f"sums over ({_names(a.axes[-1])}) on the left, ({_names(b.axes[-2])}) on the right"
            )
        column = replace(b, axes=(*b.axes[:-2], (), b.axes[-2], b.axes[-1]))
        every = replace(a, axes=(*a.axes, ())) * column
        return self.sum(every, len(every.axes) - 2)

    affine = Backend.affine

    def zeros_like(self, array: Symbolic) -> Symbolic:
        return replace(array, terms=())

    def concatenate(self, arrays: Sequence[Symbolic], axis: int) -> Symbolic:
        """Ranges of one index put together to the whole."""
        world, axis = arrays[0].world, axis % len(arrays[0].axes)
        named = [part.index for array in arrays for part in array.axes[axis]]
        index = named[0] if named else INPUT
        position, terms = 0, []
        for array in arrays:
            width = array.shape[axis]
            part = Part(index, position, position + width)
            if array.axes[axis] not in (world.axis(part), ()):
                raise LawError(
                    f"puts ({_names(array.axes[axis])}) at {position} to {position + width} of {index}"
                )
            if array.terms:
                terms += [world.restrict(term, world.rows(part)) for term in array.terms]
            position += width
        if position != world.sizes[index]:
            raise LawError(f"puts together {position} of {world.sizes[index]} values of {index}")
        before, after = arrays[0].axes[:axis], arrays[0].axes[axis + 1 :]
        if any((array.axes[:axis], array.axes[axis + 1 :]) != (before, after) for array in arrays):
            raise LawError("puts together arrays with different axes")
        axes = (*before, world.axis(Part(index, 0, position)), *after)
        return Symbolic(world, axes, world.join(terms, axes))


def _stretch(a: Symbolic, b: Any) -> tuple[Axis, ...]:
    """The axes of an elementwise operation: aligned at the end, an axis of size 1 stretching."""
    if not isinstance(b, Symbolic):
        raise LawError(f"computes with the number {b!r}")
    count = max(len(a.axes), len(b.axes))
    left, right = (((),) * (count - len(array.axes)) + array.axes for array in (a, b))
    for one, other in zip(left, right, strict=True):
        if one and other and one != other:
            raise LawError(f"meets ({_names(one)}) with ({_names(other)}) along one axis")
    return tuple(one or other for one, other in zip(left, right, strict=True))


def _holds_input(axes: Sequence[Axis]) -> bool:
    return any(part.index == INPUT for axis in axes for part in axis)


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


def _names(axis: Sequence[Part]) -> str:
    return " ".join(part.index for part in axis)


def _list(names: Any) -> str:
    return ", ".join(sorted(names))


def _ranges(rows: str | None) -> str:
    return {None: "all rows", INPUTS: "the part of the inputs", BIAS: "the bias row"}[rows]
