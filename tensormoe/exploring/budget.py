"""What a candidate may cost."""

import warnings
from dataclasses import dataclass
from math import ceil, prod

from ..codec import Serializable
from ..errors import TensorMoEError, positive_integer, positive_number
from ..layers.layer_spec import MuMoESpec
from ..layers.matching import Growth, choose_growing, most_units
from ..layers.spec import check_spec
from .clock import measure_seconds

_KINDS = ("parameters", "macs", "seconds")
_NANOSECONDS = 10**9


class BudgetError(TensorMoEError):
    """A candidate that exceeds its budget even at the smallest rank."""


@dataclass(frozen=True)
class Budget(Serializable):
    """What a candidate may cost: parameters, MACs a token, or seconds a batch on this machine.

    Args:
        parameters: the most, gate and bias included.
        macs: the most multiply-accumulates a token in a large batch, router included.
        seconds: the longest forward pass of a batch, measured on this machine in NumPy.
        batch_size: the input vectors of that batch.

    Raises:
        TensorMoEError: none or several of the three, or one that is not positive.

    Examples:
        >>> import tensormoe as tm
        >>> spec = tm.MuMoESpec(64, 64, experts=16, factorization=tm.CP(rank=1))
        >>> tm.explore.Budget(parameters=10_000).match(spec).num_parameters
        9869
    """

    _what = "budget"

    parameters: int | None = None
    macs: int | None = None
    seconds: float | None = None
    batch_size: int = 1024

    def __post_init__(self) -> None:
        given = {"parameters": self.parameters, "macs": self.macs, "seconds": self.seconds}
        if sum(value is not None for value in given.values()) != 1:
            raise TensorMoEError("budget", given, "pass one of parameters, macs and seconds")
        positive_integer("batch_size", self.batch_size)
        if self.seconds is not None:
            object.__setattr__(self, "seconds", positive_number("seconds", self.seconds))
        for name in ("parameters", "macs"):
            if given[name] is not None:
                object.__setattr__(self, name, positive_integer(name, given[name]))

    @property
    def name(self) -> str:
        """What is bounded: "parameters", "macs" or "seconds"."""
        return next(name for name in _KINDS if getattr(self, name) is not None)

    @property
    def bound(self) -> float:
        """The bound."""
        return float(getattr(self, self.name))

    def __str__(self) -> str:
        at = f" a batch of {self.batch_size:,}" if self.name == "seconds" else ""
        return f"{self.bound:,.6g} {self.name}{at}" if self.seconds else f"{int(self.bound):,} {self.name}"

    def match(self, spec: MuMoESpec) -> MuMoESpec:
        """The same specification at the largest rank within the budget; see `MuMoESpec.matched`.

        A candidate without a bond stays as it is, if it is within the budget.

        Raises:
            BudgetError: even the smallest rank exceeds the budget.
        """
        check_spec(spec)
        if not spec.factorization.bonds(len(spec.experts)):
            if (cost := self.cost(spec)) > self.bound:
                remedy = f"it has no bond to make smaller, and takes {cost:,.6g}: raise the budget"
                raise BudgetError(self.name, self.bound, remedy)
            return spec
        try:
            if self.seconds is not None:
                return self._match_seconds(spec)
            with warnings.catch_warnings():
                # That a bond has no use for more is no surprise among many candidates.
                warnings.simplefilter("ignore", UserWarning)
                return spec.matched(self.parameters, macs=self.macs)
        except TensorMoEError as error:
            if error.argument != self.name:
                raise
            raise BudgetError(error.argument, error.received, error.remedy) from None

    def cost(self, spec: MuMoESpec) -> float:
        """What a specification takes of what is bounded."""
        check_spec(spec)
        if self.seconds is not None:
            return measure_seconds(spec, self.batch_size)
        return float(spec.num_parameters if self.parameters is not None else spec.macs)

    def _match_seconds(self, spec: MuMoESpec) -> MuMoESpec:
        """As `MuMoESpec.matched`, with measured times; noise makes the largest rank a guess.

        A layer with more parameters than the weight tensor has elements is not measured: it takes too long.
        """
        growth = Growth(spec.layers, choose_growing(spec.layers, None), 1)
        free = spec.replace(memory_limit=None)
        known: dict[int, int] = {}

        def take(units: int) -> int:
            if units not in known:
                sized = free.replace(factorization=growth.factorizations(units))
                useful = units == 1 or sized.network.num_parameters <= prod(sized.network.weight_shape)
                time = measure_seconds(sized, self.batch_size) if useful else 2 * self.bound
                known[units] = ceil(time * _NANOSECONDS)
            return known[units]

        bound = int(self.bound * _NANOSECONDS)
        if take(1) > bound:
            remedy = f"even at rank 1 a batch of {self.batch_size:,} takes {take(1) / 1e9:.3g}: raise it"
            raise BudgetError(self.name, self.bound, remedy)
        return spec.replace(factorization=growth.factorizations(most_units(growth, take, self.name, bound)))


def check_budget(argument: str, budget: object) -> Budget | None:
    """Return a budget or None, or raise the error for anything else."""
    if budget is not None and not isinstance(budget, Budget):
        raise TensorMoEError(argument, budget, "pass tm.explore.Budget(parameters=…), or None")
    return budget
