"""A reference of gates, in float64: coefficients and running statistics, with the error allowed to each.

The error bound follows the gate's steps: the rounding of the logits, its propagation through the norm by the
mean value theorem, and the Lipschitz constant of the activation, in the Euclidean norm of each token.

Sources of the constants: the Jacobian of α-entmax for α ≤ 2 is diag(s) − s sᵀ/Σs with s = p^(2−α) ≤ 1 (Peters
et al., "Sparse Sequence-to-Sequence Models", 2019), hence 1; so is that of a projection such as soft top-k's.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ...gates.activations import Activation
from ...gates.gate import Gate
from ...gates.levels import GateLevel
from ...gates.steering import Sharing, Steering
from ...typing import NumPyArray
from ..arithmetic.rounding import UNITS, gamma
from .routers import BOUNDED_ROUTERS, ROUTERS, Bounded, add_noise, route

# As in PyTorch's norms: what is added to a variance, and the share of a batch in the running statistics.
_EPSILON, _SHARE = 1e-5, 0.1
# The names of a batch norm's running mean and variance.
STATISTICS = ("gate_mean", "gate_variance")
# Operations other than sums, with a margin: norm, temperature, threshold, power.
_FURTHER = 16


@dataclass(frozen=True)
class _Weights:
    """A reference activation: its value in float64, and how far a perturbation of its logits moves it."""

    value: Callable[[NumPyArray], NumPyArray]
    moved: Callable[[NumPyArray], NumPyArray] | None


def _entmax(alpha: float) -> _Weights:
    power = alpha - 1

    def weights(x: NumPyArray, threshold: NumPyArray) -> NumPyArray:
        if power == 0:
            return np.asarray(np.exp(x - threshold))
        # The logarithm of 0 is intended.
        with np.errstate(divide="ignore"):
            return np.asarray(np.exp(np.log1p(np.maximum(power * (x - threshold), -1)) / power))

    def moved(change: NumPyArray) -> NumPyArray:
        # Above 2 the slope has no bound at 0; a root of order h = α − 1 is Hölder continuous with constant 1.
        return change if alpha <= 2 else (2 * power * change) ** (1 / power)

    return _Weights(lambda x: _solve(weights, x, 1.0), moved)


def _soft_top_k(k: int, eps: float = 1.0) -> _Weights:
    def weights(x: NumPyArray, threshold: NumPyArray) -> NumPyArray:
        return np.clip((x - threshold) / eps, 0, 1) / k

    return _Weights(lambda x: _solve(weights, x, max(eps, 1.0)), lambda change: change / (eps * k))


def _top_k(k: int) -> _Weights:
    def value(x: NumPyArray) -> NumPyArray:
        place = np.argsort(np.argsort(-x, axis=-1, kind="stable"), axis=-1)
        weights = np.where(place < k, np.exp(x - x.max(axis=-1, keepdims=True)), 0)
        return np.asarray(weights / weights.sum(axis=-1, keepdims=True))

    # It jumps where two logits trade places.
    return _Weights(value, None)


def _elementwise(function: Callable[[NumPyArray], NumPyArray]) -> _Weights:
    # No slope is steeper than ReLU's.
    return _Weights(function, lambda change: change)


def _relu_top_k(k: int) -> _Weights:
    def value(x: NumPyArray) -> NumPyArray:
        place = np.argsort(np.argsort(-x, axis=-1, kind="stable"), axis=-1)
        return np.where(place < k, np.maximum(x, 0), 0)

    return _Weights(value, None)


def _jump_relu(threshold: float) -> _Weights:
    return _Weights(lambda x: np.where(x > threshold, x, 0), None)


def _solve(weights: Callable[..., NumPyArray], x: NumPyArray, width: float) -> NumPyArray:
    """The weights at the threshold where they sum to 1, by bisection."""
    top, count = np.max(x, axis=-1, keepdims=True), x.shape[-1]
    low, high = np.min(x, axis=-1, keepdims=True) - width * (1 + count), top + width * (1 + count)
    # Far from the threshold weights overflow, which is more than 1, too.
    with np.errstate(over="ignore"):
        for _ in range(200):
            middle = (low + high) / 2
            above = np.sum(weights(x, middle), axis=-1, keepdims=True) > 1
            low, high = np.where(above, middle, low), np.where(above, high, middle)
    solved = weights(x, (low + high) / 2)
    return np.asarray(solved / np.sum(solved, axis=-1, keepdims=True))


_WEIGHTS: dict[str, Callable[..., _Weights]] = {
    "softmax": lambda: _entmax(1.0),
    "entmax15": lambda: _entmax(1.5),
    "sparsemax": lambda: _entmax(2.0),
    "entmax": _entmax,
    "soft_top_k": _soft_top_k,
    "top_k": _top_k,
    "relu": lambda: _elementwise(lambda x: np.maximum(x, 0)),
    "sigmoid": lambda: _elementwise(lambda x: np.asarray((1 + np.tanh(x / 2)) / 2)),
    "relu_top_k": _relu_top_k,
    "jump_relu": _jump_relu,
}


def have_references(gates: Sequence[Gate]) -> bool:
    """Whether all steps of all gates have a reference here."""
    return all(_has_reference(gate) for gate in gates)


def have_bounds(gates: Sequence[Gate]) -> bool:
    """Whether they also have an error bound."""
    return all(_has_reference(gate) and _has_bound(gate) for gate in gates)


def _has_reference(gate: Gate) -> bool:
    named = isinstance(gate.weighting, Activation) and gate.weighting.name in _WEIGHTS
    # A class of one's own may inherit from these.
    return named and type(gate.router) in ROUTERS and not callable(gate.norm)


def _has_bound(gate: Gate) -> bool:
    return type(gate.router) in BOUNDED_ROUTERS and _weights(gate).moved is not None and not gate.steering


def own_arrays(level: GateLevel, arrays: Mapping[str, NumPyArray]) -> dict[str, NumPyArray]:
    """The parameters of a level by the router's names."""
    return {name: arrays[full] for name, full in level.parameters.items()}


