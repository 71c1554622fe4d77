"""The values that a new module starts with: those of what it replaces, as far as its ranks allow."""

from typing import Any

import torch

from tensormoe.errors import TensorMoEError
from tensormoe.fitting.upcycle import upcycle
from tensormoe.typing import NumPyArray

from .._base import Module
from .._values import draw_seed, has_values
from .design import Design

# How far experts lie apart, relative to their mean; None leaves the values that a module is built with.
_NOISE = {"fresh": None, "fit": 0.0, "upcycle": 1e-2}
STARTS = tuple(_NOISE)


def start(module: Any, design: Design, init: str) -> None:
    """Give a new module the weights that it replaces.

    Args:
        module: as it was built.
        design: what it replaces.
        init: "fresh", "fit" or "upcycle"; see `replace`.

    Raises:
        TensorMoEError: a module that is not known as linear layers of the same sizes, or one without values.
    """
    noise = _NOISE[init]
    if noise is None:
        return
    name, linears = design.place.name, design.linears
    if not linears or not isinstance(module, Module):
        raise TensorMoEError("init", init, f"the weights of {name} are not known: start fresh, and load them")
    if not all(has_values(each.matrix) for each in linears):
        raise TensorMoEError("init", init, f"{name} has no values yet, on the meta device: load them first")
    dtype = "float64" if module.dtype == torch.float64 else "float32"
    weights, biases = [_read(each.matrix) for each in linears], [_read(each.vector) for each in linears]
    try:
        parameters, state = upcycle(
            weights, module.spec, bias=biases, noise=noise, seed=draw_seed(), dtype=dtype
        )
    except TensorMoEError as error:
        raise TensorMoEError(f"{error.argument} of {name}", error.received, error.remedy) from error
    module.load_arrays(parameters | state)


def _read(tensor: torch.Tensor | None) -> NumPyArray | None:
    return None if tensor is None else tensor.detach().to("cpu", torch.float64).numpy()
