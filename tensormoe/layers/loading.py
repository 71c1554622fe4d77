"""Arrays for a module to load, all of them checked before anything changes."""

from collections.abc import Mapping

import numpy as np

from ..arrays.numpy_kinds import NUMPY_TYPES, object_to
from ..arrays.registry import backend_of
from ..errors import TensorMoEError
from ..typing import Array, NumPyArray, Shape, Shapes
from .names import Names
from .parameters import compare_names, join_name

# The type with the fewest digits that layers have is bfloat16.
_ROUNDED = 2**-7


def read_arrays(
    arrays: Mapping[str, Array], shapes: Shapes, argument: str = "arrays"
) -> dict[str, NumPyArray]:
    """Convert arrays of any framework to NumPy arrays, checked before a module takes their values.

    Args:
        arrays: all parameters and running statistics, by the names that `initialize` uses.
        shapes: the module's shapes by name.
        argument: what errors call the arrays.

    Returns:
        The arrays in the order of the shapes and in their own types, if NumPy has these; otherwise float64.
        They may be views, and their bytes have the machine's order.

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
            argument, type(arrays), "pass a mapping from names to arrays, as tm.initialize returns"
        )
    if any(hasattr(array, "items") for array in arrays.values()):
        remedy = "these are nested: pass arrays by full name; load an nnx state by nnx.update(layer, state)"
        raise TensorMoEError(argument, sorted(arrays, key=str), remedy)
    if arrays.keys() != shapes.keys():
        raise TensorMoEError(argument, sorted(arrays, key=str), compare_names(arrays, shapes))
    return {name: _read(f"{argument}[{name!r}]", arrays[name], shape) for name, shape in shapes.items()}


def check_fixed(spec: Names, values: Mapping[str, NumPyArray], argument: str = "arrays") -> None:
    """Raise an error if arrays have other values for a fixed core than the specification.

    They may be rounded to a smaller type. Where only a digest is known, nothing is compared.
    """
    for prefix, stage in spec.layers.items():
        for name, fixed in stage.network.fixed:
            full = join_name(prefix, name)
            if full not in values or not fixed.is_known:
                continue
            wanted = fixed.values(name, stage.network.shapes[name])
            away = np.abs(np.asarray(values[full], wanted.dtype) - wanted).max(initial=0.0)
            # As NaN is away from all numbers.
            if not away <= _ROUNDED * np.abs(wanted).max():
                remedy = (
                    "the core is fixed, and the specification has other values: build a layer from theirs"
                )
                raise TensorMoEError(f"{argument}[{full!r}]", f"values that differ by {away:.3g}", remedy)


def _read(argument: str, array: Array, shape: Shape) -> NumPyArray:
    dtype = getattr(array, "dtype", None)
    # NumPy's text for a type that has another order of bytes is ">f4".
    if not hasattr(array, "shape") or "float" not in str(getattr(dtype, "name", dtype)):
        raise TensorMoEError(argument, type(array), "pass an array of floating-point numbers")
    if tuple(array.shape) != shape:
        raise TensorMoEError(argument, tuple(array.shape), f"pass an array of shape {shape}")
    if (remedy := object_to(array)) is not None:
        raise TensorMoEError(argument, type(array), remedy)
    if isinstance(array, np.ndarray):
        return array.astype(array.dtype.newbyteorder("="), copy=False)
    try:
        ops = backend_of(array)
        array = ops.as_array(array)
        return ops.to_numpy(array) if ops.dtype_name(array) in NUMPY_TYPES else ops.to_float64(array)
    except Exception as error:  # of the framework: a tensor on the meta device, a deleted or a traced array
        raise TensorMoEError(argument, type(array), f"its values cannot be read ({error})") from error
