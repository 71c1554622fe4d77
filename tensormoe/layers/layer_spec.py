"""The specification of one layer."""

from dataclasses import dataclass
from functools import cached_property

from ..gates.gate import Gate
from ..networks.factorization import Factorization
from ..networks.network import Network
from ..programs.contraction import Contraction
from ..programs.plan import Plan
from .fields import check_fields
from .spec import Spec
from .stage import Stage


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

    @cached_property
    def layers(self) -> dict[str, Stage]:
        return {
            "cores": Stage(self.in_features, self.out_features, self.counts, self.factorization, self.bias)
        }

    @property
    def stage(self) -> Stage:
        """The layer without its gate."""
        return self.layers["cores"]

    @property
    def network(self) -> Network:
        """The factorization's network at this layer's sizes."""
        return self.stage.network

    @property
    def contraction(self) -> Contraction:
        """What the layer computes from x, the coefficients and the cores."""
        return self.stage.contraction

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
        return self.stage.plan(batch_size, memory_limit)

    @property
    def plans(self) -> tuple[tuple[int, Plan], ...]:
        """The plans by which the layer runs; see `Stage.plans`."""
        return self.stage.plans

    @property
    def default_plan(self) -> Plan:
        """The plan by which the layer runs on large batches, and on those whose size is not known."""
        return self.stage.default_plan

    @property
    def materialization_plan(self) -> Plan:
        """How the cores are multiplied out to the weight tensor."""
        return self.stage.materialization_plan
