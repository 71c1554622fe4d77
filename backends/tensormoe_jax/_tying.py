"""Cores that several layers of a model share: one variable in several places."""

from typing import Any

from flax import nnx

from tensormoe.errors import TensorMoEError
from tensormoe.layers.parameters import split_name
from tensormoe.layers.tying import Held, choose_tied

from ._base import Module


def share(model: nnx.Module, cores: str | list[str] | tuple[str, ...]) -> dict[str, str]:
    """Make cores of several layers of a model one variable, which all of them read.

    Use it after the model is built or its values are loaded, before the optimizer is made. The variable has
    the value of the first in nnx's order; `nnx.state` and checkpoints have it once, under that name, and
    `nnx.grad` adds the gradients of all layers. `nnx.split`, `nnx.merge`, `nnx.clone` and `nnx.jit` keep it
    one. Within a block, `tm.MuMoEBlockSpec(shared=...)` says more: the program computes once what layers have
    in common.

    Args:
        model: it is changed in place. Layers that are stacked for `nnx.scan` are one layer here.
        cores: which parameters: names such as "layers.0.cores.expert1", the path in the model, or patterns
            such as "*.cores.expert1".

    Returns:
        For each further name the first one.

    Raises:
        TensorMoEError: something else than a module; names that no μMoE layer's parameters have; fewer than
            two parameters; or other shapes or types.

    Source: Press and Wolf, "Using the Output Embedding to Improve Language Models", 2017, for tied weights.

    Examples:
        >>> import tensormoe as tm
        >>> from flax import nnx
        >>> import tensormoe_jax
        >>> layers = [tensormoe_jax.MuMoE(8, 8, 4, tm.CP(rank=5), seed=seed) for seed in range(2)]
        >>> model = nnx.Sequential(*layers)
        >>> tensormoe_jax.share(model, "*.cores.expert1")
        {'layers.1.cores.expert1': 'layers.0.cores.expert1'}
        >>> model.layers[1].cores["expert1"] is model.layers[0].cores["expert1"]
        True
    """
    if not isinstance(model, nnx.Module):
        raise TensorMoEError("model", type(model), "pass a flax.nnx.Module")
    places = _find_places(model)
    held = {name: _describe(group[member]) for name, (group, member) in places.items()}
    first, *others = choose_tied(cores, held)
    group, member = places[first]
    variable = group[member]
    for name in others:
        group, member = places[name]
        group[member] = variable
    return dict.fromkeys(others, first)


def _find_places(model: nnx.Module) -> dict[str, tuple[Any, Any]]:
    """The parameters of all layers by full name: the group that holds each, and its key there."""
    layers = [(path, node) for path, node in nnx.iter_graph(model) if isinstance(node, Module)]
    places: dict[str, tuple[Any, Any]] = {}
    for path, layer in layers:
        # What is shared already has all its names.
        for name in layer.spec.parameter_shapes:
            group, member = split_name(name)
            held = getattr(layer, group)
            places[".".join(map(str, (*path, name)))] = held, int(member) if member.isdigit() else member
    return places


def _describe(variable: nnx.Param[Any]) -> Held:
    value = variable.get_value()
    return Held(tuple(value.shape), str(value.dtype))
