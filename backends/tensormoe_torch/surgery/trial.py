"""A trial of whether a module computes what the names of its parts suggest."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import cast

import torch
from torch import nn

from .dense import Dense

_Map = Callable[[torch.Tensor], torch.Tensor]


def computes_its_parts(module: nn.Module, dense: Dense) -> bool:
    """Whether two tokens give the same by the module's own `forward` and by its parts.

    An MLP may have these parts and do something else with them, such as scale or clip what is between them.
    Where parameters have no values, on the meta device, names must do.
    """
    weight = dense.first.module.get_parameter("weight")
    if dense.second is None or weight.is_meta:
        return True
    x = torch.linspace(-2, 2, 2 * dense.first.in_features, dtype=weight.dtype, device=weight.device)
    x = x.reshape(2, -1)
    try:
        with torch.no_grad(), _evaluation(module):
            y, expected = module.forward(x), _parts(dense, x)
    except Exception:  # of the module, which may need further arguments
        return False
    tolerance = max(1e-4, 8 * torch.finfo(weight.dtype).eps) * expected.abs().max()
    return bool(y.shape == expected.shape and (y - expected).abs().max() <= tolerance)


def _parts(dense: Dense, x: torch.Tensor) -> torch.Tensor:
    hidden = cast("_Map", dense.function)(dense.first.module(x))
    if dense.up is not None:
        hidden = hidden * dense.up.module(x)
    if dense.second is None or dense.outside is not None:
        return hidden
    return cast("torch.Tensor", dense.second.module(hidden))


@contextmanager
def _evaluation(module: nn.Module) -> Iterator[None]:
    """No dropout, and afterwards every submodule in its own mode again."""
    modes = {each: each.training for each in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for each, mode in modes.items():
            each.training = mode
