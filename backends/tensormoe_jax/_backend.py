"""JAX's backend: TensorLy's, with the operations that TensorLy lacks."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tensormoe.arrays.backend import Backend
from tensormoe.arrays.numpy_kinds import object_to
from tensormoe.arrays.protocols import Computed, Differentiable, Elementwise, GateOps, Runnable
from tensormoe.arrays.thresholds import COARSE, Correction, ThresholdKernel
from tensormoe.errors import TensorMoEError
from tensormoe.typing import NumPyArray, Shape

from . import _meshes as sharding
from ._selection import JaxSelection


def _global_x64() -> bool:
    # A new thread sees the process-wide setting, regardless of this thread's context.
    with ThreadPoolExecutor(1) as pool:
        return bool(pool.submit(jax.dtypes.canonicalize_dtype, "float64").result() == "float64")


# Importing TensorLy's JAX backend turns 64-bit mode on for the whole process; restore the user's setting.
_X64 = _global_x64()
from tensorly.backend.jax_backend import JaxBackend as _TensorLyBackend  # noqa: E402

jax.config.update("jax_enable_x64", _X64)  # type: ignore[no-untyped-call]


@contextmanager
def _promote() -> Iterator[None]:
    """Types and ranks are promoted as in NumPy, whichever mode the user has set."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


@contextmanager
def _compute_precisely() -> Iterator[None]:
    # By default some devices round float32 factors to fewer bits.
    with _promote(), jax.default_matmul_precision("highest"):
        yield


@partial(jax.custom_jvp, nondiff_argnums=(0,))
# Compiled even in eager mode: a loop until convergence would otherwise be compiled again at every call.
@partial(jax.jit, static_argnums=0)
def _differentiable(function: Differentiable, x: jax.Array, *scalars: jax.Array) -> jax.Array:
    result: jax.Array = function.value(backend, x, *scalars)
    return result


@_differentiable.defjvp
def _tangent(
    function: Differentiable, primals: tuple[jax.Array, ...], tangents: tuple[jax.Array, ...]
) -> tuple[jax.Array, jax.Array]:
    # JAX may trace this rule long after the call.
    with _compute_precisely():
        y = _differentiable(function, *primals)
        tangent = function.jacobian_product(backend, y, tangents[0], *primals[1:])
        if tangents[1:]:
            slopes = function.sensitivities(backend, y, *primals[1:])
            tangent += sum(slope * change for slope, change in zip(slopes, tangents[1:], strict=True))
    return y, tangent


def _gelu(ops: GateOps, x: jax.Array) -> jax.Array:
    return jax.nn.gelu(x, approximate=False)


def _gelu_vjp(ops: GateOps, x: jax.Array, gradient: jax.Array) -> jax.Array:
    _, vjp = jax.vjp(partial(_gelu, ops), x)
    pulled: jax.Array = vjp(gradient)[0]
    return pulled


_PASS_A_KEY = (
    "noise in training needs a key: call layer(x, generator=rngs) with rngs = nnx.Rngs(noise=0), "
    "or pass generator=jax.random.key(0)"
)
_NONLINEARITIES = {"gelu": Elementwise(_gelu, _gelu_vjp)}


