"""From a layer and a list of edits to the specification and the arrays of its edited copy."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..arrays.backend import Backend
from ..arrays.registry import backend_of
from ..checkpoints.saved import Layer, SavedLayer
from ..errors import TensorMoEError
from ..fitting.target import read_values
from ..layers.building import restore
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
    given = {name: _convert(name, values, arrays.get(name, like)) for name, values in changed.items()}
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


def _convert(name: str, values: NumPyArray, like: Array) -> Array:
    """Values as an array of the framework and the type of another."""
    ops: Backend = backend_of(like)
    dtype = ops.dtype_name(like)
    with np.errstate(over="ignore", invalid="ignore"):
        array = ops.from_float64(values, dtype)
    if not np.isfinite(ops.to_float64(array)).all():
        raise TensorMoEError("edits", name, f"its values are too large for {dtype}: edit by smaller numbers")
    return array


def rebuild(layer: Layer, spec: Spec, arrays: Mapping[str, Array]) -> Any:
    """A layer of the same kind with these values."""
    if isinstance(layer, SavedLayer):
        copies = {name: backend_of(array).copy(array) for name, array in arrays.items()}
        parameters, state = (
            {name: copies[name] for name in names} for names in (layer.parameters, layer.state)
        )
        added = {name: copies[name] for name in spec.parameter_shapes if name not in parameters}
        return SavedLayer(spec, parameters | added, state)
    first = next(iter(layer.arrays().values()))
    ops = backend_of(first)
    device = getattr(first, "device", None) if ops.place(first) is not None else None
    recompute = bool(getattr(layer, "recompute", False))
    module = restore(spec, arrays, ops.tensormoe_name, device=device, recompute=recompute)
    training = getattr(layer, "training", None)
    if isinstance(training, bool):
        module.train(training)
    return module
