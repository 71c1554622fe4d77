"""Every operation that a backend offers, tried on small arrays, with what NumPy says of it in float64.

The right side of each line is an oracle of its own: it calls nothing of this library.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from ..arrays.backend import Backend
from ..arrays.protocols import Differentiable
from ..gates.newton import Entmax15, SoftTopK, Sparsemax
from ..typing import Array, NumPyArray
from .nonlinearities import NONLINEAR
from .trials import Trial, numbers

_A, _B = numbers(3, 4), numbers(3, 4)[::-1].copy()
_CUBE, _SIDE = numbers(2, 3, 4), numbers(2, 4, 5)
_POSITIVE, _SMALL = np.abs(_A) + 0.1, _A / 5
_WEIGHT, _MATRIX, _BIAS = numbers(4, 5), numbers(5, 6), numbers(5)


def _with_one(x: NumPyArray) -> NumPyArray:
    return np.concatenate([x, np.ones((*x.shape[:-1], 1))], axis=-1)


def _softmax(x: NumPyArray) -> NumPyArray:
    weights = np.exp(x)
    return np.asarray(weights / weights.sum(-1, keepdims=True))


def _layer_norm(x: NumPyArray) -> NumPyArray:
    return np.asarray((x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5))


def _solve(weights: Callable[[NumPyArray], NumPyArray], x: NumPyArray) -> NumPyArray:
    """The weights of x − τ that sum to 1, by bisection for τ."""
    low, high = x.min(-1, keepdims=True) - 2, x.max(-1, keepdims=True)
    for _ in range(100):
        middle = (low + high) / 2
        above = weights(x - middle).sum(-1, keepdims=True) > 1
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    return weights(x - low)


_SPARSE: dict[str, tuple[Differentiable, Callable[[NumPyArray], NumPyArray]]] = {
    "sparsemax": (Sparsemax(), lambda z: np.maximum(z, 0)),
    "entmax15": (Entmax15(), lambda z: np.maximum(z / 2, 0) ** 2),
    "soft top-k": (SoftTopK(2, 1.0), lambda z: np.clip(z, 0, 1) / 2),
}


def _halve(ops: Backend, start: Array) -> Any:
    """Five corrections, and all of them: no size is small enough to end."""

    def correction(parts: tuple[Array, ...]) -> tuple[Array, ...]:
        return -sum(parts) / 2, ops.abs(sum(parts)) * 2.0**20

    return sum(ops.thresholds.refine(correction, start, 5))


def _trial_function(name: str, x: NumPyArray, smooth: bool = True) -> Trial:
    """A function of each element that has NumPy's name."""
    oracle: Callable[[NumPyArray], NumPyArray] = getattr(np, name)
    return Trial(f"ArrayOps.{name}", (x,), lambda ops, x: getattr(ops, name)(x), oracle, smooth)


def _trial_sparse(name: str) -> Trial:
    function, weights = _SPARSE[name]
    return Trial(
        f"GateOps.differentiable({name})",
        (_A,),
        lambda ops, x: ops.differentiable(function, x),
        lambda x: _solve(weights, x),
        True,
    )


PROGRAM_OPS = [
    Trial(
        "ProgramOps.transpose",
        (_CUBE,),
        lambda ops, x: ops.transpose(x, (2, 0, 1)),
        lambda x: x.transpose(2, 0, 1),
        True,
    ),
    Trial(
        "ProgramOps.reshape",
        (_CUBE,),
        lambda ops, x: ops.reshape(x, (6, 1, 4)),
        lambda x: x.reshape(6, 1, 4),
        True,
    ),
    Trial("ProgramOps.sum", (_CUBE,), lambda ops, x: ops.sum(x, axis=1), lambda x: x.sum(1), True),
    Trial("ProgramOps.matmul", (_A, _WEIGHT), lambda ops, a, b: ops.matmul(a, b), np.matmul, True),
    Trial("ProgramOps.matmul", (_CUBE, _SIDE), lambda ops, a, b: ops.matmul(a, b), np.matmul, True),
    Trial(
        "ProgramOps.affine",
        (_A, _MATRIX),
        lambda ops, x, m: ops.affine(x, m),
        lambda x, m: _with_one(x) @ m,
        True,
    ),
    Trial(
        "ProgramOps.concatenate",
        (_A, _B),
        lambda ops, a, b: ops.concatenate([a, b], axis=-1),
        lambda a, b: np.concatenate([a, b], -1),
        True,
    ),
    Trial("ProgramOps.zeros_like", (_A,), lambda ops, x: ops.zeros_like(x), np.zeros_like),
    Trial("ProgramOps.copy", (_A,), lambda ops, x: ops.copy(x), np.copy, True),
    Trial(
        "ProgramOps: arrays' +, ∗, slices",
        (_A, _B),
        lambda ops, a, b: (a + b * a)[..., :-1],
        lambda a, b: (a + b * a)[..., :-1],
        True,
    ),
    *NONLINEAR,
]

