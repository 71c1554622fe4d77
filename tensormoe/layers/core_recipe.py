"""How the values of one core are distributed, for any framework's generator."""

from dataclasses import dataclass, replace
from math import prod, sqrt
from typing import Protocol, TypeAlias

from ..typing import Array, Shape


class Source(Protocol):
    """Where values come from: a framework's arrays and its generator."""

    def uniform(self, shape: Shape, bound: float) -> Array:
        """Draw from U(−bound, bound)."""

    def normal(self, shape: Shape) -> Array:
        """Draw from N(0, 1)."""

    def signs(self, shape: Shape) -> Array:
        """Draw −1 or 1, with equal chances."""

    def ones(self, shape: Shape) -> Array:
        """Ones."""

    def diagonal(self, shape: Shape, axes: tuple[int, int]) -> Array:
        """1 where the positions on two axes are equal, 0 elsewhere."""

    def stretch(self, array: Array, shape: Shape) -> Array:
        """Repeat an array along its axes of size 1."""


@dataclass(frozen=True)
class Factors:
    """Noise of mean 1 and variance 1 by which a start is multiplied.

    Args:
        shape: of the noise, 1 along the axes on which it is repeated.
    """

    shape: Shape

    def apply(self, values: Array, start: Array, source: Source) -> Array:
        """The values times the noise."""
        return values * (1 + source.normal(self.shape))

    def scale_by(self, factor: float) -> "Factors":
        """The noise for a start times a factor: the same."""
        return self


@dataclass(frozen=True)
class Spread:
    """Noise that is added to a start, so that experts lie around it.

    It sums to zero over the experts, and no expert's noise has a part along the start: none is just a
    stronger copy of the others, which a gate would choose for every input.

    Args:
        shape: of the noise, 1 along the axes on which it is repeated.
        scale: its standard deviation.
        experts: the axis of the experts.
        centre: whether there is a start; around zero there is no part along it.
    """

    shape: Shape
    scale: float
    experts: int
    centre: bool = True

    def apply(self, values: Array, start: Array, source: Source) -> Array:
        """The values plus the noise."""
        noise = source.normal(self.shape)
        noise = noise - noise.mean(self.experts, keepdims=True)
        entries = prod(self.shape) // self.shape[self.experts]
        # What is taken away is made up for, in size.
        scale = self.scale * sqrt(self.shape[self.experts] / (self.shape[self.experts] - 1))
        if entries > 1 and self.centre:
            within = tuple(axis for axis in range(len(self.shape)) if axis != self.experts)
            along = (noise * start).sum(within, keepdims=True) / (start * start).sum()
            noise = noise - along * start
            scale *= sqrt(entries / (entries - 1))
        return values + scale * noise

    def scale_by(self, factor: float) -> "Spread":
        """The noise for a start times a factor."""
        return replace(self, scale=self.scale * factor)


@dataclass(frozen=True)
class Shift:
    """A number that is added to a start."""

    value: float

    def apply(self, values: Array, start: Array, source: Source) -> Array:
        """The values plus the number."""
        return values + self.value

    def scale_by(self, factor: float) -> "Shift":
        """The number for a start times a factor."""
        return Shift(self.value * factor)


Noise: TypeAlias = Factors | Spread | Shift


@dataclass(frozen=True)
class CoreRecipe:
    """How the initial values of one core are distributed: a start that all experts share, and noise.

    Args:
        name: the core's name.
        shape: the core's shape in the order in which values are drawn, that of `Factorization.canonical`.
        axes: the permutation that takes these axes to the notation's order.
        start: the shape of the start, 1 along every expert axis.
        law: how the start is distributed: "uniform", "signs" or "ones".
        bound: the largest magnitude in the start.
        diagonal: two axes off whose diagonal the start is 0; None if all of it is drawn.
        noises: what makes experts differ, in the order in which it is drawn.

    Examples:
        >>> import tensormoe as tm
        >>> from tensormoe.layers.initialization import recipes
        >>> spec = tm.MuMoESpec(8, 6, experts=4, factorization=tm.CP(rank=5), bias=False)
        >>> expert, _, output = recipes(spec).values()
        >>> expert.law, expert.start, [noise.shape for noise in expert.noises]
        ('signs', (1, 5), [(4, 5)])
        >>> output.law, output.start, output.noises
        ('uniform', (6, 5), ())
    """

    name: str
    shape: Shape
    axes: Shape
    start: Shape
    law: str
    bound: float
    diagonal: tuple[int, int] | None = None
    noises: tuple[Noise, ...] = ()

    def draw(self, source: Source) -> Array:
        """The core's values, in the notation's order of axes; possibly a view."""
        values = start = self._draw_start(source)
        for noise in self.noises:
            values = noise.apply(values, start, source)
        if tuple(values.shape) != self.shape:
            values = source.stretch(values, self.shape)
        return values.transpose(self.axes)

    def scale(self, factor: float) -> "CoreRecipe":
        """The same for values times a factor; not for a start of ones."""
        noises = tuple(noise.scale_by(factor) for noise in self.noises)
        return replace(self, bound=self.bound * factor, noises=noises)

    def fill(self) -> "CoreRecipe":
        """The same mean square without zeros: what is off a diagonal is drawn, too."""
        if self.diagonal is None:
            return self
        bound = self.bound * sqrt(3 / max(self.start[axis] for axis in self.diagonal))
        return replace(self, law="uniform", bound=bound, diagonal=None)

    def _draw_start(self, source: Source) -> Array:
        if self.law == "uniform":
            return source.uniform(self.start, self.bound)
        if self.diagonal is None:
            return source.ones(self.start) if self.law == "ones" else self.bound * source.signs(self.start)
        matrix = source.diagonal(self.start, self.diagonal)
        if self.law == "ones":
            return matrix
        # One sign for each row: the matrix stays orthogonal.
        column = self.diagonal[1]
        rows = tuple(1 if axis == column else size for axis, size in enumerate(self.start))
        return self.bound * source.signs(rows) * matrix
