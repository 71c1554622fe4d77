"""A layer's use of its experts in a few numbers, for the logs of a training."""

from typing import Any

from ..errors import TensorMoEError
from ..layers.spec import Spec
from ..layers.stage import Stage
from ..typing import NumPyArray
from .information import effective_experts, load_entropy, token_entropy
from .reading import Coefficients, read_levels
from .usage import dead, load


def summary(layer: Any, coefficients: Coefficients) -> dict[str, float]:
    """The use of a layer's experts as a flat dict of numbers, for TensorBoard, W&B or a `Trainer`.

    Use it every some hundred steps: it moves the coefficients to the host.

    Args:
        layer: the layer or block that the coefficients are from, or its specification.
        coefficients: E arrays (…, N_e), as `layer(x, return_coefficients=True)` returns them, of any
            framework.

    Returns:
        For each level, with names that begin with "level1/" and so on: "max_share", the largest load;
        "load_entropy", and "effective_experts", its exponential; "token_entropy", the mean over tokens;
        "dead", the number of experts without a coefficient above 0 in this batch. Entropies are in nats.

    Raises:
        TensorMoEError: coefficients of another layer, or as `load`.

    Examples:
        >>> import numpy as np
        >>> import tensormoe as tm
        >>> spec = tm.MuMoESpec(8, 6, experts=4, factorization=tm.CP(5))
        >>> _, coefficients = tm.build(spec, "numpy")(np.ones((3, 8), "float32"), return_coefficients=True)
        >>> {name: round(value, 3) for name, value in tm.analysis.summary(spec, coefficients).items()}
        {'level1/max_share': 0.25, 'level1/load_entropy': 1.386, 'level1/effective_experts': 4.0,
         'level1/token_entropy': 1.386, 'level1/dead': 0.0}
    """
    scalars: dict[str, float] = {}
    for number, level in enumerate(_read_own(layer, coefficients), start=1):
        measured = {
            "max_share": float(load(level).max()),
            "load_entropy": load_entropy(level),
            "effective_experts": effective_experts(level),
            "token_entropy": float(token_entropy(level).mean()),
            "dead": float(len(dead(level))),
        }
        scalars |= {f"level{number}/{name}": value for name, value in measured.items()}
    return scalars


def _read_own(layer: Any, coefficients: Coefficients) -> list[NumPyArray]:
    """The coefficients of every level, if they can be the layer's."""
    spec = getattr(layer, "spec", layer)
    if not isinstance(spec, Spec | Stage):
        raise TensorMoEError("layer", type(layer), "pass a layer, a block, or its specification")
    levels = read_levels(coefficients)
    counts = tuple(level.shape[-1] for level in levels)
    if counts != spec.experts:
        raise TensorMoEError("coefficients", counts, f"the layer has experts={spec.experts}: pass its own")
    return levels
