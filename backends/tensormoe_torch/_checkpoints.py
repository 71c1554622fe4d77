"""The specification in a state dict's metadata: a layer refuses the weights of another gate.

Layers with different gates have parameters of the same names and shapes. A state dict has room for metadata
of every module beside the tensors. `torch.save` keeps it; formats for tensors alone do not.
"""

from collections.abc import Mapping
from typing import Any

from tensormoe.errors import TensorMoEError
from tensormoe.layers.spec import Spec

_KEY = "tensormoe"


def describe(spec: Spec) -> str | None:
    """What a layer computes, as JSON text; None if its gate holds a function, which has no such form."""
    try:
        # How it is planned changes nothing but the time it takes.
        return spec.replace(optimize="auto", memory_limit=None).to_json()
    except TensorMoEError:
        return None


def note(spec: Spec, metadata: dict[str, Any]) -> None:
    """Write the specification into the metadata of one module."""
    text = describe(spec)
    if text is not None:
        metadata[_KEY] = text


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
