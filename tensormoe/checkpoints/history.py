"""What a file keeps of how a layer was made from another one: what undoing it takes."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from ..codec import Data
from ..errors import LARGEST, TensorMoEError
from ..layers.spec import Spec
from ..typing import Array, Shape, Shapes
from .saved import Layer

# What stands between a layer's name and those of its history's tensors.
HISTORY = "history"


class History(NamedTuple):
    """The layer that another one was made from, and how. Only `tensormoe.editing` knows what edits mean.

    Attributes:
        spec: the specification before.
        edits: what was done, as plain data; the places of arrays have the names that these have in `arrays`.
        arrays: by name, arrays of the layer before that are other ones now, and those of edits.
    """

    spec: Spec
    edits: list[Data]
    arrays: Mapping[str, Array]

    def describe(self, shapes: Shapes) -> dict[str, Data]:
        """The same as plain data, with the shapes of the arrays in their place."""
        listed: dict[str, Data] = {name: list(shape) for name, shape in shapes.items()}
        return {"spec": self.spec.to_dict(), "edits": self.edits, "arrays": listed}


class Described(NamedTuple):
    """A history whose arrays are not read yet: their shapes by name."""

    spec: Spec
    edits: list[Data]
    shapes: dict[str, Shape]


def history_of(layer: Layer) -> History | None:
    """The history of a layer that has one."""
    read = getattr(layer, HISTORY, None)
    history = read() if callable(read) else None
    return history if isinstance(history, History) else None


def read_history(data: object) -> Described | None:
    """What `History.describe` gave, of a layer that has a history.

    Raises:
        TensorMoEError: data of another form.
    """
    match data:
        case None:
            return None
        case {"spec": dict(spec), "edits": list(edits), "arrays": dict(arrays), **rest} if not rest:
            return Described(
                Spec.from_dict(spec), edits, {name: _read_shape(each) for name, each in arrays.items()}
            )
    raise TensorMoEError(HISTORY, data, "this is not a specification, a list of edits, and arrays' shapes")


def _read_shape(data: Any) -> Shape:
    if isinstance(data, list) and all(type(size) is int and 0 < size <= LARGEST for size in data):
        return tuple(data)
    raise TensorMoEError(HISTORY, data, "this is not the shape of an array")
