"""The specification of a block of layers."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from ..arrays.nonlinearities import check_nonlinearity
from ..arrays.protocols import Nonlinearity
from ..errors import TensorMoEError, positive_integer, true_or_false
from ..gates.gate import Gate
from ..networks.factorization import Factorization
from ..programs.block_plan import BlockPlan
from ..programs.path import AnyOptimize, Optimize
from ..typing import Shapes
from .spec import Spec
from .stage import Stage


@dataclass(frozen=True, init=False)
class MuMoEBlockSpec(Spec):
    """Layers that share one gate, to replace an MLP: μMoE(D→H), nonlinearity, μMoE(H→O).

    A gated block has three, as the MLPs of Llama have: second(f(first(x)) ∗ up(x)), with the nonlinearity f,
    the elementwise product ∗, and up from D to H, too. In Llama's names, first is gate_proj, up is up_proj
    and second is down_proj.

    The coefficients are computed from the block's input, before the optional LayerNorm of the input.

    Args:
        in_features, hidden_features, out_features: D, H and O.
        experts: N, or one count for each level. All layers have the same: (8, 16) is two levels, 128
            experts in each layer, and not 8 experts in the first and 16 in the second. () is a factorized
            MLP; its gate is None.
        factorization: the factorization of all layers, with the same ranks in each.
        gate: the block's gate; None if coefficients come with each call. (A *gated* block has two branches
            that are multiplied; its gate is the same.)
        bias: whether the layers have biases.
        nonlinearity: what the first layer's result passes: "gelu", "gelu_tanh", "quick_gelu", "relu",
            "relu2" (its square), "silu", "sigmoid", "tanh" or "identity"; or a function of each element, from
            an array to one of its shape, of the framework that the block runs in.
        gated: whether there is a layer up, whose result is multiplied with what the nonlinearity gives.
        input_norm: whether the layers before the last see LayerNorm(x), with a learned scale and shift.
        optimize: as for `MuMoESpec`: the name of a search or an optimizer for all layers, or a sequence with
            one for each. Paths need a sequence, and so do optimizers that serve a single contraction, such as
            cotengra's HyperOptimizer.
        memory_limit: as for `MuMoESpec`, applied to each layer.
        initialization: as for `MuMoESpec`.

    Raises:
        TensorMoEError: as `MuMoESpec`, and for an unknown nonlinearity.

    Source: Oldfield et al., "Multilinear Mixture of Experts: Scalable Expert Specialization through
    Factorization", 2024, the μMoE blocks that replace MLPs; Shazeer, "GLU Variants Improve Transformer",
    2020, for gated ones.

    Examples:
        >>> import tensormoe as tm
        >>> block = tm.MuMoEBlockSpec(768, 3072, 768, experts=256, factorization=tm.CP(rank=552))
        >>> block.num_parameters
        4719696
        >>> gated = block.replace(gated=True, nonlinearity="silu")
        >>> {name: (stage.in_features, stage.out_features) for name, stage in gated.layers.items()}
        {'first': (768, 3072), 'up': (768, 3072), 'second': (3072, 768)}
    """

    in_features: int
    hidden_features: int
    out_features: int
    experts: tuple[int, ...]
    factorization: Factorization
    gate: Gate | None
    bias: bool
    nonlinearity: Nonlinearity
    gated: bool
    input_norm: bool
    optimize: str | tuple[Optimize, ...]
    memory_limit: int | None
    initialization: str

    def __init__(
        self,
        in_features: int,
        hidden_features: int,
        out_features: int,
        experts: int | Sequence[int],
        factorization: Factorization,
        gate: Gate | None = Gate(),
        bias: bool = True,
        nonlinearity: Nonlinearity = "gelu",
        gated: bool = False,
        input_norm: bool = False,
        optimize: AnyOptimize | Sequence[AnyOptimize] = "auto",
        memory_limit: int | None = None,
        initialization: str = "linear",
    ) -> None:
        check_nonlinearity(nonlinearity)
        self._set(
            in_features=positive_integer("in_features", in_features),
            hidden_features=positive_integer("hidden_features", hidden_features),
            out_features=positive_integer("out_features", out_features),
            nonlinearity=nonlinearity,
            gated=true_or_false("gated", gated),
            input_norm=true_or_false("input_norm", input_norm),
        )
        self._set_shared(experts, factorization, gate, bias, memory_limit, initialization)
        self._set(optimize=self._resolve(optimize))
        self._check_plans()

    @cached_property
    def layers(self) -> dict[str, Stage]:
        count = len(self._sizes)
        return self._stages((self.optimize,) * count if isinstance(self.optimize, str) else self.optimize)

    @property
    def _sizes(self) -> dict[str, tuple[int, int]]:
        """The features of each layer, in order."""
        widening = self.in_features, self.hidden_features
        before = dict.fromkeys(("first", "up") if self.gated else ("first",), widening)
        return {**before, "second": (self.hidden_features, self.out_features)}

    def _stages(self, optimize: Sequence[Optimize]) -> dict[str, Stage]:
        def stage(in_features: int, out_features: int, optimize: Optimize) -> Stage:
            shared = self.experts, self.factorization, self.bias, optimize, self.memory_limit
            return Stage(in_features, out_features, *shared)

        sizes = zip(self._sizes.items(), optimize, strict=True)
        return {name: stage(*size, each) for (name, size), each in sizes}

    def _resolve(self, optimize: object) -> str | tuple[Optimize, ...]:
        """The `optimize` of each layer; a single name if all use the same search."""
        names = tuple(self._sizes)
        given = optimize if isinstance(optimize, list | tuple) else (optimize,) * len(names)
        if len(given) != len(names):
            remedy = f"pass one value for all layers, or one for each: {', '.join(names)}"
            raise TensorMoEError("optimize", optimize, remedy)
        stages = self._stages(("auto",) * len(names)).values()
        resolved = tuple(stage.resolve(each) for stage, each in zip(stages, given, strict=True))
        first = resolved[0]
        same = all(isinstance(each, str) and each == first for each in resolved)
        return first if isinstance(first, str) and same else resolved

    @property
    def between(self) -> Nonlinearity:
        return self.nonlinearity

    @cached_property
    def mixture_shapes(self) -> Shapes:
        norms = ("input_norm.weight", "input_norm.bias") if self.input_norm else ()
        return super().mixture_shapes | dict.fromkeys(norms, (self.in_features,))

    def plan(self, batch_size: int = 1024) -> BlockPlan:
        """The plans of all layers; see `MuMoESpec.plan`."""
        plans = {name: layer.plan(batch_size) for name, layer in self.layers.items()}
        return BlockPlan(plans, self.nonlinearity)
