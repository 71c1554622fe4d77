"""A lowered contraction: straight-line instructions on a TensorLy backend object, forwards and backwards.

Every instruction reads registers and appends one. The registers start as the operands. Shapes are fixed
but for the batch: in a shape, a negative entry -m stands for m times the batch size. Products are pairwise:
nothing here calls an n-ary einsum, and nothing knows which framework it runs on.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from .errors import TensorMoEError

Array = Any
Shape = tuple[int, ...]


def with_batch(shape: Shape, batch: int) -> Shape:
    """The shape with the batch size filled in."""
    return tuple(-size * batch if size < 0 else size for size in shape)


@dataclass(frozen=True)
class Instruction:
    """One operation on one or two registers."""

    source: int

    @property
    def sources(self) -> tuple[int, ...]:
        return (self.source,)

    def run(self, tl: Any, registers: Sequence[Array], batch: int) -> Array:
        """The result, from the registers."""
        raise NotImplementedError

    def pull(self, tl: Any, registers: Sequence[Array], gradient: Array) -> Iterator[tuple[int, Array]]:
        """The result's gradient carried back: a register and its share, for each source."""
        raise NotImplementedError


@dataclass(frozen=True)
class Transpose(Instruction):
    """Axes in another order."""

    axes: Shape

    def run(self, tl: Any, registers: Sequence[Array], batch: int) -> Array:
        return tl.transpose(registers[self.source], self.axes)

    def pull(self, tl: Any, registers: Sequence[Array], gradient: Array) -> Iterator[tuple[int, Array]]:
        inverse = sorted(range(len(self.axes)), key=self.axes.__getitem__)
        yield self.source, tl.transpose(gradient, tuple(inverse))


@dataclass(frozen=True)
class Reshape(Instruction):
    """Neighbouring axes merged, split, or inserted with size 1."""

    shape: Shape

    def run(self, tl: Any, registers: Sequence[Array], batch: int) -> Array:
        return tl.reshape(registers[self.source], with_batch(self.shape, batch))

    def pull(self, tl: Any, registers: Sequence[Array], gradient: Array) -> Iterator[tuple[int, Array]]:
        yield self.source, tl.reshape(gradient, tuple(registers[self.source].shape))


@dataclass(frozen=True)
class Sum(Instruction):
    """The sum over one axis."""

    axis: int

    def run(self, tl: Any, registers: Sequence[Array], batch: int) -> Array:
        return tl.sum(registers[self.source], axis=self.axis)

    def pull(self, tl: Any, registers: Sequence[Array], gradient: Array) -> Iterator[tuple[int, Array]]:
        source = registers[self.source]
        spread = tl.reshape(gradient, (*source.shape[: self.axis], 1, *source.shape[self.axis + 1 :]))
        yield self.source, spread + tl.zeros_like(source)


@dataclass(frozen=True)
class Rows(Instruction):
    """A range of one axis: the weights without the bias row, or the bias row alone."""

    axis: int
    start: int
    stop: int

    def __post_init__(self) -> None:
        if self.axis < 0:
            raise TensorMoEError("axis", self.axis, "count axes from the front: pass 0 or more")

    @property
    def _index(self) -> tuple[slice, ...]:
        return (slice(None),) * self.axis + (slice(self.start, self.stop),)

    def run(self, tl: Any, registers: Sequence[Array], batch: int) -> Array:
        return registers[self.source][self._index]

    def pull(self, tl: Any, registers: Sequence[Array], gradient: Array) -> Iterator[tuple[int, Array]]:
        none = tl.zeros_like(registers[self.source])
        before = (slice(None),) * self.axis + (slice(0, self.start),)
        after = (slice(None),) * self.axis + (slice(self.stop, none.shape[self.axis]),)
        yield self.source, tl.concatenate([none[before], gradient, none[after]], axis=self.axis)


@dataclass(frozen=True)
class AppendOne(Instruction):
    """x followed by a constant 1 along its last axis."""

    def run(self, tl: Any, registers: Sequence[Array], batch: int) -> Array:
        x = registers[self.source]
        return tl.concatenate([x, tl.zeros_like(x)[..., :1] + 1], axis=-1)

    def pull(self, tl: Any, registers: Sequence[Array], gradient: Array) -> Iterator[tuple[int, Array]]:
        yield self.source, gradient[..., :-1]


@dataclass(frozen=True)
class Binary(Instruction):
    """An operation on two registers."""

    other: int

    @property
    def sources(self) -> tuple[int, ...]:
        return (self.source, self.other)


