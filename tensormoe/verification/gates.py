"""The floating-point level of gates: coefficients and running statistics against a reference of their own.

The error bound follows the gate's steps: the rounding of the logits, what the norm makes of it by the mean
value theorem, and the Lipschitz constant of the activation, in the Euclidean norm of each token.

Sources of the constants: the Jacobian of α-entmax for α ≤ 2 is diag(s) − s sᵀ/Σs with s = p^(2−α) ≤ 1 (Peters
et al., "Sparse Sequence-to-Sequence Models", 2019), hence 1; so is that of a projection such as soft top-k's.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..clustering import nothing_to_reduce
from ..extras import at_least_float32
from ..gate import Gate
from ..initialization import NumPyArray
from ..routers import Call, Linear
from ..spec import Spec
from ..weightings import Activation
from .checks import Check
from .counting import UNITS, Precision, gamma
from .floating import largest, ratio, representable

# As in PyTorch's norms: what is added to a variance, and the share of a batch in the running statistics.
_EPSILON, _SHARE = 1e-5, 0.1
# Operations beside sums, with room to spare: norm, temperature, threshold, power.
_FURTHER = 16


@dataclass(frozen=True)
class _Weights:
    """A reference activation: its value in float64, and how far a perturbation of its logits moves it."""

    value: Callable[[NumPyArray], NumPyArray]
    moved: Callable[[NumPyArray], NumPyArray]


def _entmax(alpha: float) -> _Weights:
    power = alpha - 1

    def weights(x: NumPyArray, threshold: NumPyArray) -> NumPyArray:
        if power == 0:
            return np.asarray(np.exp(x - threshold))
        with np.errstate(divide="ignore"):
            return np.asarray(np.exp(np.log1p(np.maximum(power * (x - threshold), -1)) / power))

    def moved(change: NumPyArray) -> NumPyArray:
        # Above 2 the slope has no bound at 0; a root of order h = α − 1 is Hölder continuous with constant 1.
        return change if alpha <= 2 else (2 * power * change) ** (1 / power)

    return _Weights(lambda x: _solved(weights, x, 1.0), moved)


def _soft_top_k(k: int, eps: float = 1.0) -> _Weights:
    def weights(x: NumPyArray, threshold: NumPyArray) -> NumPyArray:
        return np.clip((x - threshold) / eps, 0, 1) / k

    return _Weights(lambda x: _solved(weights, x, max(eps, 1.0)), lambda change: change / (eps * k))


def _solved(weights: Callable[..., NumPyArray], x: NumPyArray, width: float) -> NumPyArray:
    """The weights at the threshold where they sum to 1, by bisection."""
    top, count = np.max(x, axis=-1, keepdims=True), x.shape[-1]
    low, high = np.min(x, axis=-1, keepdims=True) - width * (1 + count), top + width * (1 + count)
    for _ in range(200):
        middle = (low + high) / 2
        above = np.sum(weights(x, middle), axis=-1, keepdims=True) > 1
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    found = weights(x, (low + high) / 2)
    return np.asarray(found / np.sum(found, axis=-1, keepdims=True))


_WEIGHTS: dict[str, Callable[..., _Weights]] = {
    "softmax": lambda: _entmax(1.0),
    "entmax15": lambda: _entmax(1.5),
    "sparsemax": lambda: _entmax(2.0),
    "entmax": _entmax,
    "soft_top_k": _soft_top_k,
}


def bounded(gate: Gate) -> bool:
    """Whether the gate's steps are all known here."""
    named = isinstance(gate.weighting, Activation) and gate.weighting.name in _WEIGHTS
    return named and isinstance(gate.router, Linear) and not callable(gate.norm)


def gate_checks(
    spec: Spec, objects: Mapping[str, Any], generator: np.random.Generator, tokens: int
) -> Iterator[Check]:
    """A gate's coefficients and running statistics in training, in every element type of each backend."""
    values = [generator.normal(size=(tokens, spec.in_features))]
    scale = np.sqrt(spec.in_features)
    values += [generator.normal(size=(spec.in_features, n)) / scale for n in spec.counts]
    for name, tl in objects.items():
        for dtype in tl.float_types:
            x, *weights = (representable(value, dtype) for value in values)
            coefficients, state = _computed(tl, spec, [x, *weights], dtype)
            levels = [_Level(spec.gate, x, g, dtype) for g in weights]
            pairs = [largest(np.abs(a - e.p), e.bound) for a, e in zip(coefficients, levels, strict=True)]
            yield Check("float", f"{name} {dtype}", "coefficients of the gate", *max(pairs, key=ratio))
            pairs = [
                largest(np.abs(state[f"{key}.{number}"] - value), bound)
                for number, level in enumerate(levels)
                for key, (value, bound) in level.statistics.items()
            ]
            if pairs:
                yield Check("float", f"{name} {dtype}", "running statistics", *max(pairs, key=ratio))


