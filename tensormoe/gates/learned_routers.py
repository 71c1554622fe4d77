"""Routers that learn more than one weight for each feature and expert."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Self

from ..arrays.protocols import GateOps
from ..errors import number_from, positive_integer, positive_number
from ..typing import Array, Shape, Shapes, State
from .call import Call
from .routers import Router, unit_bound


@dataclass(frozen=True)
class LowRankRouter(Router):
    """Logits x P G through a few features: P (I, R), G (R, N), in place of a matrix (I, N).

    Use it where there are thousands of experts: it has R (I + N) weights, and as many multiply-accumulates.

    Args:
        rank: R, the number of features.

    Raises:
        TensorMoEError: a rank that is not a positive integer.

    Source: Chi et al., "On the Representation Collapse of Sparse Mixture of Experts", 2022, section 3, the
    projection alone.

    Examples:
        >>> import tensormoe as tm
        >>> gate = tm.Gate(router=tm.LowRankRouter(rank=2))
        >>> tm.MuMoESpec(8, 6, experts=4, factorization=tm.CP(rank=5), gate=gate).gate_shapes
        {'gate_projection.0': (8, 2), 'gate_weights.0': (2, 4)}
    """

    takes_leading_axes = True

    rank: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "rank", positive_integer("router rank", self.rank))

    def parameter_shapes(self, in_features: int, experts: int) -> Shapes:
        return {"projection": (in_features, self.rank), "weights": (self.rank, experts)}

    def start(self, name: str, shape: Shape) -> tuple[float, float]:
        # Of two matrices that are both zero, neither has a gradient.
        return unit_bound(shape) if name == "projection" else (0.0, 0.0)

    def logits(
        self,
        ops: GateOps,
        x: Array,
        parameters: Mapping[str, Array],
        state: Mapping[str, Array],
        call: Call,
    ) -> tuple[Array, State]:
        return ops.matmul(ops.matmul(x, parameters["projection"]), parameters["weights"]), {}


@dataclass(frozen=True)
class CosineRouter(Router):
    """Logits exp(s) cos(h, G_n)/τ: the angle between features and experts, and a learned scale s.

    Neither the length of an input nor that of an expert's weights counts. The features h are x or, with a
    rank, x P, with P (I, R). Use it with `norm=None`: a norm would take the scale away, and is refused. The
    weights start at random, since a vector of zeros has no direction; s starts at 0.

    Args:
        rank: R, the number of features; None for x itself.
        temperature: τ, positive; by default 1/√R (without a rank 1/√I), for which random vectors have logits
            of variance 1.

    Raises:
        TensorMoEError: an invalid value.

    Source: Chi et al., "On the Representation Collapse of Sparse Mixture of Experts", 2022, section 3.

    Examples:
        >>> import tensormoe as tm
        >>> gate = tm.Gate("softmax", norm=None, router=tm.CosineRouter(rank=2))
        >>> tm.MuMoESpec(8, 6, experts=4, factorization=tm.CP(rank=5), gate=gate).gate_shapes
        {'gate_projection.0': (8, 2), 'gate_weights.0': (2, 4), 'gate_scale.0': (1,)}
    """

    takes_leading_axes = True
    sets_scale = True

    rank: int | None = None
    temperature: float | None = None

    def __post_init__(self) -> None:
        if self.rank is not None:
            object.__setattr__(self, "rank", positive_integer("router rank", self.rank))
        if self.temperature is not None:
            temperature = positive_number("router temperature", self.temperature)
            object.__setattr__(self, "temperature", temperature)

    def parameter_shapes(self, in_features: int, experts: int) -> Shapes:
        rows = in_features if self.rank is None else self.rank
        projection: Shapes = {} if self.rank is None else {"projection": (in_features, rows)}
        return {**projection, "weights": (rows, experts), "scale": (1,)}

    def start(self, name: str, shape: Shape) -> tuple[float, float]:
        return (0.0, 0.0) if name == "scale" else unit_bound(shape)

    def logits(
        self,
        ops: GateOps,
        x: Array,
        parameters: Mapping[str, Array],
        state: Mapping[str, Array],
        call: Call,
    ) -> tuple[Array, State]:
        weights = parameters["weights"]
        h = x if self.rank is None else ops.matmul(x, parameters["projection"])
        cosines = ops.matmul(_to_length_1(ops, h, -1), _to_length_1(ops, weights, 0))
        temperature = weights.shape[0] ** -0.5 if self.temperature is None else self.temperature
        return cosines * (ops.exp(parameters["scale"]) / temperature), {}


@dataclass(frozen=True)
class NoisyRouter(Router):
    """Logits x G + ε softplus(x G'): in training, normal noise ε of a learned size for each expert.

    Use it with `tm.Activation("top_k", k=…)`, whose choice of experts it keeps open. The published gate has
    `norm=None`: a norm comes after the noise here. Evaluation adds none. Both matrices start at zero, so that
    chance alone chooses at first.

    Args:
        noise: what the noise is multiplied by; 0 switches it off.

    Raises:
        TensorMoEError: a number below 0.

    Source: Shazeer et al., "Outrageously Large Neural Networks: The Sparsely-Gated Mixture-of-Experts Layer",
    2017, equation 4.

    Examples:
        >>> import tensormoe as tm
        >>> gate = tm.Gate(tm.Activation("top_k", k=2), norm=None, router=tm.NoisyRouter())
        >>> tm.MuMoESpec(8, 6, experts=4, factorization=tm.CP(rank=5), gate=gate).gate_shapes
        {'gate_weights.0': (8, 4), 'gate_noise.0': (8, 4)}
    """

    takes_leading_axes = True
    adds_noise = True

    noise: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "noise", number_from(0, "router noise", self.noise))

    def parameter_shapes(self, in_features: int, experts: int) -> Shapes:
        return dict.fromkeys(("weights", "noise"), (in_features, experts))

    def without_noise(self) -> Self:
        return replace(self, noise=0.0)

    def logits(
        self,
        ops: GateOps,
        x: Array,
        parameters: Mapping[str, Array],
        state: Mapping[str, Array],
        call: Call,
    ) -> tuple[Array, State]:
        logits = ops.matmul(x, parameters["weights"])
        if call.training and self.noise > 0:
            size = self.noise * _softplus(ops, ops.matmul(x, parameters["noise"]))
            logits = logits + size * ops.normal(logits, call.generator, call.level)
        return logits, {}


def _to_length_1(ops: GateOps, x: Array, axis: int) -> Array:
    """Vectors along an axis divided by their lengths; a vector of zeros stays."""
    largest = ops.stop_gradient(ops.max(ops.abs(x), axis=axis))
    largest = largest[..., None] if axis == -1 else largest
    # Squares of large and of small numbers leave the range of their type.
    x = x / ops.where(largest > 0, largest, 1.0)
    squares = ops.sum(x * x, axis=axis, keepdims=True)
    return x / ops.sqrt(ops.where(largest > 0, squares, 1.0))


def _softplus(ops: GateOps, x: Array) -> Array:
    """log(1 + exp(x)); no power overflows."""
    return ops.clip(x, 0) + ops.log(1 + ops.exp(-ops.abs(x)))
