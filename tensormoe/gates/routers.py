"""Routers: from input vectors to the logits of a level of experts."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import ClassVar, Self

from ..arrays.protocols import GateOps
from ..codec import Registered
from ..errors import TensorMoEError, number_from, one_of, positive_integer, true_or_false
from ..typing import Array, Shape, Shapes, State
from . import clustering
from .call import Call, InitialState

# The running statistics: N_k (K,), Σ a h (K, d) and Σ a |h − μ| (K, d), where a batch counts
# 1 − momentum times as much as the next.
_PARTS = ("mass", "total", "deviation")


class Router(Registered, ABC):
    """Turns x (T, I) and the parameters of one level of N experts into logits (T, N).

    Every level has a gate, and so a router and parameters, of its own. A router that computes all the same
    with x (…, I), where every leading axis is one of tokens, may set `takes_leading_axes = True` in its
    class. JAX then need not merge axes that lie on several devices. One that draws noise in training sets
    `adds_noise = True` and overrides `without_noise`. One whose scale a norm would take away sets
    `sets_scale = True`; a gate then refuses the norm.

    To write your own router, inherit this in a frozen dataclass. Specifications carry its fields as JSON,
    under the name of its class without the suffix "Router".

    Examples:
        >>> from dataclasses import dataclass
        >>> import tensormoe as tm
        >>> @dataclass(frozen=True)
        ... class ScaledRouter(tm.Router):
        ...     scale: float = 2.0
        ...     def logits(self, ops, x, parameters, state, call):
        ...         return self.scale * ops.matmul(x, parameters["weights"]), {}
        >>> tm.Gate(router=ScaledRouter(3.0)).to_dict()["router"]
        {'type': 'Scaled', 'scale': 3.0}
    """

    _what = "router"
    _suffix = "Router"

    takes_leading_axes: ClassVar[bool] = False
    adds_noise: ClassVar[bool] = False
    sets_scale: ClassVar[bool] = False

    @abstractmethod
    def logits(
        self,
        ops: GateOps,
        x: Array,
        parameters: Mapping[str, Array],
        state: Mapping[str, Array],
        call: Call,
    ) -> tuple[Array, State]:
        """The logits of a level, and the updated running statistics.

        Args:
            ops: the backend object.
            x: (T, I), in float32 or wider, as are the parameters and the logits.
            parameters: those of this level by name, as `parameter_shapes` gives them.
            state: the running statistics of this level by name, as `initial_state` gives them.
            call: the other arguments of the layer's call.
        """

    def parameter_shapes(self, in_features: int, experts: int) -> Shapes:
        """The shape of every parameter of a level by name: by default "weights", G (I, N).

        Each becomes a parameter of the layer: "scale" is `gate_scale.0` on the first level. There must be
        some named "weights".
        """
        return {"weights": (in_features, experts)}

    def start(self, name: str, shape: Shape) -> tuple[float, float]:
        """The two numbers between which a parameter starts, drawn uniformly; by default 0 and 0.

        Args:
            name, shape: as `parameter_shapes` gives them.
        """
        return 0.0, 0.0

    def initial_state(self, in_features: int, experts: int) -> InitialState:
        """Shape and initial value of every running statistic of a level by name.

        Each becomes a statistic of the layer: "mass" is `router_mass.0` on the first level.
        """
        return {}

    def previous_experts(self, experts: int) -> int | None:
        """How many experts the level must have in the previous layer; None if that layer is not used."""
        return None

    def mixes_tokens(self, training: bool) -> bool:
        """Whether a token's logits depend on other tokens; verification checks that otherwise they do not."""
        return False

    def without_noise(self) -> Self:
        """The same router with the same parameters, for training without noise."""
        return self

    def __str__(self) -> str:
        changed = [field for field in fields(self) if getattr(self, field.name) != field.default]
        listed = ", ".join(f"{field.name}={getattr(self, field.name)!r}" for field in changed)
        return f"{type(self).__name__}({listed})"


