"""Equality across frameworks: whole layers and blocks with their gates, in float64."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any, TypeAlias

import numpy as np

from ..arrays.backend import Backend
from ..layers.cores import materialize
from ..layers.functional import apply
from ..layers.initialization import initialize
from ..layers.spec import Spec
from ..typing import NumPyArray
from .blame import blame
from .reference.gate import has_reference
from .reference.layer import compute
from .reference.layer import materialize as materialize_reference
from .report import Check

# Relative to the largest entry; ten training steps accumulate the differences of single calls.
TOLERANCE, TRAINED_TOLERANCE = 1e-12, 1e-11
_STEPS, _RATE = 10, 0.1
_LARGEST_WEIGHT = 2**20
# Central differences: their step, and the error that remains where norms of two experts bend most.
_DIFFERENCE, SLOPE_TOLERANCE = 3e-7, 1e-4


def framework_checks(
    spec: Spec, objects: Mapping[str, Backend], generator: np.random.Generator, seed: int, batch_size: int
) -> Iterator[Check]:
    """Compare everything that a backend computes with the definition, otherwise with the first backend."""
    noisy = spec
    # In training, each framework draws its own noise.
    spec = spec.replace(gate=replace(spec.gate, noise=0.0))
    values = _draw_values(spec, generator, seed, batch_size)
    name, ops = next(iter(objects.items()))
    with blame(name), ops.double_precision():
        values = replace(values, state=_warm_state(ops, spec, values))
    first: dict[str, tuple[str, list[NumPyArray]]] = {}
    slopes: list[_Slope] = []
    if has_reference(spec.gate):
        slopes = _slopes(spec, values, generator)
        given = values.parameters, values.state, values.x
        defining = compute(spec, *given)
        defining["output in evaluation"] = compute(spec, *given, training=False)["output"]
        defining["weights"] = materialize_reference(spec, values.parameters) if _small(spec) else []
        first = {quantity: ("definition", arrays) for quantity, arrays in defining.items()}
    for name, ops in objects.items():
        with blame(name), ops.double_precision():
            results = _compute_all(ops, spec, noisy, values)
        for quantity, arrays in results.items():
            other, expected = first.setdefault(quantity, (name, arrays))
            if other != name:
                tolerance = TRAINED_TOLERANCE if "steps" in quantity else TOLERANCE
                error = _largest_error(arrays, expected)
                yield Check("frameworks", f"{name} = {other}", quantity, error, tolerance)
        if slopes and "gradients" in results:
            error = _slope_error(results["gradients"], slopes)
            subject, quantity = f"{name} = definition", "gradients, by differences"
            yield Check("frameworks", subject, quantity, error, SLOPE_TOLERANCE)


@dataclass(frozen=True)
class _Values:
    """The inputs of a whole specification; y is the target of training."""

    parameters: dict[str, NumPyArray]
    state: dict[str, NumPyArray]
    x: NumPyArray
    y: NumPyArray
    previous: list[NumPyArray] | None


def _draw_values(spec: Spec, generator: np.random.Generator, seed: int, batch_size: int) -> _Values:
    initial, state = initialize(spec, seed, "float64")
    # At the initial values some gradients vanish, and only rounding errors would be compared.
    parameters = {name: value + generator.normal(size=value.shape) / 4 for name, value in initial.items()}
    x = generator.normal(size=(batch_size, spec.in_features))
    y = generator.normal(size=(batch_size, spec.out_features))
    clusters = spec.gate.router.previous_experts(spec.experts)
    previous = None
    if clusters is not None:
        previous = [generator.dirichlet(np.ones(k), size=batch_size) for k in clusters]
    return _Values(parameters, state, x, y, previous)


def _warm_state(ops: Backend, spec: Spec, values: _Values) -> dict[str, NumPyArray]:
    """Running statistics after one call, so they are not empty."""
    if not values.state:
        return {}
    parameters, state = (
        {name: ops.from_numpy(value) for name, value in arrays.items()}
        for arrays in (values.parameters, values.state)
    )
    previous = values.previous and [ops.from_numpy(value) for value in values.previous]
    options: Any = {"state": state, "training": True, "previous": previous, "backend": ops}
    moved = apply(spec, parameters, ops.from_numpy(values.x), **options).state
    return {name: ops.to_float64(value) for name, value in moved.items()}


def _compute_all(ops: Backend, spec: Spec, noisy: Spec, values: _Values) -> dict[str, list[NumPyArray]]:
    """What a backend computes, by quantity; in evaluation, noise must be off."""
    names = list(values.parameters)
    y = ops.from_numpy(values.y)
    # With one more leading axis, which the output must have, too.
    x = ops.from_numpy(values.x[None])
    previous = values.previous and [ops.from_numpy(value[None]) for value in values.previous]

    def step(state: Any, x: Any, *parameters: Any) -> Any:
        given = dict(zip(names, parameters, strict=True))

        def run(x: Any, *parameters: Any) -> Any:
            given = dict(zip(names, parameters, strict=True))
            return apply(spec, given, x, state=state, training=True, previous=previous, backend=ops)

        output, coefficients, moved = run(x, *parameters)
        evaluation = apply(noisy, given, x, state=state, previous=previous, backend=ops).y
        # The gradients of half the squared error.
        gradients = ops.gradients(lambda *leaves: run(*leaves).y, (x, *parameters), output - y) or ()
        return (output, coefficients, gradients, evaluation, _weights(ops, spec, given)), moved

    compiled = ops.compile(step)
    state = {name: ops.from_numpy(value) for name, value in values.state.items()}
    parameters = [ops.from_numpy(value) for value in values.parameters.values()]
    (output, coefficients, gradients, evaluation, weights), moved = compiled(state, x, *parameters)
    results = {
        "output": [output[0]],
        "coefficients": [a[0] for a in coefficients],
        "running statistics": _in_order(moved),
        "output in evaluation": [evaluation[0]],
        "weights": weights,
    }
    if gradients:
        results["gradients"] = [gradients[0][0], *gradients[1:]]
        for _ in range(_STEPS):
            (_, _, gradients, _, _), state = compiled(state, x, *parameters)
            parameters = _take_step(ops, parameters, gradients[1:])
        results["ten training steps"] = [*parameters, *_in_order(state)]
    return {quantity: [ops.to_float64(a) for a in arrays] for quantity, arrays in results.items() if arrays}


def _take_step(ops: Backend, parameters: Sequence[Any], gradients: Sequence[Any]) -> list[Any]:
    """The parameters after one step, whose length is bounded for layers of any size."""
    length = ops.sqrt(1 + sum(ops.sum(g * g) for g in gradients))
    return [p - _RATE * g / length for p, g in zip(parameters, gradients, strict=True)]


def _weights(ops: Backend, spec: Spec, parameters: Mapping[str, Backend]) -> list[Any]:
    """The weight tensors of the layers, if they are small enough."""
    if not _small(spec):
        return []
    prefixes = {f"{prefix}.": layer for prefix, layer in spec.layers.items()}
    return [
        materialize(layer, {name: parameters[prefix + name] for name in layer.network.shapes}, backend=ops)
        for prefix, layer in prefixes.items()
    ]


def _small(spec: Spec) -> bool:
    return all(prod(layer.network.weight_shape) <= _LARGEST_WEIGHT for layer in spec.layers.values())


def _in_order(state: Mapping[str, Backend]) -> list[Any]:
    # A compiled function returns names in its own order.
    return [state[name] for name in sorted(state)]


# A direction in an array of inputs, and the slope of the loss along it.
_Slope: TypeAlias = tuple[NumPyArray, float]


def _slopes(spec: Spec, values: _Values, generator: np.random.Generator) -> list[_Slope]:
    """Half the squared error along a random direction in x and in each parameter, by central differences."""

    def loss(x: NumPyArray, *parameters: NumPyArray) -> float:
        given = dict(zip(values.parameters, parameters, strict=True))
        (y,) = compute(spec, given, values.state, x)["output"]
        return float(((y - values.y) ** 2).sum() / 2)

    arrays, slopes = [values.x, *values.parameters.values()], []
    for number, array in enumerate(arrays):
        direction = generator.normal(size=array.shape)
        direction /= np.sqrt((direction**2).sum())
        above, below = (
            loss(*arrays[:number], array + step * direction, *arrays[number + 1 :])
            for step in (_DIFFERENCE, -_DIFFERENCE)
        )
        slopes.append((direction, (above - below) / (2 * _DIFFERENCE)))
    return slopes


def _slope_error(gradients: Sequence[NumPyArray], slopes: Sequence[_Slope]) -> float:
    """The largest error of a slope, relative to the length of the gradient it is a part of."""
    lengths = [float(np.sqrt((gradient**2).sum())) for gradient in gradients]
    errors = [
        abs(float((gradient * direction).sum()) - slope) / (length + max(lengths) / 1000)
        for gradient, length, (direction, slope) in zip(gradients, lengths, slopes, strict=True)
    ]
    return float(np.max(errors))


def _largest_error(results: Sequence[NumPyArray], expected: Sequence[NumPyArray]) -> float:
    """The largest difference over all arrays, relative to the largest entry expected in any."""
    if [value.shape for value in results] != [value.shape for value in expected]:
        return float("inf")
    scale = max(float(np.max(np.abs(value))) for value in expected) or 1.0
    errors = [float(np.max(np.abs(a - b))) for a, b in zip(results, expected, strict=True)]
    # Not max(), which can skip a NaN.
    return float(np.max(errors)) / scale
