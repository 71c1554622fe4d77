"""What a candidate may cost."""

import warnings
from dataclasses import dataclass

from ..codec import Serializable
from ..errors import TensorMoEError, positive_integer, positive_number
from ..layers.layer_spec import MuMoESpec


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
        9904
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

    def match(self, spec: MuMoESpec) -> MuMoESpec:
        """The same specification at the largest rank within the budget; see `MuMoESpec.matched`.

        Raises:
            TensorMoEError: even the smallest rank exceeds the budget.
        """
        if self.seconds is not None:
            raise NotImplementedError
        with warnings.catch_warnings():
            # That a bond has no use for more is no surprise among many candidates.
            warnings.simplefilter("ignore", UserWarning)
            return spec.matched(self.parameters, macs=self.macs)
