"""The specification of a block of two layers."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from ..arrays.nonlinearities import NONLINEARITIES
from ..errors import TensorMoEError, one_of, positive_integer, true_or_false
from ..gates.gate import Gate
from ..networks.factorization import Factorization
from ..programs.block_plan import BlockPlan
from ..programs.path import AnyOptimize, Optimize
from ..typing import Shapes
from .spec import Spec
from .stage import Stage


@dataclass(frozen=True, init=False)
class MuMoEBlockSpec(Spec):
    """Two layers that share one gate, to replace an MLP: μMoE(D→H), nonlinearity, μMoE(H→O).

    The coefficients are computed from the block's input, before the optional LayerNorm of the input.

    Args:
        in_features, hidden_features, out_features: D, H and O.
        experts: N, or one count for each level. Both layers have the same: (8, 16) is two levels, 128
            experts in each layer, and not 8 experts in the first and 16 in the second.
        factorization: the factorization of both layers, with the same ranks in each.
        gate: the block's gate.
        bias: whether both layers have a bias.
        nonlinearity: what is applied between the layers: "gelu", "gelu_tanh", "relu" or "silu".
        input_norm: whether the first layer sees LayerNorm(x), with a learned scale and shift.
        optimize: as for `MuMoESpec`: the name of a search or an optimizer for both layers, or a pair with one
            for each. Paths need a pair, and so do optimizers that serve a single contraction, such as
            cotengra's HyperOptimizer.
        memory_limit: as for `MuMoESpec`, applied to each layer.
        initialization: as for `MuMoESpec`.

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
    experts: tuple[int, ...]
    factorization: Factorization
    gate: Gate
    bias: bool
    nonlinearity: str
    input_norm: bool
    optimize: str | tuple[Optimize, Optimize]
    memory_limit: int | None
    initialization: str

    def __init__(
        self,
        in_features: int,
        hidden_features: int,
        out_features: int,
        experts: int | Sequence[int],
        factorization: Factorization,
        gate: Gate = Gate(),
        bias: bool = True,
        nonlinearity: str = "gelu",
        input_norm: bool = False,
        optimize: AnyOptimize | Sequence[AnyOptimize] = "auto",
        memory_limit: int | None = None,
        initialization: str = "linear",
    ) -> None:
        one_of("nonlinearity", nonlinearity, tuple(NONLINEARITIES))
        self._set(
            in_features=positive_integer("in_features", in_features),
            hidden_features=positive_integer("hidden_features", hidden_features),
            out_features=positive_integer("out_features", out_features),
            nonlinearity=nonlinearity,
            input_norm=true_or_false("input_norm", input_norm),
        )
        self._set_shared(experts, factorization, gate, bias, memory_limit, initialization)
        self._set(optimize=self._resolve(optimize))
        self._check_plans()

    @cached_property
    def layers(self) -> dict[str, Stage]:
        first, second = (self.optimize,) * 2 if isinstance(self.optimize, str) else self.optimize
        return self._stages(first, second)

    def _stages(self, first: Optimize, second: Optimize) -> dict[str, Stage]:
        def stage(in_features: int, out_features: int, optimize: Optimize) -> Stage:
            shared = self.experts, self.factorization, self.bias, optimize, self.memory_limit
            return Stage(in_features, out_features, *shared)

        return {
            "first": stage(self.in_features, self.hidden_features, first),
            "second": stage(self.hidden_features, self.out_features, second),
        }

    def _resolve(self, optimize: object) -> str | tuple[Optimize, ...]:
        """The `optimize` of each layer; a single name if both use the same search."""
        if not isinstance(optimize, list | tuple):
            optimize = (optimize, optimize)
        if len(optimize) != 2:
            raise TensorMoEError(
                "optimize", optimize, "pass one value for both layers, or a pair with one for each"
            )
        stages = self._stages("auto", "auto").values()
        resolved = tuple(stage.resolve(each) for stage, each in zip(stages, optimize, strict=True))
        first, second = resolved
        return first if isinstance(first, str) and first == second else resolved

    @property
    def between(self) -> str:
        return self.nonlinearity

    @cached_property
    def mixture_shapes(self) -> Shapes:
        norms = ("input_norm.weight", "input_norm.bias") if self.input_norm else ()
        return super().mixture_shapes | dict.fromkeys(norms, (self.in_features,))

    def plan(self, batch_size: int = 1024) -> BlockPlan:
        """The plans of both layers; see `MuMoESpec.plan`."""
        first, second = (layer.plan(batch_size) for layer in self.layers.values())
        return BlockPlan(first, second, self.nonlinearity)
