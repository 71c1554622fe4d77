"""Weight decay for factors: how much of it each parameter takes."""

from collections.abc import Iterator
from typing import TypedDict

from torch import nn

from tensormoe.errors import TensorMoEError, number_from
from tensormoe.layers.parameters import name_core
from tensormoe.networks.notation import INPUT, OUTPUT

from ._base import Module


class ParameterGroup(TypedDict):
    """What optimizers take: parameters, and their weight decay."""

    params: list[nn.Parameter]
    weight_decay: float


def parameter_groups(model: nn.Module, weight_decay: float) -> list[ParameterGroup]:
    """The parameters of a model in groups for an optimizer: decay shrinks products as it shrinks weights.

    A weight that is a product of k decayed cores shrinks k times as fast as a dense one. Here the cores that
    carry the input or the output share the decay between them, so that their product shrinks as fast as a
    dense weight does. Expert cores without these take none: they start around 1, and decay would pull
    experts to zero, not to their mean. Gates and norms take none either. A bias is a row of the input's core
    and decays with it. Of the other parameters, those with at least two axes decay, as is usual.

    Args:
        model: with layers or without.
        weight_decay: of a dense weight, such as 0.1.

    Returns:
        One group for each decay, the largest first; parameters that need no gradient are in none.

    Raises:
        TensorMoEError: a decay that is not a number of at least 0.

    Examples:
        >>> import tensormoe as tm, torch
        >>> from tensormoe_torch import MuMoE, parameter_groups
        >>> model = torch.nn.Sequential(torch.nn.Linear(8, 8), MuMoE(8, 6, 4, tm.CP(rank=5)))
        >>> groups = parameter_groups(model, weight_decay=0.1)
        >>> [(group["weight_decay"], len(group["params"])) for group in groups]
        [(0.1, 1), (0.05, 2), (0.0, 3)]
        >>> optimizer = torch.optim.AdamW(groups, lr=1e-3)
    """
    if not isinstance(model, nn.Module):
        raise TensorMoEError("model", type(model), "pass a torch.nn.Module")
    decay = number_from(0, "weight_decay", weight_decay)
    shares: dict[nn.Parameter, float] = {}
    for module in model.modules():
        if isinstance(module, Module):
            shares |= dict.fromkeys(module.parameters(), 0.0) | dict(_shares(module))
    groups: dict[float, list[nn.Parameter]] = {}
    for parameter in model.parameters():
        if parameter.requires_grad:
            share = shares.get(parameter, float(parameter.ndim > 1))
            groups.setdefault(decay * share, []).append(parameter)
    return [{"params": groups[each], "weight_decay": each} for each in sorted(groups, reverse=True)]


def _shares(module: Module) -> Iterator[tuple[nn.Parameter, float]]:
    """The cores of the input and of the output, with the part of the decay that each takes."""
    parameters = dict(module.named_parameters())
    for prefix, stage in module.spec.layers.items():
        for term in stage.network.terms:
            trained = [core for core in term.cores if core.name in term.trained]
            names = [core.name for core in trained if {INPUT, OUTPUT} & {*core.indices}]
            full = [name_core(prefix, stage, name) for name in names]
            present = [parameters[name] for name in full if name in parameters]
            share = 0.0 if term.is_bias or not names else 1 / len(names)
            yield from ((parameter, share) for parameter in present)