def unit_bound(shape: Shape) -> tuple[float, float]:
    """Between what a matrix (I, N) starts, so that inputs of variance 1 have products of variance 1.

    Examples:
        >>> from tensormoe.gates.routers import unit_bound
        >>> unit_bound((3, 16))
        (-1.0, 1.0)
    """
    bound = (3 / shape[0]) ** 0.5
    return -bound, bound


@dataclass(frozen=True)
class LinearRouter(Router):
    """Logits x G, or x G + b: the router of the μMoE paper, and the default.

    Args:
        bias: whether there is a vector b (N,), which starts at zero. A layer norm takes its mean away, and a
            batch norm all of it.

    Source: Oldfield et al., "Multilinear Mixture of Experts: Scalable Expert Specialization through
    Factorization", 2024, without a bias; with it, as the encoders of sparse autoencoders and of Oldfield et
    al., "Towards Interpretability Without Sacrifice: Faithful Dense Layer Decomposition with Mixture of
    Decoders", 2025.

    Examples:
        >>> import tensormoe as tm
        >>> tm.Gate().router
        LinearRouter(bias=False)
        >>> gate = tm.Gate("relu", norm=None, router=tm.LinearRouter(bias=True))
        >>> tm.MuMoESpec(8, 6, experts=4, factorization=tm.CP(rank=5), gate=gate).gate_shapes
        {'gate_weights.0': (8, 4), 'gate_bias.0': (4,)}
    """

    takes_leading_axes = True

    bias: bool = False

    def __post_init__(self) -> None:
        true_or_false("router bias", self.bias)

    def parameter_shapes(self, in_features: int, experts: int) -> Shapes:
        shapes: Shapes = {"weights": (in_features, experts)}
        return shapes | {"bias": (experts,)} if self.bias else shapes

    def logits(
        self,
        ops: GateOps,
        x: Array,
        parameters: Mapping[str, Array],
        state: Mapping[str, Array],
        call: Call,
    ) -> tuple[Array, State]:
        logits = ops.matmul(x, parameters["weights"])
        return logits + parameters["bias"] if self.bias else logits, {}


