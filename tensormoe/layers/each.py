"""Values of a block's layers: one for all of them, or one for each."""

from collections.abc import Sequence
from typing import TypeVar

from ..errors import TensorMoEError

T = TypeVar("T")


def for_each(argument: str, value: object, layers: Sequence[str]) -> tuple[object, ...]:
    """One value for each layer, from one for all of them or from a list of as many as there are.

    Raises:
        TensorMoEError: another number of values than of layers.

    Examples:
        >>> from tensormoe.layers.each import for_each
        >>> for_each("bias", True, ("first", "second"))
        (True, True)
    """
    given = tuple(value) if isinstance(value, list | tuple) else (value,) * len(layers)
    if len(given) != len(layers):
        remedy = f"pass one value for all layers, or one for each: {', '.join(layers)}"
        raise TensorMoEError(argument, value, remedy)
    return given


def one_or_each(values: Sequence[T]) -> T | tuple[T, ...]:
    """The only value if all layers have the same; otherwise all values."""
    first, *others = values
    return tuple(values) if any(each != first for each in others) else first


def spread(value: T | tuple[T, ...], count: int) -> tuple[T, ...]:
    """The value of each of so many layers, from what `one_or_each` returned."""
    return value if isinstance(value, tuple) else (value,) * count
