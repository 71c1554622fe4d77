"""Read edited layers from a file, with their edits."""

import os
from collections.abc import Callable
from typing import Any

from ..checkpoints.files import check_path
from ..checkpoints.history import History
from ..checkpoints.loading import read_file
from ..checkpoints.saved import SavedLayer, describe, nest
from ..errors import TensorMoEError
from .edited import Edited
from .keeping import copy_layer, restore_edits


def load(path: str | os.PathLike[str], backend: str, **options: Any) -> Any:
    """Read an edited layer that `tm.save` wrote, with its edits, to show, undo or certify them.

    The edits are made again of the layer before, and must give the layer that the file has.

    Args:
        path: of the file.
        backend, options: as for `tm.load`.

    Returns:
        An `Edited` with modules of the framework; nested dictionaries of them if several layers were saved by
        name. A layer that was not edited has an empty list of edits.

    Raises:
        TensorMoEError: as `tm.load`; edits that are damaged, or do not give the layer's weights up to what
            its type rounds.

    Warns:
        UserWarning: there are NaN among the values.

    Examples:
        >>> import tempfile
        >>> from pathlib import Path
        >>> import tensormoe as tm
        >>> path = Path(tempfile.mkdtemp()) / "layer.safetensors"
        >>> layer = tm.build(tm.MuMoESpec(8, 6, 4, tm.CP(5)), "numpy", seed=0)
        >>> tm.save(tm.editing.edit(layer, tm.editing.Ablate(2)), path)
        >>> edited = tm.editing.load(path, "numpy")
        >>> edited.edits
        (Ablate(expert=2),)
        >>> bool((edited.undo().layer.materialize() == layer.materialize()).all())
        True
    """
    return nest(
        {
            names: _restore(*each, describe(names), lambda saved: saved.build(backend, **options))
            for names, each in read_file(check_path(path)).items()
        }
    )


def load_arrays(path: str | os.PathLike[str]) -> Any:
    """Read an edited layer that `tm.save` wrote, with its edits and without a framework.

    Args:
        path: of the file.

    Returns:
        An `Edited` whose base and layer are each a `tm.SavedLayer`; nested dictionaries of them if several
        layers were saved by name.

    Raises:
        TensorMoEError: as `load`.

    Warns:
        UserWarning: there are NaN among the values.

    Examples:
        >>> import tempfile
        >>> from pathlib import Path
        >>> import tensormoe as tm
        >>> path = Path(tempfile.mkdtemp()) / "layer.safetensors"
        >>> layer = tm.build(tm.MuMoESpec(8, 6, 4, tm.CP(5)), "numpy", seed=0)
        >>> tm.save(tm.editing.edit(layer, tm.editing.Ablate(2)), path)
        >>> tm.editing.load_arrays(path).certificate().unchanged
        {'cores': 3}
    """
    return nest(
        {
            names: _restore(*each, describe(names), lambda saved: saved)
            for names, each in read_file(check_path(path)).items()
        }
    )


def _restore(
    layer: SavedLayer, history: History | None, name: str, build: Callable[[SavedLayer], Any]
) -> Edited:
    try:
        base, edits = (copy_layer(layer), ()) if history is None else restore_edits(history, layer)
    except TensorMoEError as error:
        remedy = f"its edits do not hold ({error}): tm.load reads the layer without them"
        raise TensorMoEError(name, "damaged edits", remedy) from error
    return Edited(build(base), edits, build(layer))
