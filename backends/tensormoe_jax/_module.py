"""μMoE layers and blocks as `flax.nnx.Module`s: parameters and idioms, no mathematics."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import jax
import jax.numpy as jnp
from flax import nnx

import tensormoe as tm
from tensormoe.layers.parameters import grouped
from tensormoe.programs.path import AnyOptimize

from ._backend import backend


class _Module(nnx.Module):
    """Holds a spec's arrays under the names that `tensormoe.initialize` gives them."""

    spec: tm.Spec
    gate_weights: nnx.List[nnx.Param[jax.Array]]

    def __init__(
        self, spec: tm.Spec, rngs: nnx.Rngs | None, seed: int | None, dtype: Any, recompute: bool
    ) -> None:
        if (rngs is None) == (seed is None):
            raise tm.TensorMoEError(
                "rngs", rngs, "pass rngs=nnx.Rngs(0) or seed=0: JAX has no generator of its own"
            )
        if rngs is not None:
            seed = _drawn(rngs)
        parameters, state = initialize(spec, seed or 0, dtype)
        self.spec = spec
        self.recompute = recompute
        # nnx's own name for it, so that train() and eval() find it.
        self.use_running_average = False
        self._hold(parameters, nnx.Param)
        self._hold(state, nnx.BatchStat)

    @classmethod
    def from_spec(
        cls,
        spec: tm.Spec,
        seed: int | None = None,
        dtype: Any = None,
        *,
        rngs: nnx.Rngs | None = None,
        recompute: bool = False,
    ) -> Self:
        """The module of a specification.

        Args:
            spec: of the kind that this class computes.
            seed: of the initial values, or
            dtype: of the parameters.
            rngs: where to draw the seed from.
            recompute: as for the class.
        """
        return cls(**spec.arguments, seed=seed, dtype=dtype, rngs=rngs, recompute=recompute)

    def _hold(self, arrays: Mapping[str, jax.Array], kind: Callable[[jax.Array], Any]) -> None:
        for group, members in grouped(arrays).items():
            variables = {name: kind(array) for name, array in members.items()}
            numbered = all(name.isdigit() for name in variables)
            setattr(self, group, nnx.List(variables.values()) if numbered else nnx.Dict(variables))

    def _variable(self, name: str) -> Any:
        group, _, member = name.partition(".")
        return getattr(self, group)[int(member) if member.isdigit() else member]

    def __call__(
        self,
        x: jax.Array,
        return_coefficients: bool = False,
        *,
        previous: Sequence[jax.Array] | None = None,
        generator: jax.Array | nnx.Rngs | None = None,
        all_reduce: Callable[[jax.Array], jax.Array] | None = None,
    ) -> Any:
        """Compute y (…, O) from x (…, I) with any leading dimensions.

        Args:
            x: of the layer's element type.
            return_coefficients: whether to return the pair of y and the E coefficients (…, N_e).
            previous: the coefficients that the layer before returned, for `tm.AdaptiveClustering`.
            generator: of the gate's noise in training: a key, or the `nnx.Rngs` whose stream "noise" gives
                one.
            all_reduce: the sum of an array over all devices that share the batch, for the statistics of
                `tm.AdaptiveClustering`, such as `lambda a: jax.lax.psum(a, "batch")` where that axis is
                mapped. Arrays that `jax.jit` shards need none.

        Raises:
            TensorMoEError: another last dimension or element type, or coefficients that do not fit.
        """
        training = not self.use_running_average
        y, coefficients, moved = tm.apply(
            self.spec,
            {name: self._variable(name)[...] for name in self.spec.parameter_shapes},
            x,
            state={name: self._variable(name)[...] for name in self.spec.state_shapes},
            training=training,
            previous=previous,
            generator=generator.noise() if isinstance(generator, nnx.Rngs) else generator,
            all_reduce=all_reduce,
            recompute=self.recompute,
            backend=backend,
        )
        if training:
            for name, value in moved.items():
                self._variable(name)[...] = value
        return (y, coefficients) if return_coefficients else y


class MuMoE(_Module):
    """A multilinear mixture-of-experts layer, in the manner of `nnx.Linear`.

    Args:
        in_features: I.
        out_features: O.
        experts: N, or one count for each level.
        factorization: of the weight tensor, such as `tm.CP(rank=64)`.
        gate: the gate.
        bias: whether each expert has a bias.
        optimize, memory_limit: as for the spec.
        rngs: where the seed of the initial values is drawn from, or
        seed: the seed itself; the only choice where construction is traced, as under `nnx.eval_shape`.
        dtype: of the parameters.
        recompute: whether reverse mode keeps only the results of matrix products and computes the rest again.

    Attributes:
        spec: the `tm.MuMoESpec`.
        cores: the factors of the weight tensor by name.
        gate_weights: the gate's parameters, (I, N_e) for each level.

    Raises:
        TensorMoEError: as `tm.MuMoESpec`.

    Source: Oldfield et al., "Multilinear Mixture of Experts: Scalable Expert Specialization through
    Factorization", 2024.

    Examples:
        >>> import jax.numpy as jnp
        >>> import tensormoe as tm
        >>> from flax import nnx
        >>> from tensormoe_jax import MuMoE
        >>> layer = MuMoE(768, 3072, experts=256, factorization=tm.CP(rank=64), rngs=nnx.Rngs(0))
        >>> layer(jnp.ones((2, 5, 768))).shape
        (2, 5, 3072)
        >>> {name: core.shape for name, core in layer.cores.items()}
        {'expert1': (256, 64), 'input': (769, 64), 'output': (3072, 64)}
    """

    spec: tm.MuMoESpec
    cores: nnx.Dict[nnx.Param[jax.Array]]

    def __init__(
        self,
        in_features: int,
        out_features: int,
        experts: int | tuple[int, ...],
        factorization: tm.Factorization,
        *,
        gate: tm.Gate = tm.Gate(),
        bias: bool = True,
        optimize: AnyOptimize = "auto",
        memory_limit: int | None = None,
        rngs: nnx.Rngs | None = None,
        seed: int | None = None,
        dtype: Any = None,
        recompute: bool = False,
    ) -> None:
        spec = tm.MuMoESpec(
            in_features, out_features, experts, factorization, gate, bias, optimize, memory_limit
        )
        super().__init__(spec, rngs, seed, dtype, recompute)

    def materialize(self) -> jax.Array:
        """The weight tensor W (N1, …, NE, I[+1], O), multiplied out; differentiable."""
        return _materialize(self.spec, self.cores)


