"""TensorLy's NumPy backend, with the operations that it lacks."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.special import erf
from tensorly.backend.numpy_backend import NumpyBackend

from tensormoe.arrays.backend import Backend
from tensormoe.arrays.numpy_kinds import object_to
from tensormoe.arrays.protocols import Differentiable, Elementwise, GateOps, Runnable
from tensormoe.arrays.selection import NumPySelection
from tensormoe.errors import TensorMoEError
from tensormoe.typing import NumPyArray

_NAMES = {np.dtype(name): name for name in ("float64", "float32", "float16")}
# Up to this many elements, most of an operation's time is call overhead.
_SMALL = 2**12
# So many float32 numbers may be added one after the other.
_MANY = 2**10


def _gelu(ops: GateOps, x: NumPyArray) -> NumPyArray:
    y: NumPyArray = 0.5 * x * (1 + erf(x / np.sqrt(2)))
    return y.astype(x.dtype)


def _gelu_vjp(ops: GateOps, x: NumPyArray, gradient: NumPyArray) -> NumPyArray:
    density = np.exp(-x * x / 2) / np.sqrt(2 * np.pi)
    pulled: NumPyArray = gradient * (0.5 * (1 + erf(x / np.sqrt(2))) + x * density)
    return pulled.astype(x.dtype)


_NONLINEARITIES = {"gelu": Elementwise(_gelu, _gelu_vjp)}


class NumPyBackend(NumPySelection, Backend, NumpyBackend, backend_name="tensormoe-numpy"):  # type: ignore[misc, call-arg]
    """NumPy has no automatic differentiation; gradients come from `Program.vjp`."""

    tensormoe_name = "numpy"
    float_types = ("float64", "float32", "float16")
    nonlinearities = _NONLINEARITIES

    @staticmethod
    def is_tensor(value: object) -> bool:
        # A matrix's * is not the elementwise product, and of a mask only some functions know.
        return isinstance(value, np.ndarray) and not isinstance(value, np.matrix | np.ma.MaskedArray)

    def objection(self, value: object) -> str | None:
        return object_to(value)

    def as_array(self, value: Any) -> Any:
        if isinstance(value, np.generic):
            return np.asarray(value)  # what NumPy makes of a sum of arrays without axes
        swapped = isinstance(value, np.ndarray) and not value.dtype.isnative
        return value.astype(value.dtype.newbyteorder("=")) if swapped else value

    # For small arrays, NumPy's own functions of these names take several times as long as what they call.
    def dtype_name(self, array: NumPyArray) -> str:
        return _NAMES.get(array.dtype) or super().dtype_name(array)

    def sum(self, array: NumPyArray, axis: int | None = None, keepdims: bool = False) -> NumPyArray:
        if axis == 0 and array.dtype == np.float32 and len(array) > _MANY:
            # Along the first axis NumPy adds one after the other: a million float32 numbers lose digits.
            wide: NumPyArray = np.add.reduce(array, axis=0, dtype=np.float64, keepdims=bool(keepdims))  # type: ignore[call-overload]
            return wide.astype(array.dtype)
        total: NumPyArray = np.add.reduce(array, axis=axis, keepdims=bool(keepdims))  # type: ignore[call-overload]
        return total

    def cumsum(self, array: NumPyArray, axis: int) -> NumPyArray:
        return np.add.accumulate(array, axis)

    def max(self, array: NumPyArray, axis: int | None = None) -> NumPyArray:
        largest: NumPyArray = np.maximum.reduce(array, axis)
        return largest

    def clip(
        self,
        array: NumPyArray,
        least: NumPyArray | float | None = None,
        most: NumPyArray | float | None = None,
    ) -> NumPyArray:
        above: NumPyArray = array if least is None else np.maximum(array, least)
        between: NumPyArray = above if most is None else np.minimum(above, most)
        return between

    def compute(
        self,
        program: Runnable,
        inputs: Sequence[NumPyArray],
        cores: Sequence[NumPyArray],
        recompute: bool = False,
    ) -> NumPyArray:
        operands = (*inputs, *cores)
        dtype = operands[0].dtype
        if dtype.kind == "f":
            y: NumPyArray = program.run(self, operands)
            return y
        # Products of bfloat16 are float32 in NumPy: round once, at the end.
        y = program.run(self, [operand.astype(np.float32) for operand in operands])
        return y.astype(dtype)

    def differentiable(self, function: Differentiable, x: NumPyArray, *scalars: NumPyArray) -> NumPyArray:
        closed = function.closed_form
        if closed is not None and x.size <= _SMALL and x.dtype == np.float32:
            return closed(x)
        y: NumPyArray = function.value(self, x, *scalars)
        return y

    def random_source(self, seed: int) -> np.random.Generator:
        return np.random.default_rng(seed)

    def without_warnings(self) -> np.errstate:
        return np.errstate(all="ignore")

    def normal(self, like: NumPyArray, generator: object, number: int) -> NumPyArray:
        if not isinstance(generator, np.random.Generator):
            remedy = "noise in training needs a generator: pass generator=np.random.default_rng(0)"
            raise TensorMoEError("generator", generator, remedy)
        drawn: NumPyArray = generator.standard_normal(tuple(like.shape))
        return drawn.astype(like.dtype)


backend = NumPyBackend()
