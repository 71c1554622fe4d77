"""TensorLy's NumPy backend with the operations that it lacks."""

from typing import Any

import numpy as np
from scipy.special import erf
from tensorly.backend.numpy_backend import NumpyBackend

from tensormoe.errors import TensorMoEError
from tensormoe.extras import Extras


class NumPyBackend(Extras, NumpyBackend, backend_name="tensormoe-numpy"):  # type: ignore[misc, call-arg]
    """NumPy has no automatic differentiation; gradients come from `Program.vjp`."""

    tensormoe_name = "numpy"
    float_types = ("float64", "float32", "float16")

    @staticmethod
    def is_tensor(tensor: Any) -> bool:
        # A matrix's * is no elementwise product.
        return isinstance(tensor, np.ndarray) and not isinstance(tensor, np.matrix)

    def normal(self, like: Any, generator: Any, number: int) -> Any:
        if not isinstance(generator, np.random.Generator):
            remedy = "noise in training needs a numpy.random.Generator"
            raise TensorMoEError("generator", generator, remedy)
        return generator.standard_normal(like.shape).astype(like.dtype)

    def gelu(self, x: Any) -> Any:
        return (0.5 * x * (1 + erf(x / np.sqrt(2)))).astype(x.dtype)


backend = NumPyBackend()
