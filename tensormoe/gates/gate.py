"""The gate: from input vectors to the mixture coefficients of a level of experts."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

from ..arrays.protocols import GateOps
from ..codec import Data, Serializable
from ..errors import TensorMoEError, number_from, one_of, positive_integer, positive_number, shape_of
from ..typing import Array, Shape, Shapes, State
from .activations import Activation
from .call import Call, InitialState
from .norms import batch_norm, layer_norm
from .routers import LinearRouter, Router, unit_bound
from .steering import Step, experts_before, part_columns, read_steering, steer

NORMS = ("batch", "layer", None)
# The running statistics of a batch norm, and the prefixes of a router's.
_STATISTICS = {"mean": 0.0, "variance": 1.0}
_OF_GATE, _OF_ROUTER = "gate_", "router_"


@dataclass(frozen=True)
class Gate(Serializable):
    """a = activation((norm(router(x)) + noise)/temperature) for a level of experts, then steered.

    A specification has one gate for all levels, or one for each.

    Args:
        activation: "entmax15" (sparse, the paper's), "sparsemax" or "softmax"; a `tm.Activation` with
            options, such as `tm.Activation("soft_top_k", k=2)`; or a function from logits (T, N) to
            coefficients (T, N), arrays of the framework that the layer runs in. The coefficients of "relu",
            "sigmoid", "relu_top_k" and "jump_relu" have no fixed sum.
        norm: "layer" normalises the logits of each token (the paper's choice for language, and the
            default: no token sees another); "batch" normalises each expert's logits over all tokens of
            the batch and keeps running statistics for evaluation (the paper's choice for vision); None
            leaves the logits as they are; or a function from logits to logits.
        router: `tm.LinearRouter()` (the paper's), `tm.LinearRouter(bias=True)`, `tm.LowRankRouter(...)`,
            `tm.CosineRouter(...)`, `tm.NoisyRouter(...)`, `tm.AdaptiveClustering(...)`, or your own.
        temperature: positive; above 1 makes the coefficients more even, below 1 less so.
        noise: the standard deviation of the normal noise that training adds to the normalised logits.
        steering: coefficients that are set, added to or shared at last; `tm.editing` makes its steps.

    Raises:
        TensorMoEError: an unknown name, or an invalid value.

    Source: Oldfield et al., "Multilinear Mixture of Experts: Scalable Expert Specialization through
    Factorization", 2024.

    Examples:
        >>> import tensormoe as tm
        >>> tm.Gate("softmax", norm="batch", temperature=0.5).activation
        'softmax'
    """

    _what = "gate"

    activation: str | Activation | Callable[[Array], Array] = "entmax15"
    norm: str | Callable[[Array], Array] | None = "layer"
    router: Router = LinearRouter()
    temperature: float = 1.0
    noise: float = 0.0
    steering: tuple[Step, ...] = ()

    def __post_init__(self) -> None:
        _ = self.weighting
        if not callable(self.norm):
            one_of("gate norm", self.norm, NORMS)
        if not isinstance(self.router, Router):
            raise TensorMoEError("gate router", self.router, "pass a router such as tm.AdaptiveClustering()")
        object.__setattr__(self, "temperature", positive_number("gate temperature", self.temperature))
        object.__setattr__(self, "noise", number_from(0, "gate noise", self.noise))
        object.__setattr__(self, "steering", read_steering(self.steering))
        if self.router.sets_scale and isinstance(self.norm, str):
            remedy = f"it takes away the scale that {self.router} learns: pass norm=None"
            raise TensorMoEError("gate norm", self.norm, remedy)
        if self.router.adds_noise and self.noise > 0:
            remedy = f"{self.router} adds noise of its own: leave the gate's at 0"
            raise TensorMoEError("gate noise", self.noise, remedy)

    @cached_property
    def weighting(self) -> "Activation | _Own":
        """The activation with its options."""
        if isinstance(self.activation, Activation):
            return self.activation
        if callable(self.activation):
            return _Own(self.activation)
        return Activation(self.activation)

    @property
    def total(self) -> float | None:
        """What a token's coefficients of a level sum to; None if to no fixed number.

        Examples:
            >>> import tensormoe as tm
            >>> tm.Gate().total, tm.Gate("relu").total
            (1.0, None)
        """
        if isinstance(self.weighting, Activation):
            return self.weighting.total
        stated: float | None = getattr(self.weighting.function, "total", 1.0)
        return stated

    def active(self, level: int, experts: int) -> int:
        """At most how many of a token's coefficients of a level differ from 0, whatever the logits are.

        A function of your own as an activation says so by an attribute `active`, a number. Its derivative at
        the weights that are 0 must be 0.

        Args:
            level: its number, from 0 on, which says what is steered.
            experts: how many experts it has.

        Examples:
            >>> import tensormoe as tm
            >>> tm.Gate(tm.Activation("top_k", k=2)).active(0, 16), tm.Gate().active(0, 16)
            (2, 16)
        """
        k = self.weighting.active
        if k is None:
            return experts
        steps = [step for step in self.steering if step.level == level]
        further = len({step.expert for step in steps}) + sum(step.added for step in steps)
        return min(k + further, experts)

    @property
    def draws_weights(self) -> bool:
        """Whether the gate's weights start at random, and not at zero."""
        return isinstance(self.weighting, Activation) and self.weighting.draws_logits

    def expected_squares(self, experts: int) -> tuple[float, float]:
        """E (Σ a)² and N/(N − 1) E Σ (a − ā)² of a level of this many experts, at the start."""
        if isinstance(self.weighting, Activation):
            return self.weighting.expected_squares(experts, self.temperature)
        return 1.0, 0.0

    @cached_property
    def takes_leading_axes(self) -> bool:
        """Whether inputs (…, I) may come with several axes of tokens; functions of users take (T, …)."""
        own = callable(self.norm) or isinstance(self.weighting, _Own)
        return self.router.takes_leading_axes and not own

    @property
    def steps(self) -> str:
        """What the gate does, in order, as one line of text."""
        norm = f"{self.norm} norm" if isinstance(self.norm, str) else self.norm and repr(self.norm)
        noise = f"noise {self.noise:g}" if self.noise else None
        temperature = f"temperature {self.temperature:g}" if self.temperature != 1 else None
        activation = self.activation if isinstance(self.activation, str) else repr(self.activation)
        steps = (str(self.router), norm, noise, temperature, activation, *map(str, self.steering))
        return " → ".join(filter(None, steps))

    @property
    def adds_noise(self) -> bool:
        """Whether training draws random numbers."""
        return self.noise > 0 or self.router.adds_noise

    def without_noise(self) -> "Gate":
        """The same gate with the same parameters, for training without noise."""
        return replace(self, noise=0.0, router=self.router.without_noise())

    def check(self, experts: Shape, levels: Sequence[int]) -> None:
        """Raise an error if the gate does not fit some of these levels, or steers others.

        Args:
            experts: the count of experts of every level.
            levels: those that have this gate.
        """
        options = dict(self.weighting.options) if isinstance(self.weighting, Activation) else {}
        for step in self.steering:
            if step.level not in levels:
                step.check(experts)
                raise TensorMoEError("gate steering", step, "it is for a level with another gate")
        own = experts_before(self.steering, experts)
        fewest = min((own[level] for level in levels), default=options.get("k", 1))
        if options.get("k", 1) > fewest:
            remedy = f"a level has only {fewest} experts: pass a smaller k"
            raise TensorMoEError("gate activation", self.activation, remedy)

    def parameter_shapes(self, in_features: int, experts: int) -> Shapes:
        """The shapes of the gate's parameters by name: "gate_weights", G (I, N), and others of the router."""
        declared = self.router.parameter_shapes(positive_integer("in_features", in_features), experts)
        names = tuple(declared)
        for name, shape in declared.items():
            if not name.isidentifier() or name in _STATISTICS:
                remedy = f'pass a name such as "scale", none of {", ".join(_STATISTICS)}'
                raise TensorMoEError("router parameter", name, remedy)
            for size in shape:
                positive_integer(f"size of router parameter {name}", size)
        if "weights" not in names:
            raise TensorMoEError("router parameters", names, 'name one of them "weights"')
        return {f"{_OF_GATE}{name}": tuple(shape) for name, shape in declared.items()}

    def start(self, name: str, shape: Shape) -> tuple[float, float]:
        """The numbers between which a parameter starts; see `Router.start`."""
        own = name.removeprefix(_OF_GATE)
        low, high = self.router.start(own, shape)
        if own == "weights" and low == high and self.draws_weights:
            return unit_bound(shape)
        return low, high

    def initial_state(self, in_features: int, experts: int) -> InitialState:
        """Shape and initial value of every running statistic by name."""
        values = _STATISTICS if self.norm == "batch" else {}
        own: InitialState = {f"{_OF_GATE}{name}": ((experts,), value) for name, value in values.items()}
        routed = self.router.initial_state(in_features, experts)
        return own | {f"{_OF_ROUTER}{name}": value for name, value in routed.items()}

    def compute(
        self,
        ops: GateOps,
        x: Array,
        parameters: Mapping[str, Array],
        state: Mapping[str, Array],
        call: Call,
    ) -> tuple[Array, Array, State]:
        """The coefficients of a level, the router's logits, and the running statistics that have moved.

        Args:
            ops: the backend object.
            x: (T, I), or (…, I) if the gate `takes_leading_axes`, in float32 or wider.
            parameters, state: those of the level, by the router's names; a batch norm's statistics are among
                the state as "gate_mean" and "gate_variance".
            call: the other arguments of the layer's call.
        """
        own, shares = parameters, None
        if self.steering:
            own, shares = part_columns(parameters, self.steering, call.level)
        routed, moved = self.router.logits(ops, x, own, state, call)
        if self.norm == "batch":
            moved = {**moved}
        logits = self._normalize(ops, routed, state, moved, call)
        if call.training and self.noise > 0:
            logits = logits + self.noise * ops.normal(logits, call.generator, call.level)
        a = self.weighting.weights(ops, logits, self.temperature)
        if self.steering:
            a = steer(ops, a, call.level, self.steering, x, shares)
        return a, routed, moved

    def _normalize(
        self, ops: GateOps, logits: Array, state: Mapping[str, Array], moved: State, call: Call
    ) -> Array:
        """The logits after the norm; its running statistics are added to those that have moved."""
        if self.norm is None:
            return logits
        if callable(self.norm):
            return _check_shape("gate norm", self.norm(logits), logits)
        if self.norm == "layer":
            return layer_norm(ops, logits)
        mean, variance = state["gate_mean"], state["gate_variance"]
        logits, statistics = batch_norm(ops, logits, mean, variance, call.training, call.pool)
        moved["gate_mean"], moved["gate_variance"] = statistics
        return logits

    def _to_data(self) -> dict[str, Data]:
        data = super()._to_data()
        # Gates are seldom steered.
        return data if self.steering else {name: each for name, each in data.items() if name != "steering"}

    @classmethod
    def _from_data(cls, data: Mapping[str, object]) -> Self:
        values = dict(data)
        if isinstance(values.get("activation"), Mapping):
            values["activation"] = Activation.from_dict(values["activation"])
        if "router" in values:
            values["router"] = Router.from_dict(values["router"])
        if isinstance(steps := values.get("steering"), list):
            values["steering"] = tuple(Step.from_dict(each) for each in steps)
        return super()._from_data(values)


@dataclass(frozen=True)
class _Own:
    """A user's function as a gate activation."""

    function: Callable[[Array], Array]

    @property
    def active(self) -> int | None:
        """What the function says about it."""
        stated = getattr(self.function, "active", None)
        return None if stated is None else positive_integer("active", stated)

    def weights(self, ops: GateOps, logits: Array, temperature: float) -> Array:
        logits = logits if temperature == 1 else logits / temperature
        return _check_shape("gate activation", self.function(logits), logits)


def _check_shape(argument: str, result: Array, logits: Array) -> Array:
    shape = shape_of(result)
    if shape != tuple(logits.shape):
        raise TensorMoEError(
            argument, shape, f"the function must return the logits' shape {tuple(logits.shape)}"
        )
    return result
