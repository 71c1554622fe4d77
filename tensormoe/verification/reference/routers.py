"""A reference of routers, in float64: logits by their equations, with the error allowed to each."""

from collections.abc import Mapping
from typing import TypeAlias

import numpy as np

from ...arrays.backend import at_least_float32
from ...gates.learned_routers import CosineRouter, LowRankRouter, NoisyRouter
from ...gates.routers import AdaptiveClustering, LinearRouter, Router
from ...typing import NumPyArray
from ..arithmetic.rounding import UNITS, Precision

# Values, and how far they may be off.
Bounded: TypeAlias = tuple[NumPyArray, NumPyArray]

# The routers with a definition here, and those whose errors have a bound. What adaptive clustering makes of x
# is in reference/clustering.py; the product that follows is the linear router's.
ROUTERS = (LinearRouter, LowRankRouter, CosineRouter, NoisyRouter, AdaptiveClustering)
BOUNDED_ROUTERS = (LinearRouter, LowRankRouter, NoisyRouter)


def route(router: Router, x: NumPyArray, parameters: Mapping[str, NumPyArray], dtype: str) -> Bounded:
    """The logits (T, N) without noise, and their errors.

    Args:
        router: one of `ROUTERS`.
        x: (T, I).
        parameters: the level's, by the router's names.
        dtype: the element type of x and the parameters; routers multiply in at least float32.
    """
    weights = parameters["weights"]
    if isinstance(router, CosineRouter):
        h = x @ parameters["projection"] if "projection" in parameters else x
        scale = np.exp(parameters["scale"]) / (router.temperature or len(weights) ** -0.5)
        logits = scale * (_divide(h, 1) @ _divide(weights, 0))
        return logits, np.full_like(logits, np.inf)
    h, error = x, np.zeros_like(x)
    if "projection" in parameters:
        h, error = _multiply(h, error, parameters["projection"], dtype)
    logits, error = _multiply(h, error, weights, dtype)
    if "bias" in parameters:
        logits = logits + parameters["bias"]
        error = error + _unit(dtype) * (np.abs(logits) + error)
    return logits, error


def add_noise(
    router: Router, x: NumPyArray, parameters: Mapping[str, NumPyArray], normal: NumPyArray | float
) -> NumPyArray | float:
    """What a router adds to its logits in training, at given standard normal numbers (T, N)."""
    if not isinstance(router, NoisyRouter):
        return 0.0
    return np.asarray(router.noise * np.logaddexp(0, x @ parameters["noise"]) * normal)


def _multiply(x: NumPyArray, error: NumPyArray, matrix: NumPyArray, dtype: str) -> Bounded:
    """A product, and its error: what comes in is carried on, and rounding adds to it."""
    rounding = Precision(at_least_float32(dtype)).rounding(x.shape[1])
    rounding += Precision("float64").rounding(x.shape[1])
    sizes = np.abs(x) + error
    return x @ matrix, error @ np.abs(matrix) + rounding * (sizes @ np.abs(matrix))


def _divide(vectors: NumPyArray, axis: int) -> NumPyArray:
    return np.asarray(vectors / np.sqrt(np.sum(vectors**2, axis=axis, keepdims=True)))


def _unit(dtype: str) -> float:
    return min(UNITS[dtype], UNITS["float32"]) + UNITS["float64"]
