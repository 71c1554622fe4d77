"""Initial values from a JAX key: the core's recipe, drawn by JAX's generator."""

import jax
import jax.numpy as jnp

from tensormoe.layers.initialization import CoreRecipe, recipe
from tensormoe.layers.parameters import join_name
from tensormoe.layers.spec import Spec


def draw(spec: Spec, key: jax.Array, dtype: str) -> dict[str, jax.Array]:
    """The parameters by name, distributed as `tensormoe.initialize` distributes them; may be traced."""
    values = {name: jnp.zeros(shape, dtype) for name, shape in spec.parameter_shapes.items()}
    cores = [
        (join_name(prefix, core.name), core)
        for prefix, stage in spec.layers.items()
        for core in recipe(stage)
    ]
    for (name, core), own_key in zip(cores, jax.random.split(key, len(cores)), strict=True):
        values[name] = _draw(core, own_key, dtype)
    if "input_norm.weight" in values:
        values["input_norm.weight"] += 1
    return values


def _draw(core: CoreRecipe, key: jax.Array, dtype: str) -> jax.Array:
    # Not by the recipe's own method, whose constants JAX would embed in what it compiles.
    of_start, of_noise = jax.random.split(key)
    if core.bound is None:
        values = _constant(core, dtype)
    else:
        values = jax.random.uniform(of_start, core.start, dtype, -core.bound, core.bound)
    if core.noise is not None:
        values = values * (1 + jax.random.normal(of_noise, core.noise, dtype))
    return jnp.broadcast_to(values, core.shape).transpose(core.axes)


def _constant(core: CoreRecipe, dtype: str) -> jax.Array:
    if core.diagonal is None:
        return jnp.ones(core.start, dtype)
    rows, columns = (jax.lax.broadcasted_iota("int32", core.start, axis) for axis in core.diagonal)
    return (rows == columns).astype(dtype)
