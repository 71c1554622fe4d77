"""μMoE layers and blocks as `flax.nnx.Module`s."""

from collections.abc import Sequence
from typing import Unpack

import jax
from flax import nnx
from jax.typing import ArrayLike, DTypeLike

from tensormoe.layers.block_spec import MuMoEBlockSpec
from tensormoe.layers.cores import materialize
from tensormoe.layers.layer_spec import MuMoESpec
from tensormoe.layers.merging import merge, merge_layers
from tensormoe.layers.options import BlockOptions, LayerOptions, check_keywords
from tensormoe.layers.parameters import cores_of
from tensormoe.networks.factorization import Factorization

from ._backend import backend
from ._base import Device, Module
from ._containers import Cores
from ._initialization import Seed


class MuMoE(Module):
    """A multilinear mixture-of-experts (μMoE) layer. Use it like `nnx.Linear`.

    Like every nnx module it starts in training mode: `layer.eval()`, or `nnx.view(model,
    use_running_average=True)`, makes the gate use its running statistics and add no noise.

    Args:
        in_features: I, the size of x's last dimension.
        out_features: O, the size of y's last dimension.
        experts: N, or one count for each level; () with gate=None for a factorized linear layer.
        factorization: of the weight tensor, such as `tm.CP(rank=64)`.
        rngs: its stream "params" gives the key of the initial values, traced or not.
        seed: instead of rngs: the same initial values as in every framework, bit for bit; see
            `tensormoe_jax.initialize`.
        dtype: of the parameters; float32 by default.
        device: that holds the parameters, or a sharding; by default JAX's own choice.
        recompute: whether reverse mode keeps only the results of matrix products and recomputes the rest.
        options: gate, bias, optimize, memory_limit, initialization and output_bias by keyword, as for
            `tm.MuMoESpec`.

    Attributes:
        spec: the `tm.MuMoESpec`.
        cores: the factors of the weight tensor by name.
        gate_weights: the gate's parameters, (I, N_e) for each level; none without a gate.

    Raises:
        TensorMoEError: as `tm.MuMoESpec`; neither rngs nor a seed, or both.

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
        {'expert1': (256, 64), 'input': (769, 64), 'output': (64, 3072)}
    """

    kind = MuMoESpec
    spec: MuMoESpec
    cores: Cores

    def __init__(
        self,
        in_features: int,
        out_features: int,
        experts: int | tuple[int, ...],
        factorization: Factorization,
        *,
        rngs: nnx.Rngs | None = None,
        seed: Seed | None = None,
        dtype: DTypeLike | None = None,
        device: Device = None,
        recompute: bool = False,
        **options: Unpack[LayerOptions],
    ) -> None:
        check_keywords(self, options, LayerOptions)
        spec = MuMoESpec(in_features, out_features, experts, factorization, **options)
        super().__init__(spec, seed=seed, rngs=rngs, dtype=dtype, device=device, recompute=recompute)

    def materialize(self) -> jax.Array:
        """The weight tensor W (N1, …, NE, I[+1], O), multiplied out; differentiable."""
        weight: jax.Array = materialize(self.spec, self.cores, backend=backend)
        return weight

    def merge(self, coefficients: Sequence[ArrayLike] | ArrayLike) -> jax.Array:
        """One weight (…, I[+1], O) for each row of coefficients; see `tm.merge`. Differentiable."""
        weights: jax.Array = merge(self.spec, self.cores, coefficients, backend=backend)
        return weights


class MuMoEBlock(Module):
    """Layers that share one gate, to replace an MLP. See `tm.MuMoEBlockSpec`.

    Args:
        in_features, hidden_features, out_features: D, H and O.
        experts: of all layers.
        factorization: of all layers, or a sequence with one for each.
        rngs, seed, dtype, device, recompute: as for `MuMoE`.
        options: gate, bias, nonlinearity, gated, input_norm, optimize, memory_limit, initialization and
            output_bias by keyword, as for `tm.MuMoEBlockSpec`.

    Attributes:
        spec: the `tm.MuMoEBlockSpec`.
        first, second: the cores of each layer by name; of a gated block also `up`.
        shared: the cores that several layers use, by name, if there are any; they are in no other group.
        gate_weights: the gate's parameters, (D, N_e) for each level; none without a gate.

    Examples:
        >>> import jax.numpy as jnp
        >>> import tensormoe as tm
        >>> from tensormoe_jax import MuMoEBlock
        >>> block = MuMoEBlock(64, 128, 10, experts=32, factorization=tm.TensorRing((4, 4, 8)), seed=0)
        >>> y, coefficients = block(jnp.ones((7, 64)), return_coefficients=True)
        >>> y.shape, coefficients[0].shape
        ((7, 10), (7, 32))
    """

    kind = MuMoEBlockSpec
    spec: MuMoEBlockSpec
    first: Cores
    up: Cores
    second: Cores
    shared: Cores

    def __init__(
        self,
        in_features: int,
        hidden_features: int,
        out_features: int,
        experts: int | tuple[int, ...],
        factorization: Factorization | Sequence[Factorization],
        *,
        rngs: nnx.Rngs | None = None,
        seed: Seed | None = None,
        dtype: DTypeLike | None = None,
        device: Device = None,
        recompute: bool = False,
        **options: Unpack[BlockOptions],
    ) -> None:
        check_keywords(self, options, BlockOptions)
        spec = MuMoEBlockSpec(in_features, hidden_features, out_features, experts, factorization, **options)
        super().__init__(spec, seed=seed, rngs=rngs, dtype=dtype, device=device, recompute=recompute)

    def _cores(self, layer: str) -> dict[str, nnx.Variable[jax.Array]]:
        """All cores that a layer uses."""
        variables = {name: self._variable(name) for name in self.spec.core_names}
        return cores_of(self.spec, variables, layer)

    def materialize(self) -> tuple[jax.Array, ...]:
        """The weight tensors of all layers in their order, multiplied out; differentiable."""
        layers = self.spec.layers.items()
        return tuple(materialize(stage, self._cores(name), backend=backend) for name, stage in layers)

    def merge(self, coefficients: Sequence[ArrayLike] | ArrayLike) -> tuple[jax.Array, ...]:
        """The weights of all layers for each row of coefficients; see `tm.merge`. Differentiable."""
        cores = {name: self._cores(name) for name in self.spec.layers}
        return merge_layers(self.spec, cores, coefficients, backend=backend)
