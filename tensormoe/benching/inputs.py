"""The arrays of a benchmark: a backend's, in float32, on one device."""

from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np

from ..arrays.backend import Backend
from ..layers.initialization import initialize
from ..layers.spec import Spec
from ..typing import Array

DTYPE = "float32"


class Sampler:
    """Makes arrays of a backend on a device, from NumPy's or drawn at random.

    Args:
        ops: the backend object.
        device: the device's name.
        seed: the seed of the random values.
    """

    def __init__(self, ops: Backend, device: str, seed: int) -> None:
        self.ops = ops
        self.device = device
        self.seed = seed
        self.generator = np.random.default_rng(seed)

    def place(self, array: Any) -> Array:
        """A NumPy array's values on the device."""
        return self.ops.from_float64(array, DTYPE, self.device)

    def normal(self, *shape: int, scale: float = 1.0) -> Array:
        """Normal numbers with this standard deviation."""
        return self.place(scale * self.generator.normal(size=shape))

    def coefficients(self, batch_size: int, experts: int) -> Array:
        """(T, N) with rows that are positive and sum to 1."""
        return self.place(self.generator.dirichlet(np.ones(experts), size=batch_size))


@dataclass(frozen=True)
class Arguments:
    """The arguments of a call of a layer.

    Args:
        parameters, state: by name, as `initialize` gives them.
        x: (T, I).
        cotangent: (T, O), the weights of y in gradients.
        previous: a previous layer's coefficients, if the router uses them.
        coefficients: of every level, if there is no gate.
        router_input: the router's own, if it has one.
    """

    parameters: dict[str, Array]
    state: dict[str, Array]
    x: Array
    cotangent: Array
    previous: list[Array] | None
    coefficients: list[Array] | None
    router_input: Array | None = None


def draw_arguments(sampler: Sampler, spec: Spec, batch_size: int) -> Arguments:
    """Initial values, and standard normal inputs.

    The gate's weights, initially 0, are drawn so that logits are standard normal: equal logits would take
    less time than a trained layer's.
    """
    values, state = initialize(spec, sampler.seed)
    parameters = {
        name: sampler.normal(*value.shape, scale=1 / sqrt(spec.router_features))
        if name in spec.gate_shapes
        else sampler.place(value)
        for name, value in values.items()
    }
    clusters = [
        n if k is None else k for k, n in zip(spec.previous_experts or (), spec.experts, strict=False)
    ]
    given = None if spec.gate is not None else spec.experts
    return Arguments(
        parameters,
        {name: sampler.place(value) for name, value in state.items()},
        sampler.normal(batch_size, spec.in_features),
        sampler.normal(batch_size, spec.out_features),
        [sampler.coefficients(batch_size, count) for count in clusters] or None,
        None if given is None else [sampler.coefficients(batch_size, count) for count in given],
        None if spec.gate_features is None else sampler.normal(batch_size, spec.gate_features),
    )
