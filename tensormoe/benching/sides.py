"""What is timed: the layer, and the MLP that it replaces."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import sqrt
from typing import Any

from ..arrays.backend import Backend
from ..layers.functional import apply
from ..layers.spec import Spec
from ..typing import Array
from .inputs import Arguments, Sampler


@dataclass(frozen=True)
class Side:
    """A computation to be timed.

    Args:
        forward, training: functions of no argument that compute it, without and with gradients.
        macs: multiply-accumulates of the matrix products of `forward`.
        parameters: how many values are trained; None if there are none.
    """

    forward: Callable[[], object]
    training: Callable[[], object]
    macs: int
    parameters: int | None


def layer(ops: Backend, spec: Spec, given: Arguments, macs: int) -> Side:
    """The layer or block by the functional API, without the gate's noise.

    Args:
        ops: the backend object.
        spec: the layer or block.
        given: what it is called with.
        macs: of its matrix products.
    """
    names = tuple(given.parameters)
    quiet = spec.without_noise()
    quiet.prepare()

    def call(state: Mapping[str, Array], brought: Any, x: Array, *values: Array, training: bool) -> Any:
        parameters = dict(zip(names, values, strict=True))
        options: Any = {"state": state, "training": training, "backend": ops, **brought}
        return apply(quiet, parameters, x, **options)

    def forward(state: Mapping[str, Array], brought: Any, *leaves: Array) -> object:
        return call(state, brought, *leaves, training=False)[0]

    def training(state: Mapping[str, Array], brought: Any, cotangent: Array, *leaves: Array) -> object:
        def moving(*leaves: Array) -> Any:
            y, _, moved = call(state, brought, *leaves, training=True)
            return y, moved

        return ops.with_gradients(moving, leaves, cotangent)

    leaves = (given.x, *given.parameters.values())
    brought: dict[str, Any] = {"previous": given.previous, "coefficients": given.coefficients}
    brought["router_input"] = given.router_input
    return Side(
        compile_call(ops, forward, given.state, brought, *leaves),
        compile_call(ops, training, given.state, brought, given.cotangent, *leaves),
        macs,
        spec.num_parameters,
    )


def mlp(sampler: Sampler, spec: Spec, given: Arguments) -> Side:
    """Dense layers x W + b, one for each of the spec's, with a block's nonlinearity before the last."""
    ops = sampler.ops
    shapes = [(stage.in_features, stage.out_features) for stage in spec.layers.values()]
    values = [
        array for i, o in shapes for array in (sampler.normal(i, o, scale=1 / sqrt(i)), sampler.normal(o))
    ]

    def forward(x: Array, *values: Array) -> Array:
        *before, last = zip(values[::2], values[1::2], strict=True)
        results = [ops.linear(x, *each) for each in before]
        for number, result in enumerate(results):
            # As in PyTorch's own MLPs, the nonlinearity and the product are two operations.
            x = result * x if number else ops.nonlinear(spec.between or "identity", result)
        return ops.linear(x, *last)

    def training(cotangent: Array, *leaves: Array) -> object:
        return ops.with_gradients(lambda *inputs: (forward(*inputs), None), leaves, cotangent)

    return Side(
        compile_call(ops, forward, given.x, *values),
        compile_call(ops, training, given.cotangent, given.x, *values),
        given.x.shape[0] * sum(i * o for i, o in shapes),
        sum((i + 1) * o for i, o in shapes),
    )


def compile_call(ops: Backend, function: Callable[..., object], *arguments: object) -> Callable[[], object]:
    """A call of a function with arguments, compiled as a whole if the framework compiles."""
    # The arguments are passed in, since a framework would fold constants.
    ready = ops.compile(function)
    return lambda: ready(*arguments)
