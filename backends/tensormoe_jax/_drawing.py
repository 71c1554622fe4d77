"""Initial values from a JAX key: the core's recipe, drawn by JAX's generator."""

import jax
import jax.numpy as jnp

from tensormoe.layers.initialization import constant_values, recipes
from tensormoe.layers.spec import Spec
from tensormoe.typing import Shape


def draw(spec: Spec, key: jax.Array, dtype: str) -> dict[str, jax.Array]:
    """The parameters by name, distributed as `tensormoe.initialize` distributes them; may be traced."""
    constants = constant_values(spec)
    values = {
        name: jnp.full(shape, constants.get(name, 0), dtype) for name, shape in spec.parameter_shapes.items()
    }
    cores = recipes(spec)
    for (name, core), own_key in zip(cores.items(), jax.random.split(key, len(cores)), strict=True):
        values[name] = core.draw(_JAXSource(own_key, dtype))
    return values


class _JAXSource:
    """Values from a key, a new part of it for each draw. JAX embeds no constants in what it compiles."""

    def __init__(self, key: jax.Array, dtype: str) -> None:
        self._key = key
        self._dtype = dtype

    def uniform(self, shape: Shape, bound: float) -> jax.Array:
        return jax.random.uniform(self._next(), shape, self._dtype, -bound, bound)

    def normal(self, shape: Shape) -> jax.Array:
        return jax.random.normal(self._next(), shape, self._dtype)

    def signs(self, shape: Shape) -> jax.Array:
        return jax.random.rademacher(self._next(), shape, self._dtype)

    def ones(self, shape: Shape) -> jax.Array:
        return jnp.ones(shape, self._dtype)

    def diagonal(self, shape: Shape, axes: tuple[int, int]) -> jax.Array:
        rows, columns = (jax.lax.broadcasted_iota("int32", shape, axis) for axis in axes)
        return jnp.asarray(rows == columns, self._dtype)

    def stretch(self, array: jax.Array, shape: Shape) -> jax.Array:
        return jnp.broadcast_to(array, shape)

    def _next(self) -> jax.Array:
        own: jax.Array
        self._key, own = jax.random.split(self._key)
        return own
