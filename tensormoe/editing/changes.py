"""Edits that add to experts' weights."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from ..errors import TensorMoEError, as_tuple, finite_number, non_negative_integer, shape_of
from ..typing import NumPyArray
from .draft import Draft
from .edits import Edit, OneExpert
from .reading import (
    Expert,
    Place,
    Values,
    read_array,
    read_expert,
    read_layer,
)


@dataclass(frozen=True, eq=False, repr=False)
class Add(OneExpert, Edit):
    """Add a matrix to an expert's weight.

    Args:
        expert: its number, or one for each level, as a tuple.
        delta: (I, O), or (I+1, O) with the change of the bias as its last row; an array of any framework, or
            lists. Or its two factors, a pair (I[+1], k) and (k, O), which takes k ranks.
        layer: of a block, "first", "up" or "second".

    Raises:
        TensorMoEError: anything but integers from 0 on, or anything but matrices of finite numbers.

    Examples:
        >>> import numpy as np
        >>> import tensormoe as tm
        >>> layer = tm.build(tm.MuMoESpec(8, 6, 4, tm.CP(5)), "numpy", seed=0)
        >>> edited = tm.editing.edit(layer, tm.editing.Add(2, np.ones((8, 6)))).layer
        >>> print(edited.spec.network)
        n r, i r, r o + n r_2, i r_2, r_2 o
    """

    expert: Expert
    delta: Values | tuple[Values, Values]
    layer: str | None = None

    def __post_init__(self) -> None:
        self._set(
            expert=read_expert("expert", self.expert),
            delta=_read_delta(self.delta),
            layer=read_layer(self.layer),
        )

    def change(self, draft: Draft) -> None:
        (place,) = self.places(draft.experts)
        if not isinstance(self.delta, tuple):
            draft.add_matrix(place, draft.fit_rows("delta", np.asarray(self.delta), draft.stage.out_features))
            return
        left, right = self.delta
        if right.shape != (left.shape[1], draft.stage.out_features):
            remedy = f"pass a second factor of shape {(left.shape[1], draft.stage.out_features)}"
            raise TensorMoEError("delta", right.shape, remedy)
        draft.add_factors(place, draft.fit_rows("delta", left, left.shape[1]), right)


@dataclass(frozen=True, eq=False, repr=False)
class AddBias(OneExpert, Edit):
    """Add a number to an expert's bias for one output.

    Args:
        expert: its number, or one for each level, as a tuple.
        output: the output's number.
        value: any finite number.
        layer: of a block, "first", "up" or "second".

    Raises:
        TensorMoEError: anything but integers from 0 on, or a value that is not finite.

    Examples:
        >>> import tensormoe as tm
        >>> layer = tm.build(tm.MuMoESpec(8, 6, 4, tm.CP(5)), "numpy", seed=0, dtype="float64")
        >>> edited = tm.editing.edit(layer, tm.editing.AddBias(2, output=5, value=0.5)).layer
        >>> change = edited.materialize() - layer.materialize()
        >>> round(float(change[2, -1, 5]), 9), round(float(abs(change).sum()), 9)
        (0.5, 0.5)
    """

    expert: Expert
    output: int
    value: float
    layer: str | None = None

    def __post_init__(self) -> None:
        self._set(
            expert=read_expert("expert", self.expert),
            output=non_negative_integer("output", self.output),
            value=finite_number("value", self.value),
            layer=read_layer(self.layer),
        )

    def change(self, draft: Draft) -> None:
        (place,) = self.places(draft.experts)
        draft.add_factors(place, *draft.bias_factors(self.output, self.value))


@dataclass(frozen=True, eq=False, repr=False)
class RewriteBias(Edit):
    """Shift one output for a subpopulation: add strength · ā[n] to the bias of every expert n.

    An input with coefficients a then has strength · āᵀa added to the output: the most for those whose
    coefficients are like the subpopulation's. It changes all experts, by one rank-one term.

    Args:
        mean_coefficients: the subpopulation's mean coefficients ā, (N,); with several levels a sequence with
            one array for each, and ā[n] is the product over levels.
        output: the output's number.
        strength: λ, any finite number.
        layer: of a block, "first", "up" or "second".

    Raises:
        TensorMoEError: anything but arrays of finite numbers, an output that is not an integer from 0 on, or
            a strength that is not finite.

    Source: Oldfield et al., "Multilinear Mixture of Experts: Scalable Expert Specialization through
    Factorization", 2024, the section on mitigating bias by editing experts.

    Examples:
        >>> import numpy as np
        >>> import tensormoe as tm
        >>> layer = tm.build(tm.MuMoESpec(8, 6, 4, tm.CP(5)), "numpy", seed=0, dtype="float64")
        >>> edit = tm.editing.RewriteBias(np.array([0.7, 0.1, 0.2, 0.0]), output=5, strength=2)
        >>> change = tm.editing.edit(layer, edit).layer.materialize() - layer.materialize()
        >>> np.round(change[:, -1, 5], 6).tolist()
        [1.4, 0.2, 0.4, 0.0]
    """

    mean_coefficients: Values | Sequence[Values]
    output: int
    strength: float
    layer: str | None = None

    def __post_init__(self) -> None:
        self._set(
            mean_coefficients=_read_levels(self.mean_coefficients),
            output=non_negative_integer("output", self.output),
            strength=finite_number("strength", self.strength),
            layer=read_layer(self.layer),
        )

    def change(self, draft: Draft) -> None:
        levels: tuple[NumPyArray, ...] = tuple(map(np.asarray, self.mean_coefficients))
        shape = tuple(len(each) for each in levels)
        if shape != draft.experts:
            remedy = f"pass the mean coefficients of {draft.experts} experts, one array for each level"
            raise TensorMoEError("mean_coefficients", shape, remedy)
        draft.add_everywhere(levels, *draft.bias_factors(self.output, self.strength))

    def places(self, experts: tuple[int, ...]) -> tuple[Place, ...]:
        return tuple(product(*map(range, experts)))


def _read_delta(value: Values | tuple[Values, Values]) -> NumPyArray | tuple[NumPyArray, NumPyArray]:
    """A matrix, or two factors with as many columns as rows."""
    if not isinstance(value, list | tuple) or len(value) != 2 or not all(map(_is_matrix, value)):
        return read_array("delta", value, 2)
    left, right = (read_array("delta", each, 2) for each in value)
    if left.shape[1] != right.shape[0] or not left.shape[1]:
        remedy = f"pass factors (I[+1], k) and (k, O): the first has k = {left.shape[1]}"
        raise TensorMoEError("delta", right.shape, remedy)
    return left, right


def _is_matrix(value: object) -> bool:
    """Whether a member of a pair is a matrix, and not a row of one."""
    if isinstance(value, list | tuple):
        return any(isinstance(each, list | tuple) for each in value)
    return len(shape_of(value)) == 2


def _read_levels(value: object) -> tuple[NumPyArray, ...]:
    members = as_tuple(value)
    if not isinstance(value, list | tuple) or not any(map(_is_vector, members)):
        return (read_array("mean_coefficients", value, 1),)
    return tuple(read_array("mean_coefficients", each, 1) for each in members)


def _is_vector(value: object) -> bool:
    return isinstance(value, list | tuple) or len(shape_of(value)) == 1
