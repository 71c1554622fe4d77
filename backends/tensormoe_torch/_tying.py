"""Cores that several layers of a model share: one parameter under several names, as PyTorch ties weights."""

from torch import nn

from tensormoe.errors import TensorMoEError
from tensormoe.layers.tying import Held, choose_tied

from ._containers import TensorGroup
from ._quantized import is_quantized

# A group, and the name of a parameter in it.
Place = tuple[TensorGroup, str]


def share(model: nn.Module, cores: str | list[str] | tuple[str, ...]) -> dict[str, str]:
    """Make cores of several layers of a model one parameter, as an embedding and a head share a weight.

    Use it after the model is built or its weights are loaded, before it is sharded and before the optimizer
    is made. The parameter has the values of the first in the model's order; `model.parameters()` has it once,
    and gradients of all layers are added. State dicts list all its names, as of any tied weight. It stays one
    in `copy.deepcopy` and pickles, and when a state dict is loaded, unless by `assign=True`. Within a block,
    `tm.MuMoEBlockSpec(shared=...)` says more: the program computes once what layers have in common.

    Args:
        model: it is changed in place.
        cores: which parameters: names as in `model.named_parameters()`, or patterns such as
            "*.cores.expert1".

    Returns:
        For each further name the first one, as transformers' `_tied_weights_keys` wants it.

    Raises:
        TensorMoEError: something else than a module; names that no μMoE layer's parameters have; fewer than
            two parameters; other shapes or types; parameters that are sharded or quantized.

    Source: Press and Wolf, "Using the Output Embedding to Improve Language Models", 2017, for tied weights.

    Examples:
        >>> import tensormoe as tm, torch
        >>> import tensormoe_torch
        >>> layers = [tensormoe_torch.MuMoE(8, 8, 4, tm.CP(rank=5)) for _ in range(3)]
        >>> model = torch.nn.Sequential(*layers)
        >>> tensormoe_torch.share(model, "*.cores.expert1")
        {'1.cores.expert1': '0.cores.expert1', '2.cores.expert1': '0.cores.expert1'}
        >>> sum(each.numel() for each in model.parameters()) == 3 * layers[0].spec.num_parameters - 2 * 4 * 5
        True
    """
    if not isinstance(model, nn.Module):
        raise TensorMoEError("model", type(model), "pass a torch.nn.Module")
    places = _find_places(model)
    first, *others = choose_tied(cores, {name: _describe(*place) for name, place in places.items()})
    for name in (first, *others):
        _check(name, *places[name])
    group, member = places[first]
    parameter = group.get_parameter(member)
    for name in others:
        group, member = places[name]
        group.register_parameter(member, parameter)
    return dict.fromkeys(others, first)


def _find_places(model: nn.Module) -> dict[str, Place]:
    """The parameters of all layers by full name, those of a shared module under each of its names."""
    named = model.named_modules(remove_duplicate=False)
    groups = [(prefix, each) for prefix, each in named if isinstance(each, TensorGroup)]
    return {
        f"{prefix}.{member}" if prefix else member: (group, member)
        for prefix, group in groups
        for member, _ in group.named_parameters(recurse=False)
    }


def _describe(group: TensorGroup, member: str) -> Held:
    parameter = group.get_parameter(member)
    return Held(tuple(parameter.shape), f"{parameter.dtype} on {parameter.device}")


def _check(name: str, group: TensorGroup, member: str) -> None:
    parameter = group.get_parameter(member)
    if hasattr(parameter, "device_mesh"):
        raise TensorMoEError(name, type(parameter), "it is sharded over processes: share cores before that")
    if is_quantized(parameter):
        raise TensorMoEError(name, type(parameter), "it is quantized: share cores before that")
