"""Building the new modules, with the values to start with."""

from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from tensormoe.errors import TensorMoEError, non_negative_integer
from tensormoe.fitting.from_dense import start_from
from tensormoe.layers.layer_spec import MuMoESpec
from tensormoe.layers.spec import Spec
from tensormoe.typing import NumPyArray

from .._base import Device, Module
from .._initialization import check_source
from .._module import MuMoE, MuMoEBlock
from .linear import read_weights
from .recipe import Design


def build(designs: Sequence[Design], init: str, rngs: nnx.Rngs | None, seed: int | None) -> list[nnx.Module]:
    """The new modules, with the element types and the devices of the old ones.

    Raises:
        TensorMoEError: neither rngs nor a seed, or weights to start from that are not known.
    """
    if any(isinstance(each.new, Spec) for each in designs):
        check_source(seed, rngs)
    seeds = _seeds(seed, len(designs))
    return [_build(each, init, rngs, own) for each, own in zip(designs, seeds, strict=True)]


def _seeds(seed: int | None, count: int) -> Iterator[int]:
    number = 0 if seed is None else non_negative_integer("seed", seed)
    return map(int, np.random.SeedSequence(number).generate_state(count, "uint64"))


def _build(design: Design, init: str, rngs: nnx.Rngs | None, seed: int) -> nnx.Module:
    spec, old = design.new, design.place.module
    if not isinstance(spec, Spec):
        if init != "fresh":
            remedy = f"build= returns a module for {design.place.name}: start fresh, and load its values"
            raise TensorMoEError("init", init, remedy)
        return spec
    kind: type[Module] = MuMoE if isinstance(spec, MuMoESpec) else MuMoEBlock
    leaves = jax.tree.leaves(nnx.state(old, nnx.Param))
    kernel = max(leaves, key=lambda leaf: leaf.size, default=None)
    dtype, device = None if kernel is None else kernel.dtype, _device(kernel)
    if init == "fresh":
        source = {"seed": seed} if rngs is None else {"rngs": rngs}
        return kind.from_spec(spec, dtype=dtype, device=device, **source)
    own = seed if rngs is None else _draw_seed(rngs)
    return kind.from_arrays(spec, _read(design, spec, init, own), copy=False, dtype=dtype, device=device)


def _read(design: Design, spec: Spec, init: str, seed: int) -> dict[str, NumPyArray]:
    """The values of the specification's arrays that start as the weights that are there."""
    name = design.place.name
    if design.dense is None:
        raise TensorMoEError("init", init, f"the weights of {name} are not known: start fresh, and load them")
    weights, biases = read_weights(name, design.dense.linears, "init", init)
    wide = design.dense.linears[0].matrix.dtype == jnp.float64
    dtype = "float64" if wide else "float32"
    return start_from(weights, biases, spec, init, name=name, seed=seed, dtype=dtype)


def _draw_seed(rngs: nnx.Rngs) -> int:
    key = rngs.params()
    if isinstance(key, jax.core.Tracer):
        raise TensorMoEError("rngs", "a traced key", 'init="fit" and "upcycle" compute on the host: untraced')
    return int(jax.random.bits(key))


def _device(kernel: jax.Array | None) -> Device:
    """Where an array lies; on all devices of its mesh, if it is sharded over some."""
    sharding = getattr(kernel, "sharding", None)
    if isinstance(sharding, NamedSharding):
        return NamedSharding(sharding.mesh, P())  # type: ignore[no-untyped-call]
    return sharding if getattr(kernel, "committed", False) else None
