"""TensorLy's NumPy backend with the operations that it lacks."""

from typing import Any

import numpy as np
from scipy.special import erf
from tensorly.backend.numpy_backend import NumpyBackend

from tensormoe.arrays.backend import Backend
from tensormoe.arrays.protocols import Elementwise
from tensormoe.errors import TensorMoEError

_NAMES = {np.dtype(name): name for name in ("float64", "float32", "float16")}
# Up to this many elements the time of an operation is mostly that of its call.
_SMALL = 2**12


def _gelu(ops: Backend, x: Any) -> Any:
    return (0.5 * x * (1 + erf(x / np.sqrt(2)))).astype(x.dtype)


def _gelu_vjp(ops: Backend, x: Any, gradient: Any) -> Any:
    density = np.exp(-x * x / 2) / np.sqrt(2 * np.pi)
    return (gradient * (0.5 * (1 + erf(x / np.sqrt(2))) + x * density)).astype(x.dtype)


_POINTWISE = {"gelu": Elementwise(_gelu, _gelu_vjp)}


class NumPyBackend(Backend, NumpyBackend, backend_name="tensormoe-numpy"):  # type: ignore[misc, call-arg]
    """NumPy has no automatic differentiation; gradients come from `Program.vjp`."""

    tensormoe_name = "numpy"
    float_types = ("float64", "float32", "float16")
    nonlinearities = _POINTWISE

    @staticmethod
    def is_tensor(tensor: Any) -> bool:
        # A matrix's * is no elementwise product.
        return isinstance(tensor, np.ndarray) and not isinstance(tensor, np.matrix)

    # Of small arrays, NumPy's own functions of these names take several times as long as what they call.
    def dtype_name(self, array: Any) -> str:
        name: str = _NAMES.get(array.dtype) or super().dtype_name(array)
        return name

    def sum(self, tensor: Any, axis: int | None = None, keepdims: bool = False) -> Any:
        return np.add.reduce(tensor, axis=axis, keepdims=bool(keepdims))  # type: ignore[call-overload]

    def cumsum(self, tensor: Any, axis: int) -> Any:
        return np.add.accumulate(tensor, axis)

    def max(self, tensor: Any, axis: int | None = None) -> Any:
        return np.maximum.reduce(tensor, axis)

    def min(self, tensor: Any, axis: int | None = None) -> Any:
        return np.minimum.reduce(tensor, axis)

    def clip(self, tensor: Any, a_min: Any = None, a_max: Any = None) -> Any:
        tensor = tensor if a_min is None else np.maximum(tensor, a_min)
        return tensor if a_max is None else np.minimum(tensor, a_max)

    def sorts(self, x: Any) -> bool:
        return bool(x.size <= _SMALL and x.dtype == np.float32)

    def normal(self, like: Any, generator: Any, number: int) -> Any:
        if not isinstance(generator, np.random.Generator):
            remedy = "noise in training needs a numpy.random.Generator"
            raise TensorMoEError("generator", generator, remedy)
        return generator.standard_normal(like.shape).astype(like.dtype)


backend = NumPyBackend()
