"""Values as plain data: one codec and one naming rule for everything in a specification."""

import json
import numbers
from collections.abc import Mapping
from dataclasses import dataclass, fields
from inspect import signature
from math import isfinite
from typing import Any, ClassVar, Self

from .errors import TensorMoEError, one_of

# Anything that JSON can represent.
Data = None | bool | int | float | str | list["Data"] | dict[str, "Data"]

# The version of the JSON format. Raise it for every change that older versions would misread.
FORMAT = 1
# Nothing that is written here nests deeper; Python's own limit ends in a RecursionError.
_DEEPEST = 50


@dataclass(frozen=True, eq=False)
class Serializable:
    """A frozen dataclass that can be written as plain data: its fields by name."""

    # What errors call it.
    _what: ClassVar[str]

    @property
    def arguments(self) -> dict[str, Any]:
        """The fields by name, as the constructor takes them."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def to_dict(self) -> dict[str, Data]:
        """Write this object as plain data, for strict JSON; `from_dict` reads it back.

        Raises:
            TensorMoEError: a field that JSON cannot represent, such as a function; a subclass, since reading
                would give an object of its base.
        """
        if Serializable not in type(self).__bases__:
            raise TensorMoEError(
                self._what, self, f"JSON has no name for {_place(type(self))}: use its base class"
            )
        return self._to_data()

    @classmethod
    def from_dict(cls, data: object) -> Self:
        """Read the object that `to_dict` wrote. Fields with a default may be omitted.

        Raises:
            TensorMoEError: data of another form, an unknown type, or a missing, unknown or invalid field.
        """
        return cls._from_data(_check_object(cls._what, data))

    def _to_data(self) -> dict[str, Data]:
        return {name: encode(f"{self._what} {name}", value) for name, value in self.arguments.items()}

    @classmethod
    def _from_data(cls, data: Mapping[str, object]) -> Self:
        known = tuple(field.name for field in fields(cls))
        for name in data:
            one_of(f"{cls._what} field", name, known)
        for name, parameter in signature(cls).parameters.items():
            if parameter.default is parameter.empty and name not in data:
                raise TensorMoEError(cls._what, sorted(data), f"the field {name!r} is missing: add it")
        try:
            return cls(**{name: decode(value) for name, value in data.items()})
        except TypeError as error:
            raise TensorMoEError(cls._what, dict(data), f"its fields are not valid: {error}") from error


class Registered(Serializable):
    """A serializable class whose data start with the name of its type.

    A class that inherits this directly is the base of a registry; its subclasses are registered by name.
    """

    _registry: ClassVar[dict[str, type["Registered"]]]
    # A suffix of class names that registered names omit.
    _suffix: ClassVar[str] = ""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if Registered in cls.__bases__:
            cls._registry = {}
            return
        known = cls._registry.get(cls.type_name())
        # The same definition may run again, as in a notebook.
        if known is not None and not _is_same_definition(cls, known):
            raise TensorMoEError(
                "class name",
                cls.__name__,
                f"{_place(known)} already has the name {cls.type_name()!r}: choose another",
            )
        cls._registry[cls.type_name()] = cls

    @classmethod
    def type_name(cls) -> str:
        """The name of this type in serialized data."""
        return cls.__name__.removesuffix(cls._suffix) or cls.__name__

    def to_dict(self) -> dict[str, Data]:
        if self._registry.get(self.type_name()) is not type(self):
            remedy = f"another class named {self.type_name()!r} was defined since, which JSON would return"
            raise TensorMoEError(self._what, self, f"{remedy}: rename one, or build this again")
        return {"type": self.type_name(), **self._to_data()}

    @classmethod
    def from_dict(cls, data: object) -> Self:
        values = _check_object(cls._what, data)
        known = {name: kind for name, kind in cls._registry.items() if issubclass(kind, cls)}
        name = values.pop("type", None)
        one_of(f"{cls._what} type", name, tuple(sorted(known)))
        return known[str(name)]._from_data(values)


def _is_same_definition(kind: type, known: type) -> bool:
    # A dataclass with slots creates a second class, which gets its qualified name later.
    remade = "__dataclass_fields__" in vars(kind) and kind.__module__ == known.__module__
    return remade or _place(kind) == _place(known)


def _place(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _check_object(what: str, data: object) -> dict[str, object]:
    if not isinstance(data, Mapping) or not all(isinstance(name, str) for name in data):
        raise TensorMoEError(what, data, "pass an object with named fields, as to_dict returns it")
    return dict(data)


def encode(argument: str, value: object, depth: int = 0) -> Data:
    """Turn a value into plain data: tuples become lists, infinity becomes {"float": "inf"}.

    Raises:
        TensorMoEError: a value of any other type; the error names `argument`.

    Examples:
        >>> from tensormoe.codec import decode, encode
        >>> encode("field", (1, None, float("inf")))
        [1, None, {'float': 'inf'}]
        >>> decode(encode("field", (1, None, float("inf"))))
        (1, None, inf)
    """
    match value:
        case None | bool() | str():
            return value
        case Serializable():
            return value.to_dict()
        case list() | tuple():
            _check_depth(argument, value, depth)
            return [encode(argument, each, depth + 1) for each in value]
        case numbers.Integral():
            return int(value)
        case numbers.Real():
            # RFC 8259 has no infinity, and strict parsers reject Python's.
            return float(value) if isfinite(value) else {"float": str(float(value))}
    raise TensorMoEError(
        argument, value, "this cannot be written as JSON: use a number, a string or a class of this library"
    )


def decode(data: object, depth: int = 0) -> object:
    """Read a value that `encode` wrote; lists become tuples."""
    if isinstance(data, list | tuple):
        _check_depth("field", data, depth)
        return tuple(decode(each, depth + 1) for each in data)
    if isinstance(data, dict) and data.keys() == {"float"} and data["float"] in ("inf", "-inf", "nan"):
        return float(data["float"])
    return data


def _check_depth(argument: str, value: object, depth: int) -> None:
    if depth >= _DEEPEST:
        raise TensorMoEError(argument, type(value), f"lists are nested more than {_DEEPEST} deep")


def check_format(data: object) -> object:
    """Check that this version reads the data's format; return the data without its number."""
    if not isinstance(data, Mapping):
        return data
    if "format" not in data:
        remedy = "the field 'format' is missing: pass the text that spec.to_json() returns"
        raise TensorMoEError("specification", sorted(data), remedy)
    number = data["format"]
    if isinstance(number, int) and number > FORMAT:
        raise TensorMoEError("format", number, f"this version reads format {FORMAT}: update tensormoe")
    one_of("format", number, (FORMAT,))
    return {name: value for name, value in data.items() if name != "format"}


def write_json(data: Mapping[str, Data]) -> str:
    """Plain data as strict JSON text."""
    return json.dumps(data, indent=2, allow_nan=False)


def read_json(text: str) -> dict[str, object]:
    """Read the object in strict JSON text.

    Raises:
        TensorMoEError: text that is not strict JSON (Infinity and NaN are not), a field that occurs twice, or
            anything but an object.
    """
    try:
        data = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse)
    except (ValueError, TypeError, RecursionError) as error:
        raise TensorMoEError("text", text, f"this is not JSON ({error})") from error
    return _check_object("text", data)


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    names = [name for name, _ in pairs]
    if len(set(names)) < len(names):
        raise ValueError(f"a field occurs twice in {', '.join(names)}")
    return dict(pairs)


def _refuse(name: str) -> None:
    raise ValueError(f"JSON has no {name}")
