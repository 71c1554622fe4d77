"""μMoE layers and blocks as `torch.nn.Module`s: parameters and idioms, no mathematics."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Self

import torch
from torch import nn

import tensormoe as tm
from tensormoe.layers.parameters import grouped

from ._backend import backend
from ._distributed import over_processes

Device = torch.device | str | int | None
# The name of an array, of the module that holds it, and its name there.
Places = tuple[tuple[str, str, str], ...]


class _Buffers(nn.Module):
    """Running statistics, one for each expert level, by number."""

    def __init__(self, values: Mapping[str, torch.Tensor]) -> None:
        super().__init__()
        for name, value in values.items():
            self.register_buffer(name, value)


class _Module(nn.Module):
    """Holds a spec's arrays under the names that `tensormoe.initialize` gives them."""

    spec: tm.Spec
    gate_weights: nn.ParameterList

    def __init__(
        self, spec: tm.Spec, seed: int | None, device: Device, dtype: torch.dtype | None, recompute: bool
    ) -> None:
        super().__init__()
        if seed is None:
            # As nn.Linear does: from PyTorch's global generator, so that torch.manual_seed governs.
            seed = int(torch.randint(2**63 - 1, (), device="cpu"))
        device = torch.get_default_device() if device is None else device
        dtype = torch.get_default_dtype() if dtype is None else dtype
        if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
            raise tm.TensorMoEError("dtype", dtype, "pass a floating-point type, such as torch.float32")
        drawn = "float64" if dtype == torch.float64 else "float32"
        parameters, state = tm.initialize(spec, seed, drawn)
        spec.prepare()
        self.spec = spec
        self.recompute = recompute
        for group, members in grouped(parameters).items():
            values = {
                name: nn.Parameter(torch.from_numpy(value).to(device=device, dtype=dtype))
                for name, value in members.items()
            }
            numbered = all(name.isdigit() for name in values)
            container = nn.ParameterList(values.values()) if numbered else nn.ParameterDict(values)
            self.add_module(group, container)
        for group, members in grouped(state).items():
            buffers = {name: torch.from_numpy(value).to(device) for name, value in members.items()}
            self.add_module(group, _Buffers(buffers))
        self._parameter_places, self._state_places = _places(parameters), _places(state)

    def forward(
        self,
        x: torch.Tensor,
        return_coefficients: bool = False,
        *,
        previous: Sequence[torch.Tensor] | None = None,
        generator: torch.Generator | None = None,
        all_reduce: Callable[[torch.Tensor], torch.Tensor] | None = None,
    ) -> Any:
        """Compute y (…, O) from x (…, I) with any leading dimensions.

        Args:
            x: of the layer's element type and device.
            return_coefficients: whether to return the pair of y and the E coefficients (…, N_e).
            previous: the coefficients that the layer before returned, for `tm.AdaptiveClustering`.
            generator: of the gate's noise in training; by default PyTorch's global one.
            all_reduce: the sum of a tensor over all processes that share the batch, for the statistics of
                `tm.AdaptiveClustering`; by default over all processes of `torch.distributed`, if there are.

        Raises:
            TensorMoEError: another last dimension or element type, or coefficients that do not fit.
        """
        state = self._arrays(self._state_places)
        y, coefficients, moved = tm.apply(
            self.spec,
            self._arrays(self._parameter_places),
            x,
            state=state,
            training=self.training,
            previous=previous,
            generator=generator,
            all_reduce=all_reduce or over_processes,
            recompute=self.recompute,
            backend=backend,
        )
        if self.training:
            for name, buffer in state.items():
                buffer.copy_(moved[name])
        return (y, coefficients) if return_coefficients else y

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self.spec.prepare()

    def _arrays(self, places: Places) -> dict[str, torch.Tensor]:
        """Parameters or statistics by name."""
        groups = self._modules
        return {name: _member(groups[group], member) for name, group, member in places}

    @classmethod
    def from_spec(
        cls,
        spec: tm.Spec,
        seed: int | None = 0,
        device: Device = None,
        dtype: torch.dtype | None = None,
        recompute: bool = False,
    ) -> Self:
        """The module of a specification, by default with the initial values of seed 0.

        Args:
            spec: of the kind that this class computes.
            seed: of the initial values; None draws it from PyTorch's global generator.
            device, dtype: of the parameters.
            recompute: as for the class.
        """
        return cls(**spec.arguments, seed=seed, device=device, dtype=dtype, recompute=recompute)

    def extra_repr(self) -> str:
        spec = self.spec
        return (
            f"{spec.in_features} → {spec.out_features}, experts={spec.counts}, {spec.factorization}, "
            f"{spec.gate}, bias={spec.bias}"
        )