@dataclass(frozen=True)
class Matmul(Binary):
    """The matrix product over the last two axes; equal leading axes are a batch of products."""

    def run(self, tl: Any, registers: Sequence[Array], batch: int) -> Array:
        return tl.matmul(registers[self.source], registers[self.other])

    def pull(self, tl: Any, registers: Sequence[Array], gradient: Array) -> Iterator[tuple[int, Array]]:
        left, right = registers[self.source], registers[self.other]
        axes = range(len(left.shape))
        swapped = (*axes[:-2], axes[-1], axes[-2])
        yield self.source, tl.matmul(gradient, tl.transpose(right, swapped))
        yield self.other, tl.matmul(tl.transpose(left, swapped), gradient)


@dataclass(frozen=True)
class Multiply(Binary):
    """The elementwise product. Axes of size 1 stretch, and missing leading axes are stretched too."""

    def run(self, tl: Any, registers: Sequence[Array], batch: int) -> Array:
        return registers[self.source] * registers[self.other]

    def pull(self, tl: Any, registers: Sequence[Array], gradient: Array) -> Iterator[tuple[int, Array]]:
        left, right = registers[self.source], registers[self.other]
        yield self.source, _unstretch(tl, gradient * right, left.shape)
        yield self.other, _unstretch(tl, gradient * left, right.shape)


@dataclass(frozen=True)
class Add(Binary):
    """The elementwise sum, stretching as `Multiply` does."""

    def run(self, tl: Any, registers: Sequence[Array], batch: int) -> Array:
        return registers[self.source] + registers[self.other]

    def pull(self, tl: Any, registers: Sequence[Array], gradient: Array) -> Iterator[tuple[int, Array]]:
        yield self.source, _unstretch(tl, gradient, registers[self.source].shape)
        yield self.other, _unstretch(tl, gradient, registers[self.other].shape)


def _unstretch(tl: Any, gradient: Array, shape: Sequence[int]) -> Array:
    """Sum over the axes along which an operand of this shape was stretched."""
    while len(gradient.shape) > len(shape):
        gradient = tl.sum(gradient, axis=0)
    for axis, size in enumerate(shape):
        if size == 1 and gradient.shape[axis] != 1:
            summed = (*gradient.shape[:axis], 1, *gradient.shape[axis + 1 :])
            gradient = tl.reshape(tl.sum(gradient, axis=axis), summed)
    return gradient


@dataclass(frozen=True)
class Program:
    """Instructions in order. The last one's register is the result.

    Args:
        num_operands: how many arrays `run` takes.
        instructions: the k-th writes register `num_operands + k`.
        releases: for each instruction, the intermediate registers that nothing reads after it.
    """

    num_operands: int
    instructions: tuple[Instruction, ...]
    releases: tuple[tuple[int, ...], ...]

    def run(self, tl: Any, operands: Sequence[Array]) -> Array:
        """Compute the contraction.

        Args:
            tl: a backend object (see `tensormoe.get_backend`).
            operands: that framework's arrays, in the contraction's order; the first one's leading axis
                is the batch, of any size.

        Returns:
            The output array.
        """
        registers: list[Array] = list(operands)
        batch = registers[0].shape[0]
        for instruction, finished in zip(self.instructions, self.releases, strict=True):
            registers.append(instruction.run(tl, registers, batch))
            for register in finished:
                registers[register] = None
        return registers[-1]

    def vjp(self, tl: Any, operands: Sequence[Array], cotangent: Array) -> tuple[Array, ...]:
        """Reverse mode: the gradient of Σ output ∗ cotangent with respect to each operand.

        Args:
            tl: a backend object.
            operands: as for `run`.
            cotangent: an array of the output's shape.

        Returns:
            One array per operand, of its shape.
        """
        registers: list[Array] = list(operands)
        batch = registers[0].shape[0]
        for instruction in self.instructions:
            registers.append(instruction.run(tl, registers, batch))
        gradients: dict[int, Array] = {len(registers) - 1: cotangent}
        for number in reversed(range(len(self.instructions))):
            instruction = self.instructions[number]
            gradient = gradients.pop(self.num_operands + number, None)
            if gradient is None:
                continue  # nothing depends on it
            for register, share in instruction.pull(tl, registers, gradient):
                known = gradients.get(register)
                gradients[register] = share if known is None else known + share
        found = (gradients.get(register) for register in range(self.num_operands))
        return tuple(
            tl.zeros_like(x) if gradient is None else gradient
            for x, gradient in zip(operands, found, strict=True)
        )


def released(num_operands: int, instructions: Sequence[Instruction]) -> tuple[tuple[int, ...], ...]:
    """For each instruction, the intermediates that it reads last."""
    last = {source: n for n, instruction in enumerate(instructions) for source in instruction.sources}
    return tuple(
        tuple(s for s in dict.fromkeys(i.sources) if s >= num_operands and last[s] == n)
        for n, i in enumerate(instructions)
    )