def _weights(gate: Gate) -> _Weights:
    assert isinstance(gate.weighting, Activation)
    return _WEIGHTS[gate.weighting.name](**dict(gate.weighting.options))


def initial_statistics(experts: int) -> list[NumPyArray]:
    """The running mean and variance before the first call."""
    return [np.zeros(experts), np.ones(experts)]


class ExpertLevel:
    """One level's coefficients and statistics, with the error that an element type may make.

    Args:
        gate: one of those that `have_references`.
        x: (T, I).
        parameters: the level's, by the router's names.
        running: the running mean and variance (N,) before, for a batch norm.
        dtype: the element type of x and G; the values are float64 here.
        training: whether a batch norm uses this batch's statistics; otherwise it uses the running ones, and
            the error has no bound here.
        noise: standard normal numbers for the gate's noise, or the router's (T, N); 0 for none.
        level: the level's number, for steering.
        plain: x before a router scaled it, by which steering shares coefficients; x by default.

    Attributes:
        p: the coefficients (T, N).
        bound: of their errors (T, N).
        statistics: the running mean and variance, each with its bound.
    """

    def __init__(
        self,
        gate: Gate,
        x: NumPyArray,
        parameters: Mapping[str, NumPyArray],
        running: Sequence[NumPyArray],
        dtype: str,
        training: bool = True,
        noise: NumPyArray | float = 0.0,
        level: int = 0,
        plain: NumPyArray | None = None,
    ) -> None:
        # The values computed here are rounded as well.
        unit = min(UNITS[dtype], UNITS["float32"]) + UNITS["float64"]
        weights = parameters["weights"]
        count = weights.shape[1] - sum(step.added for step in gate.steering if step.level == level)
        shared = x[:, :0]
        if count < weights.shape[1]:
            shared = (x if plain is None else plain) @ weights[:, count:]
        own = {**parameters, "weights": weights[:, :count]}
        logits, error = route(gate.router, x, own, dtype)
        logits = logits + add_noise(gate.router, x, own, noise)
        self.statistics: list[Bounded] = []
        if gate.norm == "batch" and not training:
            mean, variance = running
            logits, error = (logits - mean) / np.sqrt(variance + _EPSILON), np.inf * np.ones_like(error)
        elif gate.norm == "batch":
            self.statistics = _statistics(logits, error, running, unit)
            logits, error = normalize(logits, error, unit, axis=0)
        elif gate.norm == "layer":
            logits, error = normalize(logits, error, unit, axis=1)
        logits, error = (logits + gate.noise * noise) / gate.temperature, error / gate.temperature
        count = logits.shape[1]
        activation = _weights(gate)
        self.p = _steer(activation.value(logits), gate, level, shared)
        self.bound = np.full_like(self.p, np.inf)
        if activation.moved is None:
            return
        # The largest logit is subtracted first.
        sizes = np.abs(logits) + np.abs(logits).max(axis=1, keepdims=True)
        change = _norm(error + 4 * unit * sizes, axis=1) + gamma(count + _FURTHER, unit)
        self.bound = activation.moved(change) + gamma(count + _FURTHER, unit) + UNITS[dtype] * self.p


