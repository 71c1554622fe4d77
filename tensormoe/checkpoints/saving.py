"""Write layers to a file."""

import os
import warnings
from collections.abc import Mapping

import numpy as np

from ..arrays.registry import backend_of
from ..codec import Data, write_json
from ..errors import TensorMoEError
from ..layers.loading import read_arrays
from ..typing import Array, NumPyArray, Shapes
from .certificates import CERTIFICATES, certify, write_certificates
from .files import check_path, write_file
from .history import HISTORY, history_of
from .saved import Layers, Names, describe, flatten, full_name
from .tensor_file import is_known, pack


def save(layer: Layers, path: str | os.PathLike[str], *, certificate: bool = False) -> None:
    """Write a layer to a file that `tm.load` reads in every framework, bit for bit.

    The file has the safetensors format. It holds parameters and running statistics by the names of
    `tm.initialize`, the specification, and a checksum. It is written beside the path first: what was there
    stays until the new file is complete, and if that fails.

    Args:
        layer: a module of any framework, a `tm.SavedLayer`, a `tm.editing.Edited`, which is saved with its
            edits, or several of them by name, in nested mappings.
        path: of the file; by custom its name ends in ".safetensors".
        certificate: whether to write certificates beside it, proofs of the layers' programs for Coq (see
            `Proof.to_coq`), in files that end in ".v". `tensormoe check` tells whether they belong to it.

    Raises:
        ProofError: a program that is not proved.
        TensorMoEError: something that is not a layer; a gate with a function, which has no JSON; arrays that
            are not those of the specification, or not of float64, float32, float16 or bfloat16; more than
            10,000 tensors that are all tiny; a file that cannot be written.

    Warns:
        UserWarning: there are NaN among the values.

    Examples:
        >>> import tempfile
        >>> from pathlib import Path
        >>> import tensormoe as tm
        >>> path = Path(tempfile.mkdtemp()) / "layer.safetensors"
        >>> layer = tm.build(tm.MuMoESpec(8, 6, experts=4, factorization=tm.CP(rank=5)), "numpy")
        >>> tm.save(layer, path)
        >>> again = tm.load(path, "numpy")
        >>> again.spec == layer.spec, bool((again.cores["input"] == layer.cores["input"]).all())
        (True, True)
    """
    if not isinstance(certificate, bool):
        raise TensorMoEError("certificate", certificate, "pass True or False")
    target = check_path(path)
    layers = flatten(layer)
    specs = {names: each.spec for names, each in layers.items()} if certificate else {}
    notes, texts = certify(specs, target)
    listed: list[Data] = []
    tensors: dict[str, NumPyArray] = {}
    for names, each in layers.items():
        shapes = each.spec.parameter_shapes | each.spec.state_shapes
        own = _read(names, describe(names), each.arrays(), shapes)
        entry: dict[str, Data] = {"names": list(names), "spec": each.spec.to_dict()}
        if (history := history_of(each)) is not None:
            shapes = {name: tuple(array.shape) for name, array in history.arrays.items()}
            own |= _read((*names, HISTORY), f"{HISTORY} of {describe(names)}", history.arrays, shapes)
            entry[HISTORY] = history.describe(shapes)
        if not own.keys().isdisjoint(tensors):
            raise TensorMoEError(describe(names), type(each), "other names lead to the same text: rename one")
        tensors |= own
        listed.append(entry | {CERTIFICATES: notes[names]} if certificate else entry)
    warn_of_nan(tensors, target, callers=2)
    write_file(target, pack(tensors, write_json({"layers": listed})))
    write_certificates(texts)


def _read(names: Names, argument: str, arrays: Mapping[str, Array], shapes: Shapes) -> dict[str, NumPyArray]:
    """The arrays of a layer by their names in the file."""
    for name, array in arrays.items():
        dtype = backend_of(array).dtype_name(array) if hasattr(array, "dtype") else ""
        if "float" in dtype and not is_known(dtype):
            remedy = "convert the layer to float64, float32, float16 or bfloat16 first"
            raise TensorMoEError(f"{argument}[{name!r}]", dtype, remedy)
    values = read_arrays(arrays, shapes, argument)
    return {full_name(names, name): value for name, value in values.items()}


def warn_of_nan(tensors: Mapping[str, NumPyArray], path: str, callers: int) -> None:
    """Warn of NaN among values, which are kept, where a public function was called."""
    with np.errstate(invalid="ignore"):
        spoilt = [name for name, array in tensors.items() if np.isnan(array).any()]
    if spoilt:
        listed = ", ".join(spoilt[:3]) + (" and others" if len(spoilt) > 3 else "")
        warnings.warn(f"{path}: there are NaN in {listed}", stacklevel=callers + 1)
