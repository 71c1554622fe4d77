"""The one exception that tensormoe raises on purpose."""

import numbers
import operator
import re
from collections.abc import Iterable, Mapping
from math import inf, isfinite
from reprlib import Repr
from typing import Any, cast

from .terminal import substitute

# No axis of any framework's arrays is longer.
LARGEST = 2**63 - 1
# How many characters of each part an error shows: what is received may be gigabytes.
_ARGUMENT, _RECEIVED, _REMEDY = 100, 200, 2_000
_DIGITS = re.compile(r"\d{31,}")

_brief = Repr()
_brief.maxlevel = 10
_brief.maxtuple = _brief.maxlist = _brief.maxarray = _brief.maxdict = 30
_brief.maxset = _brief.maxfrozenset = _brief.maxdeque = 30
_brief.maxstring = _brief.maxother = 2 * _RECEIVED
# More digits than Python prints.
_brief.maxlong = 5_000


class TensorMoEError(ValueError):
    """An argument that cannot be used, with its value and what to do about it.

    Args:
        argument: name of the argument as the caller knows it.
        received: the value that was passed.
        remedy: one sentence that says what is wrong and what to pass instead.

    Examples:
        >>> from tensormoe import TensorMoEError
        >>> print(TensorMoEError("rank", 0, "a rank is a positive integer"))
        rank: received 0; a rank is a positive integer
    """

    def __init__(self, argument: str, received: object, remedy: str) -> None:
        # Passing all three to ValueError lets the exception pickle.
        super().__init__(argument, received, remedy)
        self.argument = argument
        self.received = received
        self.remedy = remedy

    def __str__(self) -> str:
        received = _cut(_show(self.received), _RECEIVED)
        argument, remedy = _cut(self.argument, _ARGUMENT), _cut(self.remedy, _REMEDY)
        return substitute(f"{argument}: received {received}; {remedy}")


def _show(value: object) -> str:
    """A value's repr without the rest of what is long; its type if it has none."""
    try:
        return _brief.repr(value)
    except Exception:  # a user's own repr may raise anything
        return f"a value of type {type(value).__name__}"


def _cut(text: str, length: int) -> str:
    text = _DIGITS.sub(lambda digits: f"{digits[0][:6]}... ({len(digits[0])} digits)", text)
    return text if len(text) <= length else text[: length - 3] + "..."


def positive_integer(argument: str, value: object) -> int:
    """Return `value` as an int, or raise the error that names `argument`."""
    number = _integer(argument, value, 1, "pass a positive integer")
    if number > LARGEST:
        raise TensorMoEError(argument, value, "pass a positive integer below 2**63")
    return number


def non_negative_integer(argument: str, value: object) -> int:
    """Return `value` as an int, or raise the error that names `argument`."""
    return _integer(argument, value, 0, "pass a non-negative integer")


def place_number(argument: str, value: object) -> int:
    """Return `value` as a place on an axis, counted from 0, or raise the error that names `argument`."""
    number = non_negative_integer(argument, value)
    if number > LARGEST:
        raise TensorMoEError(argument, value, "pass a non-negative integer below 2**63")
    return number


def _integer(argument: str, value: object, least: int, remedy: str) -> int:
    # NumPy's integers are accepted. True and 3.0 are not: both usually hide a mistake.
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError as error:
        raise TensorMoEError(argument, value, remedy) from error
    if isinstance(value, bool) or number < least:
        raise TensorMoEError(argument, value, remedy)
    return number


def real_number(value: object) -> float | None:
    """A real number as a float; None for anything else, True and arrays included."""
    # Every numeric type registers as numbers.Real, NumPy's scalars included; arrays do not.
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return None
    try:
        return float(value)
    except OverflowError:  # an integer beyond every float
        return None


def positive_number(argument: str, value: object) -> float:
    """Return `value` as a float, or raise the error that names `argument`."""
    number = real_number(value)
    if number is None or not 0 < number < inf:
        raise TensorMoEError(argument, value, "pass a positive number")
    return number


def finite_number(argument: str, value: object) -> float:
    """Return `value` as a float, or raise the error that names `argument`."""
    number = real_number(value)
    if number is None or not isfinite(number):
        raise TensorMoEError(argument, value, "pass a finite number")
    return number


def number_from(least: float, argument: str, value: object) -> float:
    """Return `value` as a float of at least `least`, infinity included, or raise the error."""
    number = real_number(value)
    if number is None or not number >= least:
        raise TensorMoEError(argument, value, f"pass a number of at least {least:g}")
    return number


def mapping(argument: str, value: object) -> Mapping[str, Any]:
    """Return `value`, or raise the error that names `argument`, unless it maps names to something."""
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise TensorMoEError(argument, value, "pass a mapping from names, such as a dict")
    return value


def true_or_false(argument: str, value: object) -> bool:
    """Return `value` as a bool, or raise the error that names `argument`."""
    if not isinstance(value, bool):
        raise TensorMoEError(argument, value, "pass True or False")
    return value


def one_of(argument: str, value: object, known: tuple[object, ...]) -> None:
    """Raise the error that lists `known` unless `value` is among them."""
    # Types are compared first: == of an array is an array.
    if not any(type(value) is type(item) and value == item for item in known):
        listed = ", ".join(repr(item) for item in known)
        remedy = f"choose one of {listed}" if known else "there is none to choose from"
        raise TensorMoEError(argument, value, remedy)


def as_tuple(value: object) -> tuple[object, ...]:
    """The members of a tuple, a list or an array with one axis; anything else as the only member."""
    return tuple(cast("Iterable[object]", value)) if is_listed(value) else (value,)


def is_listed(value: object) -> bool:
    """Whether a value is a tuple, a list or an array with one axis."""
    return isinstance(value, (tuple, list)) or len(shape_of(value)) == 1


def shape_of(value: object) -> tuple[Any, ...]:
    """The shape of an array; () for anything else."""
    shape = getattr(value, "shape", ())
    # A class of arrays has a shape, too, which is no tuple.
    return tuple(shape) if isinstance(shape, tuple) else ()
