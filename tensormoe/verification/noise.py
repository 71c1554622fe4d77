"""A gate's noise: what it is added to, and how it is distributed."""

from collections.abc import Iterator
from copy import copy
from typing import Any

import numpy as np

from ..arrays.backend import Backend
from ..layers.functional import apply
from ..layers.spec import Spec
from ..typing import NumPyArray
from .attempt import step
from .reference.gate import have_references
from .reference.layer import compute
from .report import Check
from .whole import Values, convert

_TOLERANCE = 1e-12
# Random numbers to test, and the number of standard deviations that a statistic of theirs may be off by.
_DRAWN, _DEVIATIONS = (64, 64), 6.0


def noise_checks(
    name: str, ops: Backend, spec: Spec, values: Values, generator: np.random.Generator, seed: int
) -> Iterator[Check]:
    """The coefficients at given noise, and the distribution of a backend's own."""
    if have_references(spec.gates):
        normal = [generator.normal(size=(len(values.x), level.own_experts)) for level in spec.gate_levels]
        given = spec, values.parameters, values.state, values.x
        known: Any = {"previous": values.previous, "noise": normal, "router_input": values.router_input}
        expected = compute(*given, **known).coefficients
        with step("frameworks", name, "coefficients at given noise"), ops.double_precision():
            results = _compute(ops, spec, values, normal)
        error = float(np.max([np.max(np.abs(a - b)) for a, b in zip(results, expected, strict=True)]))
        yield Check("frameworks", f"{name} = definition", "coefficients at given noise", error, _TOLERANCE)
    source = ops.random_source(seed)
    if source is not None:
        with step("frameworks", name, "distribution of the noise"), ops.double_precision():
            error = _measure(ops, source)
        yield Check("frameworks", name, "distribution of the noise", error, _DEVIATIONS)


def _compute(ops: Backend, spec: Spec, values: Values, normal: list[NumPyArray]) -> list[NumPyArray]:
    """The coefficients in training, with these numbers in place of the backend's own."""
    given: Any = copy(ops)
    given.normal = lambda like, generator, number: ops.from_numpy(normal[number])
    previous = values.previous and [ops.from_numpy(a) for a in values.previous]
    parameters, x = convert(ops, values.parameters), ops.from_numpy(values.x)
    options: Any = {"state": convert(ops, values.state), "training": True, "previous": previous}
    options |= values.bring([ops.from_numpy(each) for each in values.brought])
    coefficients = apply(spec, parameters, x, backend=given, **options).coefficients
    return [ops.to_float64(a) for a in coefficients]


def _measure(ops: Backend, source: Any) -> float:
    """How many standard deviations the mean, the variance and the correlation of two draws are off."""
    like = ops.from_numpy(np.zeros(_DRAWN))
    first, second = (ops.to_float64(ops.normal(like, source, number)) for number in range(2))
    root = np.sqrt(first.size)
    off = [root * np.mean(first * second), root * np.mean(first[1:] * first[:-1])]
    for each in (first, second):
        off += [root * np.mean(each), root * (np.mean(each**2) - 1) / np.sqrt(2)]
        off += [root * np.mean(each**3) / np.sqrt(15), root * (np.mean(each**4) - 3) / np.sqrt(96)]
    return float(np.max(np.abs(off)))
