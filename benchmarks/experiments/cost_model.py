"""A model of time from counts: seconds for each operation, multiply-accumulate, byte and coefficient.

Bytes of gradients count apart: they lie in memory that is new in each step. All five are at least zero, and
fitted to relative errors, so that short calls count as much as long ones.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.optimize import nnls

from tensormoe.typing import NumPyArray

from .cost_sides import Count

FLOAT = 4


class Point(NamedTuple):
    """What a side counts, and the seconds that it takes."""

    counted: Count
    seconds: float


def read_terms(count: Count, training: bool) -> NumPyArray:
    """Operations, multiply-accumulates, bytes, bytes of gradients and coefficients of a call, (5,).

    Reverse mode takes two products for each of a forward pass, and writes all gradients, also those that
    are zero.
    """
    passes = 3 if training else 1
    macs, moved = passes * count.macs, passes * FLOAT * count.elements
    gradients = FLOAT * count.parameters if training else 0
    return np.array([count.operations, macs, moved, gradients, count.coefficients], float)


def read_memory(count: Count, training: bool) -> int:
    """Bytes that a call keeps at least: parameters, and in training gradients and what they need."""
    return FLOAT * (2 * count.parameters + count.saved if training else count.parameters)


def fit(points: Sequence[Point], training: bool) -> NumPyArray:
    """Seconds of each term, (5,), with the least sum of squared relative errors.

    Examples:
        >>> import numpy as np
        >>> from benchmarks.experiments.cost_model import FLOAT, Point, fit
        >>> from benchmarks.experiments.cost_sides import Count
        >>> rows = np.random.default_rng(0).integers(1, 9, size=(8, 6)).tolist()
        >>> counts = [Count(*row) for row in rows]
        >>> points = [Point(each, 2 * each.macs + 3 * FLOAT * each.elements) for each in counts]
        >>> np.round(fit(points, training=False), 6).tolist()
        [0.0, 2.0, 3.0, 0.0, 0.0]
    """
    seconds = np.array([point.seconds for point in points])
    rows = np.array([read_terms(point.counted, training) for point in points]) / seconds[:, None]
    scale = np.maximum(np.abs(rows).max(axis=0), np.finfo(float).tiny)
    return np.asarray(nnls(rows / scale, np.ones(len(points)))[0] / scale)


def predict(rates: NumPyArray, count: Count, training: bool) -> float:
    """The seconds of a call."""
    return float(read_terms(count, training) @ rates)


def off(rates: NumPyArray, points: Sequence[Point], training: bool) -> NumPyArray:
    """By which factor each prediction is off, in either direction: 1 where it is right."""
    ratios = [predict(rates, point.counted, training) / point.seconds for point in points]
    return np.exp(np.abs(np.log(np.maximum(ratios, 1e-9))))
