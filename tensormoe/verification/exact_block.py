"""The exact method for blocks whose layers share cores: the block's own program on random integers.

With the square in place of the nonlinearity a block is a polynomial, too, and its slope is not constant. So
output and gradients are compared with those of the definition: of each layer alone, joined by the chain rule.
"""

from collections.abc import Iterator

import numpy as np

from ..arrays.protocols import Nonlinearity
from ..layers.parameters import name_core
from ..layers.spec import Spec
from ..layers.stage import Stage
from ..typing import NumPyArray
from .arithmetic.residues import PRIME, ResidueOps, Residues
from .attempt import step
from .exact import SUBJECT, compare, is_whole
from .floating import name_program
from .inputs import Inputs, draw_sample, integer_inputs
from .reference.contraction import Reference
from .report import Check


class SquaringOps(ResidueOps):
    """Residues with the square in place of every nonlinearity.

    Examples:
        >>> from tensormoe.verification.exact_block import SquaringOps
        >>> ops = SquaringOps()
        >>> ops.nonlinear("gelu", ops.from_numpy([3])).tolist()
        [9]
    """

    def nonlinear(self, function: Nonlinearity, x: Residues, /) -> Residues:  # type: ignore[override]
        return self.from_numpy(x * x)

    def nonlinear_overwrite(self, function: Nonlinearity, x: Residues, /) -> Residues:  # type: ignore[override]
        return self.nonlinear(function, x)

    def nonlinear_vjp(  # type: ignore[override]
        self, function: Nonlinearity, x: Residues, gradient: Residues, /
    ) -> Residues:
        return self.from_numpy(2 * x * gradient)


def block_checks(spec: Spec, generator: np.random.Generator, batch_size: int) -> Iterator[Check]:
    """The output and gradients of a block's programs; nothing if a layer's weight is not multiplied out."""
    if not all(is_whole(stage) for stage in spec.layers.values()):
        return
    drawn = {name: integer_inputs(stage, generator, batch_size, PRIME) for name, stage in spec.layers.items()}
    cores: dict[str, NumPyArray] = {}
    for name, stage in spec.layers.items():
        full = [name_core(name, stage, core) for core in stage.network.shapes]
        cores = dict(zip(full, drawn[name].cores, strict=True)) | cores
    first, *_, last = drawn.values()
    coefficients = max((each.coefficients for each in drawn.values()), key=len)
    given = Inputs(first.x, coefficients, [cores[name] for name in spec.core_names], last.cotangent)
    expected = _Definition(spec, cores, given, generator).compute()
    ops = SquaringOps()
    operands, cotangent = [*map(ops.from_numpy, given.operands)], ops.from_numpy(given.cotangent)
    for least, program in spec.programs:
        where = f"block, {name_program(spec, least)}"
        with step("exact", SUBJECT, f"{where}output and gradients"):
            results = [program.run(ops, operands), *program.vjp(ops, operands, cotangent)]
        yield compare(f"{where}output", results[:1], expected[:1])
        yield compare(f"{where}gradients", results[1:], expected[1:])


class _Definition:
    """What a block computes, layer by layer, and the derivatives by the chain rule."""

    def __init__(
        self, spec: Spec, cores: dict[str, NumPyArray], given: Inputs, generator: np.random.Generator
    ) -> None:
        self._spec, self._cores, self._given, self._generator = spec, cores, given, generator
        self._sums: dict[str, NumPyArray] = {}

    def compute(self) -> list[NumPyArray]:
        """The output, and the gradients of what the program takes."""
        *before, (last, stage) = self._spec.layers.items()
        none = np.zeros((len(self._given.x), 0), dtype=object)
        u, *factors = [self._refer(name, each, self._given.x, none).y.value % PRIME for name, each in before]
        v = factors[0] if factors else np.ones_like(u)
        outer = self._refer(last, stage, u * u * v % PRIME, self._given.cotangent)
        hidden = self._add(last, stage, outer)
        slopes = (2 * u * v * hidden % PRIME, u * u * hidden % PRIME)
        for (name, each), slope in zip(before, slopes, strict=False):
            x = self._add(name, each, self._refer(name, each, self._given.x, slope))
            self._sum("x", x)
        levels = [f"a{level}" for level in range(self._spec.levels)]
        names = ("x", *levels, *self._spec.core_names)
        return [outer.y.value, *(self._sums[name] for name in names)]

    def _refer(self, name: str, stage: Stage, x: NumPyArray, cotangent: NumPyArray) -> Reference:
        cores = [self._cores[name_core(name, stage, core)] for core in stage.network.shapes]
        if not cotangent.size:
            cotangent = np.zeros((len(x), stage.out_features), dtype=object)
        inputs = Inputs(x, self._given.coefficients[: stage.levels], cores, cotangent)
        return Reference(stage, inputs, draw_sample(stage, self._generator, self._all(stage)))

    def _all(self, stage: Stage) -> int:
        """As many as a weight tensor has elements, so that all are in the sample."""
        return int(np.prod(stage.network.weight_shape))

    def _add(self, name: str, stage: Stage, reference: Reference) -> NumPyArray:
        """Add the gradients of a layer's coefficients and cores to the sums; return that of its input."""
        x, *others = (each.value for each in reference.gradients)
        names = [f"a{level}" for level in range(stage.levels)]
        names += [name_core(name, stage, core) for core in stage.network.shapes]
        for each, gradient in zip(names, others, strict=True):
            self._sum(each, gradient)
        return np.asarray(x % PRIME)

    def _sum(self, name: str, gradient: NumPyArray) -> None:
        known = self._sums.get(name)
        self._sums[name] = gradient if known is None else known + gradient
