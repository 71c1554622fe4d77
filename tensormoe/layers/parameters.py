"""The tree of a layer's parameters: names, and the groups that modules hold them in."""

from collections.abc import Iterable, Mapping
from typing import Protocol, TypeVar

from ..errors import TensorMoEError, mapping, one_of
from .stage import Stage

Member = TypeVar("Member")

# The group of the cores that several layers of a block share.
SHARED = "shared"


class Layered(Protocol):
    """A specification, which names each stage after the group of its cores."""

    @property
    def layers(self) -> dict[str, Stage]:
        """The stages, in order."""


def join_name(group: str, member: str) -> str:
    """The full name of a group's member: "cores.input" for the core "input" of the group "cores"."""
    return f"{group}.{member}"


def name_core(layer: str, stage: Stage, core: str) -> str:
    """The full name of a layer's core: in its layer's group, or in that of the cores that layers share.

    Examples:
        >>> import tensormoe as tm
        >>> from tensormoe.layers.parameters import name_core
        >>> block = tm.MuMoEBlockSpec(8, 16, 6, experts=4, factorization=tm.CP(rank=5), shared="expert1")
        >>> [name_core("first", block.layers["first"], core) for core in ("expert1", "input")]
        ['shared.expert1', 'first.input']
    """
    return join_name(SHARED if core in stage.joint else layer, core)


def split_name(name: str) -> tuple[str, str]:
    """Group and member of a full name: ("cores", "input") for "cores.input"."""
    group, _, member = name.partition(".")
    return group, member


def compare_names(given: Iterable[object], wanted: Iterable[str]) -> str:
    """What an error says of names that differ from those that are needed.

    Examples:
        >>> from tensormoe.layers.parameters import compare_names
        >>> compare_names(["input", "scale"], ["input", "output"])
        "missing: 'output'; unknown: 'scale'; pass exactly these arrays by name: input, output"
    """
    wanted = tuple(wanted)
    given = tuple(given)
    faults = {
        "missing": [name for name in wanted if name not in given],
        "unknown": [name for name in given if name not in wanted],
    }
    told = [f"{fault}: {str(names)[1:-1]}" for fault, names in faults.items() if names]
    return "; ".join([*told, f"pass exactly these arrays by name: {', '.join(wanted) or 'none'}"])


def group_members(arrays: Mapping[str, Member], groups: Iterable[str] = ()) -> dict[str, dict[str, Member]]:
    """Group arrays by the first part of their names, as modules hold them; some groups come first.

    Examples:
        >>> from tensormoe.layers.parameters import group_members
        >>> group_members({"cores.input": 1, "cores.output": 2, "gate_weights.0": 3})
        {'cores': {'input': 1, 'output': 2}, 'gate_weights': {'0': 3}}
    """
    grouped: dict[str, dict[str, Member]] = {group: {} for group in groups}
    for name, array in arrays.items():
        prefix, member = split_name(name)
        grouped.setdefault(prefix, {})[member] = array
    return grouped


def are_levels(members: Iterable[str]) -> bool:
    """Whether a group has one member for each of the first levels, so that it is a sequence.

    Examples:
        >>> from tensormoe.layers.parameters import are_levels
        >>> are_levels(["0", "1"]), are_levels(["1"]), are_levels(["input"])
        (True, False, False)
    """
    names = list(members)
    return names == [str(level) for level in range(len(names))]


def cores_of(spec: Layered, parameters: Mapping[str, Member], layer: str | None = None) -> dict[str, Member]:
    """The cores of a layer by name, from its parameters, for `tm.contract` and `tm.materialize`.

    Args:
        spec: a layer's or a block's specification.
        parameters: by full name, as `tm.initialize` gives them; with fixed cores, `parameters | state`.
        layer: which of a block's layers, "first", "second", or "up" in a gated one.

    Raises:
        TensorMoEError: another kind of object, a block without `layer`, an unknown layer, or a missing
            parameter.

    Examples:
        >>> import tensormoe as tm
        >>> spec = tm.MuMoESpec(8, 6, experts=4, factorization=tm.CP(rank=5))
        >>> parameters, _ = tm.initialize(spec)
        >>> list(tm.cores_of(spec, parameters))
        ['expert1', 'input', 'output']
    """
    if not isinstance(getattr(spec, "layers", None), Mapping):
        raise TensorMoEError("spec", spec, "pass a MuMoESpec or a MuMoEBlockSpec")
    prefixes = tuple(spec.layers)
    prefix = prefixes[0] if layer is None and len(prefixes) == 1 else layer
    one_of("layer", prefix, prefixes)
    stage = spec.layers[str(prefix)]
    cores = {name: name_core(str(prefix), stage, name) for name in stage.network.shapes}
    mapping("parameters", parameters)
    missing = [name for name in cores.values() if name not in parameters]
    if missing:
        raise TensorMoEError(
            "parameters",
            sorted(parameters),
            f"missing {', '.join(missing)}: pass all parameters; fixed cores are in the state",
        )
    return {name: parameters[full] for name, full in cores.items()}
