"""What verification and benchmarks ask of a framework: conversions, products, clocks, devices, threads."""

import os
import platform
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from time import perf_counter
from typing import Any

import numpy as np

from ..errors import TensorMoEError
from ..memory import host_memory
from ..typing import Array, Clock, NumPyArray
from .protocols import Declared


class Instruments(Declared):
    """Conversions, clocks, devices and threads; the defaults are for a framework on the host."""

    # Whether sums of half-precision numbers are accumulated in float32 along every axis, in reverse mode too:
    # an error bound relies on it. All frameworks do so in matrix products.
    widens_sums: bool = False

    def from_numpy(self, array: Any) -> Array:
        """The framework's array with a NumPy array's values."""
        return self.tensor(array)

    def from_float64(self, array: Any, dtype: str, device: str = "cpu") -> Array:
        """The framework's array with a NumPy array's values, rounded to a type, on a device."""
        return self.cast(self.from_numpy(array), dtype)

    def to_float64(self, array: Array) -> NumPyArray:
        """A NumPy array with the values."""
        return np.asarray(self.to_numpy(self.cast(array, "float64")))

    def double_precision(self) -> AbstractContextManager[Any]:
        """A context that allows float64 arrays, and in which products are as precise as their type."""
        return nullcontext()

    def random_source(self, seed: int) -> Any:
        """A generator for `normal`, with a seed; None without random numbers."""
        return None

    def linear(self, x: Array, weight: Array, bias: Array) -> Array:
        """The product of x (T, I) and a weight (I, O), with a bias (O,) added to each row."""
        return self.matmul(x, weight) + bias

    def devices(self) -> tuple[str, ...]:
        """The names of the devices that are present, the host's "cpu" first."""
        return ("cpu",)

    def device_name(self, device: str) -> str:
        """A description of the device of this name."""
        return f"{platform.machine()} CPU, {os.cpu_count()} cores"

    def memory_of(self, array: Array) -> int | None:
        """The bytes of memory of the device that holds an array; None if it is only traced, or unknown."""
        return host_memory()

    def clock(self, device: str) -> Clock:
        """A clock for work on a device; see `tensormoe.benching.timing.interleave`."""
        return wall_clock

    def wait(self, result: Any) -> None:
        """Block until a result, an array or several, is computed; not needed where `clock` waits."""

    @contextmanager
    def threads(self, count: int | None) -> Iterator[int | None]:
        """A context in which the host uses this many threads; yields their number, if known."""
        if count is not None:
            remedy = f"environment variables set the threads of {self.tensormoe_name}: omit threads"
            raise TensorMoEError("threads", count, remedy)
        yield None


def wall_clock() -> Callable[[], float]:
    """Start the host's clock; the function returned gives the seconds since then."""
    start = perf_counter()
    return lambda: perf_counter() - start
