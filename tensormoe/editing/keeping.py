"""Edits as a file keeps them: plain data, with their arrays and those of the layer before beside them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..checkpoints.history import History
from ..checkpoints.saved import Layer, SavedLayer
from ..codec import Data, encode
from ..errors import TensorMoEError
from ..layers.loading import read_arrays
from ..typing import Array, NumPyArray
from .certify import compare_gates, compare_specs
from .edits import Edit
from .making import make
from .reproduction import check_weights

_ARRAY = "array"


def keep(base: Layer, edits: Sequence[Edit], layer: Layer) -> History:
    """What a file keeps of the edits that made a layer of another one.

    Raises:
        TensorMoEError: they do not make it.
    """
    check_made(base, edits, layer)
    spec, theirs = base.spec, layer.arrays()
    before = read_arrays(base.arrays(), spec.parameter_shapes | spec.state_shapes)
    arrays: dict[str, Array] = {
        name: array for name, array in before.items() if not _is_same(array, theirs.get(name))
    }
    data: list[Data] = [_write_edit(each, str(number), arrays) for number, each in enumerate(edits)]
    return History(spec, data, arrays)


def restore_edits(history: History, layer: SavedLayer) -> tuple[SavedLayer, tuple[Edit, ...]]:
    """The layer before, and the edits that make the layer of it.

    Raises:
        TensorMoEError: they are damaged, or do not make it.
    """
    spec, arrays = history.spec, dict(history.arrays)
    parts = []
    for shapes in (spec.parameter_shapes, spec.state_shapes):
        missing = [name for name in shapes if name not in arrays and name not in layer.arrays()]
        if missing:
            raise TensorMoEError("arrays", sorted(arrays), f"missing: {', '.join(missing)}")
        given = {name: arrays.pop(name, layer.arrays().get(name)) for name in shapes}
        parts.append(read_arrays(given, shapes))
    # What both layers have is not shared by them.
    base = copy_layer(SavedLayer(spec, *parts))
    edits = tuple(Edit.from_dict(_read(each, arrays)) for each in history.edits)
    used = {name for each in history.edits for name in _list_arrays(each)}
    if unknown := sorted(arrays.keys() - used):
        raise TensorMoEError("arrays", unknown, "no edit has them")
    check_made(base, edits, layer)
    return base, edits


def copy_layer(layer: SavedLayer) -> SavedLayer:
    """The same with arrays of its own."""
    parts = ({name: np.array(array) for name, array in each.items()} for each in layer[1:])
    return SavedLayer(layer.spec, *parts)


def check_made(base: Layer, edits: Sequence[Edit], layer: Layer) -> None:
    """Raise an error unless edits of a layer give the other one, up to what its type rounds."""
    spec, arrays = make(base, edits)
    compare_specs(spec, layer.spec)
    ours, theirs = arrays, layer.arrays()
    compare_gates(spec, ours, theirs)
    check_weights((spec, ours), (layer.spec, theirs))


def _is_same(array: NumPyArray, other: Array | None) -> bool:
    """Whether an array has the very bits of another one."""
    if other is None or tuple(other.shape) != array.shape:
        return False
    values = read_arrays({"": other}, {"": array.shape})[""]
    return values.dtype == array.dtype and values.tobytes() == array.tobytes()


def _write_edit(edit: Edit, number: str, arrays: dict[str, Array]) -> dict[str, Data]:
    """An edit as plain data that names its arrays, which are put beside."""
    fields = {name: _write(value, f"{number}.{name}", arrays) for name, value in edit.arguments.items()}
    return {"type": edit.type_name(), **fields}


def _write(value: object, name: str, arrays: dict[str, Array]) -> Data:
    if isinstance(value, np.ndarray):
        arrays[name] = value
        return {_ARRAY: name}
    if isinstance(value, tuple):
        return [_write(each, f"{name}.{number}", arrays) for number, each in enumerate(value)]
    return encode(name, value)


def _read(data: object, arrays: Mapping[str, Array]) -> Any:
    """Plain data with arrays in the place of their names; every part of an edit is one level deep."""
    match data:
        case {"array": str(name), **rest} if not rest:
            if name not in arrays:
                raise TensorMoEError(
                    "array of an edit", name, f"there are only {', '.join(arrays) or 'none'}"
                )
            return arrays[name]
        case dict():
            return {name: _read(each, arrays) for name, each in data.items()}
        case list():
            return [_read(each, arrays) for each in data]
    return data


def _list_arrays(data: object) -> list[str]:
    match data:
        case {"array": str(name), **rest} if not rest:
            return [name]
        case dict():
            return [name for each in data.values() for name in _list_arrays(each)]
        case list():
            return [name for each in data for name in _list_arrays(each)]
    return []
