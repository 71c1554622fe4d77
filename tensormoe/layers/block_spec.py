"""The specification of a block of two layers."""

from dataclasses import dataclass
from functools import cached_property

from ..arrays.nonlinearities import POINTWISE
from ..errors import one_of
from ..gates.gate import Gate
from ..networks.factorization import Factorization
from ..programs.plan import BlockPlan
from .fields import check_fields, check_flag
from .layer_spec import MuMoESpec
from .spec import Spec


@dataclass(frozen=True)
class MuMoEBlockSpec(Spec):
    """Two layers with one set of coefficients, in place of an MLP: μMoE(D→H), activation, μMoE(H→O).

    The coefficients are computed from the block's input, before the optional LayerNorm of the input.

    Args:
        in_features, hidden_features, out_features: D, H and O.
        experts: N, or one count for each level.
        factorization: of both layers; the same ranks in each.
        gate: of the block.
        bias: of both layers.
        activation: between the layers: "gelu", "gelu_tanh", "relu" or "silu".
        input_norm: whether the first layer sees LayerNorm(x), with a learned scale and shift.

    Raises:
        TensorMoEError: as `MuMoESpec`, and for an unknown activation.

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
    activation: str = "gelu"
    input_norm: bool = False

    def __post_init__(self) -> None:
        check_fields(self, "in_features", "hidden_features", "out_features")
        one_of("activation", self.activation, tuple(POINTWISE))
        check_flag("input_norm", self.input_norm)
        _ = self.layers

    @property
    def layers(self) -> dict[str, MuMoESpec]:
        return self._layers

    @cached_property
    def _layers(self) -> dict[str, MuMoESpec]:
        shared = self.experts, self.factorization, self.gate, self.bias
        return {
            "first": MuMoESpec(self.in_features, self.hidden_features, *shared),
            "second": MuMoESpec(self.hidden_features, self.out_features, *shared),
        }

    def plan(self, batch_size: int = 1024, memory_limit: int | None = None) -> BlockPlan:
        """The plans of both layers; see `MuMoESpec.plan`."""
        first, second = (layer.plan(batch_size, memory_limit) for layer in self.layers.values())
        return BlockPlan(first, second)
