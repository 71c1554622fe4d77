"""The arguments of edits: experts, finite numbers, and arrays of any framework or lists."""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

from ..errors import TensorMoEError, as_tuple, is_listed, non_negative_integer, shape_of
from ..fitting.target import read_values
from ..memory import check_memory, host_memory
from ..typing import Array, NumPyArray, Shape

# An expert of a layer with one level, or one number for each level.
Expert: TypeAlias = int | tuple[int, ...]
Place: TypeAlias = tuple[int, ...]
Values: TypeAlias = Array | Sequence[float] | Sequence[Sequence[float]]


def read_expert(argument: str, value: object) -> Expert:
    """An expert's number, or one for each level.

    Raises:
        TensorMoEError: anything but integers from 0 on.
    """
    if not is_listed(value):
        return non_negative_integer(argument, value)
    if not as_tuple(value):
        raise TensorMoEError(argument, value, "pass a number, or one for each expert level")
    return tuple(non_negative_integer(argument, each) for each in as_tuple(value))


def read_experts(argument: str, value: object) -> tuple[Expert, ...]:
    """Several experts, none of them twice."""
    experts = tuple(read_expert(argument, each) for each in as_tuple(value))
    if len({as_tuple(each) for each in experts}) < len(experts):
        raise TensorMoEError(argument, value, "an expert is there twice: name each once")
    return experts


def locate(argument: str, expert: Expert, experts: Shape) -> Place:
    """An expert's number on each level of a layer.

    Raises:
        TensorMoEError: another number of levels, or an expert that the layer lacks.
    """
    place = (expert,) if isinstance(expert, int) else expert
    if not experts:
        raise TensorMoEError(argument, expert, "the layer has no experts")
    if len(place) != len(experts):
        remedy = f"the layer has {len(experts)} level(s) of experts: pass one number for each"
        raise TensorMoEError(argument, expert, remedy)
    if any(number >= count for number, count in zip(place, experts, strict=True)):
        raise TensorMoEError(argument, expert, f"the layer has {experts} experts, which are counted from 0")
    return place


def read_array(argument: str, value: Values, axes: int) -> NumPyArray:
    """A copy in float64 of an array of any framework, or of lists, that nothing can change.

    Raises:
        TensorMoEError: another number of axes, or anything but finite real numbers.
    """
    values = read_values(argument, _as_array(argument, value))
    if values.ndim != axes:
        remedy = f"pass an array with {axes} axes" if axes > 1 else "pass an array with one axis"
        raise TensorMoEError(argument, values.shape, remedy)
    values.flags.writeable = False
    return values


def read_layer(value: object) -> str | None:
    """The name of a block's layer, or None."""
    if value is None or isinstance(value, str):
        return value
    raise TensorMoEError("layer", value, 'pass "first", "up" or "second" for a block, None for a layer')


def _as_array(argument: str, value: Values) -> Array:
    shape = shape_of(value)
    if shape and all(isinstance(size, int) for size in shape):
        check_memory(
            argument, shape, "its values in float64", 16 * int(np.prod(shape, dtype=object)), host_memory()
        )
    if not isinstance(value, list | tuple):
        return value
    remedy = "pass an array, or lists of numbers, all equally long"
    try:
        values = np.array(value)
    except (ValueError, TypeError, OverflowError, RuntimeError) as error:
        raise TensorMoEError(argument, type(value), remedy) from error
    if values.dtype.kind not in "iuf":
        raise TensorMoEError(argument, type(value), remedy)
    return values.astype("float64")
