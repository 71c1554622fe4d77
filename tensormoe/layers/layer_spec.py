"""The specification of one layer."""

from dataclasses import dataclass
from functools import cached_property

from ..gates.gate import Gate
from ..networks.factorization import Factorization
from ..networks.network import Network
from ..programs import contraction
from ..programs import plan as planning
from ..programs.plan import Plan
from .fields import check_fields
from .spec import Spec


@dataclass(frozen=True)
class MuMoESpec(Spec):
    """One multilinear mixture-of-experts layer: y = Σ W[n1 … nE, i, o] Π_e a_e[n_e] [x, 1][i].

    Args:
        in_features: I.
        out_features: O.
        experts: N, or one count for each level (N1, …, NE); the layer has ∏ N_e experts.
        factorization: how the weight tensor W (N1, …, NE, I[+1], O) is factorized.
        gate: how the coefficients a_e (…, N_e) follow from x (…, I).
        bias: whether x is extended by a constant 1, so that the last row of the input mode holds a bias
            for each expert.

    Raises:
        TensorMoEError: a count that is no positive integer, or a factorization that does not fit.

    Source: Oldfield et al., "Multilinear Mixture of Experts: Scalable Expert Specialization through
    Factorization", 2024, section 3.

    Examples:
        >>> import tensormoe as tm
        >>> spec = tm.MuMoESpec(768, 3072, experts=(16, 16), factorization=tm.CP(rank=64))
        >>> spec.num_parameters, spec.network.weight_shape
        (272448, (16, 16, 769, 3072))
    """

    in_features: int
    out_features: int
    experts: int | tuple[int, ...]
    factorization: Factorization
    gate: Gate = Gate()
    bias: bool = True

    def __post_init__(self) -> None:
        check_fields(self, "in_features", "out_features")
        _ = self.network

    @property
    def layers(self) -> "dict[str, MuMoESpec]":
        return {"cores": self}

    @cached_property
    def network(self) -> Network:
        """The factorization's network at this layer's sizes."""
        rows = self.in_features + self.bias
        return self.factorization.network(self.counts, rows, self.out_features)

    @cached_property
    def contraction(self) -> contraction.Contraction:
        """What the layer computes from x, the coefficients and the cores."""
        return contraction.forward(self.network, self.bias)

    def plan(self, batch_size: int = 1024, memory_limit: int | None = None) -> Plan:
        """How the layer is computed: a table of pairwise products with their costs.

        Args:
            batch_size: the number of input vectors for which the path is chosen and the costs are given;
                the resulting program runs at any.
            memory_limit: the largest intermediate allowed, in elements.

        Raises:
            TensorMoEError: a memory limit that no pairwise path meets.

        Examples:
            >>> import tensormoe as tm
            >>> plan = tm.MuMoESpec(8, 6, 4, tm.CP(rank=5), bias=False).plan(batch_size=10)
            >>> plan.macs == 10 * 5 * (4 + 8 + 6)
            True
        """
        return planning.plan(self.contraction, batch_size, memory_limit)

    @cached_property
    def plans(self) -> tuple[tuple[int, Plan], ...]:
        """The plans by which the layer runs, each with the batch size from which on it is used, falling to 0.

        Most layers have one. Another is kept for smaller batches if it saves a tenth of the operations there.
        """
        return planning.plans_by_batch(self.contraction)

    @property
    def default_plan(self) -> Plan:
        """The plan by which the layer runs on large batches, and on those whose size is not known."""
        return self.plans[0][1]

    @cached_property
    def materialization_plan(self) -> Plan:
        """How the cores are multiplied out to the weight tensor."""
        return planning.plan(contraction.materialization(self.network), 1)
