"""Steering: coefficients that are set, or added to, after the gate has computed them."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

from ..arrays.protocols import GateOps
from ..codec import Serializable
from ..errors import TensorMoEError, non_negative_integer, real_number, true_or_false
from ..typing import Array


@dataclass(frozen=True)
class Steering(Serializable):
    """One expert's coefficient at run time: a number in its place, or added to it.

    `tm.editing.Steer` makes it.

    Args:
        level: of experts, from 0 on.
        expert: its number on this level.
        value: the number.
        adds: whether it is added; otherwise it is the coefficient.
        renormalize: whether the level's coefficients are then divided by their sum, where it is not 0.

    Raises:
        TensorMoEError: anything but integers from 0 on, or a number that is not finite.
    """

    _what = "steering"

    level: int
    expert: int
    value: float
    adds: bool = False
    renormalize: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "level", non_negative_integer("steering level", self.level))
        object.__setattr__(self, "expert", non_negative_integer("steering expert", self.expert))
        number = real_number(self.value)
        if number is None or not isfinite(number):
            raise TensorMoEError("steering value", self.value, "pass a finite number")
        object.__setattr__(self, "value", number)
        for name in ("adds", "renormalize"):
            true_or_false(f"steering {name}", getattr(self, name))

    def __str__(self) -> str:
        end = ", renormalized" * self.renormalize
        return f"a{self.level + 1}[{self.expert}] {'+=' if self.adds else '='} {self.value:g}{end}"

    def check(self, experts: tuple[int, ...]) -> None:
        """Raise an error if a layer of these experts lacks this one."""
        if self.level >= len(experts) or self.expert >= experts[self.level]:
            remedy = f"the layer has {experts} experts; levels and experts are counted from 0"
            raise TensorMoEError("steering", (self.level, self.expert), remedy)


def steer(ops: GateOps, a: Array, level: int, steps: Sequence[Steering]) -> Array:
    """The coefficients (…, N) of a level after all steps that concern it, in order."""
    for step in steps:
        if step.level == level:
            a = _steer(ops, a, step)
    return a


def _steer(ops: GateOps, a: Array, step: Steering) -> Array:
    dtype = ops.dtype_name(a)
    chosen = ops.cast(ops.positions(a.shape[-1], a) == step.expert, dtype)
    a = (a if step.adds else a * (1 - chosen)) + step.value * chosen
    if step.renormalize:
        total = ops.sum(a, axis=-1)[..., None]
        a = a / (total + ops.cast(total == 0, dtype))
    return a


def read_steering(value: object) -> tuple[Steering, ...]:
    """Steps of steering.

    Raises:
        TensorMoEError: anything else.
    """
    if isinstance(value, list | tuple) and all(isinstance(each, Steering) for each in value):
        return tuple(value)
    raise TensorMoEError("gate steering", value, "leave it empty, and use tm.editing.Steer")
