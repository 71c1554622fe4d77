"""The specification of a block of two layers."""

from dataclasses import dataclass
from functools import cached_property

from ..arrays.nonlinearities import NONLINEARITIES
from ..errors import one_of
from ..gates.gate import Gate
from ..networks.factorization import Factorization
from ..programs.plan import BlockPlan
from .fields import check_fields, check_flag
from .spec import Spec
from .stage import Stage


@dataclass(frozen=True)
class MuMoEBlockSpec(Spec):
    """Two layers with one set of coefficients, in place of an MLP: μMoE(D→H), nonlinearity, μMoE(H→O).

    The coefficients are computed from the block's input, before the optional LayerNorm of the input.

    Args:
        in_features, hidden_features, out_features: D, H and O.
        experts: N, or one count for each level.
        factorization: of both layers; the same ranks in each.
        gate: of the block.
        bias: of both layers.
        nonlinearity: between the layers: "gelu", "gelu_tanh", "relu" or "silu".
        input_norm: whether the first layer sees LayerNorm(x), with a learned scale and shift.

    Raises:
        TensorMoEError: as `MuMoESpec`, and for an unknown nonlinearity.

    Source: Oldfield et al., "Multilinear Mixture of Experts: Scalable Expert Specialization through
    Factorization", 2024, the μMoE blocks that replace MLPs.

    Examples:
        >>> import tensormoe as tm
        >>> block = tm.MuMoEBlockSpec(768, 3072, 768, experts=256, factorization=tm.CP(rank=552))
        >>> block.num_parameters
        4719696
    """

    in_features: int
    hidden_features: int
    out_features: int
    experts: int | tuple[int, ...]
    factorization: Factorization
    gate: Gate = Gate()
    bias: bool = True
    nonlinearity: str = "gelu"
    input_norm: bool = False

    def __post_init__(self) -> None:
        check_fields(self, "in_features", "hidden_features", "out_features")
        one_of("nonlinearity", self.nonlinearity, tuple(NONLINEARITIES))
        check_flag("input_norm", self.input_norm)
        for stage in self.layers.values():
            _ = stage.network

    @cached_property
    def layers(self) -> dict[str, Stage]:
        shared = self.counts, self.factorization, self.bias
        return {
            "first": Stage(self.in_features, self.hidden_features, *shared),
            "second": Stage(self.hidden_features, self.out_features, *shared),
        }

    def plan(self, batch_size: int = 1024, memory_limit: int | None = None) -> BlockPlan:
        """The plans of both layers; see `MuMoESpec.plan`."""
        first, second = (layer.plan(batch_size, memory_limit) for layer in self.layers.values())
        return BlockPlan(first, second)
