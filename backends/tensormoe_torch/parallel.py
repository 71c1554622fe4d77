"""Tensor parallelism along the rank or the experts, for `torch.distributed`'s `parallelize_module`.

Every process computes the gate and its own share of the mixture, with the same programs as one process, and
outputs are summed after every layer of a block. Cores are `DTensor`s, for optimizers and checkpoints; the
gate's weights and an input norm stay ordinary tensors, the same on every process.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor
from torch.distributed.tensor.parallel import ParallelStyle

from tensormoe.arrays.backend import Backend
from tensormoe.errors import TensorMoEError
from tensormoe.layers.parameters import group_members
from tensormoe.layers.shares import experts_index, mix_shares, rank_index, share_stages
from tensormoe.layers.spec import Spec
from tensormoe.networks.notation import expert_modes

from ._base import Module


class _ShareStyle(ParallelStyle):
    """Shares out one index of a layer's cores over the processes of a mesh with one axis."""

    @abstractmethod
    def index(self, spec: Spec) -> str:
        """The index that is shared out."""

    def _apply(self, module: nn.Module, device_mesh: DeviceMesh) -> nn.Module:
        if not isinstance(module, Module):
            raise TensorMoEError("module", type(module), "name a MuMoE or a MuMoEBlock in the plan")
        if isinstance(module.mixture, _ShareMixture):
            raise TensorMoEError("module", module, "it is shared out already: pass one style for each module")
        spec, index = module.spec, self.index(module.spec)
        for size in (stage.network.sizes[index] for stage in spec.layers.values()):
            if device_mesh.ndim != 1 or size % device_mesh.size():
                remedy = f"a mesh with one axis that divides {index} = {size} is needed"
                raise TensorMoEError("device_mesh", tuple(device_mesh.shape), remedy)
        axes = spec.bond_axes[index]
        for prefix, names in group_members(dict.fromkeys(spec.core_names)).items():
            group = module.get_submodule(prefix)
            for name in names:
                axis = axes.get(f"{prefix}.{name}")
                whole = group.get_parameter(name)
                part = distribute_tensor(
                    whole.data, device_mesh, [Replicate() if axis is None else Shard(axis)]
                )
                group.register_parameter(name, nn.Parameter(part, requires_grad=whole.requires_grad))
        for name, tensor in (*module.named_parameters(), *module.named_buffers()):
            if name not in spec.core_names and not tensor.is_meta:
                dist.broadcast(tensor.data, group=device_mesh.get_group(), group_src=0)
        module.mixture = _ShareMixture(module, device_mesh, index)
        return module


class RankParallel(_ShareStyle):
    """Shares out a bond: each process has a part of the rank of every expert.

    Args:
        bond: which; by default the first that the family would grow, as `matched` does: CP its rank, Tucker
            the input's, tensor train and tensor ring the one between the input and the output core. The
            number of processes must divide its size.

    Raises:
        TensorMoEError: where it is applied: to another kind of module, twice, to a family without bonds, or
            to a bond that the processes do not divide.

    Examples:
        >>> import torch.distributed as dist
        >>> import tensormoe as tm, torch
        >>> from torch.distributed.tensor.parallel import parallelize_module
        >>> from tensormoe_torch import MuMoEBlock
        >>> from tensormoe_torch.parallel import RankParallel
        >>> dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
        >>> mesh = dist.device_mesh.init_device_mesh("cpu", (1,))
        >>> model = torch.nn.Sequential(MuMoEBlock(8, 16, 8, experts=4, factorization=tm.CP(rank=6)))
        >>> model = parallelize_module(model, mesh, {"0": RankParallel()})
        >>> model[0].first["input"].placements
        (Shard(dim=1),)
        >>> model(torch.ones(2, 8)).shape
        torch.Size([2, 8])
        >>> dist.destroy_process_group()
    """

    def __init__(self, bond: str | None = None) -> None:
        super().__init__()
        self.bond = bond

    def index(self, spec: Spec) -> str:
        return rank_index(spec, self.bond)


