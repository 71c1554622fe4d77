"""One candidate that was tried, and what came of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Self

from ..codec import Data
from ..errors import (
    TensorMoEError,
    as_tuple,
    finite_number,
    mapping,
    one_of,
    place_number,
    true_or_false,
)
from ..layers.layer_spec import MuMoESpec
from ..layers.spec import check_spec_kind
from .budget import Budget, check_budget
from .canonical import canonical_key

STATES = ("complete", "failed", "infeasible")


@dataclass(frozen=True)
class Trial:
    """One candidate at one budget and seed, and what came of it.

    Args:
        spec: the layer at the rank that the budget allows; as it was given if it is infeasible.
        budget: what its rank was matched to; None if it was tried as it is.
        seed: of the task.
        values: the objectives by name; finite numbers.
        state: "complete"; "failed" if a proof, a cost or the task failed; "infeasible" if not even the
            smallest rank is within the budget.
        reason: why it is not complete; otherwise "".
        proved: whether all its programs were proved.
        seconds: how long it took.
        number: its place in the study.
        verified: whether they were also compared with the definition, in exact arithmetic.
        curve: the task's objective as it went on, such as the loss after each epoch; () for none.

    Raises:
        TensorMoEError: a field of another kind, a value that is not a finite number, or an unknown state.
    """

    spec: MuMoESpec
    budget: Budget | None = None
    seed: int = 0
    values: Mapping[str, float] = field(default_factory=dict)
    state: str = "complete"
    reason: str = ""
    proved: bool = False
    seconds: float = 0.0
    number: int = 0
    curve: tuple[float, ...] = ()
    verified: bool = False

    def __post_init__(self) -> None:
        check_spec_kind(self.spec, MuMoESpec)
        check_budget("budget", self.budget)
        one_of("state", self.state, STATES)
        for name in ("seed", "number"):
            object.__setattr__(self, name, place_number(name, getattr(self, name)))
        for name in ("proved", "verified"):
            true_or_false(name, getattr(self, name))
        if not isinstance(self.reason, str):
            raise TensorMoEError("reason", self.reason, "pass text")
        object.__setattr__(self, "seconds", finite_number("seconds", self.seconds))
        object.__setattr__(
            self, "curve", tuple(finite_number("curve", each) for each in as_tuple(self.curve))
        )
        for name, value in mapping("values", self.values).items():
            finite_number(f"values[{name!r}]", value)

    @cached_property
    def key(self) -> str:
        """The canonical key of its network; see `canonical_key`."""
        return canonical_key(self.spec.network)

    @property
    def complete(self) -> bool:
        """Whether all its objectives are known."""
        return self.state == "complete"

    def to_dict(self) -> dict[str, Data]:
        """Write the trial as plain data, for strict JSON; `from_dict` reads it back."""
        return {
            "number": self.number,
            "spec": self.spec.to_dict(),
            "budget": None if self.budget is None else self.budget.to_dict(),
            "seed": self.seed,
            "state": self.state,
            "reason": self.reason,
            "proved": self.proved,
            "verified": self.verified,
            "seconds": self.seconds,
            "values": {name: float(value) for name, value in self.values.items()},
            "curve": [float(value) for value in self.curve],
        }

    @classmethod
    def from_dict(cls, data: object) -> Self:
        """Read the trial that `to_dict` wrote.

        Raises:
            TensorMoEError: a missing, unknown or invalid field.
        """
        given = dict(mapping("trial", data))
        names = tuple(each.name for each in fields(cls))
        for name in given:
            one_of("trial field", name, names)
        for name in names:
            if name not in given:
                raise TensorMoEError("trial", sorted(given), f"the field {name!r} is missing: add it")
        given["spec"] = MuMoESpec.from_dict(given["spec"])
        given["budget"] = None if given["budget"] is None else Budget.from_dict(given["budget"])
        return cls(**given)
