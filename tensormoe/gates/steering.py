"""What happens to coefficients after the gate has computed them: some are set, added to, or shared."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite

from ..arrays.protocols import GateOps
from ..codec import Registered
from ..errors import TensorMoEError, non_negative_integer, positive_integer, real_number, true_or_false
from ..typing import Array, Shape


class Step(Registered, ABC):
    """Base of the steps that change an expert's coefficient; `tm.editing` makes them."""

    _what = "steering"

    level: int
    expert: int

    @property
    @abstractmethod
    def added(self) -> int:
        """How many experts more the level has afterwards."""

    def check(self, experts: Shape) -> None:
        """Raise an error if a layer of these experts lacks this one."""
        if self.level >= len(experts) or self.expert >= experts[self.level]:
            remedy = f"the layer has {experts} experts; levels and experts are counted from 0"
            raise TensorMoEError("steering", (self.level, self.expert), remedy)

    def follow(self, experts: Shape) -> Shape:
        """How many experts each level has after this step.

        Raises:
            TensorMoEError: the level lacks this expert.
        """
        self.check(experts)
        return tuple(count + self.added * (level == self.level) for level, count in enumerate(experts))

    def _set_place(self) -> None:
        object.__setattr__(self, "level", non_negative_integer("steering level", self.level))
        object.__setattr__(self, "expert", non_negative_integer("steering expert", self.expert))


@dataclass(frozen=True)
class Steering(Step):
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

    level: int
    expert: int
    value: float
    adds: bool = False
    renormalize: bool = False

    added = 0

    def __post_init__(self) -> None:
        self._set_place()
        number = real_number(self.value)
        if number is None or not isfinite(number):
            raise TensorMoEError("steering value", self.value, "pass a finite number")
        object.__setattr__(self, "value", number)
        for name in ("adds", "renormalize"):
            true_or_false(f"steering {name}", getattr(self, name))

    def __str__(self) -> str:
        end = ", renormalized" * self.renormalize
        return f"a{self.level + 1}[{self.expert}] {'+=' if self.adds else '='} {self.value:g}{end}"


@dataclass(frozen=True)
class Sharing(Step):
    """One expert's coefficient shared by its copies: a[n] softmax(0, x G').

    The first copy has the expert's number, the others come after all experts of the level. G' has a column of
    the gate's weights for each of these: the last ones, in the order of these steps. `tm.editing.Split`
    makes it.

    Args:
        level: of experts, from 0 on.
        expert: its number on this level.
        copies: how many experts it becomes, from 2 on.

    Raises:
        TensorMoEError: anything but integers from 0 on, or fewer than two copies.
    """

    level: int
    expert: int
    copies: int

    def __post_init__(self) -> None:
        self._set_place()
        object.__setattr__(self, "copies", positive_integer("steering copies", self.copies))
        if self.copies < 2:
            raise TensorMoEError("steering copies", self.copies, "pass an integer from 2 on")

    @property
    def added(self) -> int:
        return self.copies - 1

    def __str__(self) -> str:
        return f"a{self.level + 1}[{self.expert}] in {self.copies} shares"


def experts_before(steps: Sequence[Step], experts: Shape) -> Shape:
    """How many experts the gate itself has on each level, if a layer has these after all steps.

    Raises:
        TensorMoEError: fewer than one, or a step of an expert that there is not.
    """
    if not steps:
        return experts
    added = [0 for _ in experts]
    for step in steps:
        if step.level < len(experts):
            added[step.level] += step.added
    before = tuple(count - more for count, more in zip(experts, added, strict=True))
    if any(count < 1 for count in before):
        remedy = f"its steering splits experts into {tuple(added)} more: a layer has at least one besides"
        raise TensorMoEError("experts", experts, remedy)
    counts = before
    for step in steps:
        counts = step.follow(counts)
    return before


def part_columns(
    parameters: Mapping[str, Array], steps: Sequence[Step], level: int
) -> tuple[dict[str, Array], Array | None]:
    """A level's parameters with the router's own weights, and the columns that coefficients are shared by."""
    own, weights = {**parameters}, parameters["weights"]
    count = weights.shape[-1] - sum(step.added for step in steps if step.level == level)
    if count == weights.shape[-1]:
        return own, None
    own["weights"] = weights[:, :count]
    return own, weights[:, count:]


def steer(
    ops: GateOps, a: Array, level: int, steps: Sequence[Step], x: Array, columns: Array | None
) -> Array:
    """The coefficients of a level after all steps that concern it, in order.

    Args:
        ops: the backend object.
        a: (…, N), the gate's own.
        level: its number.
        steps: for all levels.
        x: (…, I).
        columns: (I, N′ − N), by which coefficients are shared; None for none.
    """
    logits, start = None if columns is None else ops.matmul(x, columns), 0
    for step in steps:
        if step.level != level:
            continue
        if isinstance(step, Steering):
            a = _steer(ops, a, step)
        elif logits is not None:
            a = _share(ops, a, step.expert, logits[..., start : start + step.added])
            start += step.added
    return a


def _steer(ops: GateOps, a: Array, step: Steering) -> Array:
    dtype = ops.dtype_name(a)
    chosen = ops.cast(ops.positions(a.shape[-1], a) == step.expert, dtype)
    a = (a if step.adds else a * (1 - chosen)) + step.value * chosen
    if step.renormalize:
        total = ops.sum(a, axis=-1)[..., None]
        a = a / (total + ops.cast(total == 0, dtype))
    return a


def _share(ops: GateOps, a: Array, expert: int, logits: Array) -> Array:
    shares = ops.softmax(ops.concatenate([ops.zeros_like(logits[..., :1]), logits], axis=-1))
    own = a[..., expert : expert + 1] * shares
    parts = [a[..., :expert], own[..., :1], a[..., expert + 1 :], own[..., 1:]]
    return ops.concatenate([part for part in parts if part.shape[-1]], axis=-1)


def read_steering(value: object) -> tuple[Step, ...]:
    """Steps of steering.

    Raises:
        TensorMoEError: anything else.
    """
    if isinstance(value, list | tuple) and all(isinstance(each, Step) for each in value):
        return tuple(value)
    raise TensorMoEError("gate steering", value, "leave it empty, and use tm.editing.Steer or Split")
