"""Checks that layers' and blocks' specifications share."""

from typing import Any

from ..errors import TensorMoEError, as_tuple, positive_integer
from ..gates.gate import Gate
from ..networks.factorization import Factorization


def check_fields(spec: Any, *sizes: str) -> None:
    """Check the fields that every specification has, and turn counts into plain integers.

    Args:
        spec: a frozen dataclass under construction.
        sizes: the names of its features.
    """
    for name in sizes:
        object.__setattr__(spec, name, positive_integer(name, getattr(spec, name)))
    object.__setattr__(spec, "experts", _experts(spec.experts))
    if not isinstance(spec.factorization, Factorization):
        raise TensorMoEError("factorization", spec.factorization, "pass one such as tm.CP(rank=64)")
    if not isinstance(spec.gate, Gate):
        raise TensorMoEError("gate", spec.gate, 'pass one such as tm.Gate(activation="softmax")')
    spec.gate.check(spec.experts)
    check_flag("bias", spec.bias)


def check_flag(name: str, value: object) -> None:
    """Raise the error that names `name` unless the value is a truth value."""
    if not isinstance(value, bool):
        raise TensorMoEError(name, value, "pass True or False")


def _experts(value: object) -> tuple[int, ...]:
    counts = as_tuple(value)
    if not counts:
        raise TensorMoEError("experts", value, "pass at least one count, such as 64 or (16, 16)")
    try:
        return tuple(positive_integer("experts", count) for count in counts)
    except TensorMoEError as error:
        raise TensorMoEError(
            "experts", value, "pass a positive integer, or one for each level, such as 64 or (16, 16)"
        ) from error
