"""The operations of lowered contractions on a TensorLy backend object, forwards and backwards.

Every instruction reads registers and writes one. Shapes are fixed except for the batch: in a shape, a
negative entry -m stands for m times the batch size. Products are pairwise: nothing here calls an n-ary
einsum, and nothing knows which framework it runs on.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

from ..arrays.protocols import Nonlinearity, ProgramOps
from ..typing import Array, Shape


def with_batch(shape: Shape, batch: int) -> Shape:
    """The shape with the batch size filled in."""
    return tuple(-size * batch if size < 0 else size for size in shape)


@dataclass(frozen=True)
class Instruction:
    """One operation on one or two registers."""

    source: int

    # Whether recomputing it takes little time compared with the matrix products.
    cheap: ClassVar[bool] = True

    @property
    def sources(self) -> tuple[int, ...]:
        """The registers that `run` reads."""
        return (self.source,)

    @property
    def reads(self) -> tuple[int, ...]:
        """The registers whose values `vjp` needs; of the others it needs only the shapes."""
        return ()

    @property
    def differentiable(self) -> bool:
        """Whether it has a derivative; otherwise reverse mode takes what it gives as a constant."""
        return True

    def run(self, ops: ProgramOps, registers: Sequence[Array], batch: int) -> Array:
        """The result, from the registers."""
        raise NotImplementedError

    def overwrite(self, ops: ProgramOps, registers: Sequence[Array], batch: int) -> Array:
        """The same, possibly in the source's memory, which nothing else needs."""
        return self.run(ops, registers, batch)

    def vjp(self, ops: ProgramOps, registers: Sequence[Array], gradient: Array, position: int) -> Array:
        """The result's gradient carried back to the source at a position.

        An operation on one register may compute in the gradient's memory: nothing else needs it.
        """
        raise NotImplementedError

    def rewire(self, registers: Sequence[int]) -> Self:
        """The same operation with register n renumbered to `registers[n]`."""
        return replace(self, source=registers[self.source])


@dataclass(frozen=True)
class Transpose(Instruction):
    """Axes in another order."""

    axes: Shape

    def run(self, ops: ProgramOps, registers: Sequence[Array], batch: int) -> Array:
        return ops.transpose(registers[self.source], self.axes)

    def vjp(self, ops: ProgramOps, registers: Sequence[Array], gradient: Array, position: int) -> Array:
        inverse = sorted(range(len(self.axes)), key=self.axes.__getitem__)
        return ops.transpose(gradient, tuple(inverse))


@dataclass(frozen=True)
class Reshape(Instruction):
    """Neighbouring axes merged, split, or inserted with size 1."""

    shape: Shape

    def run(self, ops: ProgramOps, registers: Sequence[Array], batch: int) -> Array:
        return ops.reshape(registers[self.source], with_batch(self.shape, batch))

    def vjp(self, ops: ProgramOps, registers: Sequence[Array], gradient: Array, position: int) -> Array:
        return ops.reshape(gradient, tuple(registers[self.source].shape))


@dataclass(frozen=True)
class Sum(Instruction):
    """The sum over one axis."""

    axis: int

    @property
    def reads(self) -> tuple[int, ...]:
        return (self.source,)

    def run(self, ops: ProgramOps, registers: Sequence[Array], batch: int) -> Array:
        return ops.sum(registers[self.source], axis=self.axis)

    def vjp(self, ops: ProgramOps, registers: Sequence[Array], gradient: Array, position: int) -> Array:
        source = registers[self.source]
        spread = ops.reshape(gradient, (*source.shape[: self.axis], 1, *source.shape[self.axis + 1 :]))
        return spread + ops.zeros_like(source)


@dataclass(frozen=True)
class AppendOne(Instruction):
    """x followed by a constant 1 along its last axis."""

    def run(self, ops: ProgramOps, registers: Sequence[Array], batch: int) -> Array:
        x = registers[self.source]
        return ops.concatenate([x, ops.zeros_like(x)[..., :1] + 1], axis=-1)

    def vjp(self, ops: ProgramOps, registers: Sequence[Array], gradient: Array, position: int) -> Array:
        return gradient[..., :-1]


@dataclass(frozen=True)
class Pad(Instruction):
    """An array with zeros before and after it along one axis."""

    axis: int
    before: int
    after: int

    def run(self, ops: ProgramOps, registers: Sequence[Array], batch: int) -> Array:
        return _pad(ops, registers[self.source], self.axis, self.before, self.after)

    def vjp(self, ops: ProgramOps, registers: Sequence[Array], gradient: Array, position: int) -> Array:
        return _cut(gradient, self.axis, self.before, gradient.shape[self.axis] - self.after)


@dataclass(frozen=True)
class Cut(Instruction):
    """The first values of an array along one axis."""

    axis: int
    size: int

    def run(self, ops: ProgramOps, registers: Sequence[Array], batch: int) -> Array:
        return _cut(registers[self.source], self.axis, 0, self.size)

    def vjp(self, ops: ProgramOps, registers: Sequence[Array], gradient: Array, position: int) -> Array:
        whole = registers[self.source].shape[self.axis]
        return _pad(ops, gradient, self.axis, 0, whole - self.size)


@dataclass(frozen=True)
class Pointwise(Instruction):
    """A nonlinearity of each element."""

    function: Nonlinearity

    @property
    def reads(self) -> tuple[int, ...]:
        return (self.source,)

    def run(self, ops: ProgramOps, registers: Sequence[Array], batch: int) -> Array:
        return ops.nonlinear(self.function, registers[self.source])

    def overwrite(self, ops: ProgramOps, registers: Sequence[Array], batch: int) -> Array:
        return ops.nonlinear_overwrite(self.function, registers[self.source])

    def vjp(self, ops: ProgramOps, registers: Sequence[Array], gradient: Array, position: int) -> Array:
        return ops.nonlinear_vjp(self.function, registers[self.source], gradient)


