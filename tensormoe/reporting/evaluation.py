"""Runs a layer over inputs in batches, and keeps sums, each expert's best inputs, and predictions."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce
from math import prod
from typing import Any

import numpy as np

from ..analysis.ablation import accuracy_by_ablation
from ..analysis.progress import show_progress
from ..analysis.recording_layer import LayerRecording
from ..analysis.recording_run import recording
from ..arrays.registry import backend_of
from ..errors import TensorMoEError
from ..layers.functional import apply
from ..memory import check_memory, host_memory
from ..typing import Array, NumPyArray
from .data import Data

# How many inputs of each expert are kept, and shown.
BEST = 8
_LAYER = "layer"


class BestInputs:
    """The inputs with the largest coefficients of each expert, from batches.

    Attributes:
        coefficients, rows: (N, k), descending; k grows to BEST.
    """

    def __init__(self, experts: int) -> None:
        self.coefficients, self.rows = np.zeros((experts, 0)), np.zeros((experts, 0), "int64")

    def add(self, coefficients: NumPyArray, start: int) -> None:
        """Take a batch, (B, N), whose first input has the number `start`."""
        numbers = np.broadcast_to(np.arange(start, start + len(coefficients)), coefficients.T.shape)
        values = np.concatenate([self.coefficients, coefficients.T], axis=1)
        rows = np.concatenate([self.rows, numbers], axis=1)
        kept = np.argpartition(-values, min(BEST, values.shape[1]) - 1, axis=1)[:, :BEST]
        values, rows = np.take_along_axis(values, kept, 1), np.take_along_axis(rows, kept, 1)
        # Of equal ones, the first.
        order = np.lexsort((rows, -values), axis=1)
        self.coefficients = np.take_along_axis(values, order, 1)
        self.rows = np.take_along_axis(rows, order, 1)


@dataclass(frozen=True)
class Evaluation:
    """What a layer did with all inputs.

    Args:
        recording: sums over its coefficients.
        best: each level's.
        load: of all ∏ N_e experts, in the order of `gram`.
        predictions: the number of the largest output, (T,).
    """

    recording: LayerRecording
    best: tuple[BestInputs, ...]
    load: NumPyArray
    predictions: NumPyArray


def evaluate(layer: Any, data: Data, batch_size: int, threshold: float, progress: bool) -> Evaluation:
    """Run a layer, as in evaluation.

    Raises:
        TensorMoEError: coefficients or outputs that are not finite, or as `apply`.
    """
    spec, arrays = layer.spec, layer.arrays()
    spec.require_gate("a report shows what a gate makes of inputs")
    state = {name: each for name, each in arrays.items() if name in spec.state_shapes}
    parameters = {name: each for name, each in arrays.items() if name not in state}
    like = next(iter(parameters.values()))
    ops = backend_of(like)
    dtype = ops.dtype_name(ops.as_array(like))
    best = tuple(map(BestInputs, spec.experts))
    check_memory(
        "checkpoint", spec.experts, "the loads of all experts", 16 * prod(spec.experts), host_memory()
    )
    load, predictions = np.zeros(prod(spec.experts)), np.zeros(len(data), "int64")
    with recording(threshold=threshold) as recorder:
        for rows in _batches(len(data), batch_size, "recording", progress):
            x = ops.from_float64(data.x[rows].astype("float64"), dtype)
            with ops.without_gradients():
                output = apply(spec, parameters, x, state=state, backend=ops)
            labels = None if data.labels is None else data.labels[rows]
            with recorder.batch(labels=labels):
                recorder.add(_LAYER, output.coefficients)
            levels = [np.asarray(ops.to_numpy(a), "float64") for a in output.coefficients]
            load += _add_up(levels)
            for each, level in zip(best, levels, strict=True):
                each.add(level, rows.start)
            predictions[rows] = _predict(np.asarray(ops.to_numpy(output.y), "float64"), rows.start)
    if not load.sum() > 0:
        raise TensorMoEError("data", len(data), "no expert has a coefficient above 0: pass other inputs")
    return Evaluation(recorder[_LAYER], best, load / load.sum(), predictions)


def ablate_levels(
    layer: Any, data: Data, labels: NumPyArray, batch_size: int, progress: bool
) -> tuple[NumPyArray, ...]:
    """The changes of each class's accuracy without each expert, (N_e, C) for each level."""
    classes = layer.spec.out_features
    sizes = np.bincount(labels, minlength=classes)
    totals = [np.zeros((experts, classes)) for experts in layer.spec.experts]
    like = next(iter(layer.arrays().values()))
    ops = backend_of(like)
    dtype = ops.dtype_name(ops.as_array(like))
    for rows in _batches(len(data), batch_size, "ablating", progress):
        x: Array = ops.from_float64(data.x[rows].astype("float64"), dtype)
        own = np.bincount(labels[rows], minlength=classes)
        for level, total in enumerate(totals):
            # Shares of a batch in whole inputs, so that their sum has no rounding.
            total += np.rint(accuracy_by_ablation(layer, x, labels[rows], level=level) * own)
    return tuple(total / np.maximum(sizes, 1) for total in totals)


def _batches(count: int, size: int, text: str, progress: bool) -> Iterable[slice]:
    rows = [slice(start, min(start + size, count)) for start in range(0, count, size)]
    return show_progress(text, rows) if progress else rows


def _add_up(levels: list[NumPyArray]) -> NumPyArray:
    """Σ_t a_1[t, n] … a_E[t, m], (∏ N_e,), without the products of every token with all levels."""
    *before, last = levels
    outer = reduce(
        lambda a, b: (a[:, :, None] * b[:, None, :]).reshape(len(a), -1), before, np.ones((len(last), 1))
    )
    total: NumPyArray = (outer.T @ last).reshape(-1)
    return total


def _predict(y: NumPyArray, start: int) -> NumPyArray:
    if not np.isfinite(y).all():
        row = start + int(np.argwhere(~np.isfinite(y))[0][0])
        raise TensorMoEError(
            "checkpoint", "outputs", f"that of input {row:,} is not finite: check its values"
        )
    numbers: NumPyArray = y.argmax(axis=1)
    return numbers
