"""The gate as a module without parameters, for what hooks see of it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Never

import torch
from torch import nn

from tensormoe.errors import TensorMoEError
from tensormoe.gates.routers import LinearRouter
from tensormoe.layers.functional import run_gate
from tensormoe.layers.spec import Spec

from ._backend import backend
from ._distributed import Processes
from ._private import has_global_hooks, is_in_backward, is_transformed
from ._recomputation import FirstRuns, Start

AllReduce = Callable[[torch.Tensor], torch.Tensor]


class GateModule(nn.Module):
    """A layer's gate; its output is what the experts are mixed by.

    It owns no tensors: the layer hands them over. A forward hook sees the coefficients of every call, also
    those that come with it, and what it returns in their place is used. A forward hook on `router` sees the
    logits.

    Examples:
        >>> import tensormoe as tm, torch
        >>> from tensormoe_torch import MuMoE
        >>> layer = MuMoE(8, 6, experts=4, factorization=tm.CP(rank=5))
        >>> seen = []
        >>> handle = layer.gate.register_forward_hook(lambda gate, inputs, output: seen.append(output[0]))
        >>> _ = layer(torch.ones(2, 8))
        >>> seen[0].tolist()
        [[0.25, 0.25, 0.25, 0.25], [0.25, 0.25, 0.25, 0.25]]
    """

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        self.spec = spec
        self.router = RouterModule()
        # A batch norm's own do not change what training computes.
        self._remembers_statistics = any(name.startswith("router_") for name in spec.state_shapes)
        self._first_runs = FirstRuns()
        self.uses_previous = spec.previous_experts is not None
        self.processes = Processes()
        self._normalizes = any(gate.norm == "batch" for gate in spec.gates)
        self._sums = self._normalizes or any(type(gate.router) is not LinearRouter for gate in spec.gates)

    def forward(
        self,
        x: torch.Tensor,
        weights: Mapping[str, torch.Tensor],
        statistics: Mapping[str, torch.Tensor],
        previous: Sequence[torch.Tensor] | None = None,
        generator: torch.Generator | None = None,
        all_reduce: AllReduce | None = None,
        coefficients: Sequence[torch.Tensor] | None = None,
    ) -> tuple[torch.Tensor, ...]:
        """The E coefficients (…, N_e); in training the statistics move, once for each forward pass.

        The layer has checked all arrays.

        Args:
            x: what the router reads, (…, I).
            weights, statistics: by the names that `tm.initialize` gives them.
            previous, generator, all_reduce: as for `MuMoE`.
            coefficients: those that come with the call, which are handed on in place of the gate's.
        """
        if coefficients is not None:
            return tuple(coefficients)
        if generator is not None and not isinstance(generator, torch.Generator):
            raise TensorMoEError("generator", generator, "pass a torch.Generator")
        needed = self.training and (self._remembers_statistics or generator is not None)
        if needed or self.uses_previous:
            start = Start(generator, statistics, previous)
            start = self._first_runs.start(x, start, needed, self.training)
            generator, statistics, previous = start
        reduce, pool = all_reduce, all_reduce
        if all_reduce is None and self._sums:
            reduce, pool = self.processes.sums(self.training, self._normalizes)
        output = run_gate(
            backend, self.spec, weights, x, statistics, self.training, previous, generator, reduce, pool
        )
        if self.training and not is_in_backward():
            try:
                for name, buffer in statistics.items():
                    buffer.copy_(output.state[name])
            except RuntimeError as error:
                if not is_transformed(x):
                    raise
                remedy = 'running statistics would differ: call layer.eval(), or choose norm="layer"'
                raise TensorMoEError("x", "a tensor that torch.func.vmap maps", remedy) from error
        self._modules["router"](output.logits)  # type: ignore[misc]
        # Transformers' recorders pick one level of a tuple, and take a list as one whole.
        return tuple(output.coefficients)

    def __prepare_scriptable__(self) -> Never:
        # torch.jit.script calls it for every module of a model before it compiles one.
        remedy = "μMoE layers cannot be scripted: use torch.export, torch.compile or torch.jit.trace"
        raise TensorMoEError("torch.jit.script", type(self), remedy)


def active_of(gate: nn.Module) -> tuple[int, ...] | None:
    """At most how many of a gate's coefficients differ from 0; None if something else may have made them.

    A hook may, or a module or function in the gate's place.
    """
    if type(gate) is not GateModule or gate.spec.active is None:
        return None
    replaced = "forward" in vars(gate) or gate._forward_hooks or has_global_hooks()
    return None if replaced else gate.spec.active


class RouterModule(nn.Module):
    """Hands on the router's logits, E tensors (…, N_e), so that hooks see them.

    Examples:
        >>> import tensormoe as tm, torch
        >>> from tensormoe_torch import MuMoE
        >>> layer = MuMoE(8, 6, experts=4, factorization=tm.CP(rank=5))
        >>> seen = []
        >>> handle = layer.gate.router.register_forward_hook(lambda *call: seen.append(call[-1][0]))
        >>> _ = layer(torch.ones(2, 8))
        >>> seen[0].shape
        torch.Size([2, 4])
    """

    def forward(self, logits: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
        """The logits as they are."""
        return tuple(logits)
