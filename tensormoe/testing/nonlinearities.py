"""Every nonlinearity of a backend, tried on small arrays, with what NumPy says of it in float64."""

from collections.abc import Callable

import numpy as np
from scipy.special import erf

from ..arrays.nonlinearities import NONLINEARITIES
from ..typing import NumPyArray
from .trials import Trial, cotangent, differentiate, numbers

_A, _B = numbers(3, 4), numbers(3, 4)[::-1].copy()

_NONLINEARITIES: dict[str, Callable[[NumPyArray], NumPyArray]] = {
    "gelu": lambda x: np.asarray(x * (1 + erf(x / np.sqrt(2))) / 2),
    "gelu_tanh": lambda x: np.asarray(x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))) / 2),
    "relu": lambda x: np.maximum(x, 0),
    "silu": lambda x: np.asarray(x / (1 + np.exp(-x))),
    "quick_gelu": lambda x: np.asarray(x / (1 + np.exp(-1.702 * x))),
    "relu2": lambda x: np.maximum(x, 0) ** 2,
    "sigmoid": lambda x: np.asarray(1 / (1 + np.exp(-x))),
    "tanh": np.tanh,
    "identity": lambda x: x,
}


def _trial_nonlinearity(name: str) -> list[Trial]:
    f = _NONLINEARITIES[name]
    return [
        Trial(f"ProgramOps.nonlinear({name!r})", (_A,), lambda ops, x: ops.nonlinear(name, x), f, True),
        Trial(
            f"ProgramOps.nonlinear_overwrite({name!r})",
            (_A,),
            lambda ops, x: ops.nonlinear_overwrite(name, ops.copy(x)),
            f,
        ),
        Trial(
            f"ProgramOps.nonlinear_vjp({name!r})",
            (_A, cotangent(_A)),
            lambda ops, x, gradient: ops.nonlinear_vjp(name, x, ops.copy(gradient)),
            lambda x, gradient: differentiate(f, x),
            rough=True,
        ),
    ]


def _trial_products(name: str = "silu") -> list[Trial]:
    """A nonlinearity times a factor; which nonlinearity makes no difference."""
    f = _NONLINEARITIES[name]

    def expected(x: NumPyArray, factor: NumPyArray) -> NumPyArray:
        return f(x) * factor

    def vjp(position: int) -> Trial:
        return Trial(
            f"ProgramOps.nonlinear_product_vjp({name!r}, {position})",
            (_A, _B, cotangent(_A)),
            lambda ops, x, factor, g: ops.nonlinear_product_vjp(name, x, factor, ops.copy(g), position),
            lambda x, factor, g: g * f(x) if position else differentiate(f, x) * factor,
            rough=True,
        )

    product = f"ProgramOps.nonlinear_product({name!r})"
    overwrite = f"ProgramOps.nonlinear_product_overwrite({name!r})"
    return [
        Trial(product, (_A, _B), lambda ops, x, b: ops.nonlinear_product(name, x, b), expected, True),
        Trial(
            overwrite,
            (_A, _B),
            lambda ops, x, b: ops.nonlinear_product_overwrite(name, ops.copy(x), b),
            expected,
        ),
        vjp(0),
        vjp(1),
    ]


NONLINEAR = [
    *(trial for name in NONLINEARITIES for trial in _trial_nonlinearity(name)),
    *_trial_products(),
]
