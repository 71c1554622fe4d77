"""Reading at chosen places, on symbolic arrays: products with choices, summed over an operand's own index."""

from collections.abc import Sequence
from dataclasses import replace

from ...networks.notation import BATCH
from ...typing import Shape
from .choices import Choice
from .symbolic import Symbolic, read_operand
from .world import Axis, LawError, Part, Term, World


class SymbolicSelection:
    """The operations of `ProgramOps` that read and write by indices."""

    def choose(self, coefficients: Symbolic, k: int, /) -> Symbolic:
        """The places, as a product of no operand: only `take`, `gather` and their reverses know it."""
        choice = _choice_of(coefficients, 1)
        if coefficients != read_operand(coefficients.world, choice.operand, (BATCH, choice.whole)):
            raise LawError("chooses by something else than a level's coefficients")
        if k != coefficients.world.sizes[choice.mode]:
            raise LawError(
                f"chooses {k} places where {choice.mode} has {coefficients.world.sizes[choice.mode]}"
            )
        return _places(coefficients.world, choice.mode)

    def take(self, coefficients: Symbolic, indices: Symbolic, /) -> Symbolic:
        (choice,) = _read(coefficients, [indices], (1,))
        world = coefficients.world
        spread = replace(coefficients, axes=(coefficients.axes[0], (), coefficients.axes[1]))
        return _sum(spread * read_operand(world, choice.name, choice.indices), [2])

    def put(self, gradient: Symbolic, indices: Symbolic, like: Symbolic, /) -> Symbolic:
        (choice,) = _read(like, [indices], (1,))
        spread = replace(gradient, axes=(*gradient.axes, ()))
        return _sum(spread * read_operand(like.world, choice.name, choice.indices), [1])

    def gather(self, array: Symbolic, indices: Sequence[Symbolic], axes: Shape, /) -> Symbolic:
        choices, count = _read(array, indices, axes), len(axes)
        product = replace(array, axes=((),) * (1 + count) + array.axes)
        for place, (axis, choice) in enumerate(zip(axes, choices, strict=True)):
            product = product * _align(array.world, choice, 1 + place, 1 + count + axis, len(product.axes))
        return _sum(product, [1 + count + axis for axis in axes])

    def scatter(
        self, gradient: Symbolic, indices: Sequence[Symbolic], axes: Shape, like: Symbolic, /
    ) -> Symbolic:
        choices, count, ndim = _read(like, indices, axes), len(axes), len(gradient.axes)
        product = replace(gradient, axes=gradient.axes + ((),) * count)
        for place, choice in enumerate(choices):
            product = product * _align(like.world, choice, 1 + place, ndim + place, ndim + count)
        total = _sum(product, range(1 + count))
        # The other axes come first, then those that were read.
        order = [axis for axis in range(len(like.axes)) if axis not in axes] + list(axes)
        return replace(total, axes=tuple(total.axes[order.index(axis)] for axis in range(len(order))))


def _choice_of(array: Symbolic, axis: int) -> Choice:
    """The choice that an axis of an operand is read by."""
    parts: Axis = array.axes[axis] if axis < len(array.axes) else ()
    choice = array.world.choices.get(parts[0].index) if len(parts) == 1 else None
    if choice is None:
        raise LawError("reads places of an axis of which none are chosen")
    return choice


def _read(array: Symbolic, indices: Sequence[Symbolic], axes: Shape) -> list[Choice]:
    """The choices that the axes of an operand are read by, whose places must be those given."""
    if len(indices) != len(axes) or list(axes) != sorted(set(axes)):
        raise LawError("reads places of other axes than it says")
    choices = [_choice_of(array, axis) for axis in axes]
    for choice, places in zip(choices, indices, strict=True):
        if places != _places(array.world, choice.mode):
            raise LawError(f"reads {choice.whole} at other places than those chosen for {choice.mode}")
    return choices


def _places(world: World, mode: str) -> Symbolic:
    axes = (world.axis(Part(BATCH, 0, world.sizes[BATCH])), world.axis(Part(mode, 0, world.sizes[mode])))
    return Symbolic(world, axes, (Term(frozenset({f"places of {mode}"})),))


def _align(world: World, choice: Choice, mode: int, whole: int, ndim: int) -> Symbolic:
    """A choice's array with the batch first and its other indices at these axes of so many."""
    array = read_operand(world, choice.name, choice.indices)
    axes: list[Axis] = [()] * ndim
    axes[0], axes[mode], axes[whole] = array.axes
    return replace(array, axes=tuple(axes))


def _sum(array: Symbolic, axes: Sequence[int]) -> Symbolic:
    world = array.world
    for axis in sorted(axes, reverse=True):
        terms = tuple(world.sum_over(term, array.axes[axis]) for term in array.terms)
        array = Symbolic(world, (*array.axes[:axis], *array.axes[axis + 1 :]), terms)
    return array