def _computed(
    tl: Any, spec: Spec, values: list[NumPyArray], dtype: str
) -> tuple[list[NumPyArray], dict[str, NumPyArray]]:
    """The coefficients and the state after one call in training, in float64."""
    gate = replace(spec.gate, noise=0.0)  # each framework draws its own
    call = Call(True, None, None, nothing_to_reduce)
    initial = gate.initial_state(spec.in_features, spec.counts)

    def run(state: Any, x: Any, *weights: Any) -> Any:
        parameters = {f"gate_weights.{level}": g for level, g in enumerate(weights)}
        return gate.coefficients(tl, parameters, x, spec.levels, state, call)

    with tl.double_precision():
        wide = at_least_float32(dtype)
        state = {k: tl.from_float64(np.full(shape, v), wide) for k, (shape, v) in initial.items()}
        arrays = [tl.from_float64(value, dtype) for value in values]
        coefficients, moved = tl.compiled(run)(state, *arrays)
        found = {key: tl.to_float64(statistic) for key, statistic in moved.items()}
        return [tl.to_float64(a) for a in coefficients], found


class _Level:
    """One level's coefficients and statistics by the definition, with the error that a type may make.

    Attributes:
        p: the coefficients (T, N).
        bound: of their errors (T, N).
        statistics: the running mean and variance with their bounds.
    """

    def __init__(self, gate: Gate, x: NumPyArray, weights: NumPyArray, dtype: str) -> None:
        assert isinstance(gate.weighting, Activation)
        unit = UNITS[at_least_float32(dtype)]
        logits = x @ weights
        error = Precision(dtype).rounding(x.shape[1]) * (np.abs(x) @ np.abs(weights))
        self.statistics: dict[str, tuple[NumPyArray, NumPyArray]] = {}
        if gate.norm == "batch":
            self.statistics = _statistics(logits, error, unit)
            logits, error = _normalized(logits, error, unit, axis=0)
        elif gate.norm == "layer":
            logits, error = _normalized(logits, error, unit, axis=1)
        logits, error = logits / gate.temperature, error / gate.temperature
        count = logits.shape[1]
        known = _WEIGHTS[gate.weighting.name](**dict(gate.weighting.options))
        self.p = known.value(logits)
        change = _norm(error + 4 * unit * np.abs(logits), axis=1) + gamma(count + _FURTHER, unit)
        self.bound = known.moved(change) + gamma(count + _FURTHER, unit) + UNITS[dtype] * self.p


def _normalized(z: NumPyArray, error: NumPyArray, unit: float, axis: int) -> tuple[NumPyArray, NumPyArray]:
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


def _statistics(z: NumPyArray, error: NumPyArray, unit: float) -> dict[str, tuple[NumPyArray, NumPyArray]]:
    """The running mean and variance after one batch, from 0 and 1. One token has no variance: it stays."""
    count = len(z)
    error = error + gamma(count + 2, unit) * (np.abs(z) + np.abs(z).mean(axis=0))
    centred, moved = z - z.mean(axis=0), _norm(error, 0)[0]
    mean = _SHARE * z.mean(axis=0)
    # The share itself is rounded, too.
    bound = _SHARE * error.max(axis=0) + gamma(_FURTHER, unit) * np.abs(mean)
    if count == 1:
        one = np.ones_like(mean)
        return {"gate_mean": (mean, bound), "gate_variance": (one, 0 * one)}
    squares = (centred**2).sum(axis=0)
    variance = 1 - _SHARE + _SHARE * squares / (count - 1)
    change = (2 * np.sqrt(squares) * moved + moved**2) / (count - 1)
    spread = _SHARE * change + gamma(count + _FURTHER, unit) * variance
    return {"gate_mean": (mean, bound), "gate_variance": (variance, spread)}


def _norm(error: NumPyArray, axis: int) -> NumPyArray:
    return np.asarray(np.sqrt((error**2).sum(axis=axis, keepdims=True)))
