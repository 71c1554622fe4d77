"""Naming a nonlinearity by the values that it computes."""

from copy import deepcopy

import torch
from torch import nn

from tensormoe.arrays.nonlinearities import NONLINEARITIES

from .._backend import backend

# Beyond these, all of them are constant, linear or quadratic; clipped variants differ within.
_FARTHEST = 30.0
# Variants of one formula differ by rounded constants, different formulas by 1e-4 at least.
_TOLERANCE = 1e-6


def name_nonlinearity(function: object) -> str | None:
    """The name that blocks know a function by, whichever module or function computes it; None if they don't.

    Examples:
        >>> from torch import nn
        >>> from tensormoe_torch.surgery.nonlinearity import name_nonlinearity
        >>> name_nonlinearity(nn.GELU(approximate="tanh")), name_nonlinearity(nn.ReLU6())
        ('gelu_tanh', None)
    """
    learned = isinstance(function, nn.Module) and next(function.parameters(), None) is not None
    if learned or not callable(function):
        return None
    # What is random in training, such as dropout, equals nothing then.
    tried = deepcopy(function).train() if isinstance(function, nn.Module) else function
    # On the CPU, even where a model is built on the meta device.
    x = torch.linspace(-_FARTHEST, _FARTHEST, 2401, dtype=torch.float64, device="cpu")
    with torch.no_grad(), torch.device("cpu"), torch.random.fork_rng(devices=[]):
        try:
            y = tried(x.clone())
        except Exception:  # of a function of something else
            return None
        names = (name for name in NONLINEARITIES if _equal(y, backend.nonlinear(name, x)))
        return next(names, None)


def _equal(y: torch.Tensor, expected: torch.Tensor) -> bool:
    return y.shape == expected.shape and torch.allclose(y, expected, rtol=0, atol=_TOLERANCE)
