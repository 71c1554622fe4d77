"""The specification of a block of layers."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from ..arrays.nonlinearities import check_nonlinearity
from ..arrays.protocols import Nonlinearity
from ..errors import positive_integer, true_or_false
from ..gates.gate import Gate
from ..networks.factorization import Factorization
from ..networks.notation import Notation
from ..programs.block_plan import BlockPlan
from ..programs.path import AnyOptimize, Optimize
from ..typing import Shapes
from .each import for_each, one_or_each, spread
from .joint import check_joint, join_layers
from .spec import Spec, check_factorization
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
        experts: N, or one count for each level. All layers with experts have the same: (8, 16) is two levels,
            128 experts in each layer, and not 8 experts in the first and 16 in the second. () is a factorized
            MLP; its gate is None.
        factorization: one for all layers, or a sequence with one for each, in the order of `layers`. A layer
            whose notation carries no expert mode, such as "i o" or "i r, r o", has no experts: it is one
            matrix, and takes no coefficients.
        gate: the block's gate, or one for each level; None if coefficients come with each call. (A *gated*
            block has two branches that are multiplied; its gate is the same.)
        bias: whether the layers have biases; or a sequence with one value for each.
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
        gate_features: as for `MuMoESpec`.
        output_bias: as for `MuMoESpec`, after the last layer.
        shared: the names of cores that are one parameter in all layers that have a core of this name: labels
            of a notation, as in "A: i r", or a family's, such as "expert1". They must have the same shape.

    Raises:
        TensorMoEError: as `MuMoESpec`, and for an unknown nonlinearity, or for shared cores of different
            shapes.

    Source: Oldfield et al., "Multilinear Mixture of Experts: Scalable Expert Specialization through
    Factorization", 2024, the μMoE blocks that replace MLPs; Shazeer, "GLU Variants Improve Transformer",
    2020, for gated ones; Oldfield et al., "Towards Interpretability Without Sacrifice: Faithful Dense Layer
    Decomposition with Mixture of Decoders", 2025, for a first layer without experts.

    Examples:
        >>> import tensormoe as tm
        >>> block = tm.MuMoEBlockSpec(768, 3072, 768, experts=256, factorization=tm.CP(rank=552))
        >>> block.num_parameters
        4719696
        >>> gated = block.replace(gated=True, nonlinearity="silu")
        >>> {name: (stage.in_features, stage.out_features) for name, stage in gated.layers.items()}
        {'first': (768, 3072), 'up': (768, 3072), 'second': (3072, 768)}
        >>> decoders = block.replace(factorization=(tm.TensorNetwork("i o"), tm.TensorNetwork("n o, i o")))
        >>> {name: stage.experts for name, stage in decoders.layers.items()}
        {'first': (), 'second': (256,)}
        >>> block.replace(shared="expert1").num_parameters == block.num_parameters - 256 * 552
        True
    """

    in_features: int
    hidden_features: int
    out_features: int
    experts: tuple[int, ...]
    factorization: Factorization | tuple[Factorization, ...]
    gate: Gate | tuple[Gate, ...] | None
    bias: bool | tuple[bool, ...]
    nonlinearity: Nonlinearity
    gated: bool
    input_norm: bool
    optimize: str | tuple[Optimize, ...]
    memory_limit: int | None
    initialization: str
    gate_features: int | None
    output_bias: bool
    shared: tuple[str, ...]

    def __init__(
        self,
        in_features: int,
        hidden_features: int,
        out_features: int,
        experts: int | Sequence[int],
        factorization: Factorization | Sequence[Factorization],
        gate: Gate | Sequence[Gate] | None = Gate(),
        bias: bool | Sequence[bool] = True,
        nonlinearity: Nonlinearity = "gelu",
        gated: bool = False,
        input_norm: bool = False,
        optimize: AnyOptimize | Sequence[AnyOptimize] = "auto",
        memory_limit: int | None = None,
        initialization: str = "linear",
        gate_features: int | None = None,
        output_bias: bool = False,
        shared: str | Sequence[str] = (),
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
        names = tuple(self._sizes)
        networks = [check_factorization(each) for each in for_each("factorization", factorization, names)]
        biases = [true_or_false("bias", each) for each in for_each("bias", bias, names)]
        common = one_or_each(networks), gate, one_or_each(biases), memory_limit, initialization
        self._set_shared(experts, *common, gate_features, output_bias)
        self._set(shared=check_joint(shared, self._separate(("auto",) * len(names))))
        self._set(optimize=self._resolve(optimize))
        self._check_plans()

    @cached_property
    def layers(self) -> dict[str, Stage]:
        return self._stages(spread(self.optimize, len(self._sizes)))

    @property
    def _sizes(self) -> dict[str, tuple[int, int]]:
        """The features of each layer, in order."""
        widening = self.in_features, self.hidden_features
        before = dict.fromkeys(("first", "up") if self.gated else ("first",), widening)
        return {**before, "second": (self.hidden_features, self.out_features)}

    def _stages(self, optimize: Sequence[Optimize]) -> dict[str, Stage]:
        """The layers, each with the names of the cores that it shares with others."""
        return join_layers(self._separate(optimize), self.shared)

    def _separate(self, optimize: Sequence[Optimize]) -> dict[str, Stage]:
        """The layers with cores of their own."""
        count = len(self._sizes)
        networks, biases = spread(self.factorization, count), spread(self.bias, count)
        carried = [Notation.parse(each.notation(self.levels)).has_experts for each in networks]
        # If none has any, the first says what is missing.
        experts = [self.experts if own or not any(carried) else () for own in carried]
        columns = zip(self._sizes.items(), experts, networks, biases, optimize, strict=True)
        return {
            name: Stage(*size, counts, network, bias, search, self.memory_limit)
            for (name, size), counts, network, bias, search in columns
        }

    def _resolve(self, optimize: object) -> str | tuple[Optimize, ...]:
        """The `optimize` of each layer; a single name if all use the same search."""
        given = for_each("optimize", optimize, tuple(self._sizes))
        stages = self._stages(("auto",) * len(given)).values()
        resolved = tuple(stage.resolve(each) for stage, each in zip(stages, given, strict=True))
        # A single path would be taken for several values.
        one = one_or_each(resolved)
        return one if isinstance(one, str) else resolved

    @property
    def between(self) -> Nonlinearity:
        return self.nonlinearity

    @cached_property
    def mixture_shapes(self) -> Shapes:
        norms = ("input_norm.weight", "input_norm.bias") if self.input_norm else ()
        return super().mixture_shapes | dict.fromkeys(norms, (self.in_features,))

    def plan(self, batch_size: int = 1024, active: int | Sequence[int] | None = None) -> BlockPlan:
        """The plans of all layers; see `MuMoESpec.plan`."""
        plans = dict(zip(self.layers, self._plans_at(batch_size, active), strict=True))
        return BlockPlan(plans, self.nonlinearity)
