"""The layer that is looked at, from its checkpoint."""

import os
import warnings
from typing import Any

import numpy as np

from ..arrays.registry import get_module
from ..checkpoints.loading import load_arrays
from ..checkpoints.saved import SavedLayer, flatten
from ..errors import TensorMoEError, one_of

_MODEL = (
    "pass a file that tm.save wrote; a whole model is loaded in Python, where "
    "tm.analysis.record(model, batches) shows what its experts do"
)


def open_layer(path: str, name: str | None, backend: str) -> tuple[str, Any]:
    """The layer of a file, as a module, and its name; "" if it was saved alone.

    Args:
        path: of a file that `tm.save` wrote.
        name: which of several.
        backend: whose module to build.

    Raises:
        TensorMoEError: another kind of file, a whole model's folder, several layers and no name, an unknown
            backend, or values that are not finite.
    """
    get_module(backend)
    if os.path.isdir(path):
        raise TensorMoEError("checkpoint", path, f"this is a folder: {_MODEL}")
    layers = _read(path)
    if name is None and len(layers) > 1:
        listed = ", ".join(list(layers)[:20]) + (", …" if len(layers) > 20 else "")
        raise TensorMoEError("checkpoint", path, f"it has several layers: add --layer and one of {listed}")
    if name is not None:
        one_of("--layer", name, tuple(layers))
    chosen = next(iter(layers)) if name is None else name
    for array, values in layers[chosen].arrays().items():
        if not np.isfinite(values.astype("float64")).all():
            raise TensorMoEError(
                "checkpoint", path, f"{array} has values that are not finite: train it again"
            )
    return chosen, layers[chosen].build(backend)


def _read(path: str) -> dict[str, SavedLayer]:
    try:
        with warnings.catch_warnings():
            # Of NaN, which are refused.
            warnings.simplefilter("ignore", UserWarning)
            loaded = load_arrays(path)
    except TensorMoEError as error:
        raise TensorMoEError("checkpoint", path, f"{error.remedy}; {_MODEL}") from error
    return {".".join(names): each for names, each in flatten(loaded).items() if isinstance(each, SavedLayer)}