class ExpertParallel(_ShareStyle):
    """Shares out the first level of experts: each process has some of them, for all tokens.

    Unlike expert parallelism with sparse experts it sends no tokens, and every process has the same work. The
    number of processes must divide the number of experts.

    Raises:
        TensorMoEError: as `RankParallel`.

    Examples:
        >>> import tensormoe as tm
        >>> from tensormoe_torch.parallel import ExpertParallel
        >>> ExpertParallel().index(tm.MuMoESpec(8, 6, experts=(4, 2), factorization=tm.CP(rank=5)))
        'n1'
    """

    def index(self, spec: Spec) -> str:
        return experts_index(spec)


class _ShareMixture:
    """Stands where a module's mixture of experts stood."""

    def __init__(self, module: Module, mesh: DeviceMesh, index: str) -> None:
        spec = module.spec
        tensors = {name: module.get_parameter(name) for name in spec.core_names}
        self.group = mesh.get_group()
        self.axes = spec.bond_axes[index]
        self.stages = share_stages(spec, {name: _local(tensor).shape for name, tensor in tensors.items()})
        for stage in self.stages.values():
            _ = stage.programs
        self.experts = slice(None)
        if spec.experts and index == expert_modes(spec.levels)[0]:
            count = next(iter(self.stages.values())).experts[0]
            self.experts = slice(mesh.get_local_rank() * count, (mesh.get_local_rank() + 1) * count)

    def __deepcopy__(self, memo: dict[int, Any]) -> "_ShareMixture":
        return self  # immutable, and its group belongs to this process

    def __call__(
        self,
        ops: Backend,
        spec: Spec,
        parameters: Mapping[str, torch.Tensor],
        coefficients: Sequence[torch.Tensor],
        x: torch.Tensor,
        recompute: bool,
        active: tuple[int, ...] | None = None,
    ) -> torch.Tensor:
        # However few coefficients are active, each process reads all of its share.
        shares = {name: self._share(name, tensor) for name, tensor in parameters.items()}
        mixed = [self._enter(a) for a in coefficients]
        mixed[:1] = [first[..., self.experts] for first in mixed[:1]]
        arguments = ops, spec, self.stages, shares, mixed, x, self._enter, self._total, recompute
        y: torch.Tensor = mix_shares(*arguments)
        return y

    def _share(self, name: str, tensor: torch.Tensor) -> torch.Tensor:
        local = _local(tensor)
        return local if local is tensor or name in self.axes else self._enter(local)

    def _enter(self, tensor: torch.Tensor) -> torch.Tensor:
        entered: torch.Tensor = _Enter.apply(tensor, self.group)  # type: ignore[no-untyped-call]
        return entered

    def _total(self, tensor: torch.Tensor) -> torch.Tensor:
        total: torch.Tensor = _Total.apply(tensor, self.group)  # type: ignore[no-untyped-call]
        return total


class _Enter(torch.autograd.Function):
    """A tensor that all processes have: each goes on with it by itself, so gradients are summed."""

    @staticmethod
    def forward(ctx: Any, tensor: torch.Tensor, group: Any) -> torch.Tensor:
        ctx.group = group
        return tensor.view_as(tensor)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        return _sum(gradient, ctx.group), None


class _Total(torch.autograd.Function):
    """The sum over processes, with which all go on in the same way: each has all of its gradient."""

    @staticmethod
    def forward(ctx: Any, tensor: torch.Tensor, group: Any) -> torch.Tensor:
        return _sum(tensor, group)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        return gradient, None


def _sum(tensor: torch.Tensor, group: Any) -> torch.Tensor:
    total = tensor.detach().clone(memory_format=torch.contiguous_format)
    dist.all_reduce(total, group=group)
    return total


def _local(tensor: Any) -> Any:
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor
