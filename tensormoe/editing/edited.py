"""Edited copies of layers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..arrays.backend import Backend
from ..arrays.registry import backend_of
from ..checkpoints.saved import Layer, SavedLayer
from ..errors import TensorMoEError, as_tuple, non_negative_integer, one_of
from ..fitting.target import read_values
from ..layers.building import restore
from ..layers.parameters import cores_of, join_name
from ..layers.spec import Spec
from ..networks.families import CP
from ..networks.network import Network
from ..networks.notation import split
from ..tables import table
from ..typing import Array, NumPyArray
from .certify import Certificate, certify, check_layer
from .draft import Draft
from .edits import Edit
from .pieces import Piece
from .reading import Place


@dataclass(frozen=True, eq=False)
class Edited:
    """A layer and its edited copy. `tm.editing.edit` makes it; `tm.save` takes it.

    Print it for the list of edits.

    Args:
        base: the layer as it was. It is not copied: train it no further while you need the certificate.
        edits: what was done to it, in order.
        layer: the edited copy, of the same kind.

    Examples:
        >>> import tensormoe as tm
        >>> layer = tm.build(tm.MuMoESpec(8, 6, 4, tm.CP(5)), "numpy", seed=0)
        >>> edited = tm.editing.edit(layer, [tm.editing.Ablate(2), tm.editing.AddBias(0, 5, 0.5)])
        >>> edited.edits
        (Ablate(expert=2), AddBias(expert=0, output=5, value=0.5))
        >>> edited.undo().edits
        (Ablate(expert=2),)
    """

    base: Any
    edits: tuple[Edit, ...]
    layer: Any

    @property
    def spec(self) -> Spec:
        """The specification of the edited copy."""
        spec: Spec = self.layer.spec
        return spec

    def arrays(self) -> dict[str, Array]:
        """The parameters and running statistics of the edited copy, by name."""
        arrays: dict[str, Array] = self.layer.arrays()
        return arrays

    def edit(self, edits: Edit | Sequence[Edit]) -> "Edited":
        """The layer with more edits, after these. All of them take one term beside the network.

        Args:
            edits: one or several.

        Raises:
            TensorMoEError: as `tm.editing.edit`.

        Examples:
            >>> import tensormoe as tm
            >>> layer = tm.build(tm.MuMoESpec(8, 6, 4, tm.CP(5)), "numpy", seed=0)
            >>> len(tm.editing.edit(layer, tm.editing.Ablate(2)).edit(tm.editing.Ablate(3)).edits)
            2
        """
        return edit(self.base, (*self.edits, *_read_edits(edits)))

    def undo(self, count: int = 1) -> "Edited":
        """The layer without the last edits: made again from the base, so that nothing is left of them.

        Args:
            count: how many.

        Raises:
            TensorMoEError: more than there are.

        Examples:
            >>> import tensormoe as tm
            >>> layer = tm.build(tm.MuMoESpec(8, 6, 4, tm.CP(5)), "numpy", seed=0)
            >>> again = tm.editing.edit(layer, tm.editing.Ablate(2)).undo().layer
            >>> bool((again.materialize() == layer.materialize()).all())
            True
        """
        number, total = non_negative_integer("count", count), len(self.edits)
        if number > total:
            raise TensorMoEError("count", count, f"there are {total} edits to undo")
        return edit(self.base, self.edits[: total - number])

    def certificate(self) -> Certificate:
        """Prove that only the experts changed that the edits name; see `tm.editing.certify`.

        Raises:
            TensorMoEError: anything else has changed since, in the base or in the copy.

        Examples:
            >>> import tensormoe as tm
            >>> layer = tm.build(tm.MuMoESpec(8, 6, 4, tm.CP(5)), "numpy", seed=0)
            >>> tm.editing.edit(layer, tm.editing.Ablate(2)).certificate().unchanged
            {'cores': 3}
        """
        places: dict[str, list[Place]] = {}
        for each in self.edits:
            places.setdefault(_find_layer(self.spec, each.layer), []).extend(each.places(self.spec.experts))
        return certify(self.base, self.layer, places)

    def __str__(self) -> str:
        rows = [(str(number), repr(each)) for number, each in enumerate(self.edits, start=1)]
        return table(("edit", "what"), rows, text_columns=2)


def edit(layer: Layer | Edited, edits: Edit | Sequence[Edit]) -> Edited:
    """Edit single experts of a layer's copy. The layer stays as it is.

    Zeroing, scaling and merging experts is done in the factors where one core has a row for each expert.
    Everything else is one more term of the network, a `CP` whose rows are zero for other experts.
    Its rank is the sum of the ranks of what is added. Plans, proofs, verification and checkpoints take the
    result as any other sum. In a block, the term is zero in the layers that were not edited.

    Args:
        layer: a module of any framework, or a `tm.SavedLayer`; what was edited already is edited further.
        edits: `Ablate`, `Scale`, `Merge`, `Replace`, `Add`, `AddBias` or `RewriteBias`, one or several, made
            in this order.

    Returns:
        An `Edited`, whose `layer` is of the same kind and framework, with parameters of the same type.

    Raises:
        TensorMoEError: another kind of object, an expert, an output or a layer that is not there, a matrix of
            another shape, a bias without bias=True, or values that are too large for the parameters' type.
            Nothing is changed then.

    Examples:
        >>> import numpy as np
        >>> import tensormoe as tm
        >>> layer = tm.build(tm.MuMoESpec(8, 6, (4, 3), tm.CP(5)), "numpy", seed=0, dtype="float64")
        >>> edited = tm.editing.edit(layer, tm.editing.Ablate((2, 1)))
        >>> change = abs(edited.layer.materialize() - layer.materialize()).max(axis=(2, 3)) > 1e-12
        >>> np.argwhere(change).tolist(), bool(abs(edited.layer.materialize()[2, 1]).max() < 1e-12)
        ([[2, 1]], True)
    """
    listed = _read_edits(edits)
    if isinstance(layer, Edited):
        return layer.edit(listed)
    check_layer("layer", layer)
    return Edited(layer, listed, _rebuild(layer, *_apply(layer, listed)))


def _read_edits(edits: object) -> tuple[Edit, ...]:
    listed = (edits,) if isinstance(edits, Edit) else as_tuple(edits)
    for each in listed:
        if not isinstance(each, Edit):
            raise TensorMoEError("edits", each, "pass edits, such as tm.editing.Ablate(3)")
    return tuple(each for each in listed if isinstance(each, Edit))


def _find_layer(spec: Spec, layer: str | None) -> str:
    names = tuple(spec.layers)
    name = names[0] if layer is None and len(names) == 1 else layer
    one_of("layer", name, names)
    return str(name)


def _apply(layer: Layer, edits: Sequence[Edit]) -> tuple[Spec, dict[str, Array]]:
    """The specification and all arrays after the edits."""
    spec, arrays = layer.spec, layer.arrays()
    drafts = {
        name: Draft(stage, {core: read_values(join_name(name, core), array) for core, array in cores.items()})
        for name, stage in spec.layers.items()
        for cores in [cores_of(spec, arrays, name)]
    }
    for number, each in enumerate(edits, start=1):
        try:
            each.change(drafts[_find_layer(spec, each.layer)])
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
        own = piece.left.shape[1]
        for name, level in zip(experts, piece.levels, strict=True):
            cores[name][:, :own] = level
        cores[left][:, :own], cores[right][:own] = piece.left, piece.right
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


def _rebuild(layer: Layer, spec: Spec, arrays: Mapping[str, Array]) -> Any:
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
