"""The tree of a layer's parameters: names, and the groups that modules hold them in."""

from collections.abc import Mapping
from typing import Any

from ..errors import TensorMoEError
from ..typing import Shapes


def grouped(arrays: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Arrays by name, such as "cores.input", as members of groups, for modules that hold them so.

    Examples:
        >>> from tensormoe.layers.parameters import grouped
        >>> grouped({"cores.input": 1, "cores.output": 2, "gate_weights.0": 3})
        {'cores': {'input': 1, 'output': 2}, 'gate_weights': {'0': 3}}
    """
    groups: dict[str, dict[str, Any]] = {}
    for name, array in arrays.items():
        group, _, member = name.partition(".")
        groups.setdefault(group, {})[member] = array
    return groups


def check_complete(arrays: Mapping[str, Any], shapes: Shapes) -> None:
    """Check that arrays have exactly these names and shapes, before a module takes them.

    Args:
        arrays: parameters and running statistics by name, as `initialize` names them.
        shapes: the module's own.

    Raises:
        TensorMoEError: a missing or unknown name, or a wrong shape.

    Examples:
        >>> import numpy as np
        >>> from tensormoe.layers.parameters import check_complete
        >>> check_complete({"cores.input": np.ones((3, 2))}, {"cores.input": (2, 3)})
        Traceback (most recent call last):
        tensormoe.errors.TensorMoEError: arrays['cores.input']: received (3, 2); pass an array of shape (2, 3)
    """
    if not isinstance(arrays, Mapping):
        raise TensorMoEError("arrays", type(arrays), "pass arrays by name, as tm.initialize gives them")
    for fault, names in (("missing", shapes.keys() - arrays), ("unknown", arrays.keys() - shapes.keys())):
        if names:
            remedy = f"these names are {fault}; pass exactly {', '.join(shapes)}"
            raise TensorMoEError("arrays", sorted(names, key=str), remedy)
    for name, shape in shapes.items():
        received = getattr(arrays[name], "shape", None)
        if received is None or tuple(received) != shape:
            shown = type(arrays[name]) if received is None else tuple(received)
            raise TensorMoEError(f"arrays[{name!r}]", shown, f"pass an array of shape {shape}")
