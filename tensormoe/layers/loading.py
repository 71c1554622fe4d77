"""Arrays for a module to load, all of them checked before anything changes."""

from collections.abc import Mapping

import numpy as np

from ..arrays.registry import backend_of
from ..errors import TensorMoEError
from ..typing import Array, NumPyArray, Shape, Shapes
from .parameters import compare_names


def read_arrays(arrays: Mapping[str, Array], shapes: Shapes) -> dict[str, NumPyArray]:
    """Convert arrays of any framework to NumPy arrays, checked before a module takes their values.

    Args:
        arrays: all parameters and running statistics, by the names that `initialize` uses.
        shapes: the module's shapes by name.

    Raises:
        TensorMoEError: a missing or unknown name, a wrong shape, or anything but a floating-point array.

    Examples:
        >>> import numpy as np
        >>> from tensormoe.layers.loading import read_arrays
        >>> read_arrays({"cores.input": np.ones((3, 2))}, {"cores.input": (2, 3)})
        Traceback (most recent call last):
        tensormoe.errors.TensorMoEError: arrays['cores.input']: received (3, 2); pass an array of shape (2, 3)
    """
    if not isinstance(arrays, Mapping):
        raise TensorMoEError(
            "arrays", type(arrays), "pass a mapping from names to arrays, as tm.initialize returns"
        )
    if any(hasattr(array, "items") for array in arrays.values()):
        remedy = "these are nested: pass arrays by full name; load an nnx state by nnx.update(layer, state)"
        raise TensorMoEError("arrays", sorted(arrays, key=str), remedy)
    if arrays.keys() != shapes.keys():
        raise TensorMoEError("arrays", sorted(arrays, key=str), compare_names(arrays, shapes))
    return {name: _read(f"arrays[{name!r}]", arrays[name], shape) for name, shape in shapes.items()}


def _read(argument: str, array: Array, shape: Shape) -> NumPyArray:
    if not hasattr(array, "shape") or "float" not in str(getattr(array, "dtype", None)):
        raise TensorMoEError(argument, type(array), "pass an array of floating-point numbers")
    if tuple(array.shape) != shape:
        raise TensorMoEError(argument, tuple(array.shape), f"pass an array of shape {shape}")
    # NumPy lacks some of the other frameworks' types, such as bfloat16.
    if isinstance(array, np.ndarray):
        return array
    try:
        return backend_of(array).to_float64(array)
    except Exception as error:  # of the framework: a tensor on the meta device, a deleted or a traced array
        raise TensorMoEError(argument, type(array), f"its values cannot be read ({error})") from error
