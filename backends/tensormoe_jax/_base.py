"""What layers and blocks share as `flax.nnx.Module`s: parameters and idioms, no mathematics."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Never, Self, TypeAlias, TypedDict, TypeVar, Unpack, overload

import jax
import jax.numpy as jnp
from flax import nnx
from flax.errors import TraceContextError
from jax.typing import ArrayLike, DTypeLike

from tensormoe.errors import TensorMoEError, true_or_false
from tensormoe.layers import functional
from tensormoe.layers.loading import check_fixed, read_arrays
from tensormoe.layers.parameters import are_levels, group_members
from tensormoe.layers.spec import Spec, check_spec_kind
from tensormoe.typing import Array

from ._backend import backend
from ._containers import Cores, Fixed
from ._initialization import Seed, check_source, initialize, take
from ._merging import Merging

Device: TypeAlias = jax.Device | jax.sharding.Sharding | None
Placed = TypeVar("Placed")
AllReduce: TypeAlias = Callable[[jax.Array], jax.Array]


class ModuleOptions(TypedDict, total=False):
    """What every module takes in addition to a specification."""

    seed: Seed | None
    rngs: nnx.Rngs | None
    dtype: DTypeLike | None
    device: Device
    recompute: bool


class Module(Merging):
    """Holds a spec's arrays under the names that `tensormoe.initialize` gives them."""

    kind: type[Spec]
    spec: Spec
    gate_weights: nnx.List[nnx.Param[jax.Array]]

    def __init__(
        self,
        spec: Spec,
        *,
        seed: Seed | None,
        rngs: nnx.Rngs | None,
        dtype: DTypeLike | None,
        device: Device,
        recompute: bool,
    ) -> None:
        check_source(seed, rngs)
        key = None if rngs is None else rngs.params()
        parameters, state = initialize(spec, 0 if seed is None else seed, dtype, key=key)
        if device is not None:
            parameters, state = _place((parameters, state), device)
        self.spec = spec
        self.recompute = true_or_false("recompute", recompute)
        # This is nnx's own name, which train(), eval() and nnx.view look for.
        self.use_running_average = False
        if spec.gate is None:
            self.gate_weights = nnx.List([])
        self._hold(parameters | state)

    @classmethod
    def from_spec(cls, spec: Spec, **options: Unpack[ModuleOptions]) -> Self:
        """Build the module of a specification.

        Args:
            spec: a specification of the kind that this class computes.
            options: seed or rngs, dtype, device, recompute, as for the class.

        Raises:
            TensorMoEError: a specification of the wrong kind, neither a seed nor rngs, or both.
        """
        check_spec_kind(spec, cls.kind)
        return cls(**spec.arguments, **options)

    @classmethod
    def from_arrays(
        cls,
        spec: Spec,
        arrays: Mapping[str, Array],
        *,
        copy: bool = True,
        dtype: DTypeLike | None = None,
        device: Device = None,
        recompute: bool = False,
    ) -> Self:
        """Build the module of a specification around values. No initial values are drawn.

        Args:
            spec: a specification of the kind that this class computes.
            arrays: of any framework, by the names that `tm.initialize` gives them: all parameters and all
                running statistics.
            copy: False if the module may share the memory of NumPy arrays.
            dtype: of the parameters; by default every array keeps its type.
            device, recompute: as for the class.

        Raises:
            TensorMoEError: a specification of the wrong kind, a missing or unknown name, a wrong shape, or
                float64 without 64-bit mode.
        """
        check_spec_kind(spec, cls.kind)
        values = take(arrays, spec, dtype, true_or_false("copy", copy))
        held = values if device is None else _place(values, device)
        module = nnx.eval_shape(lambda: cls(**spec.arguments, seed=0, recompute=recompute))
        for name, value in held.items():
            module._variable(name).set_value(value)
        return module

    @property
    def in_features(self) -> int:
        """I, or D of a block."""
        return self.spec.in_features

    @property
    def out_features(self) -> int:
        """O."""
        return self.spec.out_features

    @property
    def experts(self) -> tuple[int, ...]:
        """The number of experts of each level."""
        return self.spec.experts

    @property
    def dtype(self) -> jnp.dtype:
        """The parameters' element type."""
        dtype: jnp.dtype = self._variable(self.spec.core_names[0]).dtype
        return dtype

    def set_view(self, use_running_average: bool | None = None) -> None:
        """What `nnx.view` calls.

        Args:
          use_running_average: whether the gate uses running statistics and adds no noise, as in eval().
        """
        # Two spaces above, as in Flax: nnx.view_info reads no other docstring.
        if use_running_average is not None:
            self.use_running_average = true_or_false("use_running_average", use_running_average)

    def load_arrays(self, arrays: Mapping[str, Array]) -> None:
        """Load parameters and running statistics, such as those of another framework.

        Nothing is changed unless everything fits. Each array keeps the element type and the sharding it has
        here.

        Args:
            arrays: of any framework, by the names that `tm.initialize` gives them: all parameters and all
                running statistics.

        Raises:
            TensorMoEError: a missing or unknown name, a wrong shape, or something that is not an array.

        Examples:
            >>> import tensormoe as tm
            >>> from tensormoe_jax import MuMoE
            >>> layer = MuMoE(8, 6, experts=4, factorization=tm.CP(rank=5), seed=0)
            >>> parameters, state = tm.initialize(layer.spec, seed=1)
            >>> layer.load_arrays(parameters | state)
            >>> bool((layer.cores["input"][...] == parameters["cores.input"]).all())
            True
        """
        variables = {
            name: self._variable(name) for name in (*self.spec.parameter_shapes, *self.spec.state_shapes)
        }
        values = read_arrays(arrays, {name: tuple(v.shape) for name, v in variables.items()})
        check_fixed(self.spec, values)
        for name, variable in variables.items():
            # From the host straight to where the variable lives, in shards if it is sharded.
            sharding = getattr(variable.get_value(), "sharding", None)
            variable.set_value(jax.device_put(values[name].astype(variable.dtype), sharding))

    def arrays(self) -> dict[str, jax.Array]:
        """All parameters and running statistics by the names that `tm.initialize` gives them.

        Examples:
            >>> import tensormoe as tm
            >>> from tensormoe_jax import MuMoE
            >>> list(MuMoE(8, 6, experts=4, factorization=tm.CP(rank=5), seed=0).arrays())
            ['cores.expert1', 'cores.input', 'cores.output', 'gate_weights.0']
        """
        names = (*self.spec.parameter_shapes, *self.spec.state_shapes)
        return {name: self._variable(name).get_value() for name in names}

    def _hold(self, arrays: Mapping[str, jax.Array]) -> None:
        spec = self.spec
        kinds: dict[str, Callable[[jax.Array], Any]] = dict.fromkeys(spec.fixed_shapes, Fixed)
        kinds |= dict.fromkeys(spec.statistics_shapes, nnx.BatchStat)
        held = {name: kinds.get(name, nnx.Param)(arrays[name]) for name in spec.array_shapes}
        # All cores of a layer may be shared with others.
        for group, variables in group_members(held, spec.layers).items():
            listed = group not in spec.layers and are_levels(variables)
            setattr(self, group, nnx.List(variables.values()) if listed else Cores(variables))

    @overload
    def __call__(
        self,
        x: ArrayLike,
        return_coefficients: Literal[False] = False,
        *,
        router_input: ArrayLike | None = None,
        coefficients: Sequence[ArrayLike] | ArrayLike | None = None,
        previous: Sequence[ArrayLike] | None = None,
        generator: jax.Array | nnx.Rngs | None = None,
        all_reduce: AllReduce | None = None,
    ) -> jax.Array: ...

    @overload
    def __call__(
        self,
        x: ArrayLike,
        return_coefficients: Literal[True],
        *,
        router_input: ArrayLike | None = None,
        coefficients: Sequence[ArrayLike] | ArrayLike | None = None,
        previous: Sequence[ArrayLike] | None = None,
        generator: jax.Array | nnx.Rngs | None = None,
        all_reduce: AllReduce | None = None,
    ) -> tuple[jax.Array, list[jax.Array]]: ...

    def __call__(
        self,
        x: ArrayLike,
        return_coefficients: bool = False,
        *,
        router_input: ArrayLike | None = None,
        coefficients: Sequence[ArrayLike] | ArrayLike | None = None,
        previous: Sequence[ArrayLike] | None = None,
        generator: jax.Array | nnx.Rngs | None = None,
        all_reduce: AllReduce | None = None,
        **unknown: Never,
    ) -> jax.Array | tuple[jax.Array, list[jax.Array]]:
        """Compute y (…, O) from x (…, I) with any leading dimensions.

        Args:
            x: of the layer's element type; a JAX or a NumPy array.
            return_coefficients: whether to return the pair of y and the E coefficients (…, N_e).
            router_input: what the router reads in place of x: (…, `spec.gate_features`), which such a layer
                needs, or (…, I).
            coefficients: E arrays (…, N_e), or the only one, of x's type. A layer without a gate needs them;
                with a gate, they are used in place of what it would compute, and its statistics stay.
            previous: the coefficients that the previous layer returned, for `tm.AdaptiveClustering`.
            generator: the source of the gate's noise in training: a key, or the `nnx.Rngs` whose stream
                "noise" gives one.
            all_reduce: the sum of an array over all devices that share the batch, for the statistics of
                `tm.AdaptiveClustering`, such as `lambda a: jax.lax.psum(a, "batch")` where that axis is
                mapped. Arrays that `jax.jit` shards need none.

        Raises:
            TensorMoEError: a wrong last dimension or element type, coefficients that are missing or do not
                fit, or an unknown keyword.
        """
        true_or_false("return_coefficients", return_coefficients)
        if unknown:
            remedy = (
                "a call takes router_input, coefficients, previous, generator and all_reduce; layer.train() "
                "and layer.eval() set the mode"
            )
            raise TensorMoEError("keyword", next(iter(unknown)), remedy)
        if isinstance(generator, nnx.Rngs):
            draw = getattr(generator, "noise", None)
            generator = generator if draw is None else draw()
        training = not self.use_running_average
        result = functional.apply(
            self.spec,
            {name: self._variable(name) for name in self.spec.parameter_shapes},
            x,
            state={name: self._variable(name) for name in self.spec.state_shapes},
            router_input=router_input,
            coefficients=coefficients,
            training=training,
            previous=previous,
            generator=generator,
            all_reduce=all_reduce,
            recompute=self.recompute,
            backend=backend,
        )
        if training:
            self._keep({name: result.state[name] for name in self.spec.statistics_shapes})
        return (result.y, result.coefficients) if return_coefficients else result.y

    def _keep(self, state: Mapping[str, Array]) -> None:
        """Store what the running statistics are now, if the trace that computed them may."""
        try:
            for name, value in state.items():
                self._variable(name)[...] = value
        except TraceContextError:
            # Raised by the first of them, so all stay. Gradients do not depend on what is kept.
            warnings.warn(
                "running statistics stay as they are: jax.grad or jax.jit of a function that only closes "
                "over the layer cannot change it; pass it to nnx.grad or nnx.jit, or call layer.eval()",
                stacklevel=3,
            )


def _place(arrays: Placed, device: Device) -> Placed:
    try:
        placed: Placed = jax.device_put(arrays, device)
        return placed
    # JAX's own recursion raises SystemError.
    except (TypeError, ValueError, SystemError) as error:
        remedy = f"pass a jax.Device or a sharding that fits ({' '.join(str(error).split())})"
        raise TensorMoEError("device", device, remedy) from error
