"""Edited copies of layers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..checkpoints.copying import check_layer, rebuild
from ..checkpoints.history import History
from ..checkpoints.saved import Layer
from ..errors import TensorMoEError, as_tuple, non_negative_integer
from ..layers.spec import Spec
from ..tables import table
from ..typing import Array
from .certify import Certificate, certify
from .edits import Edit
from .keeping import keep
from .making import make
from .reading import Place


@dataclass(frozen=True, eq=False)
class Edited:
    """A layer and its edited copy. `tm.editing.edit` makes it; `tm.save` writes it with its edits.

    Print it for the list of edits. `tm.editing.load` reads what `tm.save` wrote.

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

    def history(self) -> History:
        """What undoing the edits takes, as `tm.save` writes it: the edits, and what was in the layer before.

        Raises:
            TensorMoEError: these edits no longer make the copy of the base, since one of them has changed.

        Examples:
            >>> import tensormoe as tm
            >>> layer = tm.build(tm.MuMoESpec(8, 6, 4, tm.CP(5)), "numpy", seed=0)
            >>> list(tm.editing.edit(layer, tm.editing.Ablate(2)).history().arrays)
            ['cores.expert1']
        """
        return keep(self.base, self.edits, self.layer)

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
        spec: Spec = self.base.spec
        places: dict[str, set[Place]] = {name: set() for name in spec.layers}
        for each in self.edits:
            places = {name: each.carry(kept, spec.experts) for name, kept in places.items()}
            spec = each.respecify(spec)
            for name in each.stages(spec):
                places[name].update(each.places(spec.experts))
        return certify(self.base, self.layer, {name: sorted(kept) for name, kept in places.items()})

    def __str__(self) -> str:
        rows = [(str(number), repr(each)) for number, each in enumerate(self.edits, start=1)]
        return table(("edit", "what"), rows, text_columns=2)


def edit(layer: Layer | Edited, edits: Edit | Sequence[Edit]) -> Edited:
    """Edit single experts of a layer's copy. The layer stays as it is.

    Zeroing, scaling and merging experts is done in the factors where one core has a row for each expert.
    Everything else is one more term of the network, a `CP` whose rows are zero for other experts.
    Its rank is the sum of the ranks of what is added. With bias=False, biases are a further term without the
    input. Plans, proofs, verification and checkpoints take the result as any other sum. In a block, the term
    is zero in the layers that were not edited.

    Args:
        layer: a module of any framework, or a `tm.SavedLayer`; what was edited already is edited further.
        edits: `Ablate`, `Scale`, `Merge`, `Replace`, `Add`, `AddBias`, `RewriteBias`, `Split` or `Steer`, one
            or several, made in this order.

    Returns:
        An `Edited`, whose `layer` is of the same kind and framework, with parameters of the same type.

    Raises:
        TensorMoEError: another kind of object, an expert, an output or a layer that is not there, a matrix of
            another shape, or values that are too large for the parameters' type. Nothing is changed then.

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
    return Edited(layer, listed, rebuild(layer, *make(layer, listed)))


def _read_edits(edits: object) -> tuple[Edit, ...]:
    listed = (edits,) if isinstance(edits, Edit) else as_tuple(edits)
    for each in listed:
        if not isinstance(each, Edit):
            raise TensorMoEError("edits", each, "pass edits, such as tm.editing.Ablate(3)")
    return tuple(each for each in listed if isinstance(each, Edit))
