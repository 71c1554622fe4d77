"""The values of a module that takes the place of dense weights, as `replace` has them in every framework."""

from collections.abc import Sequence

from ..errors import TensorMoEError
from ..layers.spec import Spec
from ..typing import NumPyArray
from .upcycle import upcycle

# How far experts lie apart, relative to their mean; None leaves the values that a module is built with.
_NOISE = {"fresh": None, "fit": 0.0, "upcycle": 1e-2}
STARTS = tuple(_NOISE)


def start_from(
    weights: Sequence[NumPyArray],
    biases: Sequence[NumPyArray | None],
    spec: Spec,
    init: str,
    *,
    name: str,
    seed: int,
    dtype: str,
) -> dict[str, NumPyArray]:
    """All arrays of a layer or block that starts as what it replaces.

    Args:
        weights, biases: of the linear maps that are replaced, in the order of the specification's layers.
        spec: what takes their place.
        init: "fit" or "upcycle".
        name: the replaced module's, for errors.
        seed: of what is random.
        dtype: "float32" or "float64".

    Raises:
        TensorMoEError: as `upcycle`, and names the module.

    Examples:
        >>> import numpy as np
        >>> import tensormoe as tm
        >>> from tensormoe.fitting.from_dense import start_from
        >>> spec, weight = tm.MuMoESpec(8, 6, experts=4, factorization=tm.CP(rank=7)), np.ones((8, 6))
        >>> arrays = start_from([weight], [None], spec, "fit", name="head", seed=0, dtype="float64")
        >>> x = np.ones((1, 8))
        >>> np.allclose(tm.apply(spec, arrays, x).y, x @ weight)
        True
    """
    noise = _NOISE[init]
    assert noise is not None
    try:
        parameters, state = upcycle(weights, spec, bias=biases, noise=noise, seed=seed, dtype=dtype)
    except TensorMoEError as error:
        raise TensorMoEError(f"{error.argument} of {name}", error.received, error.remedy) from error
    return parameters | state
