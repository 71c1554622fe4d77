"""The specification in a state dict's metadata: a layer refuses the weights of another gate.

Layers with different gates have parameters of the same names and shapes. A state dict has room for metadata
of every module beside the tensors. `torch.save` keeps it; formats for tensors alone do not.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import torch
from torch import nn

from tensormoe.errors import TensorMoEError
from tensormoe.layers.parameters import compare_names
from tensormoe.layers.spec import Spec

_KEY = "tensormoe"


@lru_cache
def describe(spec: Spec) -> str | None:
    """What a layer computes, as JSON text; None if its gate holds a function, which has no such form."""
    try:
        # How it was planned and where it started change nothing that it computes.
        return spec.replace(optimize="auto", memory_limit=None, initialization="linear").to_json()
    except TensorMoEError:
        return None


def note(spec: Spec, metadata: dict[str, Any]) -> None:
    """Write the specification into the metadata of one module."""
    text = describe(spec)
    if text is not None:
        metadata[_KEY] = text


def check_names(module: nn.Module, tensors: Mapping[str, Any]) -> None:
    """Refuse a state dict that lacks a layer's names, or has others, before the layer takes any tensor.

    Raises:
        TensorMoEError: a missing or unknown name.
    """
    names = module.state_dict(keep_vars=True)
    if names.keys() != tensors.keys():
        raise TensorMoEError("state_dict of the layer", sorted(tensors), compare_names(tensors, names))


def check_tensors(module: nn.Module, tensors: Mapping[str, Any], prefix: str, assign: bool) -> None:
    """Refuse tensors that do not fit a layer before it takes any; PyTorch takes those that do fit first.

    Args:
        module: the layer.
        tensors: a state dict.
        prefix: of the layer's names there.
        assign: whether the tensors take the place of the layer's own, with values or without.

    Raises:
        TensorMoEError: a wrong shape, or something else than a tensor with values.
    """
    own = dict(module.state_dict(keep_vars=True))
    given = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
    for name, value in given.items():
        shape = getattr(own.get(name), "shape", None)
        if shape is None:
            continue
        if not isinstance(value, torch.Tensor) or (value.is_meta and not (assign or own[name].is_meta)):
            raise TensorMoEError(f"state_dict[{prefix + name!r}]", type(value), "pass a tensor with values")
        if value.shape != shape:
            remedy = f"pass a tensor of shape {tuple(shape)}"
            raise TensorMoEError(f"state_dict[{prefix + name!r}]", tuple(value.shape), remedy)


def check(spec: Spec, metadata: Mapping[str, Any], prefix: str) -> None:
    """Refuse weights that another specification was noted with.

    Raises:
        TensorMoEError: names the layer and both specifications.
    """
    noted, own = metadata.get(_KEY), describe(spec)
    if noted is None or own is None or noted == own:
        return
    remedy = (
        f"the weights were saved with this specification, and the layer has {spec}: "
        "build the layer from theirs, or pass dict(state_dict) to load them all the same"
    )
    raise TensorMoEError(f"state_dict of {prefix.rstrip('.') or 'the layer'}", noted, remedy)
