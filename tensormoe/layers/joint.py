"""Cores that several layers of a block share: one parameter that each of them reads."""

from collections.abc import Collection, Mapping
from dataclasses import replace

from ..errors import TensorMoEError, as_tuple, one_of
from .stage import Stage

# An index of one of a block's layers.
Place = tuple[str, str]


def check_joint(shared: object, layers: Mapping[str, Stage]) -> tuple[str, ...]:
    """The names of the cores that layers share, checked.

    Args:
        shared: one name or several.
        layers: the layers by name, each with cores of its own.

    Raises:
        TensorMoEError: a name that is not one of several layers' cores, a fixed core, or different shapes.

    Examples:
        >>> import tensormoe as tm
        >>> from tensormoe.layers.joint import check_joint
        >>> check_joint("expert1", tm.MuMoEBlockSpec(8, 16, 6, 4, tm.CP(rank=5)).layers)
        ('expert1',)
    """
    names = [name for name in as_tuple(shared) if isinstance(name, str)]
    if len(names) < len(as_tuple(shared)):
        raise TensorMoEError("shared", shared, 'pass the names of cores, such as ("A",)')
    every = [name for stage in layers.values() for name in stage.network.shapes]
    several = tuple(name for name in dict.fromkeys(every) if every.count(name) > 1)
    for name in names:
        if every.count(name) == 1:
            (own,) = (layer for layer, stage in layers.items() if name in stage.network.shapes)
            remedy = f"only layer {own} has a core of this name: give it to the other layers' cores, too"
            raise TensorMoEError("shared", name, remedy)
        one_of("shared", name, several)
        _check_alike(name, layers)
    return tuple(dict.fromkeys(names))


def find_alike(layers: Mapping[str, Stage]) -> tuple[str, ...]:
    """The names of the cores that layers could share.

    Examples:
        >>> import tensormoe as tm
        >>> from tensormoe.layers.joint import find_alike
        >>> find_alike(tm.MuMoEBlockSpec(8, 16, 6, 4, tm.CP(rank=5)).layers)
        ('expert1',)
    """
    shapes: dict[str, list[tuple[int, ...]]] = {}
    for stage in layers.values():
        for name, shape in stage.network.shapes.items():
            shapes.setdefault(name, []).append(shape)
    fixed = {name for stage in layers.values() for name, _ in stage.network.fixed}
    several = (name for name, own in shapes.items() if len(own) > 1 and len({*own}) == 1)
    return tuple(name for name in several if name not in fixed)


def _check_alike(name: str, layers: Mapping[str, Stage]) -> None:
    """Refuse a core that layers can't share: it is fixed, or has different shapes."""
    owners = {layer: stage.network for layer, stage in layers.items() if name in stage.network.shapes}
    if any(name in dict(network.fixed) for network in owners.values()):
        remedy = "it is fixed, so every layer has its own values of it and nothing is trained: leave it out"
        raise TensorMoEError("shared", name, remedy)
    shapes = {layer: network.shapes[name] for layer, network in owners.items()}
    if len({*shapes.values()}) > 1:
        listed = " and ".join(f"{shape} in {layer}" for layer, shape in shapes.items())
        remedy = (
            f"it is one array, and has the shape {listed} (a bias adds a row to i): make sizes, ranks and "
            "biases equal, or name the core of a layer that keeps its own differently"
        )
        raise TensorMoEError("shared", name, remedy)


def join_layers(layers: Mapping[str, Stage], shared: Collection[str]) -> dict[str, Stage]:
    """The layers, each with the names of its cores that others use, too."""
    if not shared:
        return dict(layers)
    return {
        layer: replace(stage, joint=tuple(name for name in shared if name in stage.network.shapes))
        for layer, stage in layers.items()
    }


def tie_indices(layers: Mapping[str, Stage]) -> list[set[Place]]:
    """The indices of layers that shared cores make equally large, in sets; () where layers share no core.

    Examples:
        >>> import tensormoe as tm
        >>> from tensormoe.layers.joint import tie_indices
        >>> block = tm.MuMoEBlockSpec(8, 16, 6, 4, tm.CP(rank=5), shared="expert1")
        >>> [sorted(each) for each in tie_indices(block.layers)]
        [[('first', 'n'), ('second', 'n')], [('first', 'r'), ('second', 'r')]]
    """
    if not any(stage.joint for stage in layers.values()):
        return []
    axes: dict[tuple[str, str, int], set[Place]] = {}
    for layer, stage in layers.items():
        for core in stage.network.cores:
            owner = "" if core.name in stage.joint else layer
            for axis, index in enumerate(core.indices):
                axes.setdefault((owner, core.name, axis), set()).add((layer, index))
    ties: list[set[Place]] = []
    for own in axes.values():
        joined = [tie for tie in ties if tie & own]
        ties = [*(tie for tie in ties if tie not in joined), own.union(*joined)]
    return [tie for tie in ties if len(tie) > 1]


def tied_mode(tie: Collection[Place], layers: Mapping[str, Stage]) -> str | None:
    """A mode of a layer that makes the indices of a tie as large as it is; None if all are bonds."""
    bonds = {(layer, bond) for layer, stage in layers.items() for bond, _ in stage.network.bonds}
    modes = sorted({*tie} - bonds)
    return f"mode {modes[0][1]!r} of {modes[0][0]}" if modes else None