class MuMoE(_Module):
    """A multilinear mixture-of-experts layer, in the manner of `nn.Linear`.

    Args:
        in_features: I.
        out_features: O.
        experts: N, or one count for each level.
        factorization: of the weight tensor, such as `tm.CP(rank=64)`.
        gate: the gate.
        bias: whether each expert has a bias.
        device, dtype: of the parameters.
        seed: of the initial values; by default drawn from PyTorch's global generator.
        recompute: whether training keeps only the results of matrix products for its backward pass and
            computes the rest again: less memory for a little time. Compiled, PyTorch decides this itself.

    Attributes:
        spec: the `tm.MuMoESpec`.
        cores: the factors of the weight tensor by name.
        gate_weights: the gate's parameters, (I, N_e) for each level.

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
        {'expert1': (256, 64), 'input': (769, 64), 'output': (3072, 64)}
    """

    spec: tm.MuMoESpec
    cores: nn.ParameterDict

    def __init__(
        self,
        in_features: int,
        out_features: int,
        experts: int | tuple[int, ...],
        factorization: tm.Factorization,
        *,
        gate: tm.Gate = tm.Gate(),
        bias: bool = True,
        device: Device = None,
        dtype: torch.dtype | None = None,
        seed: int | None = None,
        recompute: bool = False,
    ) -> None:
        spec = tm.MuMoESpec(in_features, out_features, experts, factorization, gate, bias)
        super().__init__(spec, seed, device, dtype, recompute)

    def materialize(self) -> torch.Tensor:
        """The weight tensor W (N1, …, NE, I[+1], O), multiplied out; differentiable."""
        weight: torch.Tensor = tm.materialize(self.spec, dict(self.cores.items()), backend=backend)
        return weight


class MuMoEBlock(_Module):
    """Two layers with one set of coefficients, in place of an MLP. See `tm.MuMoEBlockSpec`.

    Args:
        in_features, hidden_features, out_features: D, H and O.
        experts, factorization, gate, bias: of both layers.
        nonlinearity: between the layers.
        input_norm: whether the first layer sees LayerNorm(x).
        device, dtype, seed, recompute: as for `MuMoE`.

    Attributes:
        spec: the `tm.MuMoEBlockSpec`.
        first, second: the cores of each layer by name.
        gate_weights: the gate's parameters, (D, N_e) for each level.

    Examples:
        >>> import tensormoe as tm, torch
        >>> from tensormoe_torch import MuMoEBlock
        >>> block = MuMoEBlock(64, 128, 10, experts=32, factorization=tm.TensorRing(ranks=(4, 4, 8)))
        >>> y, coefficients = block(torch.ones(7, 64), return_coefficients=True)
        >>> y.shape, coefficients[0].shape
        (torch.Size([7, 10]), torch.Size([7, 32]))
    """

    spec: tm.MuMoEBlockSpec
    first: nn.ParameterDict
    second: nn.ParameterDict

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
        device: Device = None,
        dtype: torch.dtype | None = None,
        seed: int | None = None,
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
        )
        super().__init__(spec, seed, device, dtype, recompute)

    def materialize(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The weight tensors of both layers, multiplied out; differentiable."""
        layers = self.spec.layers
        first = tm.materialize(layers["first"], dict(self.first.items()), backend=backend)
        second = tm.materialize(layers["second"], dict(self.second.items()), backend=backend)
        return first, second


def _places(names: Iterable[str]) -> Places:
    return tuple((name, *name.split(".", 1)) for name in names)  # type: ignore[misc]


def _member(group: Any, name: str) -> torch.Tensor:
    # To find an attribute, nn.Module takes several times as long as a call's arithmetic in a small layer.
    found: torch.Tensor | None = group._parameters.get(name)
    tensor: torch.Tensor = getattr(group, name) if found is None else found
    return tensor
