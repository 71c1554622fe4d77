"""A nonlinearity of the user's own as its own definition: computed in a framework that takes it."""

from collections.abc import Callable

from ...arrays.nonlinearities import name_of
from ...arrays.registry import get_backend, installed_backends
from ...errors import TensorMoEError
from ...typing import Array, NumPyArray


def compute_own(function: Callable[[Array], Array], x: NumPyArray) -> NumPyArray:
    """The function of x in float64, by the first framework of whose arrays it makes arrays.

    Raises:
        TensorMoEError: there is no such framework.
    """
    refusal: Exception | None = None
    for name in installed_backends():
        ops = get_backend(name)
        try:
            with ops.double_precision(), ops.without_gradients():
                y = function(ops.from_numpy(x))
                if ops.is_tensor(y):
                    return ops.to_float64(y)
        except Exception as error:  # of a function of other arrays
            refusal = error
    remedy = "pass a function from an array of a framework to another of its arrays"
    raise TensorMoEError("nonlinearity", name_of(function), remedy) from refusal
