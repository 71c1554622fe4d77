"""Steering as an edit: an expert's coefficient is set, or added to, at run time."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from ..errors import TensorMoEError, finite_number, non_negative_integer, true_or_false
from ..gates.gate import Gate
from ..gates.steering import Steering, Step, experts_before
from ..layers.spec import Spec, check_spec
from ..typing import NumPyArray, Shape
from .draft import Draft
from .edits import Edit
from .reading import Place


@dataclass(frozen=True, eq=False, repr=False)
class Steer(Edit):
    """Set an expert's coefficient to a number for every input, or add a number to it.

    It is a last step of the gate, `spec.gate.steering`, in every framework, compiled or not, and in training.
    The layer returns the coefficients that it mixes by. They no longer sum to 1 unless they are renormalized.
    In a block, all layers with experts have the same coefficients.

    Args:
        expert: its number on its level.
        set: the coefficient; pass this or `add`.
        add: what is added to the coefficient.
        level: of experts, from 0 on. With several levels, all experts with this number there are steered.
        renormalize: whether the level's coefficients are then divided by their sum, where it is not 0.

    Raises:
        TensorMoEError: both numbers or neither, one that is not finite, or anything but integers from 0 on.

    Examples:
        >>> import numpy as np
        >>> import tensormoe as tm
        >>> layer = tm.build(tm.MuMoESpec(8, 6, 4, tm.CP(5)), "numpy", seed=0)
        >>> edited = tm.editing.edit(layer, tm.editing.Steer(2, set=0.75)).layer
        >>> edited(np.ones(8, "float32"), return_coefficients=True)[1][0].tolist()
        [0.25, 0.25, 0.75, 0.25]
    """

    expert: int
    set: float | None = None
    add: float | None = None
    level: int = 0
    renormalize: bool = False

    layer = None

    def __post_init__(self) -> None:
        if (self.set is None) == (self.add is None):
            raise TensorMoEError("set", self.set, "pass either set= or add=")
        self._set(
            expert=non_negative_integer("expert", self.expert),
            set=None if self.set is None else finite_number("set", self.set),
            add=None if self.add is None else finite_number("add", self.add),
            level=non_negative_integer("level", self.level),
        )
        true_or_false("renormalize", self.renormalize)

    @property
    def step(self) -> Steering:
        """What the gate does."""
        adds = self.add is not None
        value = self.add if self.add is not None else self.set
        return Steering(self.level, self.expert, float(value or 0.0), adds, self.renormalize)

    def stages(self, spec: Spec) -> tuple[str, ...]:
        check_spec(spec)
        return tuple(name for name, stage in spec.layers.items() if stage.experts)

    def respecify(self, spec: Spec) -> Spec:
        check_spec(spec)
        self.step.check(spec.experts)
        spec.require_gate("a gate's coefficients are steered")
        return spec.replace(gate=add_step(spec, self.step))

    def change(self, draft: Draft) -> None:
        """No weight changes."""

    def places(self, experts: tuple[int, ...]) -> tuple[Place, ...]:
        return tuple(tuple(map(int, place)) for place in np.argwhere(mark_steered([self.step], experts)))


def add_step(spec: Spec, step: Step) -> Gate | tuple[Gate, ...]:
    """The gates of a specification, with one more step for its level."""

    def add(gate: Gate) -> Gate:
        return replace(gate, steering=(*gate.steering, step))

    if isinstance(spec.gate, Gate):
        return add(spec.gate)
    return tuple(add(gate) if level == step.level else gate for level, gate in enumerate(spec.gates))


def mark_steered(steps: Iterable[Step], experts: Shape) -> NumPyArray:
    """Where steering changes coefficients, (N1, …, NE) of bool; shares of a changed one are changed, too.

    Args:
        steps: of the gate.
        experts: how many each level has after them.
    """
    listed = tuple(steps)
    counts, marked = experts_before(listed, experts), np.zeros(experts, dtype=bool)
    for step in listed:
        rows = np.moveaxis(marked, step.level, 0)
        if isinstance(step, Steering) and step.renormalize:
            marked[...] = True
        elif isinstance(step, Steering):
            rows[step.expert] = True
        else:
            first = counts[step.level]
            rows[first : first + step.added] = rows[step.expert]
        counts = step.follow(counts)
    return marked
