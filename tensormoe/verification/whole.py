"""Whole layers and blocks with their gates, computed in float64 on one backend."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from ..arrays.backend import Backend
from ..layers.cores import materialize
from ..layers.functional import apply
from ..layers.initialization import initialize
from ..layers.parameters import cores_of
from ..layers.spec import Spec
from ..typing import NumPyArray

_STEPS, _RATE = 10, 0.1
_LARGEST_WEIGHT = 2**20

# What was computed, by quantity.
Results = dict[str, list[NumPyArray]]


@dataclass(frozen=True)
class Values:
    """The inputs of a whole specification; y is the target of training.

    Coefficients are among them if there is no gate, and the router's input if it has one of its own.
    """

    parameters: dict[str, NumPyArray]
    state: dict[str, NumPyArray]
    x: NumPyArray
    y: NumPyArray
    previous: list[NumPyArray] | None
    coefficients: list[NumPyArray] | None = None
    router_input: NumPyArray | None = None

    @property
    def brought(self) -> list[NumPyArray]:
        """What comes with a call besides x, and has gradients: the coefficients, or the router's input."""
        return self.coefficients or ([] if self.router_input is None else [self.router_input])

    def bring(self, arrays: Sequence[Any]) -> dict[str, Any]:
        """The keywords of a call for such arrays of a framework."""
        if self.coefficients is not None:
            return {"coefficients": [*arrays]}
        return {} if self.router_input is None else {"router_input": arrays[0]}

    @property
    def arrays(self) -> dict[str, NumPyArray]:
        """Parameters and state by name; the cores of a layer are in both."""
        return self.parameters | self.state


def draw_values(spec: Spec, generator: np.random.Generator, seed: int, batch_size: int) -> Values:
    """Random values for all that a layer takes."""
    initial, state = initialize(spec, seed, "float64")
    # At the initial values some gradients vanish, and only rounding errors would be compared.
    parameters = {name: value + generator.normal(size=value.shape) / 4 for name, value in initial.items()}
    x = generator.normal(size=(batch_size, spec.in_features))
    y = generator.normal(size=(batch_size, spec.out_features))
    previous, given = draw_previous(spec, generator, batch_size), None
    if spec.gate is None:
        given = [generator.normal(size=(batch_size, n)) for n in spec.experts]
    size = spec.gate_features
    routed = None if size is None else generator.normal(size=(batch_size, size))
    return Values(parameters, state, x, y, previous, given, routed)


def draw_previous(spec: Spec, generator: np.random.Generator, batch_size: int) -> list[NumPyArray] | None:
    """Random coefficients of the layer before, for a router that uses them."""
    if spec.previous_experts is None:
        return None
    # A level that does not use them gets those of its own experts.
    counts = zip(spec.previous_experts, spec.experts, strict=True)
    return [generator.dirichlet(np.ones(n if k is None else k), size=batch_size) for k, n in counts]


def convert(ops: Backend, arrays: Mapping[str, NumPyArray]) -> dict[str, Any]:
    """A backend's arrays by name."""
    return {name: ops.from_numpy(value) for name, value in arrays.items()}


def convert_tokens(ops: Backend, arrays: Sequence[NumPyArray] | None) -> list[Any] | None:
    """A backend's arrays of tokens, with one more leading axis."""
    return None if arrays is None else [ops.from_numpy(value[None]) for value in arrays]


def is_small(spec: Spec) -> bool:
    """Whether all weight tensors of a specification are small enough to be multiplied out."""
    return all(prod(layer.network.weight_shape) <= _LARGEST_WEIGHT for layer in spec.layers.values())


def compute_all(ops: Backend, spec: Spec, noisy: Spec, values: Values) -> Results:
    """What a backend computes, by quantity; in evaluation, noise must be off."""
    names = list(values.parameters)
    y = ops.from_numpy(values.y)
    # With one more leading axis, which the output must have, too.
    x = ops.from_numpy(values.x[None])
    previous = convert_tokens(ops, values.previous)
    # What is given is differentiated like x.
    tokens = [x, *(convert_tokens(ops, values.brought) or [])]

    def step(state: Any, *leaves: Any) -> Any:
        def run(spec: Spec, training: bool, leaves: Sequence[Any]) -> Any:
            x, *given = leaves[: len(tokens)]
            parameters = dict(zip(names, leaves[len(tokens) :], strict=True))
            options: Any = {"state": state, "training": training, "previous": previous, "backend": ops}
            options |= values.bring(given)
            return apply(spec, parameters, x, **options)

        output, coefficients, moved = run(spec, True, leaves)
        evaluation = run(noisy, False, leaves).y
        # The gradients of half the squared error.
        gradients = ops.gradients(lambda *leaves: run(spec, True, leaves).y, leaves, output - y) or ()
        weights = _weights(ops, spec, {**state, **dict(zip(names, leaves[len(tokens) :], strict=True))})
        return (output, coefficients, gradients, evaluation, weights), moved

    compiled = ops.compile(step)
    state = convert(ops, values.state)
    parameters = [ops.from_numpy(value) for value in values.parameters.values()]
    (output, coefficients, gradients, evaluation, weights), moved = compiled(state, *tokens, *parameters)
    results = {
        "output": [output[0]],
        "coefficients": [a[0] for a in coefficients],
        "running statistics": in_order(moved),
        "output in evaluation": [evaluation[0]],
        "weights": weights,
    }
    if gradients:
        count = len(tokens)
        results["gradients"] = [*(each[0] for each in gradients[:count]), *gradients[count:]]
        for _ in range(_STEPS):
            (_, _, gradients, _, _), state = compiled(state, *tokens, *parameters)
            parameters = _take_step(ops, parameters, gradients[count:])
        results["ten training steps"] = [*parameters, *in_order(state)]
    return {quantity: [ops.to_float64(a) for a in arrays] for quantity, arrays in results.items() if arrays}


def warm(ops: Backend, spec: Spec, values: Values) -> dict[str, NumPyArray]:
    """Running statistics after one call in training, so they are not empty."""
    previous = values.previous and [ops.from_numpy(value) for value in values.previous]
    options: Any = {"state": convert(ops, values.state), "training": True, "previous": previous}
    options |= values.bring([ops.from_numpy(each) for each in values.brought])
    x, parameters = ops.from_numpy(values.x), convert(ops, values.parameters)
    moved = apply(spec, parameters, x, backend=ops, **options).state
    return {name: ops.to_float64(value) for name, value in moved.items()}


def in_order(state: Mapping[str, Any]) -> list[Any]:
    """Statistics by the order of their names: a compiled function returns them in its own."""
    return [state[name] for name in sorted(state)]


def _take_step(ops: Backend, parameters: Sequence[Any], gradients: Sequence[Any]) -> list[Any]:
    """The parameters after one step, whose length is bounded for layers of any size."""
    length = ops.sqrt(1 + sum(ops.sum(g * g) for g in gradients))
    return [p - _RATE * g / length for p, g in zip(parameters, gradients, strict=True)]


def _weights(ops: Backend, spec: Spec, parameters: Mapping[str, Any]) -> list[Any]:
    """The weight tensors of the layers, if they are small enough."""
    if not is_small(spec):
        return []
    return [
        materialize(layer, cores_of(spec, parameters, prefix), backend=ops)
        for prefix, layer in spec.layers.items()
    ]
