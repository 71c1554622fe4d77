"""From a layer and a list of edits to the specification and the arrays of its edited copy."""

from collections.abc import Sequence

import numpy as np

from ..checkpoints.copying import convert
from ..checkpoints.saved import Layer
from ..errors import TensorMoEError
from ..fitting.target import read_values
from ..layers.each import one_or_each
from ..layers.parameters import cores_of, join_name, name_core
from ..layers.spec import Spec
from ..networks.factorization import Factorization
from ..networks.families import CP
from ..networks.network import Network
from ..networks.notation import INPUT, OUTPUT, expert_modes, split
from ..networks.tensor_network import TensorNetwork
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
    weights = {name: read_values(name, arrays[name]) for name in spec.gate_shapes}
    for number, each in enumerate(edits, start=1):
        try:
            spec = each.respecify(spec)
            for name in each.stages(spec):
                each.change(drafts[name])
                drafts[name].refit(spec.layers[name])
            weights = each.change_gate(weights)
        except TensorMoEError as error:
            raise TensorMoEError(
                f"{error.argument} of edit {number}", error.received, error.remedy
            ) from error
    changed = {
        name_core(name, draft.stage, core): draft.cores[core]
        for name, draft in drafts.items()
        for core in draft.changed
    }
    changed |= {name: values for name, values in weights.items() if values.shape != arrays[name].shape}
    beside = {name: draft.finish() for name, draft in drafts.items()}
    for kind, family in enumerate((_matrices, _biases)):
        pieces = {name: parts[kind] for name, parts in beside.items()}
        rank = max((piece.left.shape[1] for piece in pieces.values() if piece), default=0)
        if rank:
            spec = _grow(spec, family(rank, spec.levels))
            for name, stage in spec.layers.items():
                if stage.experts:
                    changed |= _name(name, stage.network, pieces[name])
    like = next(iter(cores_of(layer.spec, arrays, next(iter(drafts))).values()))
    given = {name: convert("edits", name, values, arrays.get(name, like)) for name, values in changed.items()}
    names = (*spec.parameter_shapes, *spec.state_shapes)
    return spec, {name: given[name] if name in given else arrays[name] for name in names}


def _matrices(rank: int, levels: int) -> Factorization:
    """The term that adds matrices to experts' weights."""
    return CP(rank)


def _biases(rank: int, levels: int) -> Factorization:
    """The term that adds biases where the other cores have no row for them."""
    experts = "".join(f"{mode} r, " for mode in expert_modes(levels))
    return TensorNetwork(f"{experts}r {OUTPUT}", r=rank)


def _grow(spec: Spec, term: Factorization) -> Spec:
    """The specification with one term more in layers with experts, and without a path of the old terms.

    Raises:
        TensorMoEError: a layer adds a term of biases by itself, whose place is after all others.
    """
    stages = spec.layers.values()
    for stage in stages:
        if stage.bias and any(each.mode == INPUT for each in stage.network.splits):
            remedy = (
                "this edit adds a term, and with bias=True a network with a split input has its biases as a "
                "last term of its own: build it with bias=False, and write a bias as a term, as in + n o"
            )
            raise TensorMoEError("edits", str(stage.network), remedy)
    grown = [stage.factorization + term if stage.experts else stage.factorization for stage in stages]
    optimize = spec.arguments["optimize"]
    kept = optimize if isinstance(optimize, str) else "auto"
    return spec.replace(factorization=one_or_each(grown), optimize=kept)


def _name(layer: str, network: Network, piece: Piece | None) -> dict[str, NumPyArray]:
    """The cores of the last term by name, filled up with zeros."""
    term = [core.name for core in split(network.cores, network.counts)[-1]]
    cores = [np.zeros(network.shapes[name]) for name in term]
    if piece is not None:
        left = [piece.left] * (len(term) > len(piece.levels) + 1)
        for core, values in zip(cores, [*piece.levels, *left, piece.right], strict=True):
            core[tuple(map(slice, values.shape))] = values
    return {join_name(layer, name): core for name, core in zip(term, cores, strict=True)}