ARRAY_OPS = [
    Trial("ArrayOps.to_numpy", (_A,), lambda ops, x: ops.to_numpy(x), np.copy),
    Trial(
        "ArrayOps.moveaxis",
        (_CUBE,),
        lambda ops, x: ops.moveaxis(x, 0, -1),
        lambda x: np.moveaxis(x, 0, -1),
        True,
    ),
    Trial("ArrayOps.transpose", (_A,), lambda ops, x: ops.transpose(x), np.transpose, True),
    Trial("ArrayOps.sum", (_A,), lambda ops, x: ops.sum(x), np.sum, True),
    Trial(
        "ArrayOps.sum",
        (_A,),
        lambda ops, x: ops.sum(x, axis=-1, keepdims=True),
        lambda x: x.sum(-1, keepdims=True),
        True,
    ),
    Trial("ArrayOps.cumsum", (_A,), lambda ops, x: ops.cumsum(x, axis=-1), lambda x: np.cumsum(x, -1), True),
    Trial("ArrayOps.max", (_A,), lambda ops, x: ops.max(x), np.max, True),
    Trial("ArrayOps.max", (_A,), lambda ops, x: ops.max(x, axis=-1), lambda x: x.max(-1), True),
    Trial("ArrayOps.argmax", (_A,), lambda ops, x: ops.argmax(x, axis=-1), lambda x: x.argmax(-1)),
    Trial("ArrayOps.sort", (_A,), lambda ops, x: ops.sort(x, axis=-1), lambda x: np.sort(x, -1), True),
    Trial("ArrayOps.all", (_A,), lambda ops, x: ops.all(x > -9), lambda x: np.all(x > -9)),
    Trial(
        "ArrayOps.where",
        (_A, _B),
        lambda ops, a, b: ops.where(a > 0, a, b),
        lambda a, b: np.where(a > 0, a, b),
        True,
    ),
    Trial("ArrayOps.where", (_A,), lambda ops, a: ops.where(a > 0, a, 0.0), lambda a: np.maximum(a, 0), True),
    Trial("ArrayOps.maximum", (_A, _B), lambda ops, a, b: ops.maximum(a, b), np.maximum),
    Trial("ArrayOps.minimum", (_A, _B), lambda ops, a, b: ops.minimum(a, b), np.minimum),
    Trial(
        "ArrayOps.clip", (_A,), lambda ops, x: ops.clip(x, -0.5, 0.5), lambda x: np.clip(x, -0.5, 0.5), True
    ),
    Trial("ArrayOps.clip", (_A,), lambda ops, x: ops.clip(x, 0.5), lambda x: np.maximum(x, 0.5), True),
    Trial("ArrayOps.clip", (_A,), lambda ops, x: ops.clip(x, None, 0.5), lambda x: np.minimum(x, 0.5), True),
]

