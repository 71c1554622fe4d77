"""Layers and blocks on NumPy arrays: values and evaluation, no training."""

from collections.abc import Sequence
from typing import Unpack

from numpy.typing import DTypeLike

from tensormoe.layers.block_spec import MuMoEBlockSpec
from tensormoe.layers.cores import materialize
from tensormoe.layers.layer_spec import MuMoESpec
from tensormoe.layers.merging import merge, merge_layers
from tensormoe.layers.options import BlockOptions, LayerOptions, check_keywords
from tensormoe.layers.parameters import cores_of
from tensormoe.networks.factorization import Factorization
from tensormoe.typing import NumPyArray

from ._backend import backend
from ._base import Module


class MuMoE(Module):
    """A μMoE layer on NumPy arrays, with the same arguments as in PyTorch and JAX.

    Args:
        in_features: I, the size of x's last dimension.
        out_features: O, the size of y's last dimension.
        experts: N, or one count for each level; () with gate=None for a factorized linear layer.
        factorization: of the weight tensor, such as `tm.CP(rank=64)`.
        seed: of the initial values; by default drawn from NumPy's global generator.
        dtype: of the parameters; float32 by default.
        device: "cpu" or None.
        recompute: without effect, since NumPy differentiates nothing.
        options: gate, bias, optimize, memory_limit, initialization and output_bias by keyword, as for
            `tm.MuMoESpec`.

    Attributes:
        spec: the `tm.MuMoESpec`.
        parameters, state: all arrays by the names that `tm.initialize` gives them.

    Raises:
        TensorMoEError: as `tm.MuMoESpec`.

    Examples:
        >>> import numpy as np
        >>> import tensormoe as tm
        >>> from tensormoe_numpy import MuMoE
        >>> layer = MuMoE(8, 6, experts=4, factorization=tm.CP(rank=5), seed=0)
        >>> layer(np.ones((2, 8), dtype="float32")).shape
        (2, 6)
        >>> layer.materialize().shape
        (4, 9, 6)
    """

    kind = MuMoESpec
    spec: MuMoESpec

    def __init__(
        self,
        in_features: int,
        out_features: int,
        experts: int | tuple[int, ...],
        factorization: Factorization,
        *,
        seed: int | None = None,
        dtype: DTypeLike | None = None,
        device: str | None = None,
        recompute: bool = False,
        **options: Unpack[LayerOptions],
    ) -> None:
        check_keywords(self, options, LayerOptions)
        spec = MuMoESpec(in_features, out_features, experts, factorization, **options)
        super().__init__(spec, seed=seed, dtype=dtype, device=device, recompute=recompute)

    @property
    def cores(self) -> dict[str, NumPyArray]:
        """The factors of the weight tensor by name."""
        return self._members("cores")

    def materialize(self) -> NumPyArray:
        """The weight tensor W (N1, …, NE, I[+1], O), multiplied out."""
        weight: NumPyArray = materialize(self.spec, self.cores, backend=backend)
        return weight

    def merge(self, coefficients: Sequence[NumPyArray] | NumPyArray) -> NumPyArray:
        """One weight (…, I[+1], O) for each row of coefficients; see `tm.merge`."""
        weights: NumPyArray = merge(self.spec, self.cores, coefficients, backend=backend)
        return weights


class MuMoEBlock(Module):
    """A μMoE block on NumPy arrays. See `tm.MuMoEBlockSpec`.

    Args:
        in_features, hidden_features, out_features: D, H and O.
        experts: of all layers.
        factorization: of all layers, or a sequence with one for each.
        seed, dtype, device, recompute: as for `MuMoE`.
        options: gate, bias, nonlinearity, gated, input_norm, optimize, memory_limit, initialization and
            output_bias by keyword, as for `tm.MuMoEBlockSpec`.

    Attributes:
        spec: the `tm.MuMoEBlockSpec`.
        parameters, state: all arrays by the names that `tm.initialize` gives them.

    Examples:
        >>> import numpy as np
        >>> import tensormoe as tm
        >>> from tensormoe_numpy import MuMoEBlock
        >>> block = MuMoEBlock(8, 16, 6, experts=4, factorization=tm.CP(rank=5), seed=0)
        >>> block(np.ones((2, 8), dtype="float32")).shape
        (2, 6)
    """

    kind = MuMoEBlockSpec
    spec: MuMoEBlockSpec

    def __init__(
        self,
        in_features: int,
        hidden_features: int,
        out_features: int,
        experts: int | tuple[int, ...],
        factorization: Factorization | Sequence[Factorization],
        *,
        seed: int | None = None,
        dtype: DTypeLike | None = None,
        device: str | None = None,
        recompute: bool = False,
        **options: Unpack[BlockOptions],
    ) -> None:
        check_keywords(self, options, BlockOptions)
        spec = MuMoEBlockSpec(in_features, hidden_features, out_features, experts, factorization, **options)
        super().__init__(spec, seed=seed, dtype=dtype, device=device, recompute=recompute)

    @property
    def first(self) -> dict[str, NumPyArray]:
        """The first layer's cores by name."""
        return self._members("first")

    @property
    def up(self) -> dict[str, NumPyArray]:
        """The cores of a gated block's layer whose result is multiplied, by name."""
        if not self.spec.gated:
            raise AttributeError("up: only a gated block has this layer")
        return self._members("up")

    @property
    def second(self) -> dict[str, NumPyArray]:
        """The second layer's cores by name."""
        return self._members("second")

    @property
    def shared(self) -> dict[str, NumPyArray]:
        """The cores that several layers use, by name; none in most blocks."""
        return self._members("shared")

    def _cores(self, layer: str) -> dict[str, NumPyArray]:
        """All cores that a layer uses."""
        return cores_of(self.spec, self.arrays(), layer)

    def materialize(self) -> tuple[NumPyArray, ...]:
        """The weight tensors of all layers in their order, multiplied out."""
        layers = self.spec.layers.items()
        return tuple(materialize(stage, self._cores(name), backend=backend) for name, stage in layers)

    def merge(self, coefficients: Sequence[NumPyArray] | NumPyArray) -> tuple[NumPyArray, ...]:
        """The weights of all layers for each row of coefficients; see `tm.merge`."""
        cores = {name: self._cores(name) for name in self.spec.layers}
        return merge_layers(self.spec, cores, coefficients, backend=backend)
