"""Arrays without values: sums of products over named indices.

A program that runs on these arrays yields the expression that it computes for all values at once. An axis is
a product of indices, in order, so axes of equal size are never confused. Only the laws of commutative
semirings are used. Anything they do not allow raises `LawError`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import prod
from typing import Any

from ..cuts import read_cuts
from .world import INPUTS, Axis, LawError, Part, Term, World, indices_of, list_names, show, show_rows


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
        if len({*names}) < len(names):
            twice = {name for name in names if names.count(name) > 1}
            raise LawError(f"leaves {list_names(twice)} on two axes")
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
        cuts = read_cuts(key, len(self.axes))
        if cuts is None:
            raise LawError(f"indexes an array of {len(self.axes)} axes by {key}")
        for number, cut in enumerate(cuts):
            start, stop, _ = cut.indices(self.shape[number])
            result = result.cut(number, start, max(start, stop))
        return result

    def cut(self, number: int, start: int, stop: int) -> "Symbolic":
        """The range from start to stop of one axis."""
        axis = self.axes[number]
        if (start, stop) == (0, self.shape[number]):
            return self
        shorter = self.world.shorten(axis, stop) if start == 0 else None
        if shorter is not None:
            return replace(self, axes=(*self.axes[:number], shorter, *self.axes[number + 1 :]))
        if not self.terms and stop - start == 1:
            # Zeros may be cut anywhere.
            return replace(self, axes=(*self.axes[:number], (), *self.axes[number + 1 :]))
        if len(axis) != 1:
            raise LawError(f"takes a range of {show(axis) or 'an axis of size 1'}")
        part = Part(axis[0].index, axis[0].start + start, axis[0].start + stop)
        rows = self.world.rows(part) if self.terms else None
        axes = (*self.axes[:number], self.world.axis(part), *self.axes[number + 1 :])
        return Symbolic(self.world, axes, tuple(self.world.restrict(term, rows) for term in self.terms))


def read_operand(world: World, name: str, indices: Sequence[str]) -> Symbolic:
    """An operand as an array."""
    touched = {world.mode_of(index) for index in world.expand(indices)} & {*world.data}
    short = {mode for mode in touched if mode not in indices or name in world.short}
    axes = [world.axis(Part(i, 0, world.sizes[i] - (i in short))) for i in indices]
    rows = frozenset((index, INPUTS) for index in short)
    return Symbolic(world, tuple(axes), (Term(frozenset({name}), rows=rows),))


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
        _check_rows(array, indices_of(axes) - indices_of(array.axes))
    return axes


def _check_rows(array: Symbolic, indices: set[str]) -> None:
    """Raise an error if some of an input mode's rows are to be stretched along that mode."""
    for index in sorted(indices):
        mode = array.world.mode_of(index)
        # Digits number the inputs alone.
        within = {None} if index == mode else {None, INPUTS}
        kept = {term.rows_of(mode) for term in array.terms} - within
        if kept:
            raise LawError(f"repeats {show_rows(kept.pop())} of {mode} at other rows of {mode}")
