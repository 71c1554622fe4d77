"""Many layers in one module, stacked along a leading axis for `nnx.scan` and `nnx.vmap`."""

from typing import overload

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike

from tensormoe.errors import non_negative_integer, positive_integer
from tensormoe.layers.block_spec import MuMoEBlockSpec
from tensormoe.layers.layer_spec import MuMoESpec
from tensormoe.layers.spec import check_spec
from tensormoe.memory import check_memory

from ._backend import backend
from ._initialization import check_source, initialize
from ._module import MuMoE, MuMoEBlock


@overload
def stacked(
    spec: MuMoESpec,
    n: int,
    seed: int | None = None,
    *,
    rngs: nnx.Rngs | None = None,
    dtype: DTypeLike | None = None,
    recompute: bool = False,
) -> MuMoE: ...


@overload
def stacked(
    spec: MuMoEBlockSpec,
    n: int,
    seed: int | None = None,
    *,
    rngs: nnx.Rngs | None = None,
    dtype: DTypeLike | None = None,
    recompute: bool = False,
) -> MuMoEBlock: ...


def stacked(
    spec: MuMoESpec | MuMoEBlockSpec,
    n: int,
    seed: int | None = None,
    *,
    rngs: nnx.Rngs | None = None,
    dtype: DTypeLike | None = None,
    recompute: bool = False,
) -> MuMoE | MuMoEBlock:
    """One module that holds n layers: every array has a leading axis of n.

    For `nnx.scan`, which applies the layers one after the other and compiles one of them, and for `nnx.vmap`,
    which applies them side by side. Do not call the module outside of these.

    Args:
        spec: of every layer.
        n: how many.
        seed: layer k is the one of seed `np.random.SeedSequence(seed).generate_state(n, "uint64")[k]`.
        rngs: instead of a seed: its stream "params" gives the key that is split into one for each layer.
        dtype, recompute: as for `MuMoE`.

    Raises:
        TensorMoEError: neither a seed nor rngs, or both; a count that is not a positive integer.

    Examples:
        >>> import jax.numpy as jnp
        >>> import tensormoe as tm
        >>> from flax import nnx
        >>> import tensormoe_jax
        >>> spec = tm.MuMoEBlockSpec(8, 16, 8, experts=4, factorization=tm.CP(rank=5))
        >>> blocks = tensormoe_jax.stacked(spec, n=12, seed=0)
        >>> blocks.first["input"].shape
        (12, 9, 5)
        >>> @nnx.scan(in_axes=(0, nnx.Carry), out_axes=nnx.Carry)
        ... def run(block, x):
        ...     return x + block(x)
        >>> run(blocks, jnp.ones((2, 8))).shape
        (2, 8)
    """
    check_spec(spec)
    check_source(seed, rngs)
    count = positive_integer("n", n)
    needed = count * spec.num_parameters * 4
    check_memory("n", count, "so many layers", needed, backend.memory_of(jnp.zeros(())))
    kind = MuMoE if isinstance(spec, MuMoESpec) else MuMoEBlock

    def create(key: jax.Array) -> MuMoE | MuMoEBlock:
        return kind.from_spec(spec, rngs=nnx.Rngs(params=key), dtype=dtype, recompute=recompute)

    if rngs is not None:
        return nnx.vmap(create)(jax.random.split(rngs.params(), count))
    seeds = np.random.SeedSequence(non_negative_integer("seed", seed)).generate_state(count, "uint64")
    layers = [initialize(spec, int(number), dtype) for number in seeds]
    arrays = [parameters | state for parameters, state in layers]
    # Under eval_shape a module is made without values.
    module = nnx.eval_shape(nnx.vmap(create), jax.random.split(jax.random.key(0), count))
    module.load_arrays(jax.tree.map(lambda *values: jnp.stack(values), *arrays))
    return module
