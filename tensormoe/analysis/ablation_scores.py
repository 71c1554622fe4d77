"""What a model's outputs are scored by: sums over a batch's inputs, and how many inputs they are of."""

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from ..errors import TensorMoEError
from ..fitting.target import read_values
from ..typing import Array, NumPyArray
from .batches import Pick, get_part
from .recording_batch import read_labels
from .recording_sums import IGNORED

Sums = tuple[NumPyArray, NumPyArray]


class Score(Protocol):
    """Of a model's output and a batch, sums (K,) and the counts that they are divided by."""

    def __call__(self, output: Any, batch: Any) -> Sums:
        """The sums and the counts."""


class Accuracy:
    """How many inputs of each class the largest logit is right of, and how many there are."""

    def __init__(self, labels: Pick | None) -> None:
        self._labels = labels

    def __call__(self, output: Any, batch: Any) -> Sums:
        logits = _read_logits(output)
        labels = read_labels(get_part("labels", self._labels, batch))
        if labels.shape not in (logits.shape[:-1], (int(np.prod(logits.shape[:-1])),)):
            remedy = f"the model's outputs are {logits.shape}: pass a label for each, {logits.shape[:-1]}"
            raise TensorMoEError("labels", labels.shape, remedy)
        labels, classes = labels.ravel(), logits.shape[-1]
        predictions = logits.reshape(-1, classes).argmax(axis=1)
        kept = labels != IGNORED
        if kept.any() and labels.max() >= classes:
            raise TensorMoEError("labels", int(labels.max()), f"the model has {classes} outputs, from 0 on")
        right = kept & (predictions == labels)
        counted = (np.bincount(labels[each], minlength=classes) for each in (right, kept))
        sums, counts = (each.astype("float64") for each in counted)
        return sums, counts


class Mean:
    """The sum of a function's values over inputs, and how many inputs there are."""

    def __init__(self, measure: Callable[[Any, Any], Array]) -> None:
        self._measure = measure

    def __call__(self, output: Any, batch: Any) -> Sums:
        try:
            result = self._measure(output, batch)
        except Exception as error:  # the user's own function may raise anything
            remedy = f"it failed on an output ({type(error).__name__}: {error}): pass a function of both"
            raise TensorMoEError("measure", self._measure, remedy) from error
        values = read_values("measure", result)
        if values.ndim not in (1, 2):
            remedy = "return a number for each input, (T,), or a row of them, (T, K)"
            raise TensorMoEError("measure", values.shape, remedy)
        sums = values.reshape(len(values), -1).sum(axis=0)
        return sums, np.full_like(sums, len(values))


def _read_logits(output: Any) -> NumPyArray:
    array = output if hasattr(output, "shape") else getattr(output, "logits", None)
    if array is None:
        remedy = "pass call=, a function of model and batch that returns its logits, or measure="
        raise TensorMoEError("model", type(output), f"its output is not an array of logits: {remedy}")
    return read_values("model", array)
