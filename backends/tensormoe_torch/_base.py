"""What layers and blocks share as `torch.nn.Module`s: parameters and idioms, no mathematics."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, overload

import torch
from torch import nn

from tensormoe.errors import TensorMoEError, true_or_false
from tensormoe.layers.checks import check_input, check_types, read_given, read_router_input
from tensormoe.layers.functional import run_mixture
from tensormoe.layers.needs import check_parameters
from tensormoe.layers.parameters import SHARED, group_members, name_core
from tensormoe.layers.spec import Spec, check_spec
from tensormoe.terminal import substitute

from ._backend import backend
from ._channel import Channel
from ._checkpoints import check, check_names, check_tensors, note
from ._containers import LevelTensors, make_group
from ._described import Groups
from ._gate import AllReduce, GateModule, active_of
from ._merging import Merging
from ._quantized import writable
from ._values import Device, DType, element_type, fill, on_device, read, reset, take

Coefficients = list[torch.Tensor]
Mixture = Callable[..., torch.Tensor]


class Module(Merging):
    """Holds a spec's tensors in groups, under the names that `tm.initialize` gives them."""

    _kind: ClassVar[type[Spec]]

    gate_weights: LevelTensors
    gate: GateModule
    recompute: bool

    def __init__(self, spec: Spec, seed: int | None, dtype: DType, device: Device, recompute: bool) -> None:
        super().__init__()
        kind = element_type(dtype)
        spec.prepare()
        self.spec, self.recompute = spec, true_or_false("recompute", recompute)
        # On the meta device nothing is allocated, on a GPU not from the host's memory.
        check_parameters(spec, kind.itemsize, backend.memory_of(on_device(device)))
        # Statistics are float32 at least.
        wide = torch.float64 if kind == torch.float64 else torch.float32
        kinds = dict.fromkeys(spec.statistics_shapes, wide)
        tensors = {
            name: torch.empty(shape, dtype=kinds.get(name, kind), device=device)
            for name, shape in spec.array_shapes.items()
        }
        tensors |= {name: nn.Parameter(tensors[name]) for name in spec.parameter_shapes}
        # All cores of a layer may be shared with others.
        for group, members in group_members(tensors, spec.layers).items():
            self.add_module(group, make_group(spec, group, members))
        if spec.gate is None:
            self.gate_weights = LevelTensors(spec, "gate_weights", {})
        self.gate = GateModule(spec)
        self.channels: tuple[Channel, ...] = ()
        self.mixture: Mixture = run_mixture  # or that of a style of `tensormoe_torch.parallel`
        self._gate_groups: Groups = tuple(group_members(spec.gate_shapes))
        self._mixture_groups: Groups = tuple(group_members(spec.mixture_shapes))
        self._state_groups: Groups = tuple(group_members(spec.statistics_shapes))
        self.reset_parameters(seed)

    @overload
    def forward(
        self,
        x: torch.Tensor,
        return_coefficients: Literal[False] = False,
        *,
        router_input: torch.Tensor | None = None,
        coefficients: Sequence[torch.Tensor] | torch.Tensor | None = None,
        previous: Sequence[torch.Tensor] | None = None,
        generator: torch.Generator | None = None,
        all_reduce: AllReduce | None = None,
    ) -> torch.Tensor: ...

    @overload
    def forward(
        self,
        x: torch.Tensor,
        return_coefficients: Literal[True],
        *,
        router_input: torch.Tensor | None = None,
        coefficients: Sequence[torch.Tensor] | torch.Tensor | None = None,
        previous: Sequence[torch.Tensor] | None = None,
        generator: torch.Generator | None = None,
        all_reduce: AllReduce | None = None,
    ) -> tuple[torch.Tensor, Coefficients]: ...

    def forward(
        self,
        x: torch.Tensor,
        return_coefficients: bool = False,
        *,
        router_input: torch.Tensor | None = None,
        coefficients: Sequence[torch.Tensor] | torch.Tensor | None = None,
        previous: Sequence[torch.Tensor] | None = None,
        generator: torch.Generator | None = None,
        all_reduce: AllReduce | None = None,
    ) -> torch.Tensor | tuple[torch.Tensor, Coefficients]:
        """Compute y (…, O) from x (…, I) with any leading dimensions.

        Args:
            x: of the layer's element type and device.
            return_coefficients: whether to return the pair of y and the E coefficients (…, N_e).
            router_input: what the router reads in place of x: (…, `spec.gate_features`), which such a layer
                needs, or (…, I).
            coefficients: E tensors (…, N_e), or the only one, of x's type. A layer without a gate needs them;
                with a gate, they are used in place of what it would compute, and its statistics stay.
            previous: the coefficients that the layer before returned, for `tm.AdaptiveClustering`.
            generator: of the gate's noise in training; by default PyTorch's global one.
            all_reduce: the sum of a tensor over all processes that share the batch, for the statistics of
                `tm.AdaptiveClustering` and `norm="batch"`; by default as `tensormoe_torch.synchronize` says.

        Raises:
            TensorMoEError: another last dimension or element type, or coefficients that are missing or do not
                fit.
        """
        weights, statistics = self._tensors(self._gate_groups, x), self._tensors(self._state_groups, x)
        rest = self._tensors(self._mixture_groups, x)
        # All before the gate, whose running statistics move.
        check_input(backend, x, self.spec)
        true_or_false("return_coefficients", return_coefficients)
        check_types(backend, "parameters", weights, x)
        check_types(backend, "parameters", rest, x)
        given = read_given(backend, self.spec, coefficients, x)
        routed = read_router_input(backend, self.spec, router_input, x, given)
        channels = self.channels
        if channels and previous is None and given is None:
            previous = channels[-1].receive(self.spec, x)
        gate: Any = self._modules["gate"]
        mixed = gate(routed, weights, statistics, previous, generator, all_reduce, given)
        for channel in channels:
            channel.send(mixed)
        active = active_of(gate) if given is None else None
        y = self.mixture(backend, self.spec, rest, mixed, x, self.recompute, active)
        return (y, list(mixed)) if return_coefficients else y

    if TYPE_CHECKING:
        __call__ = forward  # nn.Module's own has no types

    def reset_parameters(self, seed: int | None = None) -> None:
        """Give all parameters and running statistics initial values, as `tm.initialize` draws them.

        Use it after `to_empty()`, on parameters that FSDP2 has sharded, or to start again. On the meta
        device and in FakeTensorMode it does nothing.

        Args:
            seed: of the values; by default drawn from PyTorch's global generator.

        Examples:
            >>> import tensormoe as tm, torch
            >>> from tensormoe_torch import MuMoE
            >>> with torch.device("meta"):
            ...     layer = MuMoE(8, 6, experts=4, factorization=tm.CP(rank=5))
            >>> layer.to_empty(device="cpu").reset_parameters(seed=0)
            >>> bool(layer.cores["input"].isfinite().all())
            True
        """
        reset(writable(self)._all_tensors(), self.spec, seed)

    def reset_running_stats(self) -> None:
        """Start the gate's running statistics again; parameters stay.

        With `norm="batch"`, averaged weights (`torch.optim.swa_utils.AveragedModel`) need statistics of
        their own, and `update_bn` knows only PyTorch's layers: call this, then the model in training mode
        on some batches, without gradients.
        """
        reset(self._tensors(self._state_groups), self.spec, seed=None)

    def load_arrays(self, arrays: Mapping[str, Any]) -> None:
        """Take the values of NumPy, PyTorch or JAX arrays by the names that `tm.initialize` gives them.

        Args:
            arrays: all parameters and running statistics, such as `parameters | state` of `tm.initialize`.

        Raises:
            TensorMoEError: a missing or unknown name, a wrong shape, quantized cores. Nothing changes then.

        Examples:
            >>> import tensormoe as tm
            >>> from tensormoe_torch import MuMoE
            >>> layer = MuMoE(8, 6, experts=4, factorization=tm.CP(rank=5))
            >>> parameters, state = tm.initialize(layer.spec, seed=3)
            >>> layer.load_arrays(parameters | state)
            >>> bool((layer.cores["input"].detach().numpy() == parameters["cores.input"]).all())
            True
        """
        tensors = writable(self)._all_tensors()
        fill((tensors[name], value) for name, value in read(arrays, tensors, self.spec).items())

    def arrays(self) -> dict[str, torch.Tensor]:
        """All parameters and running statistics by the names that `tm.initialize` gives them.

        They are detached, and not copied.

        Examples:
            >>> import tensormoe as tm
            >>> from tensormoe_torch import MuMoE
            >>> list(MuMoE(8, 6, experts=4, factorization=tm.CP(rank=5)).arrays())
            ['cores.expert1', 'cores.input', 'cores.output', 'gate_weights.0']
        """
        tensors = self._all_tensors()
        return {name: tensors[name].detach() for name in self.spec.parameter_shapes | self.spec.state_shapes}

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        # Some tools collect tensors in a plain dict, which has no metadata.
        metadata = getattr(destination, "_metadata", {}).get(prefix.removesuffix("."))
        if metadata is not None:
            note(self.spec, metadata)

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        # Only here is `strict` known: PyTorch does not hand it on.
        if strict and isinstance(state_dict, Mapping):
            check_names(self, state_dict)
        return super().load_state_dict(state_dict, strict, assign)

    def _load_from_state_dict(self, state_dict: Any, prefix: str, local_metadata: Any, *args: Any) -> None:
        # Before the groups, which hold the tensors, take theirs.
        check(self.spec, local_metadata, prefix)
        assign = bool(local_metadata.get("assign_to_params_buffers", False))
        check_tensors(self, state_dict, prefix, assign)
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *args)

    def __getstate__(self) -> dict[str, Any]:
        # Copies are not part of the model that is routed.
        return {**self.__dict__, "channels": ()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self.spec.prepare()

    def _cores(self, prefix: str) -> dict[str, torch.Tensor]:
        """The cores of one of the spec's stages, in order."""
        stage = self.spec.layers[prefix]
        tensors = self._tensors((prefix, SHARED) if stage.joint else (prefix,))
        return {name: tensors[name_core(prefix, stage, name)] for name in stage.network.shapes}

    def _all_tensors(self) -> dict[str, torch.Tensor]:
        return self._tensors((*self._mixture_groups, *self._gate_groups, *self._state_groups))

    @classmethod
    def from_spec(
        cls,
        spec: Spec,
        *,
        seed: int | None = None,
        dtype: DType = None,
        device: Device = None,
        recompute: bool = False,
    ) -> Self:
        """The module of a specification.

        Args:
            spec: of the kind that this class computes.
            seed, dtype, device, recompute: as for the class.

        Raises:
            TensorMoEError: a specification of another kind.
        """
        cls._check_kind(spec)
        if "_kind" not in vars(cls):  # a class of the user's own may set up more
            return cls(**spec.arguments, seed=seed, dtype=dtype, device=device, recompute=recompute)
        # Layers of one specification share it: its networks, plans and programs are derived once.
        module = cls.__new__(cls)
        Module.__init__(module, spec, seed, dtype, device, recompute)
        return module

    @classmethod
    def from_arrays(
        cls,
        spec: Spec,
        arrays: Mapping[str, Any],
        *,
        copy: bool = True,
        dtype: DType = None,
        device: Device = None,
        recompute: bool = False,
    ) -> Self:
        """The module of a specification with given values. No initial values are drawn.

        Args:
            spec: of the kind that this class computes.
            arrays: of any framework, as for `load_arrays`.
            copy: False if the module may share the memory of NumPy arrays and tensors.
            dtype: of the parameters; by default every array keeps its type.
            device, recompute: as for the class.

        Raises:
            TensorMoEError: a specification of another kind, a missing or unknown name, or a wrong shape.
        """
        cls._check_kind(spec)
        tensors = take(arrays, spec, dtype, device, true_or_false("copy", copy))
        module = cls.from_spec(spec, device="meta", recompute=recompute)
        module.load_state_dict(tensors, assign=True)
        return module

    @classmethod
    def _check_kind(cls, spec: Spec) -> None:
        check_spec(spec)
        if type(spec) is not cls._kind:
            raise TensorMoEError("spec", spec, f"{cls.__name__} is built from a {cls._kind.__name__}")

    def extra_repr(self) -> str:
        spec = self.spec
        gate = spec.gate or "gate=None"
        biases = f"bias={spec.bias}{', output_bias=True' * spec.output_bias}"
        rest = f"experts={spec.experts}, {spec.factorization}, {gate}, {biases}"
        return substitute(f"{' → '.join(map(str, spec.features))}, {rest}")
