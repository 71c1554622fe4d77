"""Type names shared by the whole library."""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

# An array of any framework; only that framework's backend object knows more about it. A protocol in place of
# Any would reject 95 backend methods, because each accepts only its own framework's arrays, unless every
# function of the core became generic in the array. So the operations on arrays are typed instead.
Array: TypeAlias = Any
NumPyArray: TypeAlias = np.ndarray[Any, np.dtype[Any]]
Shape: TypeAlias = tuple[int, ...]
Shapes: TypeAlias = dict[str, Shape]
# Running statistics by name.
State: TypeAlias = dict[str, Array]
# The sum of an array over all processes that share a batch.
AllReduce: TypeAlias = Callable[[Array], Array]
# Starts a measurement; returns the function that ends it and returns the seconds.
Clock: TypeAlias = Callable[[], Callable[[], float]]
