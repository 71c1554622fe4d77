"""How much each direction of the inputs and outputs counts, judged by data.

Errors of a weight in directions that no input has cost nothing. So what is to be small is not W − Ŵ but
S(W − Ŵ), where S is the root of the inputs' second moment E[xxᵀ]: its squared norm is the mean squared error
of outputs. A fit to the *whitened* weight SW, whose input core is multiplied by S⁻¹ afterwards, makes it
small.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..errors import TensorMoEError
from ..layers.stage import Stage
from ..networks.notation import INPUT, OUTPUT
from ..typing import Array, NumPyArray
from .target import read_values

# Added to every eigenvalue, relative to their mean: directions that no sample has count a little.
RIDGE = 1e-8


@dataclass(frozen=True)
class Metric:
    """The root of a second moment.

    Args:
        root: S, symmetric and invertible.
        inverse: S⁻¹.
        exact: a root of the second moment itself, which may be singular.
    """

    root: NumPyArray
    inverse: NumPyArray
    exact: NumPyArray


# By mode, INPUT or OUTPUT.
Metrics = Mapping[str, Metric]


def read_metrics(inputs: Array | None, outputs: Array | None, stage: Stage) -> dict[str, Metric]:
    """The metric of every mode for which there are samples, (…, I) or (…, O).

    Args:
        inputs, outputs: the samples, or None.
        stage: the layer; with a bias, an input is followed by a constant 1.
    """
    metrics = {}
    if inputs is not None:
        samples = _read("inputs", inputs, stage.in_features)
        ones = np.ones((len(samples), int(stage.network.has_bias)))
        metrics[INPUT] = _measure("inputs", np.concatenate([samples, ones], axis=1))
    if outputs is not None:
        metrics[OUTPUT] = _measure("outputs", _read("outputs", outputs, stage.out_features))
    return metrics


def _read(argument: str, samples: Array, size: int) -> NumPyArray:
    values = read_values(argument, samples)
    if values.ndim == 0 or values.shape[-1] != size or values.size == 0:
        raise TensorMoEError(argument, values.shape, f"pass samples of shape (T, {size}), at least one")
    return values.reshape(-1, size)


def _measure(argument: str, samples: NumPyArray) -> Metric:
    with np.errstate(over="ignore", invalid="ignore"):
        moment = samples.T @ samples / len(samples)
    if not np.isfinite(moment).all() or not moment.any():
        raise TensorMoEError(argument, samples.shape, "all are zero, or too large to square: rescale them")
    moment /= np.trace(moment) / len(moment)
    values, vectors = np.linalg.eigh(moment)
    exact = np.sqrt(np.maximum(values, 0))
    root = np.sqrt(np.maximum(values, 0) + RIDGE)
    return Metric((vectors * root) @ vectors.T, (vectors / root) @ vectors.T, exact[:, None] * vectors.T)


def transform(array: NumPyArray, axis: int, matrix: NumPyArray) -> NumPyArray:
    """Multiply an array by a matrix along one axis."""
    return np.moveaxis(np.tensordot(matrix, array, (1, axis)), 0, axis)


def whiten(weight: NumPyArray, metrics: Metrics) -> NumPyArray:
    """S W S', for a weight (…, I[+1], O)."""
    axes = {INPUT: -2, OUTPUT: -1}
    for mode, metric in metrics.items():
        weight = transform(weight, weight.ndim + axes[mode], metric.root)
    return weight


def relative_error(weight: NumPyArray, fitted: NumPyArray, metric: Metric | None = None) -> float:
    """The norm of the difference of two weights over that of the first; of outputs, if a metric is given."""
    difference = weight - fitted
    if metric is not None:
        difference, weight = (
            transform(each, each.ndim - 2, metric.exact) for each in (difference, np.asarray(weight))
        )
    norm = float(np.linalg.norm(np.broadcast_to(weight, difference.shape)))
    return float(np.linalg.norm(difference)) / (norm or 1.0)
