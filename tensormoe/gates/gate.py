"""The gate: from input vectors to the mixture coefficients of every expert level."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Self

from ..arrays.backend import at_least_float32
from ..arrays.protocols import GateOps
from ..codec import Data, Serializable
from ..errors import TensorMoEError, number_from, one_of, positive_integer, positive_number
from ..networks.notation import read_experts
from ..typing import Array, State
from .activations import Activation
from .call import Call, InitialState
from .norms import batch_norm, layer_norm
from .routers import LinearRouter, Router
from .steering import Step, experts_before, part_columns, read_steering, steer

NORMS = ("batch", "layer", None)


@dataclass(frozen=True)
class Gate(Serializable):
    """a_e = activation((norm(router(z, G_e)) + noise)/temperature) for each expert level e, then steered.

    Args:
        activation: "entmax15" (sparse, the paper's), "sparsemax" or "softmax"; a `tm.Activation` with
            options, such as `tm.Activation("soft_top_k", k=2)`; or a function from logits (T, N) to
            coefficients (T, N), arrays of the framework that the layer runs in. The coefficients of "relu",
            "sigmoid", "relu_top_k" and "jump_relu" have no fixed sum.
        norm: "layer" normalises the logits of each token (the paper's choice for language, and the
            default: no token sees another); "batch" normalises each expert's logits over all tokens of
            the batch and keeps running statistics for evaluation (the paper's choice for vision); None
            leaves the logits as they are; or a function from logits to logits.
        router: `tm.LinearRouter()` (the paper's), `tm.AdaptiveClustering(...)`, or your own.
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

    def check(self, experts: tuple[int, ...]) -> None:
        """Raise an error if the gate does not fit these counts of experts."""
        options = dict(self.weighting.options) if isinstance(self.weighting, Activation) else {}
        experts = experts_before(self.steering, read_experts(experts))
        if options.get("k", 1) > min(experts):
            raise TensorMoEError(
                "gate activation",
                self.activation,
                f"a level has only {min(experts)} experts: pass a smaller k",
            )
        self.router.previous_experts(experts)

    def parameter_shapes(self, in_features: int, experts: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
        """The shapes of the gate's parameters by name: G_e (I, N_e) for each level."""
        rows = positive_integer("in_features", in_features)
        return {f"gate_weights.{level}": (rows, n) for level, n in enumerate(read_experts(experts))}

    def initial_state(self, in_features: int, experts: tuple[int, ...]) -> InitialState:
        """Shape and initial value of every running statistic by name."""
        values = {"gate_mean": 0.0, "gate_variance": 1.0} if self.norm == "batch" else {}
        experts = experts_before(self.steering, read_experts(experts))
        own: InitialState = {
            f"{name}.{level}": ((n,), value)
            for name, value in values.items()
            for level, n in enumerate(experts)
        }
        return own | self.router.initial_state(in_features, experts)

    def coefficients(
        self,
        ops: GateOps,
        parameters: Mapping[str, Array],
        x: Array,
        levels: int,
        state: Mapping[str, Array],
        call: Call,
    ) -> tuple[list[Array], list[Array], State]:
        """The coefficients of every level, the router's logits, and the new running statistics.

        Args:
            ops: the backend object.
            parameters: the layer's, by name.
            x: (T, I), or (…, I) if the gate `takes_leading_axes`.
            levels: E.
            state: the running statistics, by name.
            call: the other arguments of the layer's call.

        Returns:
            E arrays (…, N_e) of x's element type, the logits, E arrays (…, N_e) in float32 or wider, and
            the state.
        """
        weights = [parameters[f"gate_weights.{level}"] for level in range(levels)]
        return ops.compute_precisely(self._coefficients, x, weights, state, call)

    def _coefficients(
        self, ops: GateOps, x: Array, weights: list[Array], state: Mapping[str, Array], call: Call
    ) -> tuple[list[Array], list[Array], State]:
        dtype = ops.dtype_name(x)
        wide = at_least_float32(dtype)
        # In half precision near logits trade places, and large ones overflow.
        if wide != dtype or [g for g in weights if g.dtype != x.dtype]:
            x, *weights = (ops.cast(array, wide) for array in (x, *weights))
        weights, shares = part_columns(weights, self.steering) if self.steering else (weights, weights)
        routed, moved = self.router.logits(ops, x, weights, state, call)
        moved = {**state, **moved}
        coefficients = []
        for level, logits in enumerate(routed):
            logits = self._normalize(ops, logits, level, moved, call)
            if call.training and self.noise > 0:
                logits = logits + self.noise * ops.normal(logits, call.generator, level)
            a = self.weighting.weights(ops, logits, self.temperature)
            if self.steering:
                a = steer(ops, a, level, self.steering, x, shares[level])
            coefficients.append(ops.cast(a, dtype))
        return coefficients, routed, moved

    def _normalize(
        self, ops: GateOps, logits: Array, level: int, state: dict[str, Array], call: Call
    ) -> Array:
        """The logits after the norm; its running statistics are updated in `state`."""
        if self.norm is None:
            return logits
        if callable(self.norm):
            return _check_shape("gate norm", self.norm(logits), logits)
        if self.norm == "layer":
            return layer_norm(ops, logits)
        mean, variance = f"gate_mean.{level}", f"gate_variance.{level}"
        logits, (state[mean], state[variance]) = batch_norm(
            ops, logits, state[mean], state[variance], call.training, call.pool
        )
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

    def weights(self, ops: GateOps, logits: Array, temperature: float) -> Array:
        logits = logits if temperature == 1 else logits / temperature
        return _check_shape("gate activation", self.function(logits), logits)


def _check_shape(argument: str, result: Array, logits: Array) -> Array:
    shape = tuple(getattr(result, "shape", ()))
    if shape != tuple(logits.shape):
        raise TensorMoEError(
            argument, shape, f"the function must return the logits' shape {tuple(logits.shape)}"
        )
    return result
