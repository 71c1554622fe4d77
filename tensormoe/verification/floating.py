"""The floating-point level: every backend, element type and device, against bounds known before any value is.

The error of a program is at most its rounding bound (see `counting`) times the same sums over absolute values;
the reference, in float64, has a bound of the same kind for its own.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..initialization import NumPyArray
from ..layer_spec import MuMoESpec
from ..program import Program
from .checks import Check
from .counting import UNITS, Counted, CountingBackend, Precision, gamma
from .inputs import Inputs, Sample, real_inputs, sampled
from .reference import Reference

# Elements of the weight tensor that are multiplied out.
_SAMPLE = 2**20


def float_checks(
    name: str, tl: Any, layer: MuMoESpec, generator: np.random.Generator, label: str, tokens: int
) -> Iterator[Check]:
    """The output and gradients of a layer's program in every element type on every device of a backend."""
    sample = sampled(layer, generator, _SAMPLE)
    inputs = real_inputs(layer, generator, tokens).restricted(sample)
    program = layer.default_plan.program
    for dtype in tl.float_types:
        rounded = inputs.mapped(lambda value, dtype=dtype: _rounded(tl, value, dtype))
        bounds = _Bounds(layer, rounded, sample, Precision(dtype), program)
        for device in tl.devices():
            found = _computed(tl, program, rounded, dtype, device)
            subject = f"{name} {dtype}" + (f" {device}" if device != "cpu" else "")
            worst = [bounds.worst(n, result) for n, result in enumerate(bounds.reference.visible(found))]
            yield Check("float", subject, f"{label}output", *worst[0])
            yield Check("float", subject, f"{label}gradients", *max(worst[1:], key=worse))


def _computed(tl: Any, program: Program, inputs: Inputs, dtype: str, device: str) -> list[NumPyArray]:
    """Output and gradients, computed in a type and given in float64."""

    def run(cotangent: Any, *operands: Any) -> list[Any]:
        found = tl.gradients(lambda *leaves: program.run(tl, leaves), operands, cotangent)
        found = program.vjp(tl, operands, cotangent) if found is None else found
        return [program.run(tl, operands), *found]

    values = (inputs.cotangent, *inputs.operands)
    arrays = [tl.on_device(tl.cast(tl.from_numpy(value), dtype), device) for value in values]
    return [np.asarray(tl.to_numpy(tl.cast(array, "float64"))) for array in tl.compiled(run)(*arrays)]


class _Bounds:
    """The exact values of output and gradients, as well as float64 has them, with the error allowed for each."""

    def __init__(
        self, layer: MuMoESpec, inputs: Inputs, sample: Sample, precision: Precision, program: Program
    ) -> None:
        self.reference = Reference(layer, inputs, sample)
        self._expected = [self.reference.y, *self.reference.gradients]
        absolute = Reference(layer, inputs.mapped(np.abs), sample)
        self._absolute = [term.value for term in (absolute.y, *absolute.gradients)]
        shaped = [Counted(value.shape, precision) for value in inputs.operands]
        cotangent = Counted(inputs.cotangent.shape, precision)
        tl = CountingBackend()
        counted = [program.run(tl, shaped), *program.vjp(tl, shaped, cotangent)]
        self._relative = [result.bound for result in counted]

    def worst(self, number: int, found: NumPyArray) -> tuple[float, float]:
        """The error with the largest ratio to its bound, and that bound."""
        expected, absolute = self._expected[number], self._absolute[number]
        if found.shape != expected.value.shape:
            return float("inf"), 0.0
        own = gamma(expected.roundings, UNITS["float64"])
        # The sums over absolute values were rounded, too.
        bound = (self._relative[number] + own) * absolute * (1 + 2 * own)
        return largest(np.abs(found - expected.value), bound)


def largest(errors: NumPyArray, bounds: NumPyArray) -> tuple[float, float]:
    """The pair of an error and its bound whose ratio is largest; a NaN is larger than any."""
    if errors.size == 0:
        return 0.0, 0.0
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.where(errors == 0, 0.0, errors / bounds)
    position = int(np.argmax(ratios))
    return float(errors.flat[position]), float(np.broadcast_to(bounds, errors.shape).flat[position])


def worse(pair: tuple[float, float]) -> float:
    """An error's ratio to its bound, by which pairs are ordered; a NaN is larger than any."""
    error, bound = pair
    if error != error:
        return float("inf")
    return error / bound if bound else float(error > 0) and float("inf")


def _rounded(tl: Any, value: NumPyArray, dtype: str) -> NumPyArray:
    """Values of a type, in float64."""
    return np.asarray(tl.to_numpy(tl.cast(tl.cast(tl.from_numpy(value), dtype), "float64")))
