"""What tensormoe asks of a backend beyond TensorLy: a class to inherit beside TensorLy's own.

Everything here has a default in TensorLy's terms. A framework's package overrides what its framework does
better, or what needs to know the framework: differentiation, tracing, random numbers.
"""

import os
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from time import perf_counter
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import TensorMoEError
from ..typing import Array, Clock
from .protocols import Correction, Differentiable

if TYPE_CHECKING:
    from ..programs.program import Program
    from .protocols import Elementwise


def at_least_float32(dtype: str) -> str:
    """The type that gates and normalisations compute in: float32 in place of the half-precision ones."""
    return "float32" if dtype in ("float16", "bfloat16") else dtype


class Backend:
    """What tensormoe asks of a backend beyond TensorLy, with defaults in TensorLy's own terms."""

    tensormoe_name: str = ""
    # The floating-point types that layers run in.
    float_types: tuple[str, ...] = ("float64", "float32")
    # Nonlinearities that the framework computes better than ours, by name.
    nonlinearities: "Mapping[str, Elementwise]" = MappingProxyType({})

    if TYPE_CHECKING:
        # TensorLy's own, in the other base class, have no types.
        def __getattr__(self, name: str) -> Any: ...

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
        # Literals, since torch.compile may take a float that it finds in an object for a variable.
        if name in ("float32", "float64"):
            return 2.0**-23 if name == "float32" else 2.0**-52
        return float(np.finfo(name).eps)

    def as_array(self, value: Any) -> Array:
        """The framework's array that a value is or holds; other values as they are."""
        return value

    def from_numpy(self, array: Any) -> Array:
        """The framework's array with a NumPy array's values."""
        return self.tensor(array)

    def devices(self) -> tuple[str, ...]:
        """The names of the devices that are present, the host's "cpu" first."""
        return ("cpu",)

    def from_float64(self, array: Any, dtype: str, device: str = "cpu") -> Array:
        """The framework's array with a NumPy array's values, rounded to a type, on a device."""
        return self.cast(self.from_numpy(array), dtype)

    def to_float64(self, array: Array) -> Any:
        """A NumPy array with the values."""
        return np.asarray(self.to_numpy(self.cast(array, "float64")))

    def stop_gradient(self, array: Array) -> Array:
        """The array as a constant of differentiation."""
        return array

    def affine(self, x: Array, matrix: Array) -> Array:
        """The product of x (…, T, I), extended by a constant 1, with a matrix (…, I + 1, M)."""
        return self.matmul(x, matrix[..., :-1, :]) + matrix[..., -1:, :]

    def linear(self, x: Array, weight: Array, bias: Array) -> Array:
        """The product of x (T, I) with a weight (I, O), and a bias (O,) added to each row."""
        return self.matmul(x, weight) + bias

    def batch_size(self, x: Array) -> int | None:
        """The size of the first axis; None where it is only a symbol."""
        size = x.shape[0]
        return size if isinstance(size, int) else None

    def layer_norm(self, x: Array, epsilon: float) -> Array:
        """Each vector of the last axis to mean 0 and variance 1; epsilon is added to the variance."""
        size = x.shape[-1]
        centred = x - self.sum(x, axis=-1, keepdims=True) / size
        variance = self.sum(centred * centred, axis=-1, keepdims=True) / size
        return centred / self.sqrt(variance + epsilon)

    def softmax(self, x: Array) -> Array:
        """Softmax over the last axis."""
        exponentials = self.exp(x - self.max(x, axis=-1)[..., None])
        return exponentials / self.sum(exponentials, axis=-1)[..., None]

    def positions(self, count: int, like: Array) -> Array:
        """The integers from 0 to count − 1, on the device of an array."""
        return self.arange(0, count)

    def normal(self, like: Array, generator: Any, number: int) -> Array:
        """Standard normal numbers of an array's shape and type; `number` tells one call's draws apart."""
        raise TensorMoEError("generator", generator, f"{self.tensormoe_name} draws no random numbers here")

    def kth_largest(self, x: Array, k: int) -> Array:
        """The k-th largest entry of the last axis, (…, 1)."""
        position = x.shape[-1] - k
        return self.sort(x, axis=-1)[..., position : position + 1]

    def sorts(self, x: Array) -> bool:
        """Whether weights come faster by sorting: with the fewest operations, but more work in each."""
        return False

    def scratch(self, array: Array) -> Array | None:
        """Memory of an array's shape to compute in, where a framework gains by it."""
        return None

    def root(self, x: Array) -> Array:
        """√x for x ≥ 0, with a slope of 0 at 0 in place of an infinite one."""
        # Below this a root is computed as 0; in float32 it is still a normal number.
        return self.sign(x) * self.sqrt(self.clip(x, 1e-36))

    def row_dot(self, a: Array, b: Array) -> Array:
        """The inner products of the last axes, (…, 1)."""
        return self.sum(a * b, axis=-1, keepdims=True)

    def multiplied(self, x: Array, factor: Array | float) -> Array:
        """The product of an array that is no longer needed with a factor; perhaps in the array's memory."""
        return x * factor

    def clipped(
        self,
        x: Array,
        offsets: tuple[Array, ...],
        top: float | None = None,
        scratch: Array | None = None,
    ) -> Array:
        """Subtract each of the offsets (…, 1) in turn and clip to 0 … top; perhaps in the scratch memory."""
        for offset in offsets:
            x = x - offset
        return self.clip(x, 0, top)

    def clipped_sum(
        self,
        x: Array,
        offsets: tuple[Array, ...],
        top: float | None = None,
        scratch: Array | None = None,
    ) -> tuple[Array, Array]:
        """The sum of what `clipped` gives, and how many entries were not clipped, each (…, 1)."""
        part = self.clipped(x, offsets, top)
        inside = self.sign(part if top is None else part * (top - part))
        return self.sum(part, axis=-1, keepdims=True), self.sum(inside, axis=-1, keepdims=True)

    def clipped_norms(
        self, x: Array, offsets: tuple[Array, ...], scratch: Array | None = None
    ) -> tuple[Array, Array]:
        """‖e‖₂ and ‖e‖₁ of what `clipped` gives, over the last axis, each (…, 1)."""
        part = self.clipped(x, offsets)
        squares = self.sum(part * part, axis=-1, keepdims=True)
        return self.sqrt(squares), self.sum(part, axis=-1, keepdims=True)

    def refine(
        self,
        correction: Correction,
        start: Array,
        limit: int,
        tolerance: Array | float,
        memory: tuple[Array, ...] = (),
    ) -> tuple[Array, Array]:
        """Add corrections until none exceeds a tolerance, at most `limit` − 1 times.

        Args:
            correction: from the value, and what it left in memory, to what is to be added and the memory.
            start: the first value.
            limit: the number of corrections to compute at most, and, where values are not at hand because
                a framework traces, exactly.
            tolerance: the largest correction that ends it, or one for each.
            memory: what the first correction finds.

        Returns:
            The value and the last correction, which is not added.
        """
        value = start
        for _ in range(limit - 1):
            change, *remembered = correction(value, *memory)
            if self.settled(change, tolerance):
                return value, change
            value, memory = value + change, tuple(remembered)
        return value, correction(value, *memory)[0]

    def settled(self, change: Array, tolerance: Array | float) -> bool:
        """Whether no change is known to exceed a tolerance; not known while a framework traces."""
        return bool(self.holds(self.abs(change) <= tolerance))

    def holds(self, condition: Array) -> bool | None:
        """Whether all of a condition holds; None while a framework traces."""
        return bool(self.all(condition))

    def differentiable(self, function: Differentiable, x: Array, *scalars: Array) -> Array:
        """The function's value, differentiated by its own Jacobian product."""
        return function.value(self, x, *scalars)

    def compute(self, program: "Program", operands: Sequence[Array], recompute: bool = False) -> Array:
        """A program's output; with `recompute`, reverse mode keeps nothing that is cheap to compute again."""
        return program.run(self, operands)

    def gradients(
        self, function: Callable[..., Array], inputs: Sequence[Array], cotangent: Array
    ) -> tuple[Array, ...] | None:
        """∂ Σ function(*inputs) ∗ cotangent / ∂ inputs by automatic differentiation; None without it."""
        return None

    def with_gradients(
        self, function: Callable[..., tuple[Array, Any]], inputs: Sequence[Array], cotangent: Array
    ) -> tuple[Array, Any, tuple[Array, ...]] | None:
        """The value of a function, what else it returns, and the value's `gradients`; None without them."""
        gradients = self.gradients(lambda *leaves: function(*leaves)[0], inputs, cotangent)
        return None if gradients is None else (*function(*inputs), gradients)

    def without_gradients(self) -> AbstractContextManager[Any]:
        """A context in which a framework that records operations for derivatives need not."""
        return nullcontext()

    def compiled(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function compiled as a whole, where a framework is made for that."""
        return function

    def double_precision(self) -> AbstractContextManager[Any]:
        """A context in which float64 arrays can be made, and products are as precise as their type."""
        return nullcontext()

    def mixes_precision(self) -> bool:
        """Whether products may now mix element types, as under PyTorch's autocast."""
        return False

    def device_name(self, device: str) -> str:
        """What the device of this name is."""
        return f"{platform.machine()} CPU, {os.cpu_count()} cores"

    def clock(self, device: str) -> Clock:
        """What measures the time that work on a device takes; see `tensormoe.benching.timing.interleaved`."""
        return wall_clock

    def wait(self, result: Any) -> None:
        """Block until a result, an array or several, is computed; not needed where `clock` waits."""

    @contextmanager
    def threads(self, count: int | None) -> Iterator[int | None]:
        """A context in which the host computes with so many threads; gives their number, if it is known."""
        if count is not None:
            remedy = f"{self.tensormoe_name} is told its threads by the environment: leave this out"
            raise TensorMoEError("threads", count, remedy)
        yield None


def wall_clock() -> Callable[[], float]:
    """Start the host's clock; what it returns gives the seconds since then."""
    start = perf_counter()
    return lambda: perf_counter() - start
