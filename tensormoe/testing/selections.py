"""Operations of a backend that read and write by indices, with what NumPy's sums over all experts say.

A framework may choose places in any order, so what is tried are sums over them.
"""

from typing import Any

import numpy as np

from ..arrays.backend import Backend
from ..typing import Array, NumPyArray
from .trials import Trial, numbers

# Which two of five experts each of three tokens chooses, and which one of four.
_TWO = np.array([[0, 1, 0, 0, 1], [1, 0, 0, 1, 0], [0, 1, 1, 0, 0]], "float64")
_ONE = np.array([[0, 0, 1, 0], [1, 0, 0, 0], [0, 0, 1, 0]], "float64")
_A, _CORE, _SIDES, _GRADIENT = numbers(3, 5), numbers(5, 6), numbers(4, 2, 5), numbers(3, 6)


def _choose(ops: Backend, like: Array, chosen: NumPyArray) -> Array:
    """The places of the ones, in the framework's integers."""
    return ops.choose(ops.from_float64(chosen, ops.dtype_name(like)), int(chosen[0].sum()))


def _take(ops: Backend, a: Array) -> Any:
    return ops.sum(ops.take(a, _choose(ops, a, _TWO)), axis=1)


def _put(ops: Backend, a: Array) -> Any:
    places = _choose(ops, a, _TWO)
    return ops.put(ops.take(a, places), places, a)


def _gather(ops: Backend, a: Array, core: Array) -> Any:
    places = _choose(ops, a, _TWO)
    return ops.sum(ops.take(a, places)[..., None] * ops.gather(core, [places], (0,)), axis=1)


def _gather_sides(ops: Backend, core: Array) -> Any:
    places = [_choose(ops, core, each) for each in (_ONE, _TWO)]
    return ops.sum(ops.sum(ops.gather(core, places, (0, 2)), axis=1), axis=1)


def _gather_last(ops: Backend, core: Array) -> Any:
    return ops.sum(ops.gather(core, [_choose(ops, core, _TWO)], (2,)), axis=1)


def _scatter(ops: Backend, a: Array, gradient: Array, core: Array) -> Any:
    places = _choose(ops, a, _TWO)
    return ops.scatter(ops.take(a, places)[..., None] * gradient[:, None], [places], (0,), core)


def _scatter_sides(ops: Backend, a: Array, core: Array) -> Any:
    places = [_choose(ops, core, each) for each in (_ONE, _TWO)]
    gradient = ops.take(a, places[1])[:, None, :, None] + ops.zeros_like(core)[0, :, 0][None, None, None]
    return ops.scatter(gradient, places, (0, 2), core)


def _chosen(ops: Backend, x: Array) -> tuple[Array, Array]:
    places = ops.choose(x, 2)
    return ops.take(x, places), places


SELECTIVE = [
    Trial("ProgramOps.choose", (_TWO,), lambda ops, x: ops.put(*_chosen(ops, x), x), np.copy),
    Trial("ProgramOps.take", (_A,), _take, lambda a: (a * _TWO).sum(1), True),
    Trial("ProgramOps.put", (_A,), _put, lambda a: a * _TWO),
    Trial("ProgramOps.gather", (_A, _CORE), _gather, lambda a, core: (a * _TWO) @ core, True),
    Trial(
        "ProgramOps.gather",
        (_SIDES,),
        _gather_sides,
        lambda core: np.einsum("tm,tn,mrn->tr", _ONE, _TWO, core),
    ),
    Trial("ProgramOps.gather", (_SIDES,), _gather_last, lambda core: np.einsum("tn,mrn->tmr", _TWO, core)),
    Trial(
        "ProgramOps.scatter",
        (_A, _GRADIENT, _CORE),
        _scatter,
        lambda a, gradient, core: (a * _TWO).T @ gradient + 0 * core,
    ),
    Trial(
        "ProgramOps.scatter",
        (_A, _SIDES),
        _scatter_sides,
        lambda a, core: np.einsum("tm,tn,r->mrn", _ONE, a * _TWO, np.ones(2)),
    ),
]
