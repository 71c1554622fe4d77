"""How far two weight tensors are from each other, whatever their factorizations."""

from collections.abc import Mapping
from math import prod, sqrt
from typing import NamedTuple

import numpy as np

from ..arrays.registry import get_backend
from ..layers.inner import inner
from ..layers.rows import with_rows
from ..layers.stage import Stage
from ..networks.network import Network
from ..networks.notation import expert_modes
from ..typing import NumPyArray

# Tensors with more elements are compared by inner products, which are right up to about 1e-7 of the norm.
_SMALL = 2**22
_ROUNDING = 2.0**-48


class Weight(NamedTuple):
    """A weight tensor: a stage with its cores, in float64."""

    stage: Stage
    cores: Mapping[str, NumPyArray]

    def materialize(self) -> NumPyArray:
        """W (N1, …, NE, I[+1], O)."""
        ordered = [np.ascontiguousarray(self.cores[name]) for name in self.stage.network.shapes]
        product: NumPyArray = get_backend("numpy").compute(
            self.stage.materialization_plan.program, (), ordered
        )
        return product


def measure(before: Weight, after: Weight) -> float:
    """The norm of the difference, relative to the first tensor's; the norm itself if that is zero.

    Examples:
        >>> import numpy as np
        >>> import tensormoe as tm
        >>> from tensormoe.ranks.distance import Weight, measure
        >>> stage = tm.MuMoESpec(8, 6, 4, tm.Dense(), bias=False).stage
        >>> one, two = (Weight(stage, {"core1": np.full((4, 8, 6), each)}) for each in (1.0, 1.5))
        >>> measure(one, two)
        0.5
    """
    if max(_size(before), _size(after)) <= _SMALL:
        whole = before.materialize()
        scale = float(np.linalg.norm(whole)) or 1.0
        return float(np.linalg.norm(whole - after.materialize())) / scale
    squares = [_inner(one, other) for one, other in ((before, before), (before, after), (after, after))]
    difference = squares[0] - 2 * squares[1] + squares[2]
    noise = _ROUNDING * (abs(squares[0]) + abs(squares[2]))
    return sqrt(max(difference, noise) / (squares[0] or 1.0))


def _size(weight: Weight) -> int:
    return max(prod(weight.stage.network.weight_shape), weight.stage.materialization_plan.peak)


def _inner(one: Weight, other: Weight) -> float:
    (ours, cores), (theirs, others) = (with_rows(each.stage.network, each.cores) for each in (one, other))
    return sum(
        float(inner((term, cores), (each, others))) * _repeats(term, each)
        for term in ours.terms
        for each in theirs.terms
    )


def _repeats(one: Network, other: Network) -> int:
    """How many experts have the same two matrices."""
    carried = {*one.carried_modes, *other.carried_modes}
    return prod(one.sizes[mode] for mode in expert_modes(one.levels) if mode not in carried)
