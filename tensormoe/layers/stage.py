"""A stage: a factorized weight tensor and its plans, without a gate."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

from ..codec import Serializable
from ..errors import TensorMoEError, positive_integer
from ..networks.factorization import Factorization
from ..networks.network import Network
from ..programs.contraction import (
    Contraction,
    layer_contraction,
    merging_contraction,
    weight_contraction,
)
from ..programs.path import Optimize, known_name, resolve
from ..programs.plan import LARGE_BATCH, Plan, for_batch, plan, plans_by_batch
from ..programs.program import Program
from ..programs.sparse import gathered_plan, read_active, sparse_plans

# Each with the smallest batch size that it is chosen for, in descending order down to 0.
Programs = tuple[tuple[int, Program], ...]


@dataclass(frozen=True)
class Stage(Serializable):
    """y = Σ W[n1 … nE, i, o] Π_e a_e[n_e] [x, 1][i], for given coefficients.

    A layer has one stage, a block two. `spec.layers` holds them.

    Args:
        in_features: I.
        out_features: O.
        experts: (N1, …, NE); () for a stage without experts, y = W [x, 1].
        factorization: how the weight tensor is factorized.
        bias: whether to append a constant 1 to x.
        optimize: how to find the path: the name of a search, or the path itself.
        memory_limit: the largest intermediate allowed, in elements, or None.
        joint: the names of the cores that other layers of a block use, too.

    Examples:
        >>> import tensormoe as tm
        >>> block = tm.MuMoEBlockSpec(8, 16, 6, experts=4, factorization=tm.CP(rank=5))
        >>> second = block.layers["second"]
        >>> second.in_features, second.num_parameters
        (16, 135)
    """

    _what = "stage"

    in_features: int
    out_features: int
    experts: tuple[int, ...]
    factorization: Factorization
    bias: bool
    optimize: Optimize = "auto"
    memory_limit: int | None = None
    joint: tuple[str, ...] = ()

    @property
    def levels(self) -> int:
        """The number of expert levels, E."""
        return len(self.experts)

    @cached_property
    def network(self) -> Network:
        """The factorization's network at these sizes."""
        rows = self.in_features + self.bias
        network = self.factorization.network(self.experts, rows, self.out_features, self.bias)
        return replace(network, joint=self.joint) if self.joint else network

    @property
    def num_parameters(self) -> int:
        """The number of elements in all trained cores, bias included."""
        return self.network.num_parameters

    @property
    def rows(self) -> int:
        """The rows of the weight tensor: I, and one more with a bias."""
        return self.network.weight_rows

    @cached_property
    def contraction(self) -> Contraction:
        """The contraction of x, the coefficients and the cores."""
        return layer_contraction(self.network)

    def plan(self, batch_size: int = 1024, active: int | Sequence[int] | None = None) -> Plan:
        """How the output is computed; see `MuMoESpec.plan`.

        Args:
            batch_size: the number of input vectors.
            active: at most how many coefficients of each level differ from 0, for a gathered plan. A stage
                has no gate, and takes your word for it.
        """
        size = positive_integer("batch_size", batch_size)
        if active is None:
            return for_batch(self.plans, size).at(size)
        counts = read_active(active, self.experts)
        return gathered_plan(self.contraction, counts, size, self.optimize, self.memory_limit)

    def resolve(self, optimize: object) -> Optimize:
        """Check a search's name or a path; for an optimizer, the path that it finds for large batches."""
        if isinstance(optimize, str):
            return known_name(optimize)
        return resolve(optimize, self.contraction, LARGE_BATCH, self.memory_limit)

    @cached_property
    def plans(self) -> tuple[tuple[int, Plan], ...]:
        """The plans, each with the smallest batch size that it is chosen for, in descending order down to 0.

        Most stages have one plan. Another is kept for smaller batches if it saves a tenth of the operations
        there.
        """
        return plans_by_batch(self.contraction, self.optimize, self.memory_limit)

    @property
    def default_plan(self) -> Plan:
        """The plan for large batches and for batches of unknown size."""
        return self.plans[0][1]

    @cached_property
    def materialization_plan(self) -> Plan:
        """How the cores are multiplied out to the weight tensor."""
        return plan(weight_contraction(self.network), 1)

    @cached_property
    def merging_plan(self) -> Plan:
        """How one weight (I[+1], O) for each row of coefficients comes from the cores; see `tensormoe.merge`.

        It is chosen for one row, so that the weight tensor of all experts is not built on the way.

        Raises:
            TensorMoEError: a stage without experts.
        """
        check_experts(self)
        return plan(merging_contraction(self.network), 1)

    @cached_property
    def programs(self) -> Programs:
        """The programs of `plans`, each with the smallest batch size that it is chosen for."""
        return tuple((least, each.program) for least, each in self.plans)

    def programs_for(self, active: tuple[int, ...] | None, accelerated: bool = False) -> Programs:
        """As `programs`, for coefficients of which at most so many of each level differ from 0."""
        if active is None:
            return self.programs
        layers = ((self.contraction, self.optimize),)
        plans = sparse_plans(layers, active, self.memory_limit, accelerated)
        return tuple((least, each.program) for least, (each,) in plans)

    def program_for(self, batch_size: int | None) -> Program:
        """The program for a batch of this size; None for an unknown size."""
        return for_batch(self.programs, batch_size)


class _Mixed(Protocol):
    """A stage, a layer or a block."""

    @property
    def experts(self) -> tuple[int, ...]: ...


def check_experts(spec: _Mixed) -> None:
    """Raise an error unless there are experts to merge."""
    if not spec.experts:
        remedy = "there are no experts to merge: materialize gives the weight"
        raise TensorMoEError("experts", spec.experts, remedy)
