"""The floating-point method: every backend, element type and device, against bounds known in advance.

The error of a program is at most its rounding bound (see `arithmetic.rounding`) times the same sums over
absolute values; the reference, in float64, has a bound of the same kind.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import product
from math import isnan
from typing import Any

import numpy as np

from ..arrays.backend import Backend
from ..layers.spec import Spec
from ..layers.stage import Stage
from ..programs.program import Program
from ..typing import NumPyArray
from .arithmetic.rounding import UNITS, Counted, CountingOps, Precision, gamma
from .attempt import guard, step
from .inputs import Inputs, Sample
from .reference.contraction import Reference
from .report import Check


def float_checks(
    layer: Stage,
    objects: Mapping[str, Backend],
    values: Inputs,
    sample: Sample,
    label: str = "",
    types: Sequence[str] = tuple(UNITS),
    active: tuple[int, ...] | None = None,
) -> Iterator[Check]:
    """The output and gradients of a layer's programs in every element type on every device of each backend.

    Args:
        layer: the stage whose programs are run.
        objects: the backends by name.
        values: float64; 0 outside the sample.
        sample: the part of the weight tensor that is materialized.
        label: a prefix of the quantities' names.
        types: the element types to compare, if the backend has them.
        active: if given, the program that gathers so many experts of each level is run, and no other; no more
            coefficients of a token may differ from 0.
    """
    programs = layer.programs
    if active is not None:
        programs = ((0, layer.plan(len(values.x), active).program),)
    references: dict[str, Reference] = {}
    expected: dict[tuple[Program, Precision], _Expected] = {}
    typed = ((name, dtype) for name, ops in objects.items() for dtype in ops.float_types if dtype in types)
    for (name, dtype), (least, program) in product(typed, programs):
        ops = objects[name]
        inputs = values.map(partial(round_to, dtype=dtype))
        if dtype not in references:
            references[dtype] = Reference(layer, inputs, sample, sparse=active is not None)
        key = program, Precision(dtype, ops.widens_sums)
        if key not in expected:
            expected[key] = _Expected(program, inputs, references[dtype], key[1])
        where = label + (name_program(layer, least) if active is None else "gathered, ")
        for device in ops.devices():
            subject = f"{name} {dtype}" + f" {device}" * (device != "cpu")
            compare = _compare(ops, program, inputs, expected[key], (subject, where, device))
            yield from guard("float", compare, subject)


def name_program(layer: Spec | Stage, least: int) -> str:
    """A prefix for what a program of a stage or a block computes, if there are several."""
    return f"from batch size {least}, " if len(layer.programs) > 1 else ""


def _compare(
    ops: Backend, program: Program, inputs: Inputs, expected: "_Expected", place: tuple[str, str, str]
) -> Iterator[Check]:
    """One program in one element type; the place is the subject, the quantities' prefix and the device."""
    subject, label, device = place
    with step("float", subject, f"{label}output and gradients"):
        results = _compute(ops, program, inputs, expected.dtype, device)
    selected = expected.reference.select(results)
    pairs = [expected.worst(number, result) for number, result in enumerate(selected)]
    yield Check("float", subject, f"{label}output", *pairs[0])
    yield Check("float", subject, f"{label}gradients", *max(pairs[1:], key=ratio))


def _compute(ops: Backend, program: Program, inputs: Inputs, dtype: str, device: str) -> list[NumPyArray]:
    """Output and gradients, computed in an element type and returned in float64."""

    def run(cotangent: Any, *operands: Any) -> list[Any]:
        gradients = ops.gradients(lambda *leaves: program.run(ops, leaves), operands, cotangent)
        gradients = program.vjp(ops, operands, cotangent) if gradients is None else gradients
        return [program.run(ops, operands), *gradients]

    with ops.double_precision():
        values = (inputs.cotangent, *inputs.operands)
        arrays = [ops.from_float64(value, dtype, device) for value in values]
        return [ops.to_float64(array) for array in ops.compile(run)(*arrays)]


class _Expected:
    """Output and gradients as exact as float64 has them, with the error that an element type may make."""

    def __init__(self, program: Program, inputs: Inputs, reference: Reference, precision: Precision) -> None:
        self.reference, self.dtype = reference, precision.dtype
        self._terms = [reference.y, *reference.gradients]
        absolute = reference.of(inputs.map(np.abs))
        self._absolute = [term.value for term in (absolute.y, *absolute.gradients)]
        ops = CountingOps()
        operands = [Counted(value.shape, precision) for value in inputs.operands]
        counted = [program.run(ops, operands)]
        counted += program.vjp(ops, operands, Counted(inputs.cotangent.shape, precision))
        self._relative = [result.bound for result in counted]

    def worst(self, number: int, result: NumPyArray) -> tuple[float, float]:
        """The error with the largest ratio to its bound, and that bound."""
        term = self._terms[number]
        if result.shape != term.value.shape:
            return float("inf"), 0.0
        own = gamma(term.roundings, UNITS["float64"])
        # The sums over absolute values were rounded, too.
        bounds = (self._relative[number] + own) * self._absolute[number] * (1 + 2 * own)
        return largest(np.abs(result - term.value), bounds)


def round_to(value: NumPyArray, dtype: str) -> NumPyArray:
    """Values rounded to a floating-point type, in float64."""
    if dtype != "bfloat16":
        return value.astype(dtype).astype("float64")
    # NumPy lacks this type: round the bits of float32 to their upper half, to nearest, ties to even.
    bits = value.astype("float32").view("uint32")
    bits = (bits + np.uint32(0x7FFF) + (bits >> 16 & 1)) & np.uint32(0xFFFF0000)
    return bits.view("float32").astype("float64")


def largest(errors: NumPyArray, bounds: NumPyArray) -> tuple[float, float]:
    """The pair of an error and its bound whose ratio is largest; a NaN is larger than any."""
    if errors.size == 0:
        return 0.0, 0.0
    bounds = np.broadcast_to(bounds, errors.shape)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.where(errors == 0, 0.0, errors / bounds)
    position = int(np.argmax(ratios))
    return float(errors.flat[position]), float(bounds.flat[position])


def ratio(pair: tuple[float, float]) -> float:
    """The key that sorts pairs of an error and its bound; a NaN is larger than any."""
    value = Check("float", "", "", *pair).ratio
    return float("inf") if isnan(value) else value
