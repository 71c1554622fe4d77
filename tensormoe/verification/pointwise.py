"""Nonlinearities of the user's own: whether they are functions of each element."""

from collections.abc import Iterator

import numpy as np

from ..arrays.backend import Backend
from ..layers.spec import Spec
from .attempt import step
from .report import Check

_TOLERANCE = 1e-12
_COUNT = 64


def pointwise_checks(name: str, ops: Backend, spec: Spec, generator: np.random.Generator) -> Iterator[Check]:
    """Whether some of the elements, in another order, have the same results as among all.

    Proofs hold for functions of each element alone.
    """
    if spec.between is None or isinstance(spec.between, str):
        return
    x = generator.normal(size=(_COUNT, 2))
    chosen = generator.permutation(x.size)[:_COUNT]
    some = x.reshape(-1)[chosen][None]
    quantity = "nonlinearity of each element"
    with step("frameworks", name, quantity), ops.double_precision(), ops.without_gradients():
        y, other = (ops.to_float64(ops.nonlinear(spec.between, ops.from_numpy(each))) for each in (x, some))
    error = float(np.max(np.abs(y.reshape(-1)[chosen] - other[0])))
    scale = float(np.max(np.abs(y))) or 1.0
    yield Check("frameworks", f"{name} = itself", quantity, error / scale, _TOLERANCE)
