"""Initial values as JAX arrays: NumPy's bits from a seed, or JAX's own numbers from a key."""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import ArrayLike, DTypeLike

from tensormoe.arrays.numpy_kinds import NUMPY_TYPES
from tensormoe.errors import TensorMoEError, non_negative_integer
from tensormoe.layers import initialization
from tensormoe.layers.loading import check_fixed, read_arrays
from tensormoe.layers.needs import check_parameters
from tensormoe.layers.spec import Spec, check_spec
from tensormoe.typing import Array, NumPyArray, Shapes

from ._backend import backend
from ._drawing import draw

Arrays = dict[str, jax.Array]
# A traced one, as under jax.vmap, is used as a key.
Seed = int | jax.Array


def initialize(
    spec: Spec, seed: Seed = 0, dtype: DTypeLike | None = None, *, key: jax.Array | None = None
) -> tuple[Arrays, Arrays]:
    """Initial parameters and state as plain pytrees of JAX arrays, for `apply`.

    A seed gives NumPy's numbers: the same bits as in every framework, drawn on the host, under `jax.jit` by a
    callback. A key, or a seed that is traced itself, gives JAX's numbers: others, of the same distribution.
    They are drawn on the device, in shards where the result is sharded, and `jax.vmap` takes many keys. Under
    `jax.eval_shape` nothing is drawn, and `jax.jit` embeds no values in what it compiles.

    Args:
        spec: a layer's or a block's specification.
        seed: of the initial values; 0 by default, for a fixed start. Modules demand one.
        dtype: of the parameters; float32 by default. float64 needs JAX's 64-bit mode.
        key: to draw from instead of the seed, such as `jax.random.key(0)`.

    Raises:
        TensorMoEError: a seed that is not a non-negative integer, a type that is not floating-point, or
            float64 without 64-bit mode.

    Examples:
        >>> import jax, jax.numpy as jnp
        >>> import tensormoe as tm
        >>> import tensormoe_jax
        >>> spec = tm.MuMoESpec(8, 6, experts=4, factorization=tm.CP(rank=5))
        >>> parameters, state = tensormoe_jax.initialize(spec, seed=0)
        >>> apply = jax.jit(tensormoe_jax.apply, static_argnums=0, static_argnames="training")
        >>> result = apply(spec, parameters, jnp.ones((2, 8)), state=state, training=True)
        >>> result.y.shape
        (2, 6)

        Many layers at once, as for an ensemble:

        >>> create = lambda key: tensormoe_jax.initialize(spec, key=key)[0]
        >>> parameters = jax.vmap(create)(jax.random.split(jax.random.key(0), 3))
        >>> parameters["cores.input"].shape
        (3, 9, 5)
    """
    check_spec(spec)
    wanted = _floating(dtype)
    if isinstance(seed, jax.Array) and (seed.ndim or jnp.issubdtype(seed.dtype, jax.dtypes.prng_key)):
        remedy = "pass a key as key= to initialize, or as rngs=nnx.Rngs(key) to a module"
        raise TensorMoEError("seed", seed, remedy)
    if key is not None and not _is_key(key):
        raise TensorMoEError("key", key, "pass a key, such as jax.random.key(0)")
    drawn = "float64" if wanted == jnp.float64 else "float32"
    check_parameters(spec, wanted.itemsize, backend.memory_of(jnp.zeros(())))
    if key is None and isinstance(seed, jax.core.Tracer):
        key = jax.random.key(seed)
    values: Mapping[str, ArrayLike]
    values = _from_numpy(spec, seed, drawn) if key is None else draw(spec, key, drawn)
    parameters = {name: jnp.asarray(values[name]).astype(wanted) for name in spec.parameter_shapes}
    fixed = {name: jnp.asarray(value).astype(wanted) for name, value in _take_fixed(spec, drawn).items()}
    statistics = {name: jnp.full(shape, value, drawn) for name, (shape, value) in spec.initial_state.items()}
    return parameters, fixed | statistics


def take(arrays: Mapping[str, Array], spec: Spec, dtype: DTypeLike | None, copy: bool) -> Arrays:
    """Arrays of any framework as JAX arrays of a layer; without a type to convert to, each keeps its own."""
    values = read_arrays(arrays, spec.parameter_shapes | spec.state_shapes)
    check_fixed(spec, values)
    kinds = {name: _floating(value.dtype if dtype is None else dtype) for name, value in values.items()}
    if dtype is not None:
        # Statistics are float32 at least.
        kinds |= {name: jnp.promote_types(kinds[name], jnp.float32) for name in spec.statistics_shapes}
    return {
        name: jnp.array(value, kinds[name]) if copy else jnp.asarray(value, kinds[name])
        for name, value in values.items()
    }


def _is_key(key: object) -> bool:
    if not isinstance(key, jax.Array):
        return False
    return jnp.issubdtype(key.dtype, jax.dtypes.prng_key) or (key.dtype == jnp.uint32 and key.shape == (2,))


def check_source(seed: Seed | None, rngs: nnx.Rngs | None) -> None:
    """Raise an error unless exactly one of the two is given from which a module draws its values."""
    if seed is None and rngs is None:
        remedy = "pass rngs=nnx.Rngs(0) or seed=0: JAX has no global generator"
        raise TensorMoEError("rngs", None, remedy)
    if rngs is not None and not isinstance(rngs, nnx.Rngs):
        raise TensorMoEError("rngs", rngs, "pass rngs=nnx.Rngs(0), or nnx.Rngs(key) for a key of your own")
    if seed is not None and rngs is not None:
        raise TensorMoEError("seed", seed, "rngs is given as well: pass only one of the two")


def _from_numpy(spec: Spec, seed: object, dtype: str) -> Mapping[str, ArrayLike]:
    number = non_negative_integer("seed", seed)

    return _from_host(lambda: initialization.initialize(spec, number, dtype)[0], spec.parameter_shapes, dtype)


def _take_fixed(spec: Spec, dtype: str) -> Mapping[str, ArrayLike]:
    """The values of fixed cores, which no key changes."""
    if not spec.fixed_shapes:
        return {}
    return _from_host(lambda: initialization.fixed_values(spec, dtype), spec.fixed_shapes, dtype)


def _from_host(
    values: Callable[[], dict[str, NumPyArray]], shapes: Shapes, dtype: str
) -> Mapping[str, ArrayLike]:
    """Values that are made on the host, under a tracer when the program runs."""
    # Otherwise jax.jit would embed the values in its program, and jax.eval_shape would draw them for nothing.
    if _is_traced():
        kinds = {
            name: jax.ShapeDtypeStruct(shape, dtype)  # type: ignore[no-untyped-call]
            for name, shape in shapes.items()
        }
        drawn: Arrays = jax.pure_callback(values, kinds)
        return drawn
    return values()


def _is_traced() -> bool:
    """Whether operations are recorded now, as under `jax.jit`, though no operand says so."""
    return isinstance(jnp.zeros(()), jax.core.Tracer)


def _floating(dtype: DTypeLike | None) -> jnp.dtype:
    try:
        wanted = jnp.dtype(jnp.float32 if dtype is None else dtype)
    except (TypeError, ValueError, SyntaxError, RecursionError) as error:
        raise TensorMoEError("dtype", dtype, "pass a floating-point type") from error
    if wanted.name not in NUMPY_TYPES:
        raise TensorMoEError("dtype", dtype, f"choose one of {', '.join(NUMPY_TYPES)}")
    if jax.dtypes.canonicalize_dtype(wanted) != wanted:
        raise TensorMoEError("dtype", "float64", "turn JAX's 64-bit mode on first: jax_enable_x64")
    return wanted
