"""Initial values from a JAX key: the core's distributions, drawn by JAX's generator."""

import jax
import jax.numpy as jnp
import numpy as np

from tensormoe.layers.initialization import _identity, _uniform_bounds
from tensormoe.layers.spec import Spec
from tensormoe.layers.stage import Stage
from tensormoe.networks.network import Core
from tensormoe.networks.notation import expert_modes


def draw(spec: Spec, key: jax.Array, dtype: str) -> dict[str, jax.Array]:
    """The parameters by name, distributed as `tensormoe.initialize` distributes them; may be traced."""
    values = {name: jnp.zeros(shape, dtype) for name, shape in spec.parameter_shapes.items()}
    cores = [
        (f"{p}.{core.name}", stage, core) for p, stage in spec.layers.items() for core in stage.network.cores
    ]
    for number, (name, stage, core) in enumerate(cores):
        values[name] = _core(stage, core, jax.random.fold_in(key, number), dtype)
    if "input_norm.weight" in values:
        values["input_norm.weight"] = jnp.ones((spec.in_features,), dtype)
    return values


def _core(stage: Stage, core: Core, key: jax.Array, dtype: str) -> jax.Array:
    network = stage.network
    of_start, of_noise = jax.random.split(key)
    start = _identity(core, network)
    bound = _uniform_bounds(network, stage.in_features).get(core.name)
    # A constant of a core's size would be part of the program that jax.jit compiles.
    value = jnp.ones((), dtype) if np.all(start == 1) else jnp.asarray(start, dtype)
    if bound is not None:
        value = jax.random.uniform(of_start, start.shape, dtype, -bound, bound)
    first, *further = expert_modes(network.levels)
    if first in core.indices:
        shape = [1 if index in further else network.sizes[index] for index in core.indices]
        value = value * (1 + jax.random.normal(of_noise, shape, dtype))
    return jnp.broadcast_to(value, network.shapes[core.name])