@dataclass(frozen=True)
class Binary(Instruction):
    """An operation on two registers."""

    other: int

    @property
    def sources(self) -> tuple[int, ...]:
        return (self.source, self.other)

    @property
    def reads(self) -> tuple[int, ...]:
        return self.sources

    def rewire(self, registers: Sequence[int]) -> Self:
        return replace(self, source=registers[self.source], other=registers[self.other])


@dataclass(frozen=True)
class Matmul(Binary):
    """The matrix product over the last two axes; equal leading axes are a batch of products."""

    cheap = False

    def run(self, ops: ProgramOps, registers: Sequence[Array], batch: int) -> Array:
        return ops.matmul(registers[self.source], registers[self.other])

    def vjp(self, ops: ProgramOps, registers: Sequence[Array], gradient: Array, position: int) -> Array:
        left, right = registers[self.source], registers[self.other]
        if position == 0:
            return ops.matmul(gradient, swap_last_axes(ops, right))
        return ops.matmul(swap_last_axes(ops, left), gradient)


@dataclass(frozen=True)
class Affine(Binary):
    """The matrix product of x, extended by a constant 1, with a matrix whose last row is the bias."""

    cheap = False

    def run(self, ops: ProgramOps, registers: Sequence[Array], batch: int) -> Array:
        return ops.affine(registers[self.source], registers[self.other])

    def vjp(self, ops: ProgramOps, registers: Sequence[Array], gradient: Array, position: int) -> Array:
        x, matrix = registers[self.source], registers[self.other]
        if position == 0:
            return ops.matmul(gradient, swap_last_axes(ops, matrix[..., :-1, :]))
        axis = len(gradient.shape) - 2
        bias = ops.sum(gradient, axis=axis)
        row = ops.reshape(bias, (*gradient.shape[:axis], 1, gradient.shape[-1]))
        return ops.concatenate([ops.matmul(swap_last_axes(ops, x), gradient), row], axis=axis)


@dataclass(frozen=True)
class Multiply(Binary):
    """The elementwise product. Axes of size 1 and missing leading axes are stretched."""

    def run(self, ops: ProgramOps, registers: Sequence[Array], batch: int) -> Array:
        return registers[self.source] * registers[self.other]

    def vjp(self, ops: ProgramOps, registers: Sequence[Array], gradient: Array, position: int) -> Array:
        factor, share = registers[self.sources[1 - position]], registers[self.sources[position]]
        return _unstretch(ops, gradient * factor, share.shape)


@dataclass(frozen=True)
class Add(Binary):
    """The elementwise sum. Axes of size 1 and missing leading axes are stretched."""

    @property
    def reads(self) -> tuple[int, ...]:
        return ()

    def run(self, ops: ProgramOps, registers: Sequence[Array], batch: int) -> Array:
        return registers[self.source] + registers[self.other]

    def vjp(self, ops: ProgramOps, registers: Sequence[Array], gradient: Array, position: int) -> Array:
        return _unstretch(ops, gradient, registers[self.sources[position]].shape)


@dataclass(frozen=True)
class PointwiseProduct(Binary):
    """A nonlinearity of each element of one register, times the other.

    As one step, since reverse mode then keeps both registers, and not what the nonlinearity gives.
    """

    function: Nonlinearity

    def run(self, ops: ProgramOps, registers: Sequence[Array], batch: int) -> Array:
        return ops.nonlinear_product(self.function, registers[self.source], registers[self.other])

    def overwrite(self, ops: ProgramOps, registers: Sequence[Array], batch: int) -> Array:
        return ops.nonlinear_product_overwrite(self.function, registers[self.source], registers[self.other])

    def vjp(self, ops: ProgramOps, registers: Sequence[Array], gradient: Array, position: int) -> Array:
        factors = registers[self.source], registers[self.other]
        return ops.nonlinear_product_vjp(self.function, *factors, gradient, position)


def swap_last_axes(ops: ProgramOps, array: Array) -> Array:
    """The last two axes exchanged."""
    axes = range(len(array.shape))
    return ops.transpose(array, (*axes[:-2], axes[-1], axes[-2]))


def _pad(ops: ProgramOps, array: Array, axis: int, before: int, after: int) -> Array:
    """An array with zeros before and after it along one axis."""
    zeros, size = ops.zeros_like(array), array.shape[axis]

    def fill(count: int) -> list[Array]:
        rest = [_cut(zeros, axis, 0, count % size)] if count % size else []
        return [*[zeros] * (count // size), *rest]

    return ops.concatenate([*fill(before), array, *fill(after)], axis=axis)


def _cut(array: Array, axis: int, start: int, stop: int) -> Array:
    """A range of one axis."""
    rest = [slice(None)] * (len(array.shape) - axis - 1)
    return array[(..., slice(start, stop), *rest)]


def _unstretch(ops: ProgramOps, gradient: Array, shape: Sequence[int]) -> Array:
    """Sum over the axes along which an operand of this shape was stretched."""
    while len(gradient.shape) > len(shape):
        gradient = ops.sum(gradient, axis=0)
    for axis, size in enumerate(shape):
        if size == 1 and gradient.shape[axis] != 1:
            summed = (*gradient.shape[:axis], 1, *gradient.shape[axis + 1 :])
            gradient = ops.reshape(ops.sum(gradient, axis=axis), summed)
    return gradient