@dataclass(frozen=True)
class AdaptiveClustering(Router):
    """Logits (w_t ∗ x_t) G_e, where w_t is large for features along which token t's cluster is tight.

    The clusters are the previous layer's experts: call the layer as `layer(x, previous=coefficients)` with
    what the previous layer returned. Each level of experts has the clusters of the same level there. Without
    `previous`, as in a first layer, this is the linear router. No gradient flows through the weights.

    Args:
        preset: "language" or "vision", the published values of `clamp` and `normalization`.
        dispersion: "mad", the mean absolute deviation, as published; or "std", the standard deviation,
            which with soft assignment takes two matrix products and far less time.
        assignment: "soft" weighs each cluster by the token's coefficient; "hard" takes the cluster of the
            largest coefficient alone, as published.
        statistics: in training, "running" weighs by earlier batches, the latest counting most. No token then
            sees another of its batch, so it is the only choice for a causal model. "batch" weighs by the
            batch itself, as published, and adds it to the running statistics.
        evaluation: the same choice outside training. The published code has "batch" in both.
        clamp, normalization, eps, shrinkage: see `tensormoe.gates.clustering.FeatureWeights`.
        momentum: how much every batch fades earlier statistics, above 0 and up to 1.
        clusters: the previous layer's number of experts; by default this layer's. For levels whose numbers
            differ, pass a gate for each level.

    Raises:
        TensorMoEError: an invalid value.

    Source: Nielsen et al., "Tight Clusters Make Specialized Experts", 2025, section 3, and its published
    code for the presets and ε. Soft assignment, "std", running statistics and shrinkage are extensions.

    Examples:
        >>> import tensormoe as tm
        >>> gate = tm.Gate(router=tm.AdaptiveClustering(preset="vision", statistics="batch"))
        >>> spec = tm.MuMoESpec(8, 6, experts=4, factorization=tm.CP(rank=5), gate=gate)
        >>> spec.state_shapes
        {'router_mass.0': (4,), 'router_total.0': (4, 8), 'router_deviation.0': (4, 8)}
    """

    takes_leading_axes = True

    preset: str = "language"
    dispersion: str = "mad"
    assignment: str = "soft"
    statistics: str = "running"
    evaluation: str = "running"
    clamp: float | None = None
    normalization: str | None = None
    eps: float = 1e-4
    shrinkage: float = 2.0
    momentum: float = 0.1
    clusters: int | None = None

    def __post_init__(self) -> None:
        one_of("assignment", self.assignment, ("soft", "hard"))
        one_of("statistics", self.statistics, ("running", "batch"))
        one_of("evaluation", self.evaluation, ("running", "batch"))
        if not 0 < number_from(0, "momentum", self.momentum) <= 1:
            raise TensorMoEError("momentum", self.momentum, "pass a number above 0 and up to 1")
        if self.clusters is not None:
            object.__setattr__(self, "clusters", positive_integer("clusters", self.clusters))
        _ = self.feature_weights
        for name in ("clamp", "eps", "shrinkage", "momentum"):
            value = getattr(self, name)
            # Fractions and NumPy's numbers come back from JSON as floats.
            object.__setattr__(self, name, None if value is None else float(value))

    @cached_property
    def feature_weights(self) -> clustering.FeatureWeights:
        """How dispersions become weights, with the preset's values for those not given."""
        return clustering.feature_weights(
            self.preset, self.dispersion, self.clamp, self.normalization, self.eps, self.shrinkage
        )

    def previous_experts(self, experts: int) -> int:
        return experts if self.clusters is None else self.clusters

    def mixes_tokens(self, training: bool) -> bool:
        return (self.statistics if true_or_false("training", training) else self.evaluation) == "batch"

    def initial_state(self, in_features: int, experts: int) -> InitialState:
        if self.statistics == self.evaluation == "batch":
            return {}
        k = self.previous_experts(experts)
        return {part: ((k, in_features) if number else (k,), 0.0) for number, part in enumerate(_PARTS)}

    def logits(
        self,
        ops: GateOps,
        x: Array,
        parameters: Mapping[str, Array],
        state: Mapping[str, Array],
        call: Call,
    ) -> tuple[Array, State]:
        if call.previous is None:
            return ops.matmul(x, parameters["weights"]), {}
        dtype = ops.dtype_name(x)
        a = ops.cast(ops.stop_gradient(call.previous), dtype)
        if self.assignment == "hard":
            a = clustering.one_hot(ops, ops.argmax(a, axis=-1), a, a.shape[-1])
        running = [ops.cast(state[part], dtype) for part in _PARTS] if _PARTS[0] in state else None
        (mass, _, deviation), following = self._statistics(ops, ops.stop_gradient(x), a, running, call)
        moved = {
            part: ops.cast(value, ops.dtype_name(state[part]))
            for part, value in zip(_PARTS, following or (), strict=False)
        }
        scale = ops.matmul(a, self.feature_weights.of_clusters(ops, mass, deviation))
        return ops.matmul(x * scale, parameters["weights"]), moved

    def _statistics(
        self, ops: GateOps, h: Array, a: Array, running: list[Array] | None, call: Call
    ) -> tuple[list[Array], list[Array] | None]:
        """Mass, sum and deviation of the clusters to weigh by, and the new running ones."""
        by_batch = (self.statistics if call.training else self.evaluation) == "batch"
        if running is not None and not (by_batch or call.training):
            return running, None
        batch = clustering.gather_clusters(ops, h, a, call.all_reduce)
        following = None
        # A batch without tokens in any process updates nothing.
        tokens = ops.sum(batch[0])
        kept = 1 - self.momentum * ops.where(tokens > 0, tokens * 0 + 1, tokens * 0)
        if running is not None and call.training:
            following = [kept * old + new for old, new in zip(running, batch, strict=False)]
        # Deviations are taken from the centres they belong to: the batch's own or the running ones.
        centres = clustering.per_token(ops, *(batch if by_batch or following is None else following))
        hard = self.assignment == "hard"
        batch.append(clustering.deviations(ops, h, a, centres, self.dispersion, hard, call.all_reduce))
        if running is not None and following is not None:
            following.append(kept * running[2] + batch[2])
        return batch if by_batch or running is None else running, following
