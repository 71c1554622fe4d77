"""Instructions that read slices of cores by indices: those of the experts that a token's gate chooses."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

from ..arrays.protocols import ProgramOps
from ..typing import Array, Shape
from .instructions import Binary, Instruction


@dataclass(frozen=True)
class Choose(Instruction):
    """The places of k coefficients of each token, among them all that are not 0: integers, as constants."""

    k: int

    # A choice that is made again might be another one where values are equal.
    cheap = False

    @property
    def differentiable(self) -> bool:
        return False

    def run(self, ops: ProgramOps, registers: Sequence[Array], batch: int) -> Array:
        return ops.choose(registers[self.source], self.k)


@dataclass(frozen=True)
class Take(Binary):
    """The coefficients at the places that another register holds."""

    @property
    def reads(self) -> tuple[int, ...]:
        return (self.other,)

    def run(self, ops: ProgramOps, registers: Sequence[Array], batch: int) -> Array:
        return ops.take(registers[self.source], registers[self.other])

    def vjp(self, ops: ProgramOps, registers: Sequence[Array], gradient: Array, position: int) -> Array:
        return ops.put(gradient, registers[self.other], registers[self.source])


@dataclass(frozen=True)
class Gather(Instruction):
    """A core at the chosen places of some of its axes, for each token: (batch, k, …, other axes).

    Args:
        axes: in ascending order.
        indices: the register of each axis's places.
    """

    axes: Shape
    indices: tuple[int, ...]

    @property
    def sources(self) -> tuple[int, ...]:
        return (self.source, *self.indices)

    @property
    def reads(self) -> tuple[int, ...]:
        return self.indices

    def run(self, ops: ProgramOps, registers: Sequence[Array], batch: int) -> Array:
        chosen = [registers[each] for each in self.indices]
        return ops.gather(registers[self.source], chosen, self.axes)

    def vjp(self, ops: ProgramOps, registers: Sequence[Array], gradient: Array, position: int) -> Array:
        chosen = [registers[each] for each in self.indices]
        return ops.scatter(gradient, chosen, self.axes, registers[self.source])

    def rewire(self, registers: Sequence[int]) -> Self:
        indices = tuple(registers[each] for each in self.indices)
        return replace(self, source=registers[self.source], indices=indices)
