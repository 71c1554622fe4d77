"""Copies of layers with other values: checked, converted, and built in the same framework."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..arrays.backend import Backend
from ..arrays.registry import backend_of
from ..errors import TensorMoEError
from ..layers.building import restore
from ..layers.spec import Spec
from ..typing import Array, NumPyArray
from .saved import Layer, SavedLayer


def check_layer(argument: str, layer: object) -> None:
    """Raise an error unless this is a layer or a block with its values."""
    if not isinstance(getattr(layer, "spec", None), Spec) or not callable(getattr(layer, "arrays", None)):
        remedy = "pass a layer's or a block's module, or tm.SavedLayer(spec, parameters, state)"
        raise TensorMoEError(argument, type(layer), remedy)


def convert(argument: str, name: str, values: NumPyArray, like: Array) -> Array:
    """Values as an array of the framework and the type of another."""
    ops: Backend = backend_of(like)
    dtype = ops.dtype_name(like)
    with np.errstate(over="ignore", invalid="ignore"):
        array = ops.from_float64(values, dtype)
    if not np.isfinite(ops.to_float64(array)).all():
        raise TensorMoEError(argument, name, f"its values are too large for {dtype}: pass smaller numbers")
    return array


def rebuild(layer: Layer, spec: Spec, arrays: Mapping[str, Array]) -> Any:
    """A layer of the same kind with these values."""
    if isinstance(layer, SavedLayer):
        copies = {name: backend_of(array).copy(array) for name, array in arrays.items()}
        parameters = {name: copies[name] for name in spec.parameter_shapes}
        return SavedLayer(spec, parameters, {name: copies[name] for name in spec.state_shapes})
    first = next(iter(layer.arrays().values()))
    ops = backend_of(first)
    device = getattr(first, "device", None) if ops.place(first) is not None else None
    recompute = bool(getattr(layer, "recompute", False))
    module = restore(spec, arrays, ops.tensormoe_name, device=device, recompute=recompute)
    training = getattr(layer, "training", None)
    if isinstance(training, bool):
        module.train(training)
    return module
