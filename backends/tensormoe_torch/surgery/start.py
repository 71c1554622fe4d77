"""The values that a new module starts with: those of what it replaces, as far as its ranks allow."""

from typing import Any

import torch

from tensormoe.errors import TensorMoEError
from tensormoe.fitting.from_dense import start_from

from .._base import Module
from .._values import draw_seed
from .design import Design
from .linear import read_weights


def start(module: Any, design: Design, init: str) -> None:
    """Give a new module the weights that it replaces.

    Args:
        module: as it was built.
        design: what it replaces.
        init: "fresh", "fit" or "upcycle"; see `replace`.

    Raises:
        TensorMoEError: a module that is not known as linear layers of the same sizes, or one without values.
    """
    if init == "fresh":
        return
    name, linears = design.place.name, design.linears
    if not linears or not isinstance(module, Module):
        raise TensorMoEError("init", init, f"the weights of {name} are not known: start fresh, and load them")
    weights, biases = read_weights(name, linears, "init", init)
    dtype = "float64" if module.dtype == torch.float64 else "float32"
    module.load_arrays(
        start_from(weights, biases, module.spec, init, name=name, seed=draw_seed(), dtype=dtype)
    )
