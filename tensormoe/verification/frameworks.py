"""The frameworks method: whole layers with their gates, against their definition and each other."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..arrays.backend import Backend
from ..layers.spec import Spec
from ..typing import NumPyArray
from .attempt import StepError, guard, step
from .gate_laws import gate_law_checks
from .modules import module_checks
from .noise import noise_checks
from .pointwise import pointwise_checks
from .reference.gate import have_references
from .reference.layer import compute, materialize, mix
from .report import Check
from .slopes import SLOPE_TOLERANCE, Slope, find_slopes, slope_error
from .whole import Results, Values, compute_all, draw_values, in_order, is_small, warm

# Relative to the largest entry; ten training steps accumulate the differences of single calls.
TOLERANCE, TRAINED_TOLERANCE = 1e-12, 1e-11

# What each quantity is compared with: where it is from, and its arrays.
Expected = dict[str, tuple[str, list[NumPyArray]]]


def framework_checks(
    spec: Spec, objects: Mapping[str, Backend], generator: np.random.Generator, seed: int, batch_size: int
) -> Iterator[Check]:
    """Compare everything that a backend computes with the definition, otherwise with the first backend."""
    # In training, each framework draws its own noise.
    quiet = spec.without_noise()
    values = draw_values(quiet, generator, seed, batch_size)
    values = _warm(objects, quiet, values)
    slopes = find_slopes(quiet, values, generator) if have_references(quiet.gates) else []
    expected: Expected = {name: ("definition", arrays) for name, arrays in _define(quiet, values).items()}
    for name, ops in objects.items():
        yield from guard(
            "frameworks", _compare_layers(name, ops, spec, quiet, values, expected, slopes), name
        )
        yield from guard("frameworks", module_checks(name, ops, spec, values), name)
        yield from guard("frameworks", pointwise_checks(name, ops, spec, generator), name)
        if not have_references(spec.gates):
            yield from guard("frameworks", gate_law_checks(name, ops, quiet, generator), name)
        if spec.adds_noise:
            yield from guard("frameworks", noise_checks(name, ops, spec, values, generator, seed), name)


def _warm(objects: Mapping[str, Backend], spec: Spec, values: Values) -> Values:
    """The values with running statistics as they are after one call, so they are not empty."""
    if not values.state:
        return values
    if have_references(spec.gates):
        given: Any = {"previous": values.previous, "router_input": values.router_input}
        moved = compute(spec, values.parameters, values.state, values.x, **given).state
        return replace(values, state=moved)
    name, ops = next(iter(objects.items()))
    try:
        with step("frameworks", name, "running statistics"), ops.double_precision():
            return replace(values, state=warm(ops, spec, values))
    except StepError:
        # The same call fails again, in a step that the report shows.
        return values


def _define(spec: Spec, values: Values) -> Results:
    """What the definition gives, by quantity."""
    weights = materialize(spec, values.arrays) if is_small(spec) else []
    if not have_references(spec.gates):
        return {"weights": weights}
    given = spec, values.parameters, values.state, values.x
    known: Any = {"previous": values.previous, "given": values.coefficients}
    known["router_input"] = values.router_input
    output, evaluation = compute(*given, **known), compute(*given, training=False, **known)
    return {
        "output": [output.y],
        "coefficients": output.coefficients,
        "running statistics": in_order(output.state),
        "output in evaluation": [evaluation.y],
        "weights": weights,
    }


def _compare_layers(
    name: str,
    ops: Backend,
    spec: Spec,
    quiet: Spec,
    values: Values,
    expected: Expected,
    slopes: Sequence[Slope],
) -> Iterator[Check]:
    """What `apply` gives on one backend; what has no definition becomes the expectation of the others."""
    with step("frameworks", name, "layer in training and evaluation"), ops.double_precision():
        results = compute_all(ops, quiet, spec, values)
    for quantity, arrays in results.items():
        other, theirs = expected.setdefault(quantity, (name, arrays))
        if other != name:
            tolerance = TRAINED_TOLERANCE if "steps" in quantity else TOLERANCE
            yield Check("frameworks", f"{name} = {other}", quantity, largest_error(arrays, theirs), tolerance)
    if not have_references(spec.gates):
        y = mix(spec, values.arrays, results["coefficients"], values.x)
        error = largest_error(results["output"], [y])
        yield Check("frameworks", f"{name} = definition", "output at its coefficients", error, TOLERANCE)
    if slopes and "gradients" in results:
        error = slope_error(results["gradients"], slopes)
        subject, quantity = f"{name} = definition", "gradients, by differences"
        yield Check("frameworks", subject, quantity, error, SLOPE_TOLERANCE)


def largest_error(results: Sequence[NumPyArray], expected: Sequence[NumPyArray]) -> float:
    """The largest difference over all arrays, relative to the largest entry expected in any."""
    if [value.shape for value in results] != [value.shape for value in expected]:
        return float("inf")
    scale = max(float(np.max(np.abs(value))) for value in expected) or 1.0
    errors = [float(np.max(np.abs(a - b))) for a, b in zip(results, expected, strict=True)]
    # Not max(), which can skip a NaN.
    return float(np.max(errors)) / scale
