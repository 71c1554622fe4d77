"""Types that every part of the library names alike."""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

# An array of whichever framework computes; only that framework's backend object knows more. A protocol in
# place of Any makes 95 methods of backends wrong, since each takes its own framework's arrays alone, unless
# every function of the core is generic in the array. So it is the operations on arrays that have types.
Array: TypeAlias = Any
NumPyArray: TypeAlias = np.ndarray[Any, np.dtype[Any]]
Shape: TypeAlias = tuple[int, ...]
Shapes: TypeAlias = dict[str, Shape]
# Running statistics by name.
State: TypeAlias = dict[str, Array]
# The sum of an array over all processes that share a batch.
AllReduce: TypeAlias = Callable[[Array], Array]
# Starts a measurement and returns the function that ends it and gives its seconds.
Clock: TypeAlias = Callable[[], Callable[[], float]]
