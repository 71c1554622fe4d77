"""What the fields of a family hold: sizes of bonds, sizes of the parts of a split mode, or a choice."""

from collections.abc import Hashable, Mapping
from dataclasses import Field, fields
from functools import cache
from typing import Any, get_origin, get_type_hints

from ..errors import TensorMoEError, as_tuple, is_listed, positive_integer, true_or_false
from .notation import Indices
from .splits import is_split_mode

Fields = tuple["Field[Any]", ...]


def read_fields(family: Any) -> dict[str, object]:
    """The values of a family's fields, checked; integers of any type as Python's.

    Raises:
        TensorMoEError: a value that is not a positive integer or several, or not True or False.
    """
    kind: type = type(family)
    hints = _hints(kind)
    values: dict[str, object] = {}
    for field in fields(family):
        value = getattr(family, field.name)
        name = f"{type(family).__name__} {field.name}"
        if hints.get(field.name) is bool:
            values[field.name] = true_or_false(name, value)
            continue
        if hints.get(field.name) is int and is_listed(value):
            raise TensorMoEError(name, value, "this is one integer, not several")
        if get_origin(hints.get(field.name)) is tuple and not is_listed(value):
            raise TensorMoEError(name, value, "pass a tuple of integers, such as (4, 64)")
        sizes = tuple(positive_integer(name, size) for size in as_tuple(value))
        values[field.name] = sizes if is_listed(value) else sizes[0]
    return values


def split_fields(kind: Any) -> Fields:
    """The fields that hold the sizes of a mode's parts: tuples that are named after the mode."""
    hints = _hints(kind)
    named = (each for each in fields(kind) if is_split_mode(each.name))
    return tuple(each for each in named if get_origin(hints.get(each.name)) is tuple)


def bond_fields(kind: Any) -> Fields:
    """The fields that hold the sizes of bonds."""
    hints, split = _hints(kind), split_fields(kind)
    return tuple(each for each in fields(kind) if each not in split and hints.get(each.name) is not bool)


def read_sizes(family: Any) -> tuple[int, ...]:
    """The sizes of all bonds, field by field."""
    values = [getattr(family, field.name) for field in bond_fields(type(family))]
    return tuple(n for v in values for n in (v if isinstance(v, tuple) else (v,)))


def change_sizes(family: Any, arguments: Mapping[str, Any], sizes: tuple[int, ...]) -> dict[str, Any]:
    """The values of all fields, with these sizes of bonds."""
    values = dict(arguments)
    for field in bond_fields(type(family)):
        value = getattr(family, field.name)
        count = len(value) if isinstance(value, tuple) else 1
        values[field.name] = sizes[:count] if isinstance(value, tuple) else sizes[0]
        sizes = sizes[count:]
    return values


def check_order(family: Any, bonds: Indices) -> None:
    """Reject a field that is named after one bond and would set the size of another."""
    position = 0
    for field in bond_fields(type(family)):
        value = getattr(family, field.name)
        if not isinstance(value, tuple) and field.name in bonds and field.name != bonds[position]:
            raise TensorMoEError(
                f"{type(family).__name__} {field.name}",
                value,
                f"it would set the size of bond {bonds[position]!r}; the notation names bonds "
                f"in the order {', '.join(bonds)}; put the fields in that order, or override bonds and "
                "with_bonds",
            )
        position += len(value) if isinstance(value, tuple) else 1


@cache
def _hints(kind: Hashable) -> dict[str, Any]:
    """The types of a class's fields; none if they are names that are not known here."""
    try:
        return get_type_hints(kind)
    except NameError:
        return {}
