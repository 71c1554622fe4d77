"""The class that a framework's backend inherits, in addition to TensorLy's own.

Every operation that TensorLy lacks has a default here, in TensorLy's terms, or in `Execution` and
`Instruments`. A framework's package overrides what the framework does better, and what depends on the
framework: differentiation, tracing, random numbers.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from ..errors import TensorMoEError
from ..typing import Array
from .execution import Execution
from .instruments import Instruments
from .nonlinearities import NONLINEARITIES, own
from .protocols import Elementwise, Nonlinearity, ProgramDefaults
from .thresholds import ThresholdKernel


def at_least_float32(dtype: str) -> str:
    """The type that gates and normalizations compute in: float32 instead of half precision."""
    return "float32" if dtype in ("float16", "bfloat16") else dtype


class Backend(ProgramDefaults, Execution, Instruments):
    """What tensormoe asks of a backend: `ProgramOps`, `GateOps`, `Execution` and `Instruments`."""

    tensormoe_name = ""
    # Nonlinearities that the framework computes better than the core, by name.
    nonlinearities: Mapping[str, Elementwise] = MappingProxyType({})
    # The inner loops of sparse gates.
    threshold_kernel: type[ThresholdKernel] = ThresholdKernel

    def __init__(self) -> None:
        super().__init__()
        self.thresholds = self.threshold_kernel(self)

    def dtype_name(self, array: Array) -> str:
        """The element type's name, such as "float32" or "bfloat16"."""
        name = getattr(array.dtype, "name", None)
        return str(name if isinstance(name, str) else array.dtype).rpartition(".")[2].lower()

    def cast(self, array: Array, dtype: str) -> Array:
        """The array with elements of the type of this name."""
        if self.dtype_name(array) == dtype:
            return array
        return array.astype(dtype)

    def epsilon(self, array: Array) -> float:
        """The distance from 1 to the next number of the array's type."""
        name = self.dtype_name(array)
        # Literals: see arrays/tracing.py.
        if name in ("float32", "float64"):
            return 2.0**-23 if name == "float32" else 2.0**-52
        return float(np.finfo(name).eps)

    def positions(self, count: int, like: Array) -> Array:
        """The integers from 0 to count − 1, on the device of an array."""
        return self.arange(0, count)

    def normal(self, like: Array, generator: Any, number: int) -> Array:
        """Standard normal numbers of an array's shape and type; `number` counts the draws of a call."""
        raise TensorMoEError(
            "generator",
            generator,
            f"the backend {self.tensormoe_name} draws no random numbers: use a gate without noise",
        )

    def sum_leading(self, array: Array, axes: int) -> Array:
        """The sum over the first axes, this many."""
        for _ in range(axes):
            array = self.sum(array, axis=0)
        return array

    def sum_products(self, a: Array, b: Array) -> Array:
        """Σ_t a_t b_tᵀ, (K, d), over the vectors of a (T, K) and b (T, d), however many there are."""
        return self.matmul(self.transpose(a), b)

    def layer_norm(self, x: Array, epsilon: float) -> Array:
        """Scale each vector of the last axis to mean 0 and variance 1; epsilon is added to the variance."""
        size = x.shape[-1]
        deviations = x - self.sum(x, axis=-1, keepdims=True) / size
        variance = self.sum(deviations * deviations, axis=-1, keepdims=True) / size
        return deviations / self.sqrt(variance + epsilon)

    def softmax(self, x: Array) -> Array:
        """Softmax over the last axis."""
        exponentials = self.exp(x - self.max(x, axis=-1)[..., None])
        return exponentials / self.sum(exponentials, axis=-1)[..., None]

    def kth_largest(self, x: Array, k: int) -> Array:
        """The k-th largest entry of the last axis, (…, 1)."""
        position = x.shape[-1] - k
        return self.sort(x, axis=-1)[..., position : position + 1]

    def beyond_largest(self, x: Array, k: int) -> Array:
        """Where the last axis has none of its k largest entries; of equal ones, the first count. NaN stay."""
        kth, zero = self.kth_largest(x, k), self.zeros_like(x)
        above = self.sum(self.where(x > kth, 1.0, zero), axis=-1, keepdims=True)
        place = above + self.cumsum(self.where(x == kth, 1.0, zero), -1)
        return (x < kth) | ((x == kth) & (place > k))

    def nonlinearity(self, function: Nonlinearity) -> Elementwise:
        """The nonlinearity of a name: the framework's, or the one in `NONLINEARITIES`; or the user's own."""
        if not isinstance(function, str):
            return own(function)
        native = self.nonlinearities.get(function)
        return NONLINEARITIES[function] if native is None else native

    def nonlinear(self, function: Nonlinearity, x: Array) -> Array:
        """Apply a nonlinearity to each element."""
        return self.nonlinearity(function).value(self, x)

    def nonlinear_overwrite(self, function: Nonlinearity, x: Array) -> Array:
        """The same, possibly in the memory of x, which nothing else needs."""
        known = self.nonlinearity(function)
        return (known.overwrite or known.value)(self, x)

    def nonlinear_vjp(self, function: Nonlinearity, x: Array, gradient: Array) -> Array:
        """A gradient with respect to the result, carried back to x; possibly in the gradient's memory."""
        return self.nonlinearity(function).vjp(self, x, gradient)
