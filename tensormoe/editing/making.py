"""From a layer and a list of edits to the specification and the arrays of its edited copy."""

from collections.abc import Mapping, Sequence

import numpy as np

from ..checkpoints.copying import convert
from ..checkpoints.saved import Layer
from ..errors import TensorMoEError
from ..fitting.target import read_values
from ..layers.each import one_or_each
from ..layers.parameters import cores_of, join_name, name_core
from ..layers.spec import Spec
from ..layers.stage import Stage
from ..networks.factorization import Factorization
from ..networks.families import CP
from ..networks.network import Core
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
            before, spec = spec.layers, _grow(spec, family(rank, spec.levels))
            for name, stage in spec.layers.items():
                if stage.experts:
                    changed |= _name(name, stage, pieces[name])
                    changed |= _move_biases(name, before[name], stage, drafts[name].cores)
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

    Beside a bias, biases that a network has separated are no longer added by themselves: they are written.
    """
    grown, biases = [], []
    is_bias = INPUT not in term.canonical(spec.levels).indices
    for stage in spec.layers.values():
        factorization, written = stage.factorization, _separated(stage) if is_bias and stage.experts else ()
        for core in written:
            factorization = factorization + TensorNetwork(str(core))
        grown.append(factorization + term if stage.experts else factorization)
        biases.append(stage.bias and not written)
    optimize = spec.arguments["optimize"]
    kept = optimize if isinstance(optimize, str) else "auto"
    return spec.replace(factorization=one_or_each(grown), bias=one_or_each(biases), optimize=kept)


def _name(layer: str, stage: Stage, piece: Piece | None) -> dict[str, NumPyArray]:
    """The cores of the last term that is written, by name, filled up with zeros."""
    network, written = stage.network, stage.factorization.canonical(stage.levels).terms
    term = [core.name for core in split(network.cores, network.counts)[len(written) - 1]]
    cores = [np.zeros(network.shapes[name]) for name in term]
    if piece is not None:
        left = [piece.left] * (len(term) > len(piece.levels) + 1)
        for core, values in zip(cores, [*piece.levels, *left, piece.right], strict=True):
            core[tuple(map(slice, values.shape))] = values
    return {join_name(layer, name): core for name, core in zip(term, cores, strict=True)}


def _separated(stage: Stage) -> tuple[Core, ...]:
    """The biases that a network has by itself beside the cores that are written."""
    return stage.network.cores[len(stage.factorization.canonical(stage.levels).cores) :]


def _move_biases(
    layer: str, before: Stage, after: Stage, cores: Mapping[str, NumPyArray]
) -> dict[str, NumPyArray]:
    """The biases that a network had by itself and that are written now, by their new names."""
    first = len(before.factorization.canonical(before.levels).cores)
    pairs = zip(_separated(before), after.network.cores[first:], strict=False)
    return {join_name(layer, new.name): cores[old.name] for old, new in pairs if not after.bias}