class MuMoEBlock(_Module):
    """Two layers with one set of coefficients, in place of an MLP. See `tm.MuMoEBlockSpec`.

    Args:
        in_features, hidden_features, out_features: D, H and O.
        experts, factorization, gate, bias: of both layers.
        nonlinearity: between the layers.
        input_norm: whether the first layer sees LayerNorm(x).
        optimize, memory_limit: as for the spec.
        rngs, seed, dtype, recompute: as for `MuMoE`.

    Attributes:
        spec: the `tm.MuMoEBlockSpec`.
        first, second: the cores of each layer by name.
        gate_weights: the gate's parameters, (D, N_e) for each level.

    Examples:
        >>> import jax.numpy as jnp
        >>> import tensormoe as tm
        >>> from tensormoe_jax import MuMoEBlock
        >>> block = MuMoEBlock(64, 128, 10, experts=32, factorization=tm.TensorRing((4, 4, 8)), seed=0)
        >>> y, coefficients = block(jnp.ones((7, 64)), return_coefficients=True)
        >>> y.shape, coefficients[0].shape
        ((7, 10), (7, 32))
    """

    spec: tm.MuMoEBlockSpec
    first: nnx.Dict[nnx.Param[jax.Array]]
    second: nnx.Dict[nnx.Param[jax.Array]]

    def __init__(
        self,
        in_features: int,
        hidden_features: int,
        out_features: int,
        experts: int | tuple[int, ...],
        factorization: tm.Factorization,
        *,
        gate: tm.Gate = tm.Gate(),
        bias: bool = True,
        nonlinearity: str = "gelu",
        input_norm: bool = False,
        optimize: AnyOptimize | Sequence[AnyOptimize] = "auto",
        memory_limit: int | None = None,
        rngs: nnx.Rngs | None = None,
        seed: int | None = None,
        dtype: Any = None,
        recompute: bool = False,
    ) -> None:
        spec = tm.MuMoEBlockSpec(
            in_features,
            hidden_features,
            out_features,
            experts,
            factorization,
            gate,
            bias,
            nonlinearity,
            input_norm,
            optimize,
            memory_limit,
        )
        super().__init__(spec, rngs, seed, dtype, recompute)

    def materialize(self) -> tuple[jax.Array, jax.Array]:
        """The weight tensors of both layers, multiplied out; differentiable."""
        layers = self.spec.layers
        return _materialize(layers["first"], self.first), _materialize(layers["second"], self.second)


def _materialize(spec: tm.MuMoESpec, cores: Any) -> jax.Array:
    values = {name: core[...] for name, core in cores.items()}
    weight: jax.Array = tm.materialize(spec, values, backend=backend)
    return weight


def _drawn(rngs: nnx.Rngs) -> int:
    try:
        return int(jax.random.bits(rngs.params(), dtype=jnp.uint32))
    except jax.errors.ConcretizationTypeError as error:
        raise tm.TensorMoEError(
            "rngs", "a traced key", "initial values come from NumPy: pass seed= where construction is traced"
        ) from error


def _floating(dtype: Any) -> Any:
    try:
        wanted = jnp.dtype(jnp.float32 if dtype is None else dtype)
    except TypeError as error:
        raise tm.TensorMoEError("dtype", dtype, "pass a floating-point type") from error
    if not jnp.issubdtype(wanted, jnp.floating):
        raise tm.TensorMoEError("dtype", dtype, "pass a floating-point type")
    return wanted


def initialize(
    spec: tm.Spec, seed: int = 0, dtype: Any = None
) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
    """Initial parameters and state as plain pytrees of JAX arrays, for `apply`.

    Args:
        spec: a layer's or a block's specification.
        seed: of the initial values, the same bits as in every framework.
        dtype: of the parameters; float32 by default. float64 needs JAX's 64-bit mode.

    Raises:
        TensorMoEError: no floating-point type, or float64 without 64-bit mode.

    Examples:
        >>> import jax, jax.numpy as jnp
        >>> import tensormoe as tm
        >>> import tensormoe_jax
        >>> spec = tm.MuMoESpec(8, 6, experts=4, factorization=tm.CP(rank=5))
        >>> parameters, state = tensormoe_jax.initialize(spec, seed=0)
        >>> apply = jax.jit(tensormoe_jax.apply, static_argnums=0, static_argnames="training")
        >>> y, _, state = apply(spec, parameters, jnp.ones((2, 8)), state=state, training=True)
        >>> y.shape
        (2, 6)
    """
    wanted = _floating(dtype)
    if jax.dtypes.canonicalize_dtype(wanted) != wanted:
        raise tm.TensorMoEError("dtype", "float64", "turn JAX's 64-bit mode on first: jax_enable_x64")
    drawn = "float64" if wanted == jnp.float64 else "float32"
    parameters, state = tm.initialize(spec, seed, drawn)
    values = {name: jnp.asarray(value).astype(wanted) for name, value in parameters.items()}
    return values, {name: jnp.asarray(value) for name, value in state.items()}
