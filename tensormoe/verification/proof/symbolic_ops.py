"""The operations of a program, on symbolic arrays."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NoReturn

from ...arrays.nonlinearities import name_of
from ...arrays.protocols import Nonlinearity, ProgramDefaults
from ...typing import Shape
from .selection import SymbolicSelection
from .symbolic import Symbolic
from .world import ANY_BATCH, LawError, Part, show


class SymbolicOps(SymbolicSelection, ProgramDefaults):
    """The operations of `ProgramOps`, as far as laws cover them. No nonlinearity is among them."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        raise LawError(f"calls {name}, which no law of a commutative semiring covers")

    def nonlinear(self, function: Nonlinearity, x: Symbolic, /) -> Symbolic:
        return self._refuse(function)

    def nonlinear_overwrite(self, function: Nonlinearity, x: Symbolic, /) -> Symbolic:
        return self.nonlinear(function, x)

    def nonlinear_vjp(self, function: Nonlinearity, x: Symbolic, gradient: Symbolic, /) -> Symbolic:
        return self._refuse(function)

    def _refuse(self, function: Nonlinearity) -> NoReturn:
        raise LawError(f"applies {name_of(function)}, which is not part of what is to be computed")

    def copy(self, array: Symbolic, /) -> Symbolic:
        return array

    def transpose(self, array: Symbolic, axes: Shape, /) -> Symbolic:
        if sorted(axes) != list(range(len(array.axes))):
            raise LawError(f"does not permute {len(array.axes)} axes")
        return Symbolic(array.world, tuple(array.axes[axis] for axis in axes), array.terms)

    def reshape(self, array: Symbolic, shape: Shape, /) -> Symbolic:
        """Merge and split axes in row-major order. An index is never split, so its size does not matter."""
        parts = [part for axis in array.axes for part in axis]
        axes = []
        for size in shape:
            taken: list[Part] = []
            product = 1
            while product < size and parts:
                taken.append(parts.pop(0))
                product *= taken[-1].size
            if product != size:
                shown = "a multiple of the batch" if size % ANY_BATCH == 0 and size else size
                raise LawError(f"splits an index: ({show(taken)}) is not an axis of size {shown}")
            axes.append(tuple(taken))
        if parts:
            raise LawError(f"leaves no axis for {show(parts)}")
        return Symbolic(array.world, tuple(axes), array.terms)

    def sum(self, array: Symbolic, /, axis: int) -> Symbolic:
        if not 0 <= axis < len(array.axes):
            raise LawError(f"has no axis {axis} to sum over")
        terms = tuple(array.world.sum_over(term, array.axes[axis]) for term in array.terms)
        return Symbolic(array.world, (*array.axes[:axis], *array.axes[axis + 1 :]), terms)

    def matmul(self, a: Symbolic, b: Symbolic, /) -> Symbolic:
        if len(a.axes) != len(b.axes) or len(a.axes) < 2:
            raise LawError(f"multiplies matrices with {len(a.axes)} and {len(b.axes)} axes")
        if a.axes[-1] != b.axes[-2]:
            raise LawError(f"sums over ({show(a.axes[-1])}) on the left, ({show(b.axes[-2])}) on the right")
        column = Symbolic(b.world, (*b.axes[:-2], (), b.axes[-2], b.axes[-1]), b.terms)
        every = Symbolic(a.world, (*a.axes, ()), a.terms) * column
        return self.sum(every, len(every.axes) - 2)

    def zeros_like(self, array: Symbolic, /) -> Symbolic:
        return replace(array, terms=())

    def concatenate(self, arrays: Sequence[Symbolic], /, axis: int) -> Symbolic:
        """Ranges of one index put together to the whole; or zeros put behind the values of a padded one."""
        world, axis = arrays[0].world, axis % len(arrays[0].axes)
        longer = _lengthen(arrays, axis)
        if longer is not None:
            return longer
        index = _index_along(arrays, axis)
        position, terms = 0, []
        for array in arrays:
            width = array.shape[axis]
            part = Part(index, position, position + width)
            if array.axes[axis] not in (world.axis(part), ()):
                raise LawError(
                    f"puts ({show(array.axes[axis])}) at {position} to {position + width} of {index}"
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


def _lengthen(arrays: Sequence[Symbolic], axis: int) -> Symbolic | None:
    """The first array followed by zeros, if it has the values of a padded index along an axis."""
    first, *others = arrays
    rest = {(*array.axes[:axis], *array.axes[axis + 1 :]) for array in arrays}
    if len(rest) > 1 or any(array.terms for array in others):
        return None
    size = sum(array.shape[axis] for array in arrays)
    longer = first.world.lengthen(first.axes[axis], size, first.terms)
    if longer is None:
        return None
    return replace(first, axes=(*first.axes[:axis], longer, *first.axes[axis + 1 :]))


def _index_along(arrays: Sequence[Symbolic], axis: int) -> str:
    """The index that ranges along an axis make up. Axes of size 1 name none; rows that were taken do."""
    world = arrays[0].world
    named = [world.mode_of(part.index) for array in arrays for part in array.axes[axis]]
    named += [index for array in arrays for term in array.terms for index, _ in sorted(term.rows)]
    named += world.data
    if not named:
        raise LawError("puts together what has no index")
    return named[0]
