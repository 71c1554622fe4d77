"""Values for a candidate from those of one that is near: the same weight, where it has no less to it.

A new value of a bond is zero in one of the cores that carry it and drawn in the others, so that it adds
nothing and learns. A core that gets an index which others have already is repeated along it; one that loses
it is averaged. A bond that becomes smaller is first cut in the parent. A core that the parent lacks is all
ones, and one that only the parent has is multiplied into another.

Source: Chen et al., "Net2Net: Accelerating Learning via Knowledge Transfer", 2016; Hashemizadeh et al.,
"Adaptive Tensor Learning with Tensor Networks", 2020, for continuing from the smaller network.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..checkpoints.saved import SavedLayer
from ..errors import TensorMoEError
from ..layers.initialization import initialize
from ..layers.parameters import cores_of, join_name
from ..networks.notation import OUTPUT, is_mode
from ..ranks.truncate import truncate
from ..typing import NumPyArray
from .candidate import Candidate, Place

Values = Mapping[str, NumPyArray]
# An index by its term and its bonds, or slot, in the space.
Edges = tuple[int, tuple[int, ...]]
# Drawn values, relative to what is there.
_SMALL = 0.1


@dataclass
class _Axes:
    """An array and what its axes are."""

    values: NumPyArray
    edges: list[Edges]


def transfer(
    parent: Candidate, cores: Values, child: Candidate, seed: int = 0
) -> dict[str, NumPyArray] | None:
    """Cores for a candidate from another's; None if they have too little in common.

    Args:
        parent: the candidate that was tried.
        cores: its cores by name.
        child: another candidate of the same space.
        seed: of what is drawn.
    """
    networks = parent.spec.network, child.spec.network
    if any(network.held for network in networks) or networks[0].splits != networks[1].splits:
        return None
    before, after = _sizes(parent), _sizes(child)
    kept = {edges: min(size, after.get(edges, 1)) for edges, size in before.items()}
    try:
        arrays = _shrink(parent, cores, kept)
    except TensorMoEError:
        # What is cut joins cores in a way that is not.
        return None
    given = {place.core: _Axes(arrays[place.name], _edges(place)) for place in parent.places}
    for core, axes in given.items():
        given[core] = _drop(axes, after)
    if not _absorb(given, child):
        return None
    generator = np.random.default_rng(seed)
    zeros = _choose_zeros(child)
    return {place.name: _fill(place, given, kept, after, zeros, generator) for place in child.places}


def _edges(place: Place) -> list[Edges]:
    return [(place.core[0], edges) for edges in place.edges]


def _sizes(candidate: Candidate) -> dict[Edges, int]:
    """The size of every index."""
    sizes = candidate.spec.network.sizes
    return {
        edges: sizes[index]
        for place in candidate.places
        for index, edges in zip(place.indices, _edges(place), strict=True)
    }


def _shrink(parent: Candidate, cores: Values, kept: Mapping[Edges, int]) -> dict[str, NumPyArray]:
    """The parent's cores with the bonds that become smaller cut."""
    smaller = {
        index: kept[edges]
        for place in parent.places
        for index, edges in zip(place.indices, _edges(place), strict=True)
        if not is_mode(index) and kept[edges] < parent.spec.network.sizes[index]
    }
    if not smaller:
        return {name: np.asarray(core) for name, core in cores.items()}
    parameters, state = initialize(parent.spec, dtype="float64")
    parameters |= {join_name("cores", name): np.asarray(core) for name, core in cores.items()}
    change = truncate(SavedLayer(parent.spec, parameters, state), **smaller)
    return {name: np.asarray(core) for name, core in cores_of(change.spec, change.layer.arrays()).items()}


def _drop(axes: _Axes, after: Mapping[Edges, int]) -> _Axes:
    """Without the indices that are gone, whose size is 1 by now."""
    gone = tuple(axis for axis, edges in enumerate(axes.edges) if edges not in after)
    return _Axes(axes.values.mean(axis=gone), [edges for edges in axes.edges if edges in after])


def _absorb(given: dict[tuple[int, int], _Axes], child: Candidate) -> bool:
    """Multiply cores that the child lacks into others; whether there is one for each."""
    placed = {place.core: _edges(place) for place in child.places}
    terms = {core[0] for core in placed}
    for core in [core for core in given if core not in placed and core[0] in terms]:
        axes = given.pop(core)
        fitting = [
            other
            for other, held in given.items()
            if other[0] == core[0] and other in placed and {*axes.edges} <= {*held.edges}
        ]
        if not fitting:
            return False
        held = given[fitting[0]]
        given[fitting[0]] = _Axes(held.values * _arrange(axes, held.edges), held.edges)
    return True


def _arrange(axes: _Axes, edges: list[Edges]) -> NumPyArray:
    """The values with axes in this order, those that are missing of size 1."""
    order = [axes.edges.index(each) for each in edges if each in axes.edges]
    missing = tuple(axis for axis, each in enumerate(edges) if each not in axes.edges)
    return np.expand_dims(axes.values.transpose(order), missing)


def _choose_zeros(child: Candidate) -> dict[Edges, tuple[int, int]]:
    """For every index the core that is zero at its new values: one with outputs, if possible."""
    zeros: dict[Edges, tuple[int, int]] = {}
    for place in sorted(child.places, key=lambda each: not any(index[0] == OUTPUT for index in each.indices)):
        for edges in _edges(place):
            zeros.setdefault(edges, place.core)
    return zeros


def _fill(
    place: Place,
    given: Mapping[tuple[int, int], _Axes],
    kept: Mapping[Edges, int],
    after: Mapping[Edges, int],
    zeros: Mapping[Edges, tuple[int, int]],
    generator: np.random.Generator,
) -> NumPyArray:
    """The values of one core."""
    edges = _edges(place)
    shape = [after[each] for each in edges]
    old = [kept.get(each, 1) for each in edges]
    if not any(core[0] == place.core[0] for core in given):
        # A new term adds nothing: one of its cores is zero.
        first = all(zeros[each] == place.core for each in edges)
        return np.zeros(shape) if first else generator.normal(size=shape)
    axes = given.get(place.core, _Axes(np.ones(()), []))
    left = tuple(axis for axis, each in enumerate(axes.edges) if each not in edges)
    axes = _Axes(axes.values.mean(axis=left), [each for each in axes.edges if each in edges])
    scale = _SMALL * (float(np.sqrt(np.mean(axes.values**2))) or 1.0)
    values = scale * generator.normal(size=shape)
    for axis, (each, size) in enumerate(zip(edges, old, strict=True)):
        if zeros[each] == place.core:
            values[(slice(None),) * axis + (slice(size, None),)] = 0
    values[tuple(map(slice, old))] = _arrange(axes, edges)
    return values