GATE_OPS = [
    Trial("GateOps.softmax", (_A,), lambda ops, x: ops.softmax(x), _softmax, True),
    Trial("GateOps.layer_norm", (_A,), lambda ops, x: ops.layer_norm(x, 1e-5), _layer_norm, True),
    Trial(
        "GateOps.kth_largest",
        (_A,),
        lambda ops, x: ops.kth_largest(x, 2),
        lambda x: np.sort(x, -1)[..., -2:-1],
    ),
    Trial(
        "GateOps.beyond_largest",
        (_A,),
        lambda ops, x: ops.where(ops.beyond_largest(x, 2), 0.0, x),
        lambda x: np.where(x < np.sort(x, -1)[..., -2:-1], 0.0, x),
    ),
    Trial(
        "GateOps.sum_leading", (_CUBE,), lambda ops, a: ops.sum_leading(a, 2), lambda a: a.sum((0, 1)), True
    ),
    Trial("GateOps.sum_products", (_A, _B), lambda ops, a, b: ops.sum_products(a, b), lambda a, b: a.T @ b),
    Trial(
        "GateOps.compute_precisely",
        (_A, _B),
        lambda ops, a, b: ops.compute_precisely(lambda own, a, b: own.matmul(a, own.transpose(b)), a, b),
        lambda a, b: a @ b.T,
        True,
    ),
    Trial("GateOps.reduce", (_A,), lambda ops, a: ops.reduce(lambda own: -own, a), np.negative, True),
    Trial("GateOps.stop_gradient", (_A, _B), lambda ops, a, b: ops.stop_gradient(a) * b, lambda a, b: a * b),
    Trial(
        "GateOps.positions",
        (_A,),
        lambda ops, x: ops.cast(ops.positions(4, x), ops.dtype_name(x)),
        lambda x: np.arange(4.0),
    ),
    *(_trial_sparse(name) for name in _SPARSE),
]

_TAU = numbers(3, 1) / 4
THRESHOLDS = [
    Trial(
        "ThresholdKernel.clip",
        (_A, _TAU),
        lambda ops, x, t: ops.thresholds.clip(x, (t, t)),
        lambda x, t: np.maximum(x - t - t, 0),
    ),
    Trial(
        "ThresholdKernel.clip",
        (_A, _TAU),
        lambda ops, x, t: ops.thresholds.clip(x, (t,), 0.5, ops.thresholds.allocate(x)),
        lambda x, t: np.clip(x - t, 0, 0.5),
    ),
    Trial(
        "ThresholdKernel.sum_clipped",
        (_A, _TAU),
        lambda ops, x, t: ops.thresholds.sum_clipped(x, (t,)),
        lambda x, t: (np.maximum(x - t, 0).sum(-1, keepdims=True), (x > t).sum(-1, keepdims=True)),
    ),
    Trial(
        "ThresholdKernel.sum_clipped",
        (_A, _TAU),
        lambda ops, x, t: ops.thresholds.sum_clipped(x, (t,), 0.5),
        lambda x, t: (
            np.clip(x - t, 0, 0.5).sum(-1, keepdims=True),
            ((x > t) & (x < t + 0.5)).sum(-1, keepdims=True),
        ),
    ),
    Trial(
        "ThresholdKernel.measure_clipped",
        (_A, _TAU),
        lambda ops, x, t: ops.thresholds.measure_clipped(x, (t,)),
        lambda x, t: (
            np.sqrt((np.maximum(x - t, 0) ** 2).sum(-1, keepdims=True)),
            np.maximum(x - t, 0).sum(-1, keepdims=True),
        ),
    ),
    Trial(
        "ThresholdKernel.multiply",
        (_A, _B),
        lambda ops, a, b: ops.thresholds.multiply(ops.copy(a), b),
        np.multiply,
        True,
    ),
    Trial(
        "ThresholdKernel.multiply_rows",
        (_A, _B),
        lambda ops, a, b: ops.thresholds.multiply_rows(a, b),
        lambda a, b: (a * b).sum(-1, keepdims=True),
        True,
    ),
    Trial("ThresholdKernel.root", (_POSITIVE,), lambda ops, x: ops.thresholds.root(x), np.sqrt, True),
    Trial("ThresholdKernel.root", (np.zeros((2, 3)),), lambda ops, x: ops.thresholds.root(x), np.sqrt),
    Trial("ThresholdKernel.refine", (_TAU,), _halve, lambda x: x / 32),
]

FUNCTIONS = [
    *(_trial_function(name, _A) for name in ("abs", "exp", "sinh", "tanh")),
    *(_trial_function(name, _POSITIVE) for name in ("sqrt", "log")),
    _trial_function("arctanh", _SMALL),
    _trial_function("sign", _A, False),
]

OPERATIONS = [*PROGRAM_OPS, *ARRAY_OPS, *FUNCTIONS, *GATE_OPS, *THRESHOLDS]
