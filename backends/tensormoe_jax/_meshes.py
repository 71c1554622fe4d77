"""Where results lie on meshes whose axes are explicit, for operations of which JAX asks to be told.

A type knows how its array is laid out only along explicit axes. Along all others it says None here, and the
compiler decides.
"""

from collections.abc import Callable, Sequence
from math import prod
from typing import TypeAlias

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

# The mesh axes that one axis of an array is sharded over: none, one, or several.
Part: TypeAlias = str | tuple[str, ...] | None
# How many products XLA may add one after the other.
_ROWS = 4096


def parts(array: jax.Array) -> tuple[Part, ...]:
    """How each axis of an array is sharded, as far as its type says."""
    return tuple(jax.typeof(array).sharding.spec)


def reshard(array: jax.Array, wanted: Sequence[Part], known: jax.Array) -> jax.Array:
    """The array sharded like this, on the mesh of another one."""
    if tuple(wanted) == parts(array):
        return array
    moved: jax.Array = jax.sharding.reshard(array, _sharding(known, wanted))  # type: ignore[no-untyped-call]
    return moved


def matmul(a: jax.Array, b: jax.Array) -> jax.Array:
    """`jnp.matmul`, where a sum over several devices becomes known to all of them."""
    if not any((*parts(a), *parts(b))):
        return jnp.matmul(a, b)
    (*batch, rows, mine), (*others, theirs, columns) = parts(a), parts(b)
    if len(others) == len(batch):
        batch = [first or second for first, second in zip(batch, others, strict=True)]
    *batch, rows, summed, columns = _use_once((*batch, rows, mine or theirs, columns))
    known = a if any(parts(a)) else b
    # An operand that every device has whole costs nothing to divide.
    a = reshard(a, (*batch, rows, summed), known)
    b = reshard(b, (*(batch if len(others) == len(batch) else others), summed, columns), known)
    return jnp.matmul(a, b, out_sharding=_sharding(known, (*batch, rows, columns)))


def add_row(product: jax.Array, row: jax.Array) -> jax.Array:
    """The sum of a product (…, T, M) and a row (…, 1, M), which lies like the product's columns."""
    if any(parts(row)):
        row = reshard(row, (*parts(product)[-row.ndim : -2], None, parts(product)[-1]), row)
    return product + row


def sum_products(a: jax.Array, b: jax.Array) -> jax.Array:
    """Σ a bᵀ over all axes but the last."""
    if any((*parts(a), *parts(b))):
        leading = tuple(range(a.ndim - 1))
        out = _sharding(a if any(parts(a)) else b, _use_once((parts(a)[-1], parts(b)[-1])))
        return jax.lax.dot_general(a, b, ((leading, leading), ((), ())), out_sharding=out)
    whole = a.shape[-2] - a.shape[-2] % _ROWS
    # Devices may hold parts of the tokens that are not parts of a block.
    if whole <= _ROWS or may_be_shared(a):
        return _sum_matrices(a, b)
    # XLA's products on a CPU may add one after the other: a million lose four digits.
    blocks = (jnp.reshape(each[..., :whole, :], (-1, _ROWS, each.shape[-1])) for each in (a, b))
    return _sum_matrices(*blocks) + _sum_matrices(a[..., whole:, :], b[..., whole:, :])


def _sum_matrices(a: jax.Array, b: jax.Array) -> jax.Array:
    """The sum of the products aᵀ b of matrices."""
    return jnp.sum(jnp.matmul(jnp.swapaxes(a, -1, -2), b), axis=tuple(range(a.ndim - 2)))


def places_from_largest(x: jax.Array) -> jax.Array:
    """The places of the last axis, that of the largest entry first; of equal entries, the first leads."""
    # Up to JAX 0.9.0, argsort does not say where its places lie: it fails, or gathers the entries.
    layout = jax.typeof(x).sharding
    places = jax.lax.broadcasted_iota("int32", x.shape, x.ndim - 1, out_sharding=layout)
    _, ordered = jax.lax.sort((x, -places), num_keys=2)
    return -ordered[..., ::-1]


def reshape(array: jax.Array, shape: Sequence[int]) -> jax.Array:
    """`jnp.reshape`; axes that the new shape cannot keep on several devices are gathered first."""
    old = parts(array)
    if not any(old):
        return jnp.reshape(array, shape)
    begins = {prod(shape[:axis]): axis for axis in range(len(shape))}
    kept: list[Part] = [None] * array.ndim
    new: list[Part] = [None] * len(shape)
    for axis, part in enumerate(old):
        # What lies on one device stays there if an axis of the new shape begins where the old one did.
        target = begins.get(prod(array.shape[:axis]))
        if part and target is not None and shape[target] % _devices(array, part) == 0:
            kept[axis] = new[target] = part
    return jnp.reshape(reshard(array, kept, array), shape, out_sharding=_sharding(array, new))


def map_leading(
    run: Callable[..., jax.Array], inputs: Sequence[jax.Array], cores: Sequence[jax.Array]
) -> tuple[Callable[..., jax.Array], Sequence[jax.Array], Sequence[jax.Array]]:
    """The function of inputs (T, …) and cores mapped over further leading axes, and the operands for it.

    All inputs then lie like the first, and cores over none of the devices that an axis of tokens lies over.
    """
    if not inputs or inputs[0].ndim == 2:
        return run, inputs, cores
    first, *others = inputs
    for _ in range(first.ndim - 2):
        run = jax.vmap(run, in_axes=(0, None))
    *leading, _ = parts(first)
    count = len(leading)
    aligned = [reshard(each, (*leading, parts(each)[-1]), first) for each in others]
    return (
        run,
        (first, *aligned),
        [reshard(core, _use_once((*leading, *parts(core)))[count:], core) for core in cores],
    )


def may_be_shared(x: jax.Array) -> bool:
    """Whether the rows of x may lie on several devices, as far as is known while JAX traces.

    Arrays that are sharded over automatic axes show nothing of it, but their mesh may have been set.
    """
    mesh = jax.sharding.get_abstract_mesh()
    automatic = not mesh.empty and any(mesh.shape[name] > 1 for name in mesh.auto_axes)
    return automatic or any(parts(x))


def is_spread(x: jax.Array) -> bool:
    """Whether x may lie on several devices: while JAX traces nobody knows, unless there is only one."""
    if isinstance(x, jax.core.Tracer):
        return jax.device_count() > 1 or may_be_shared(x)
    return len(x.sharding.device_set) > 1


def _sharding(like: jax.Array, wanted: Sequence[Part]) -> NamedSharding:
    return NamedSharding(jax.typeof(like).sharding.mesh, P(*wanted))  # type: ignore[no-untyped-call]


def _use_once(wanted: Sequence[Part]) -> list[Part]:
    """The same without mesh axes that an earlier axis of the array is sharded over."""
    used: set[str] = set()
    result: list[Part] = []
    for part in wanted:
        names = _names(part)
        result.append(None if used.intersection(names) else part)
        used.update(names)
    return result


def _names(part: Part) -> tuple[str, ...]:
    return () if part is None else (part,) if isinstance(part, str) else tuple(part)


def _devices(array: jax.Array, part: Part) -> int:
    mesh = jax.typeof(array).sharding.mesh
    return prod([mesh.shape[name] for name in _names(part)])
