"""The gate: from input vectors to the mixture coefficients of every expert level."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .errors import one_of
from .extras import Array, at_least_float32
from .norms import batch_norm, layer_norm
from .weightings import WEIGHTINGS

NORMS = ("batch", "layer", None)


@dataclass(frozen=True)
class Gate:
    """a_e = activation(norm(z G_e)) for each expert level e.

    Args:
        activation: "entmax15" (sparse, the paper's) or "softmax".
        norm: "layer" normalises the logits of each token (the paper's choice for language, and the
            default: no token sees another); "batch" normalises each expert's logits over all tokens of
            the batch and keeps running statistics for evaluation (the paper's choice for vision); None
            leaves the logits as they are.

    Raises:
        TensorMoEError: an unknown name.

    Source: Oldfield et al., "Multilinear Mixture of Experts: Scalable Expert Specialization through
    Factorization", 2024.

    Examples:
        >>> import tensormoe as tm
        >>> tm.Gate(norm="batch")
        Gate(activation='entmax15', norm='batch')
    """

    activation: str = "entmax15"
    norm: str | None = "layer"

    def __post_init__(self) -> None:
        one_of("gate activation", self.activation, tuple(WEIGHTINGS))
        one_of("gate norm", self.norm, NORMS)

    def parameter_shapes(self, in_features: int, experts: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
        """The shapes of the gate's parameters by name: G_e (I, N_e) for each level."""
        return {f"gate_weights.{level}": (in_features, n) for level, n in enumerate(experts)}

    def initial_state(self, experts: tuple[int, ...]) -> dict[str, tuple[tuple[int, ...], float]]:
        """Shape and initial value of every running statistic by name."""
        if self.norm != "batch":
            return {}
        values = {"gate_mean": 0.0, "gate_variance": 1.0}
        return {
            f"{name}.{level}": ((n,), value)
            for name, value in values.items()
            for level, n in enumerate(experts)
        }

    def coefficients(
        self,
        tl: Any,
        parameters: Mapping[str, Array],
        x: Array,
        levels: int,
        state: Mapping[str, Array],
        training: bool,
    ) -> tuple[list[Array], dict[str, Array]]:
        """The coefficients of every level, and the new running statistics.

        Args:
            tl: the backend object.
            parameters: the layer's, by name.
            x: (T, I).
            levels: E.
            state: the running statistics, by name.
            training: whether to normalise by this batch and move the statistics.

        Returns:
            E arrays (T, N_e) of x's element type, and the state.
        """
        dtype = tl.dtype_name(x)
        found, moved = [], dict(state)
        for level in range(levels):
            logits = tl.matmul(x, parameters[f"gate_weights.{level}"])
            logits = tl.cast(logits, at_least_float32(dtype))
            if self.norm == "layer":
                logits = layer_norm(tl, logits)
            elif self.norm == "batch":
                mean, variance = f"gate_mean.{level}", f"gate_variance.{level}"
                logits, (moved[mean], moved[variance]) = batch_norm(
                    tl, logits, state[mean], state[variance], training
                )
            found.append(tl.cast(WEIGHTINGS[self.activation](tl, logits), dtype))
        return found, moved
