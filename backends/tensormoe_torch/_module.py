"""μMoE layers and blocks as `torch.nn.Module`s."""

from collections.abc import Sequence
from typing import Unpack

import torch

from tensormoe.errors import TensorMoEError
from tensormoe.layers.block_spec import MuMoEBlockSpec
from tensormoe.layers.cores import materialize
from tensormoe.layers.layer_spec import MuMoESpec
from tensormoe.layers.merging import merge, merge_layers
from tensormoe.layers.options import BlockOptions, LayerOptions, check_keywords
from tensormoe.layers.spec import Spec
from tensormoe.networks.factorization import Factorization

from ._backend import backend
from ._base import Module
from ._containers import NamedTensors
from ._values import Device, DType
from ._weight import FactorizedWeight


class MuMoE(Module):
    """A multilinear mixture-of-experts (μMoE) layer, in the manner of `nn.Linear`.

    Args:
        in_features: I, the size of x's last dimension.
        out_features: O, the size of y's last dimension.
        experts: N, or one count for each level; () with gate=None for a factorized linear layer.
        factorization: of the weight tensor, such as `tm.CP(rank=64)`.
        gate: the gate; None if coefficients come with each call.
        bias: whether each expert has a bias.
        optimize, memory_limit, initialization, output_bias: as for the spec.
        seed: of the initial values; by default drawn from PyTorch's global generator.
        dtype, device: of the parameters; the type may be given by name.
        recompute: whether training keeps only the results of matrix products for its backward pass and
            computes the rest again: less memory for a little time. Compiled, PyTorch decides this itself.

    Attributes:
        spec: the `tm.MuMoESpec`.
        cores: the factors of the weight tensor by name.
        gate_weights: the gate's parameters, (I, N_e) for each level; none without a gate.
        gate: the gate without its parameters; forward hooks on it see the coefficients, and on
            `gate.router` the logits.

    Raises:
        TensorMoEError: as `tm.MuMoESpec`.

    Source: Oldfield et al., "Multilinear Mixture of Experts: Scalable Expert Specialization through
    Factorization", 2024.

    Examples:
        >>> import tensormoe as tm, torch
        >>> from tensormoe_torch import MuMoE
        >>> layer = MuMoE(768, 3072, experts=256, factorization=tm.CP(rank=64))
        >>> layer(torch.ones(2, 5, 768)).shape
        torch.Size([2, 5, 3072])
        >>> {name: tuple(core.shape) for name, core in layer.cores.items()}
        {'expert1': (256, 64), 'input': (769, 64), 'output': (64, 3072)}
    """

    _kind = MuMoESpec

    spec: MuMoESpec
    cores: NamedTensors

    def __init__(
        self,
        in_features: int,
        out_features: int,
        experts: int | tuple[int, ...],
        factorization: Factorization,
        *,
        seed: int | None = None,
        dtype: DType = None,
        device: Device = None,
        recompute: bool = False,
        **options: Unpack[LayerOptions],
    ) -> None:
        check_keywords(self, options, LayerOptions)
        spec = MuMoESpec(in_features, out_features, experts, factorization, **options)
        super().__init__(spec, seed, dtype, device, recompute)

    @property
    def weight(self) -> FactorizedWeight:
        """A stand-in for nn.Linear's weight: its type and device, no values."""
        return FactorizedWeight(self._parameter(), self.spec.network.weight_shape)

    @property
    def bias(self) -> None:
        """None: biases are rows of the weight."""
        return

    def materialize(self) -> torch.Tensor:
        """The weight tensor W (N1, …, NE, I[+1], O), multiplied out; differentiable."""
        weight: torch.Tensor = materialize(self.spec, self._cores("cores"), backend=backend)
        return weight

    def merge(self, coefficients: Sequence[torch.Tensor] | torch.Tensor) -> torch.Tensor:
        """One weight (…, I[+1], O) for each row of coefficients; see `tm.merge`. Differentiable."""
        weights: torch.Tensor = merge(self.spec, self._cores("cores"), coefficients, backend=backend)
        return weights


class MuMoEBlock(Module):
    """Layers with one set of coefficients, instead of an MLP. See `tm.MuMoEBlockSpec`.

    Args:
        in_features, hidden_features, out_features: D, H and O.
        experts, gate: of all layers.
        factorization, bias: of all layers, or a sequence with one for each.
        nonlinearity: what the first layer's result passes.
        gated: whether that is multiplied with the result of a layer `up`, as in Llama's MLPs.
        input_norm: whether the layers before the last see LayerNorm(x).
        optimize, memory_limit, initialization, output_bias: as for the spec.
        seed, dtype, device, recompute: as for `MuMoE`.

    Attributes:
        spec: the `tm.MuMoEBlockSpec`.
        first, second: the cores of each layer by name; of a gated block also `up`.
        shared: the cores that several layers use, by name, if there are any; they are in no other group.
        gate_weights: the gate's parameters, (D, N_e) for each level; none without a gate.
        gate: as for `MuMoE`.
        input_norm: weight and bias of the input's LayerNorm, if there is one.

    Examples:
        >>> import tensormoe as tm, torch
        >>> from tensormoe_torch import MuMoEBlock
        >>> block = MuMoEBlock(64, 128, 10, experts=32, factorization=tm.TensorRing(ranks=(4, 4, 8)))
        >>> y, coefficients = block(torch.ones(7, 64), return_coefficients=True)
        >>> y.shape, coefficients[0].shape
        (torch.Size([7, 10]), torch.Size([7, 32]))
    """

    _kind = MuMoEBlockSpec

    spec: MuMoEBlockSpec
    first: NamedTensors
    up: NamedTensors
    second: NamedTensors
    shared: NamedTensors

    def __init__(
        self,
        in_features: int,
        hidden_features: int,
        out_features: int,
        experts: int | tuple[int, ...],
        factorization: Factorization | Sequence[Factorization],
        *,
        seed: int | None = None,
        dtype: DType = None,
        device: Device = None,
        recompute: bool = False,
        **options: Unpack[BlockOptions],
    ) -> None:
        check_keywords(self, options, BlockOptions)
        spec = MuMoEBlockSpec(in_features, hidden_features, out_features, experts, factorization, **options)
        self._check_kind(spec)
        super().__init__(spec, seed, dtype, device, recompute)

    @classmethod
    def _check_kind(cls, spec: Spec) -> None:
        super()._check_kind(spec)
        function: object = spec.between
        if isinstance(function, torch.nn.Module) and next(function.parameters(), None) is not None:
            remedy = "its parameters would be no part of the block: pass a function without any"
            raise TensorMoEError("nonlinearity", type(function), remedy)

    def extra_repr(self) -> str:
        spec = self.spec
        rest = f"nonlinearity={spec.nonlinearity!r}, input_norm={spec.input_norm}, gated={spec.gated}"
        return f"{super().extra_repr()}, {rest}"

    @property
    def hidden_features(self) -> int:
        """H."""
        return self.spec.hidden_features

    def materialize(self) -> tuple[torch.Tensor, ...]:
        """The weight tensors of all layers in their order, multiplied out; differentiable."""
        layers = self.spec.layers.items()
        return tuple(materialize(stage, self._cores(name), backend=backend) for name, stage in layers)

    def merge(self, coefficients: Sequence[torch.Tensor] | torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The weights of all layers for each row of coefficients; see `tm.merge`. Differentiable."""
        cores = {name: self._cores(name) for name in self.spec.layers}
        return merge_layers(self.spec, cores, coefficients, backend=backend)
