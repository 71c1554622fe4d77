"""Arrays without values: which memory a program's registers share, and how much of it reverse mode keeps."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from types import EllipsisType

from ..arrays.protocols import Nonlinearity, ProgramDefaults
from ..typing import Shape
from .program import Program


@dataclass(frozen=True, eq=False)
class Memory:
    """A piece of memory, told from others by its identity."""

    size: int


@dataclass(frozen=True)
class Layout:
    """An array's shape, how many elements lie between neighbours along each axis, and its memory."""

    shape: Shape
    strides: Shape
    memory: Memory

    @staticmethod
    def of(shape: Sequence[int]) -> "Layout":
        """An array of this shape in memory of its own."""
        strides = tuple(prod(shape[axis + 1 :]) for axis in range(len(shape)))
        return Layout(tuple(shape), strides, Memory(prod(shape)))

    def transpose(self, axes: Shape) -> "Layout":
        """A view with the axes in another order."""
        return Layout(tuple(self.shape[a] for a in axes), tuple(self.strides[a] for a in axes), self.memory)

    def reshape(self, shape: Shape) -> "Layout | None":
        """A view in another shape; None if that needs a copy."""
        axes = [(size, step) for size, step in zip(self.shape, self.strides, strict=True) if size > 1]
        strides: list[int] = []
        for size in reversed(shape):
            if size == 1:
                strides.append(1)
                continue
            strides.append(axes[-1][1])
            while size > 1:
                length, step = axes.pop()
                if length <= size:
                    size //= length
                    if size > 1 and axes[-1][1] != length * step:
                        return None
                else:
                    axes.append((length // size, size * step))
                    size = 1
        return Layout(shape, tuple(reversed(strides)), self.memory)

    @property
    def is_matrix(self) -> bool:
        """Whether a matrix product reads it without a copy: row by row, or column by column."""
        last = zip(self.shape[-2:], self.strides[-2:], strict=True)
        return any(size == 1 or step == 1 for size, step in last)

    def __mul__(self, other: "Layout") -> "Layout":
        ndim = max(len(self.shape), len(other.shape))
        padded = [(1,) * (ndim - len(each.shape)) + each.shape for each in (self, other)]
        return Layout.of([max(sizes) for sizes in zip(*padded, strict=True)])

    def __add__(self, other: float) -> "Layout":
        return Layout.of(self.shape)

    def __getitem__(self, key: "tuple[EllipsisType | slice, ...]") -> "Layout":
        """A range of one axis; that and those behind it follow an ellipsis."""
        _, cut, *rest = key
        axis = len(self.shape) - len(rest) - 1
        size = len(range(self.shape[axis])[cut]) if isinstance(cut, slice) else self.shape[axis]
        return Layout((*self.shape[:axis], size, *self.shape[axis + 1 :]), self.strides, self.memory)


class LayoutOps(ProgramDefaults):
    """The operations of `ProgramOps` that run a program forwards, on layouts."""

    def transpose(self, array: Layout, axes: Shape, /) -> Layout:
        return array.transpose(axes)

    def reshape(self, array: Layout, shape: Shape, /) -> Layout:
        return array.reshape(shape) or Layout.of(shape)

    def sum(self, array: Layout, /, axis: int) -> Layout:
        return Layout.of((*array.shape[:axis], *array.shape[axis + 1 :]))

    def matmul(self, a: Layout, b: Layout, /) -> Layout:
        return Layout.of((*a.shape[:-1], b.shape[-1]))

    def affine(self, x: Layout, matrix: Layout, /) -> Layout:
        return self.matmul(x, matrix)

    def concatenate(self, arrays: Sequence[Layout], /, axis: int) -> Layout:
        shape = [*arrays[0].shape]
        shape[axis] = sum(array.shape[axis] for array in arrays)
        return Layout.of(shape)

    def zeros_like(self, array: Layout, /) -> Layout:
        return Layout.of(array.shape)

    def choose(self, coefficients: Layout, k: int, /) -> Layout:
        return Layout.of((coefficients.shape[0], k))

    def take(self, coefficients: Layout, indices: Layout, /) -> Layout:
        return Layout.of(indices.shape)

    def gather(self, array: Layout, indices: Sequence[Layout], axes: Shape, /) -> Layout:
        rest = (size for axis, size in enumerate(array.shape) if axis not in axes)
        return Layout.of((indices[0].shape[0], *(each.shape[1] for each in indices), *rest))

    def nonlinear(self, function: Nonlinearity, x: Layout, /) -> Layout:
        return Layout.of(x.shape)


def count_saved(program: Program, shapes: Sequence[Shape], recompute: bool) -> int:
    """The elements of intermediate results that reverse mode keeps, each piece of memory once.

    Args:
        program: the instructions.
        shapes: the operands' shapes; operands belong to the caller and are not counted.
        recompute: whether what is cheap to recompute is dropped.
    """
    operands = [Layout.of(shape) for shape in shapes]
    _, registers = program.forward(LayoutOps(), operands, recompute)  # type: ignore[arg-type]
    pieces = {each.memory for each in registers if isinstance(each, Layout)}
    return sum(piece.size for piece in pieces.difference(operand.memory for operand in operands))
