"""Slopes of the definition along random directions, by central differences."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..layers.spec import Spec
from ..typing import NumPyArray
from .reference.layer import compute
from .whole import Values

# The step, and the error that remains where norms of two experts bend most.
_DIFFERENCE, SLOPE_TOLERANCE = 3e-7, 1e-4


@dataclass(frozen=True)
class Slope:
    """How fast the loss grows along a direction in one of the inputs."""

    direction: NumPyArray
    value: float
    # What the loss's own rounding may change of the value.
    rounding: float


def find_slopes(spec: Spec, values: Values, generator: np.random.Generator) -> list[Slope]:
    """Half the squared error along a random direction in x, in given coefficients, and in parameters."""
    brought = values.brought

    def loss(x: NumPyArray, *others: NumPyArray) -> float:
        mixed = None if values.coefficients is None else others[: len(brought)]
        routed = None if values.router_input is None else others[0]
        given = dict(zip(values.parameters, others[len(brought) :], strict=True))
        known: Any = {"previous": values.previous, "given": mixed, "router_input": routed}
        known["clustered"] = values.x if values.router_input is None else values.router_input
        return float(((compute(spec, given, values.state, x, **known).y - values.y) ** 2).sum() / 2)

    arrays, slopes = [values.x, *brought, *values.parameters.values()], []
    for number, array in enumerate(arrays):
        direction = generator.normal(size=array.shape)
        direction /= np.sqrt((direction**2).sum())
        above, below = (
            loss(*arrays[:number], array + step * direction, *arrays[number + 1 :])
            for step in (_DIFFERENCE, -_DIFFERENCE)
        )
        rounding = 4 * float(np.finfo("float64").eps) * above / _DIFFERENCE
        slopes.append(Slope(direction, (above - below) / (2 * _DIFFERENCE), rounding))
    return slopes


def slope_error(gradients: Sequence[NumPyArray], slopes: Sequence[Slope]) -> float:
    """The largest error of a slope, relative to the length of the gradient it is a part of.

    Gradients may be too short for differences of a loss that is rounded, as behind ReLUs that are almost all
    off: the tolerance is then that of rounding. Where all are 0, slopes must be, too.
    """
    lengths = [float(np.sqrt((gradient**2).sum())) for gradient in gradients]
    floor = max(lengths) / 1000
    errors = [
        abs(float((gradient * slope.direction).sum()) - slope.value)
        / (length + floor + slope.rounding / SLOPE_TOLERANCE or 1.0)
        for gradient, length, slope in zip(gradients, lengths, slopes, strict=True)
    ]
    return float(np.max(errors))
