"""Where a module's tensors are registered: groups that are called to give them.

Tools that move, shard, prune or adapt parameters hook the `forward` of the module that owns them. A group's
`forward` therefore *is* the way to its tensors, and a layer takes it at every call of its own.
"""

from collections.abc import ItemsView, Iterator, KeysView, Mapping, ValuesView
from typing import Any

import torch
from torch import nn

from tensormoe.errors import TensorMoEError
from tensormoe.layers.parameters import are_levels
from tensormoe.layers.spec import Spec

from ._quantized import check_quantized, dequantize, is_quantized, writable
from ._values import reset


class TensorGroup(nn.Module):
    """Parameters, fixed cores or statistics of a layer, read by name. Calling the group gives them as a dict.

    A group owns what belongs together, such as a layer's cores, under the names and in the order of the
    layer's specification. Tools that initialize a model module by module meet the groups and not the layer,
    which owns no tensor itself. A model of Hugging Face's transformers therefore says in its `_init_weights`:

        super()._init_weights(module)
        if isinstance(module, tensormoe_torch.TensorGroup):
            module.reset_parameters()

    It is the innermost `PreTrainedModel` around a layer that is asked: a `GPT2Model`, not its
    `GPT2LMHeadModel`. Do not shard a group by itself: FSDP would free what it has just handed over. Shard
    the layer, or what contains it.

    Attributes:
        spec: the layer's specification.
        prefix: of the names in it, such as "cores".

    Raises:
        TensorMoEError: a name that PyTorch's modules need for themselves.

    Examples:
        >>> import tensormoe as tm
        >>> from tensormoe_torch import MuMoE, TensorGroup
        >>> layer = MuMoE(8, 6, experts=4, factorization=tm.CP(rank=5))
        >>> [group.prefix for group in layer.modules() if isinstance(group, TensorGroup)]
        ['cores', 'gate_weights']
        >>> list(layer.cores())
        ['cores.expert1', 'cores.input', 'cores.output']
    """

    def __init__(self, spec: Spec, prefix: str, tensors: Mapping[str, torch.Tensor]) -> None:
        super().__init__()
        self.spec, self.prefix = spec, prefix
        self._names = {name: f"{prefix}.{name}" for name in tensors}
        for name, tensor in tensors.items():
            if hasattr(self, name):
                raise TensorMoEError(
                    "core name", name, "PyTorch's modules have an attribute of this name: rename the core"
                )
            if isinstance(tensor, nn.Parameter):
                self.register_parameter(name, tensor)
            else:
                self.register_buffer(name, tensor)

    def register_parameter(self, name: str, param: nn.Parameter | None) -> None:
        # Also what `group.name = parameter` calls.
        if param is not None and is_quantized(param):
            check_quantized(f"{self.prefix}.{name}", param)
            if dequantize not in self._forward_hooks.values():
                self.register_forward_hook(dequantize)
        super().register_parameter(name, param)

    def forward(self, x: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
        """The tensors by the names that `tm.initialize` gives them, such as "cores.input".

        Args:
            x: the layer's input, for tools whose hooks expect one, such as PEFT's; it changes nothing.
        """
        # To find an attribute, nn.Module takes several times as long as a call's arithmetic in a small layer.
        own: Mapping[str, Any] = self._parameters or self._buffers
        # What is pruned or parametrized is an attribute and no parameter any more.
        return {full: own[name] if name in own else getattr(self, name) for name, full in self._names.items()}

    def reset_parameters(self, seed: int | None = None) -> None:
        """Give the tensors of this group alone the initial values of a seed; see `MuMoE.reset_parameters`."""
        reset(TensorGroup.forward(writable(self)), self.spec, seed)

    def keys(self) -> KeysView[str]:
        """The names, such as "input"."""
        return self._names.keys()

    def values(self) -> ValuesView[torch.Tensor]:
        """The tensors."""
        return TensorGroup.forward(self).values()

    def items(self) -> ItemsView[str, torch.Tensor]:
        """Pairs of name and tensor."""
        return dict(zip(self._names, self.values(), strict=True)).items()

    def __len__(self) -> int:
        return len(self._names)

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def extra_repr(self) -> str:
        return ", ".join(f"{name}: {tuple(tensor.shape)}" for name, tensor in self.items())


class NamedTensors(TensorGroup):
    """A group that is read as a mapping.

    Examples:
        >>> import tensormoe as tm
        >>> from tensormoe_torch import MuMoE
        >>> cores = MuMoE(8, 6, experts=4, factorization=tm.CP(rank=5)).cores
        >>> cores
        NamedTensors(expert1: (4, 5), input: (9, 5), output: (5, 6))
        >>> list(cores), cores["input"].shape
        (['expert1', 'input', 'output'], torch.Size([9, 5]))
    """

    def __getitem__(self, name: str) -> torch.Tensor:
        return TensorGroup.forward(self)[self._names[name]]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)


class LevelTensors(TensorGroup):
    """A group with one tensor for each expert level, named "0", "1", …; it is read as a sequence, too.

    Examples:
        >>> import tensormoe as tm
        >>> from tensormoe_torch import MuMoE
        >>> weights = MuMoE(8, 6, experts=(4, 3), factorization=tm.CP(rank=5)).gate_weights
        >>> weights[1].shape, [tuple(weight.shape) for weight in weights]
        (torch.Size([8, 3]), [(8, 4), (8, 3)])
    """

    def __getitem__(self, level: int | str) -> torch.Tensor:
        return tuple(self.values())[int(level)]

    def __iter__(self) -> Iterator[torch.Tensor]:
        return iter(self.values())


def make_group(spec: Spec, prefix: str, tensors: Mapping[str, torch.Tensor]) -> TensorGroup:
    """The group for tensors: a sequence if there is one for each expert level."""
    is_mapping = prefix in spec.layers or not are_levels(tensors)
    return (NamedTensors if is_mapping else LevelTensors)(spec, prefix, tensors)