def normalize(z: NumPyArray, error: NumPyArray, unit: float, axis: int) -> Bounded:
    """Mean 0 and variance 1 along an axis; the slope is at most 1/σ, with the smallest σ on the way."""
    count = z.shape[axis]
    mean = z.mean(axis=axis, keepdims=True)
    centred = z - mean
    error = error + gamma(count + 2, unit) * (np.abs(z) + np.abs(z).mean(axis=axis, keepdims=True))
    moved = _norm(error, axis)
    variance = (centred**2).mean(axis=axis, keepdims=True)
    smallest = np.maximum(np.sqrt(variance) - moved / np.sqrt(count), 0) ** 2 + _EPSILON
    normalized = centred / np.sqrt(variance + _EPSILON)
    own = gamma(2 * count + _FURTHER, unit) * _norm(normalized, axis)
    return normalized, np.broadcast_to(moved / np.sqrt(smallest) + own, z.shape)


def _steer(p: NumPyArray, gate: Gate, level: int, shared: NumPyArray) -> NumPyArray:
    """The coefficients, with those that steering sets, adds to or shares by further logits."""
    for step in gate.steering:
        if step.level != level:
            continue
        p = p.copy()
        if isinstance(step, Sharing):
            own, shared = shared[:, : step.added], shared[:, step.added :]
            sizes = np.pad(own, ((0, 0), (1, 0)))
            sizes = np.exp(sizes - sizes.max(axis=1, keepdims=True))
            shares = p[:, [step.expert]] * sizes / sizes.sum(axis=1, keepdims=True)
            p[:, step.expert] = shares[:, 0]
            p = np.hstack([p, shares[:, 1:]])
        elif isinstance(step, Steering):
            p[:, step.expert] = step.value + step.adds * p[:, step.expert]
            if step.renormalize:
                total = p.sum(axis=1, keepdims=True)
                p = np.divide(p, total, out=p, where=total != 0)
    return p


def _statistics(
    z: NumPyArray, error: NumPyArray, running: Sequence[NumPyArray], unit: float
) -> list[Bounded]:
    """The running mean and variance after a batch. One token has no variance: it stays."""
    count, (old_mean, old_variance) = len(z), running
    error = error + gamma(count + 2, unit) * (np.abs(z) + np.abs(z).mean(axis=0))
    centred, moved = z - z.mean(axis=0), _norm(error, 0)[0]
    mean = (1 - _SHARE) * old_mean + _SHARE * z.mean(axis=0)
    # The share itself is rounded, too.
    own = gamma(_FURTHER, unit) * (np.abs(old_mean) + np.abs(z.mean(axis=0)))
    means = mean, _SHARE * error.max(axis=0) + own
    if count == 1:
        return [means, (old_variance, unit * old_variance)]
    squares = (centred**2).sum(axis=0)
    variance = (1 - _SHARE) * old_variance + _SHARE * squares / (count - 1)
    change = (2 * np.sqrt(squares) * moved + moved**2) / (count - 1)
    return [means, (variance, _SHARE * change + gamma(count + _FURTHER, unit) * variance)]


def _norm(error: NumPyArray, axis: int) -> NumPyArray:
    return np.asarray(np.sqrt((error**2).sum(axis=axis, keepdims=True)))
