"""Slices of arrays by integer indices, and gradients added where they were read."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from tensormoe.arrays.selection import first, front, key_of
from tensormoe.typing import Shape

from . import _meshes as sharding


class JaxSelection:
    """The operations of `ProgramOps` that read and write by indices."""

    def can_gather(self, arrays: Sequence[jax.Array], /) -> bool:
        # Where arrays lie on several devices, slices of them would have to be sent.
        return not any(sharding.is_spread(each) for each in arrays)

    def is_accelerated(self, x: jax.Array, /) -> bool:
        # Of what is traced, only the default place is known.
        known = not isinstance(x, jax.core.Tracer) and x.devices()
        platforms = {device.platform for device in known} if known else {jax.default_backend()}
        return platforms != {"cpu"}

    def choose(self, coefficients: jax.Array, k: int, /) -> jax.Array:
        # A NaN is other than 0; of equal ones, the first count.
        used = jax.lax.stop_gradient(coefficients) != 0
        places: jax.Array = jax.lax.top_k(used.astype(jnp.float32), k)[1]
        return places

    def take(self, coefficients: jax.Array, indices: jax.Array, /) -> jax.Array:
        return jnp.take_along_axis(coefficients, indices, axis=-1, mode="promise_in_bounds")

    def put(self, gradient: jax.Array, indices: jax.Array, like: jax.Array, /) -> jax.Array:
        zeros = jnp.zeros(like.shape, gradient.dtype)
        return jnp.put_along_axis(zeros, indices, gradient, axis=-1, inplace=False)

    def gather(self, array: jax.Array, indices: Sequence[jax.Array], axes: Shape, /) -> jax.Array:
        read = array.at[key_of(indices, axes, array.ndim)].get(mode="promise_in_bounds")
        return jnp.transpose(read, front(axes, array.ndim))

    def scatter(
        self, gradient: jax.Array, indices: Sequence[jax.Array], axes: Shape, like: jax.Array, /
    ) -> jax.Array:
        order = first(axes, gradient.ndim - 1)
        zeros = jnp.zeros([like.shape[axis] for axis in order], gradient.dtype)
        key = key_of(indices, tuple(range(len(axes))), zeros.ndim)
        total = zeros.at[key].add(gradient, mode="promise_in_bounds")
        return jnp.transpose(total, sorted(range(len(order)), key=order.__getitem__))
