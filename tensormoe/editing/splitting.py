"""Splitting as an edit: one expert becomes several, and the outputs stay as they are."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from ..errors import TensorMoEError, non_negative_integer, positive_integer
from ..gates.steering import Sharing
from ..layers.spec import Spec, check_spec
from ..networks.notation import expert_modes
from ..typing import NumPyArray
from .draft import Draft
from .edits import Edit
from .reading import Place, Values, read_array
from .steer import add_step


@dataclass(frozen=True, eq=False, repr=False)
class Split(Edit):
    """Make several experts of one, each with its weight, that share its coefficient.

    The gate computes the coefficients as before, and the copies share a[n]: a[n] softmax(0, x G'), where the
    columns G' are new ones of the gate's weights, `gate_weights.0` of the first level. Shares sum to 1, so
    outputs are unchanged for every gate, every input and any columns. Then edit or train one of the copies.
    With columns of zeros all shares are equal: gradients then move equal copies alike, so that only an edit
    tells them apart. Pass small random columns to let training do it.

    The first copy keeps the expert's number, the others come after all experts of the level. In a block, both
    layers are split.

    Args:
        expert: its number on its level.
        copies: how many experts it becomes.
        level: of experts, from 0 on. With several levels, all experts with this number there are split.
        columns: (I, copies − 1), what the gate's new columns start as, an array of any framework, or lists;
            zeros by default.

    Raises:
        TensorMoEError: anything but integers from 0 on, fewer than two copies, or anything but a matrix of
            finite numbers; when it is applied, a network that carries the level's experts in parts.

    Examples:
        >>> import numpy as np
        >>> import tensormoe as tm
        >>> layer = tm.build(tm.MuMoESpec(8, 6, 4, tm.CP(5)), "numpy", seed=0, dtype="float64")
        >>> edited = tm.editing.edit(layer, tm.editing.Split(2, copies=3)).layer
        >>> x = np.ones(8)
        >>> np.round(edited(x, return_coefficients=True)[1][0], 3).tolist()
        [0.25, 0.25, 0.083, 0.25, 0.083, 0.083]
        >>> bool(abs(edited(x) - layer(x)).max() < 1e-12)
        True
    """

    expert: int
    copies: int = 2
    level: int = 0
    columns: Values | None = None

    layer = None

    def __post_init__(self) -> None:
        self._set(
            expert=non_negative_integer("expert", self.expert),
            copies=positive_integer("copies", self.copies),
            level=non_negative_integer("level", self.level),
            columns=None if self.columns is None else read_array("columns", self.columns, 2),
        )
        if self.copies < 2:
            raise TensorMoEError("copies", self.copies, "pass an integer from 2 on")

    @property
    def step(self) -> Sharing:
        """What the gate does."""
        return Sharing(self.level, self.expert, self.copies)

    def stages(self, spec: Spec) -> tuple[str, ...]:
        check_spec(spec)
        return tuple(spec.layers)

    def respecify(self, spec: Spec) -> Spec:
        check_spec(spec)
        spec.require_gate("a gate's coefficient is shared")
        self._check_parts(spec)
        experts, router = self.step.follow(spec.experts), spec.gates[self.level].router
        count = spec.experts[self.level]
        if router.previous_experts(experts[self.level]) != router.previous_experts(count):
            remedy = f"its clusters are as many as this layer's experts: pass clusters={count} to it"
            raise TensorMoEError("router", router, remedy)
        return spec.replace(experts=experts, gate=add_step(spec, self.step))

    def _check_parts(self, spec: Spec) -> None:
        """Reject a level whose experts are in parts: those with a part in common have a core in common."""
        modes = expert_modes(spec.levels)[self.level : self.level + 1]
        split = [each for stage in spec.layers.values() for each in stage.network.splits]
        for each in split:
            if each.mode in modes:
                remedy = (
                    "its experts are numbered by parts, and those with a part in common share cores: a copy "
                    f"with values of its own has no number there; use a network with {each.mode} whole"
                )
                raise TensorMoEError("factorization", str(each), remedy)

    def change(self, draft: Draft) -> None:
        draft.split(self.step)

    def change_gate(self, weights: Mapping[str, NumPyArray]) -> dict[str, NumPyArray]:
        name = f"gate_weights.{self.level}"
        shape = len(weights[name]), self.copies - 1
        columns = np.zeros(shape) if self.columns is None else np.asarray(self.columns)
        if columns.shape != shape:
            raise TensorMoEError("columns", columns.shape, f"pass a matrix of shape {shape}")
        return {**weights, name: np.concatenate([weights[name], columns], axis=1)}

    def places(self, experts: tuple[int, ...]) -> tuple[Place, ...]:
        """No weight changes."""
        return ()

    def carry(self, places: Iterable[Place], experts: tuple[int, ...]) -> set[Place]:
        return carry(self.step, places, experts)


def carry(step: Sharing, places: Iterable[Place], experts: tuple[int, ...]) -> set[Place]:
    """Experts that differ, and their copies after one is split; `experts` are the counts before."""
    kept, level = {*places}, step.level
    first = experts[level]
    copies = {
        (*place[:level], number, *place[level + 1 :])
        for place in kept
        if place[level] == step.expert
        for number in range(first, first + step.added)
    }
    return kept | copies
