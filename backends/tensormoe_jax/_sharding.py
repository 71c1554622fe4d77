"""Layers whose rank or experts are spread over the devices of a mesh."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
from jax.sharding import PartitionSpec

from tensormoe.errors import TensorMoEError
from tensormoe.layers.checks import read_given, read_router_input
from tensormoe.layers.functional import LayerOutput, compute_gate
from tensormoe.layers.shares import experts_index, mix_shares, rank_index, share_stages
from tensormoe.layers.spec import Spec, check_spec
from tensormoe.typing import AllReduce

from ._backend import backend


def partition_specs(
    spec: Spec, *, rank: str | None = None, experts: str | None = None, bond: str | None = None
) -> dict[str, PartitionSpec]:
    """How each parameter lies on a mesh whose axes share out the rank, the experts, or both.

    Use it for the shardings of `jax.device_put` or `jax.jit`, which then inserts the sums; or for
    `jax.shard_map`, with `apply_shares` inside. Sizes must be divisible by the mesh axes'. The gate's weights
    and running statistics are on all devices.

    Args:
        spec: a layer's or a block's specification.
        rank: the mesh axis that shares out a bond.
        experts: the mesh axis that shares out the first level of experts.
        bond: which bond; by default the first that the family would grow, as `matched` does: CP its rank,
            Tucker the input's, tensor train and tensor ring the one between the input and the output core.

    Returns:
        A `PartitionSpec` for each parameter, by name.

    Raises:
        TensorMoEError: neither axis, the same for both, a family without bonds, or an unknown bond.

    Examples:
        >>> import tensormoe as tm
        >>> import tensormoe_jax
        >>> spec = tm.MuMoESpec(8, 6, experts=4, factorization=tm.CP(rank=16))
        >>> specs = tensormoe_jax.partition_specs(spec, rank="model", experts="experts")
        >>> tuple(specs["cores.expert1"]), tuple(specs["cores.output"])
        (('experts', 'model'), ('model', None))
    """
    indices = _indices(spec, rank, experts, bond)
    placed: dict[str, list[str | None]] = {
        name: [None] * len(shape) for name, shape in spec.parameter_shapes.items()
    }
    for index, axis in indices.items():
        for name, position in spec.bond_axes[index].items():
            placed[name][position] = axis
    return {name: PartitionSpec(*axes) for name, axes in placed.items()}  # type: ignore[no-untyped-call]


def apply_shares(
    spec: Spec,
    shares: Mapping[str, jax.Array],
    x: jax.Array,
    *,
    rank: str | None = None,
    experts: str | None = None,
    bond: str | None = None,
    router_input: jax.Array | None = None,
    coefficients: Sequence[jax.Array] | jax.Array | None = None,
    state: Mapping[str, jax.Array] | None = None,
    training: bool = False,
    previous: Sequence[jax.Array] | None = None,
    generator: jax.Array | None = None,
    all_reduce: AllReduce | None = None,
    recompute: bool = False,
) -> LayerOutput:
    """`tensormoe.apply` inside of `jax.shard_map`, where each device has a share of the rank or the experts.

    Every device computes the gate and its own share of the mixture. Outputs are summed over the axes after
    every layer of a block.

    Args:
        spec: of the whole layer.
        shares: what `shard_map` hands over of parameters that lie as `partition_specs` says.
        x: (…, I), the same along both axes.
        rank, experts, bond: as for `partition_specs`.
        router_input: as for `tensormoe.apply`, the same along both axes.
        coefficients: as for `tensormoe.apply`: of all experts, the same along both axes.
        state, training, previous, generator, all_reduce, recompute: as for `tensormoe.apply`.

    Raises:
        TensorMoEError: as `partition_specs` and `tensormoe.apply`, and shares that do not fit each other.

    Examples:
        >>> import jax, jax.numpy as jnp
        >>> from jax.sharding import AxisType, PartitionSpec
        >>> import tensormoe as tm
        >>> import tensormoe_jax
        >>> spec = tm.MuMoESpec(8, 6, experts=4, factorization=tm.CP(rank=16))
        >>> parameters, _ = tensormoe_jax.initialize(spec, seed=0)
        >>> mesh = jax.make_mesh((1,), ("model",), axis_types=(AxisType.Auto,))
        >>> specs = tensormoe_jax.partition_specs(spec, rank="model")
        >>> share = lambda shares, x: tensormoe_jax.apply_shares(spec, shares, x, rank="model").y
        >>> apply = jax.shard_map(
        ...     share, mesh=mesh, in_specs=(specs, PartitionSpec()), out_specs=PartitionSpec()
        ... )
        >>> apply(parameters, jnp.ones((2, 8))).shape
        (2, 6)
    """
    indices = _indices(spec, rank, experts, bond)
    mixed, moved = read_given(backend, spec, coefficients, x), {**(state or {})}
    routed = read_router_input(backend, spec, router_input, x, mixed)
    if mixed is None:
        gate = {name: shares[name] for name in spec.gate_shapes}
        mixed, _, moved = compute_gate(
            spec, gate, routed, state=state, training=training, previous=previous, generator=generator,
            all_reduce=all_reduce, backend=backend,
        )  # fmt: skip
    stages = share_stages(spec, {name: shares[name].shape for name in spec.core_names})
    own = [*mixed]
    if experts is not None:
        count = max(stage.experts for stage in stages.values())[0]
        start = jax.lax.axis_index(experts) * count
        own[0] = jax.lax.dynamic_slice_in_dim(own[0], start, count, axis=-1)
    axes = tuple(indices.values())

    def total(y: jax.Array) -> jax.Array:
        summed: jax.Array = jax.lax.psum(y, axes)  # type: ignore[no-untyped-call]
        return summed

    y = mix_shares(backend, spec, stages, shares, own, x, _stay, total, recompute)
    return LayerOutput(y, mixed, moved)


def _stay(array: Any) -> Any:
    # JAX itself sums the gradients of what all devices have.
    return array


def _indices(spec: Spec, rank: str | None, experts: str | None, bond: str | None) -> dict[str, str]:
    """The indices that are shared out, and the mesh axes."""
    check_spec(spec)
    for argument, axis in (("rank", rank), ("experts", experts)):
        if axis is not None and not isinstance(axis, str):
            raise TensorMoEError(argument, axis, "pass the name of a mesh axis")
    if rank is None and experts is None:
        raise TensorMoEError("rank", None, "name the mesh axis for the rank, for the experts, or both")
    if rank == experts:
        raise TensorMoEError("experts", experts, "the rank has this axis: pass another")
    placed = {} if rank is None else {rank_index(spec, bond): rank}
    return placed if experts is None else {experts_index(spec): experts, **placed}
