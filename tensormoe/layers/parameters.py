"""The tree of a layer's parameters: names, and the groups that modules hold them in."""

from collections.abc import Mapping
from typing import Any


def grouped(arrays: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Arrays by name, such as "cores.input", as members of groups, for modules that hold them so.

    Examples:
        >>> from tensormoe.layers.initialization import grouped
        >>> grouped({"cores.input": 1, "cores.output": 2, "gate_weights.0": 3})
        {'cores': {'input': 1, 'output': 2}, 'gate_weights': {'0': 3}}
    """
    groups: dict[str, dict[str, Any]] = {}
    for name, array in arrays.items():
        group, _, member = name.partition(".")
        groups.setdefault(group, {})[member] = array
    return groups