class _Thresholds(ThresholdKernel):
    def clip(
        self,
        x: jax.Array,
        offsets: tuple[jax.Array, ...],
        top: float | None = None,
        memory: jax.Array | None = None,
    ) -> jax.Array:
        for offset in offsets:
            x = x - offset
        # XLA's minima and maxima pass over NaN.
        x = jnp.where(x < 0, 0, x)
        return x if top is None else jnp.where(x > top, top, x)

    def refine(
        self,
        correction: Correction,
        start: jax.Array,
        limit: int,
        memory: tuple[jax.Array, ...] = (),
    ) -> tuple[jax.Array, ...]:
        # Devices would have to agree before each step whether all rows have settled.
        wait = not sharding.may_be_shared(start)

        def goes_on(state: tuple[jax.Array, ...]) -> jax.Array:
            count, _, _, _, size, *_ = state
            return (count < limit) & ~jnp.all(jnp.abs(size) <= 1) if wait else count < limit

        def advance(state: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
            count, value, rest, change, size, *remembered = state
            near = jnp.abs(size) <= COARSE
            value, rest = jnp.where(near, value, value + change), jnp.where(near, rest + change, rest)
            return count + 1, value, rest, *correction((value, rest), *remembered)

        rest = jnp.zeros_like(start)
        first = (jnp.int32(1), start, rest, *correction((start, rest), *memory))
        _, value, rest, change, *_ = jax.lax.while_loop(goes_on, advance, first)
        return value, rest + change


class JaxBackend(JaxSelection, Backend, _TensorLyBackend, backend_name="tensormoe-jax"):  # type: ignore[misc, call-arg]
    """Arrays are `jax.Array`, traced or not."""

    tensormoe_name = "jax"
    float_types = ("float64", "float32", "bfloat16", "float16")
    nonlinearities = _NONLINEARITIES
    threshold_kernel = _Thresholds

    def as_array(self, value: Any) -> Any:
        if isinstance(value, np.ndarray):
            return self._read(value)
        # Flax is slow to import; if there is a variable, it has been imported.
        held = any(ancestor.__module__.startswith("flax.nnx") for ancestor in type(value).__mro__)
        readable = held and hasattr(type(value), "__getitem__") and not isinstance(value, jax.Array)
        return self.as_array(value[...]) if readable else value

    def _read(self, array: NumPyArray) -> Any:
        """JAX's array of a NumPy array; the array itself if JAX has no such kind."""
        native = array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))
        try:
            return array if object_to(array) else jnp.asarray(native)
        except TypeError:
            return array

    def objection(self, value: object) -> str | None:
        kind = f"; it is a NumPy array of {value.dtype}" if isinstance(value, np.ndarray) else None
        return object_to(value) or (kind and f"pass a dense array of the backend jax{kind}")

    def place(self, array: jax.Array) -> object:
        known = isinstance(array, jax.Array) and not isinstance(array, jax.core.Tracer)
        return array.devices() if known and getattr(array, "committed", False) else None

    def cast(self, array: jax.Array, dtype: str) -> jax.Array:
        return array.astype(dtype)

    def from_numpy(self, array: Any) -> jax.Array:
        return jnp.array(array)

    def devices(self) -> tuple[str, ...]:
        return ("cpu", *{jax.default_backend()} - {"cpu"})

    def memory_of(self, array: jax.Array) -> int | None:
        if isinstance(array, jax.core.Tracer):
            return None
        (device, *_) = array.devices()
        if device.platform == "cpu":
            return super().memory_of(array)
        return (device.memory_stats() or {}).get("bytes_limit")

    # Both convert on the host: a conversion by JAX is compiled again for every shape.
    def from_float64(self, array: Any, dtype: str, device: str = "cpu") -> jax.Array:
        host = np.asarray(array).astype(jnp.dtype(dtype))
        placed: jax.Array = jax.device_put(host, jax.devices(device)[0])
        return placed

    def to_float64(self, array: jax.Array) -> NumPyArray:
        return np.asarray(array).astype("float64")

    def matmul(self, a: jax.Array, b: jax.Array) -> jax.Array:
        return sharding.matmul(a, b)

    def affine(self, x: jax.Array, matrix: jax.Array) -> jax.Array:
        return sharding.add_row(sharding.matmul(x, matrix[..., :-1, :]), matrix[..., -1:, :])

    def sum_leading(self, array: jax.Array, axes: int) -> jax.Array:
        return jnp.sum(array, axis=tuple(range(axes)))

    def sum_products(self, a: jax.Array, b: jax.Array) -> jax.Array:
        return sharding.sum_products(a, b)

    def reshape(self, array: jax.Array, shape: Shape) -> jax.Array:
        return sharding.reshape(array, shape)

    def zeros_like(self, array: jax.Array) -> jax.Array:
        # JAX's own forgets the explicit mesh axes of an array that a traced function closes over.
        return sharding.reshard(jnp.zeros_like(array), sharding.parts(array), array)

    def keeps_leading_axes(self, x: jax.Array) -> bool:
        return sharding.is_spread(x)

    def stop_gradient(self, array: jax.Array) -> jax.Array:
        return jax.lax.stop_gradient(array)

    def softmax(self, x: jax.Array) -> jax.Array:
        return jax.nn.softmax(x, axis=-1)

    def max(self, array: jax.Array, axis: int | None = None) -> jax.Array:
        largest = jnp.max(array, axis)
        if not jnp.issubdtype(array.dtype, jnp.floating):
            return largest
        # XLA's maximum may pass over NaN.
        return jnp.where(jnp.isnan(array).any(axis), jnp.nan, largest)

    def random_source(self, seed: int) -> jax.Array:
        return jax.random.key(seed)

    def normal(self, like: jax.Array, generator: jax.Array, number: int) -> jax.Array:
        if not isinstance(generator, jax.Array):
            raise TensorMoEError("generator", generator, _PASS_A_KEY)
        try:
            key = jax.random.fold_in(generator, number)
        except (TypeError, ValueError) as error:
            raise TensorMoEError("generator", generator, _PASS_A_KEY) from error
        return jax.random.normal(key, like.shape, like.dtype)

    def kth_largest(self, x: jax.Array, k: int) -> jax.Array:
        # XLA gathers the operand of its top-k from all devices.
        return super().kth_largest(x, k) if sharding.may_be_shared(x) else jax.lax.top_k(x, k)[0][..., -1:]

    def beyond_largest(self, x: jax.Array, k: int) -> jax.Array:
        # By places, not by values: XLA may compute x again where it is compared, and round it differently.
        # XLA sorts −0 below 0.
        unsigned = jnp.where(x == 0, jnp.zeros_like(x), x)
        if sharding.may_be_shared(x):
            places = sharding.places_from_largest(unsigned)
        else:
            places = jax.lax.top_k(unsigned, k)[1]
        kept = jax.nn.one_hot(places[..., :k], x.shape[-1], dtype=bool).any(-2)
        return ~(kept | jnp.isnan(x))

    def holds(self, condition: jax.Array) -> bool | None:
        return None if isinstance(condition, jax.core.Tracer) else bool(condition.all())

    def differentiable(self, function: Differentiable, x: jax.Array, *scalars: jax.Array) -> jax.Array:
        result: jax.Array = _differentiable(function, x, *scalars)
        return result

    def compute_precisely(
        self, function: Callable[..., Computed], x: jax.Array, *arguments: object
    ) -> Computed:
        with _compute_precisely():
            return function(self, x, *arguments)

    def compute(
        self,
        program: Runnable,
        inputs: Sequence[jax.Array],
        cores: Sequence[jax.Array],
        recompute: bool = False,
    ) -> jax.Array:
        def run(inputs: tuple[jax.Array, ...], cores: tuple[jax.Array, ...]) -> jax.Array:
            result: jax.Array = program.run(self, (*inputs, *cores))
            return result

        with _promote():
            mapped, inputs, cores = sharding.map_leading(run, inputs, cores)
            if recompute:
                mapped = jax.checkpoint(mapped, policy=jax.checkpoint_policies.dots_saveable)
            return mapped(tuple(inputs), tuple(cores))

    def gradients(
        self,
        function: Callable[..., jax.Array],
        inputs: Sequence[jax.Array],
        cotangent: jax.Array,
    ) -> tuple[jax.Array, ...]:
        _, vjp = jax.vjp(function, *inputs)
        return tuple(vjp(cotangent))

    def with_gradients(
        self,
        function: Callable[..., tuple[jax.Array, Any]],
        inputs: Sequence[jax.Array],
        cotangent: jax.Array,
    ) -> tuple[jax.Array, Any, tuple[jax.Array, ...]]:
        value, vjp, more = jax.vjp(function, *inputs, has_aux=True)
        return value, more, tuple(vjp(cotangent))

    def compile(self, function: Callable[..., Any]) -> Callable[..., Any]:
        return jax.jit(function)

    @contextmanager
    def double_precision(self) -> Iterator[None]:
        with jax.enable_x64(True), jax.default_matmul_precision("highest"):
            yield

    def device_name(self, device: str) -> str:
        return super().device_name(device) if device == "cpu" else jax.devices(device)[0].device_kind

    def wait(self, result: Any) -> None:
        jax.block_until_ready(result)  # type: ignore[no-untyped-call]


backend = JaxBackend()
