"""Routers: from input vectors to the logits of every expert level."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import ClassVar, cast

from ..arrays.protocols import GateOps
from ..codec import Registered
from ..errors import TensorMoEError, as_tuple, number_from, one_of, positive_integer, true_or_false
from ..networks.notation import read_experts
from ..typing import Array, State
from . import clustering
from .call import Call, InitialState

# The running statistics of each level: N_k (K,), Σ a h (K, d) and Σ a |h − μ| (K, d), where a batch counts
# 1 − momentum times as much as the next.
_PARTS = ("mass", "total", "deviation")


class Router(Registered, ABC):
    """Turns x (T, I) and the gate's weights G_e (I, N_e) into logits (T, N_e) for each level.

    A router that computes all the same with x (…, I), where every leading axis is one of tokens, may set
    `takes_leading_axes = True` in its class. JAX then need not merge axes that lie on several devices.

    To write your own router, inherit this in a frozen dataclass. Specifications carry its fields as JSON,
    under the name of its class without the suffix "Router".

    Examples:
        >>> from dataclasses import dataclass
        >>> import tensormoe as tm
        >>> @dataclass(frozen=True)
        ... class ScaledRouter(tm.Router):
        ...     scale: float = 2.0
        ...     def logits(self, ops, x, weights, state, call):
        ...         return [self.scale * ops.matmul(x, g) for g in weights], {}
        >>> tm.Gate(router=ScaledRouter(3.0)).to_dict()["router"]
        {'type': 'Scaled', 'scale': 3.0}
    """

    _what = "router"
    _suffix = "Router"

    takes_leading_axes: ClassVar[bool] = False

    @abstractmethod
    def logits(
        self, ops: GateOps, x: Array, weights: Sequence[Array], state: Mapping[str, Array], call: Call
    ) -> tuple[list[Array], State]:
        """The logits of every level, and the updated running statistics.

        Args:
            ops: the backend object.
            x: (T, I), in float32 or wider, as are the weights and the logits.
            weights: G_e (I, N_e) for each level.
            state: the running statistics by name, as `initial_state` gives them.
            call: the other arguments of the layer's call.
        """

    def initial_state(self, in_features: int, experts: tuple[int, ...]) -> InitialState:
        """Shape and initial value of every running statistic by name."""
        return {}

    def previous_experts(self, experts: tuple[int, ...]) -> tuple[int, ...] | None:
        """How many experts each level of the previous layer must have; None if that layer is not used."""
        return None

    def mixes_tokens(self, training: bool) -> bool:
        """Whether a token's logits depend on other tokens; verification checks that otherwise they do not."""
        return False

    def __str__(self) -> str:
        changed = [field for field in fields(self) if getattr(self, field.name) != field.default]
        listed = ", ".join(f"{field.name}={getattr(self, field.name)!r}" for field in changed)
        return f"{type(self).__name__}({listed})"


@dataclass(frozen=True)
class LinearRouter(Router):
    """Logits x G_e: the router of the μMoE paper, and the default.

    Source: Oldfield et al., "Multilinear Mixture of Experts: Scalable Expert Specialization through
    Factorization", 2024.

    Examples:
        >>> import tensormoe as tm
        >>> tm.Gate().router
        LinearRouter()
    """

    takes_leading_axes = True

    def logits(
        self, ops: GateOps, x: Array, weights: Sequence[Array], state: Mapping[str, Array], call: Call
    ) -> tuple[list[Array], State]:
        return [ops.matmul(x, g) for g in weights], {}


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
        clusters: the previous layer's number of experts, or a count for each level; by default this layer's.

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
    clusters: int | tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        one_of("assignment", self.assignment, ("soft", "hard"))
        one_of("statistics", self.statistics, ("running", "batch"))
        one_of("evaluation", self.evaluation, ("running", "batch"))
        if not 0 < number_from(0, "momentum", self.momentum) <= 1:
            raise TensorMoEError("momentum", self.momentum, "pass a number above 0 and up to 1")
        if self.clusters is not None:
            counts = tuple(positive_integer("clusters", count) for count in as_tuple(self.clusters))
            if not counts:
                raise TensorMoEError("clusters", self.clusters, "pass a count, or one for each level")
            object.__setattr__(self, "clusters", counts if len(counts) > 1 else counts[0])
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

    def previous_experts(self, experts: tuple[int, ...]) -> tuple[int, ...]:
        own = read_experts(experts)
        counts = own if self.clusters is None else tuple(as_tuple(self.clusters))
        if len(counts) != len(own):
            raise TensorMoEError("clusters", self.clusters, f"pass a count for each of {len(own)} levels")
        return cast("tuple[int, ...]", counts)

    def mixes_tokens(self, training: bool) -> bool:
        return (self.statistics if true_or_false("training", training) else self.evaluation) == "batch"

    def initial_state(self, in_features: int, experts: tuple[int, ...]) -> InitialState:
        counts = enumerate(self.previous_experts(experts))
        if self.statistics == self.evaluation == "batch":
            return {}
        return {
            f"router_{part}.{level}": (shape, 0.0)
            for level, k in counts
            for part, shape in zip(_PARTS, ((k,), (k, in_features), (k, in_features)), strict=True)
        }

    def logits(
        self, ops: GateOps, x: Array, weights: Sequence[Array], state: Mapping[str, Array], call: Call
    ) -> tuple[list[Array], State]:
        if call.previous is None:
            return LinearRouter().logits(ops, x, weights, state, call)
        dtype = ops.dtype_name(x)
        h = ops.stop_gradient(x)
        every: list[Array] = []
        moved: State = {}
        for level, (g, coefficients) in enumerate(zip(weights, call.previous, strict=True)):
            a = ops.cast(ops.stop_gradient(coefficients), dtype)
            if self.assignment == "hard":
                a = clustering.one_hot(ops, ops.argmax(a, axis=-1), a, a.shape[-1])
            names = [f"router_{part}.{level}" for part in _PARTS]
            running = [ops.cast(state[name], dtype) for name in names] if names[0] in state else None
            (mass, _, deviation), following = self._statistics(ops, h, a, running, call)
            for name, value in zip(names, following or (), strict=False):
                moved[name] = ops.cast(value, ops.dtype_name(state[name]))
            scale = ops.matmul(a, self.feature_weights.of_clusters(ops, mass, deviation))
            every.append(ops.matmul(x * scale, g))
        return every, moved

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
