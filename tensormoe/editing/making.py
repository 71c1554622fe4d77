"""From a layer and a list of edits to the specification and the arrays of its edited copy."""

from collections.abc import Sequence

import numpy as np

from ..checkpoints.copying import convert
from ..checkpoints.saved import Layer
from ..errors import TensorMoEError
from ..fitting.target import read_values
from ..layers.parameters import cores_of, join_name
from ..layers.spec import Spec
from ..networks.families import CP
from ..networks.network import Network
from ..networks.notation import split
from ..typing import Array, NumPyArray
from .draft import Draft
from .edits import Edit
from .pieces import Piece


def make(layer: Layer, edits: Sequence[Edit]) -> tuple[Spec, dict[str, Array]]:
    """The specification and all arrays after the edits."""
    spec, arrays = layer.spec, layer.arrays()
    drafts = {
        name: Draft(stage, {core: read_values(join_name(name, core), array) for core, array in cores.items()})
        for name, stage in spec.layers.items()
        for cores in [cores_of(spec, arrays, name)]
    }
    for number, each in enumerate(edits, start=1):
        try:
            spec = each.respecify(spec)
            for name in each.stages(spec):
                each.change(drafts[name])
        except TensorMoEError as error:
            raise TensorMoEError(
                f"{error.argument} of edit {number}", error.received, error.remedy
            ) from error
    changed = {
        join_name(name, core): draft.cores[core] for name, draft in drafts.items() for core in draft.changed
    }
    beside = {name: draft.finish() for name, draft in drafts.items()}
    rank = max((piece.left.shape[1] for piece in beside.values() if piece), default=0)
    if rank:
        spec = _grow(spec, rank)
        for name, piece in beside.items():
            changed |= _name(name, spec.layers[name].network, piece, rank)
    like = next(iter(cores_of(layer.spec, arrays, next(iter(drafts))).values()))
    given = {name: convert("edits", name, values, arrays.get(name, like)) for name, values in changed.items()}
    names = (*spec.parameter_shapes, *spec.state_shapes)
    return spec, {name: given[name] if name in given else arrays[name] for name in names}


def _grow(spec: Spec, rank: int) -> Spec:
    """The specification with one term more, and without a path of the terms that there were."""
    grown = spec.factorization + CP(rank)
    optimize = spec.arguments["optimize"]
    return spec.replace(factorization=grown, optimize=optimize if isinstance(optimize, str) else "auto")


def _name(layer: str, network: Network, piece: Piece | None, rank: int) -> dict[str, NumPyArray]:
    """The cores of the last term by name, filled up with zeros."""
    names = [join_name(layer, core.name) for core in split(network.cores, network.counts)[-1]]
    cores = {name: np.zeros(network.shapes[name.partition(".")[2]]) for name in names}
    if piece is not None:
        *experts, left, right = names
        own, size = piece.left.shape[1], len(cores[left])
        if piece.left[size:].any():
            remedy = "these edits change biases beside the factors: build the layer with bias=True"
            raise TensorMoEError("edits", str(network), remedy)
        for name, level in zip(experts, piece.levels, strict=True):
            cores[name][:, :own] = level
        cores[left][:, :own], cores[right][:own] = piece.left[:size], piece.right
    return cores
