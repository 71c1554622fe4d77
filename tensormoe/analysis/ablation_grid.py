"""Ablations of all inputs at once, by linearity, with an axis for the experts.

A layer's output is linear in the coefficients of each level, so what an expert contributes is a contraction
whose output keeps the experts. Where a block's last layer sees other inputs in every ablation, its input has
that axis, too, and what depends on the coefficients alone is shared by all ablations.
"""

from functools import reduce
from operator import mul

from ..arrays.backend import Backend
from ..programs.plan import Plan
from ..typing import Array
from .ablation_pairs import run_stages
from .ablation_steps import Step, Weights, make_step
from .ablation_subject import Ablations, Subject


class Grid:
    """Every ablation of every input, (T, A, O), for as many inputs as one batch has.

    Args:
        subject, ablations: what is evaluated.
        batch_size: the number of inputs to plan for.
    """

    def __init__(self, subject: Subject, ablations: Ablations, batch_size: int) -> None:
        self._subject, self._ablations, self.batch_size = subject, ablations, batch_size
        *before, last = subject.spec.layers
        # Whether the last layer's inputs differ between ablations. If not, a coefficient of 0 changes no bit.
        self.spread = bool(ablations.stages & {*before})
        self._steps: dict[str, Step] = {
            name: make_step(
                subject.ops,
                stage,
                subject.cores(name),
                ablations,
                name in ablations.stages,
                self.spread and name == last,
                not self.spread and name == last,
                batch_size,
            )
            for name, stage in subject.spec.layers.items()
        }

    @property
    def plans(self) -> list[Plan]:
        """What it computes for every ablation."""
        return [plan for step in self._steps.values() for plan in step.plans]

    def run(self, tokens: slice) -> Array:
        """The outputs (T, A, O) of these inputs."""
        subject, ablations, ops = self._subject, self._ablations, self._subject.ops
        levels = [a[tokens] for a in subject.coefficients]
        chosen = zip(ablations.levels, ablations.numbers, strict=True)
        own = reduce(mul, (levels[level][:, numbers] for level, numbers in chosen))[..., None]
        scale = _rescale(ops, levels, own, ablations) if ablations.renormalize else None
        weights = Weights(levels, own, scale, None if self.spread else subject.output[tokens])

        def run(stage: str, x: Array) -> Array:
            return self._steps[stage].run(x, weights)

        return run_stages(ops, subject.spec, subject.x[tokens], run)


def _rescale(ops: Backend, levels: list[Array], own: Array, ablations: Ablations) -> Array:
    """What brings the sum of the other coefficients to that of all, (T, A, 1).

    Where the others are less than a quarter, it is imprecise, and left out: pairs have that.
    """
    sums = (ops.sum(levels[level], axis=-1, keepdims=True) for level in ablations.levels)
    whole = reduce(mul, sums)[..., None]
    left = whole - own
    return whole / ops.where(ops.abs(left) > ops.abs(whole) / 4, left, whole + ops.zeros_like(left))
