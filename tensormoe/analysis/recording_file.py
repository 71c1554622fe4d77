"""A recording's sums in one file, in the format of checkpoints."""

from collections.abc import Mapping

from ..checkpoints.files import write_file
from ..checkpoints.tensor_file import pack, unpack
from ..codec import Data, read_json, write_json
from ..errors import TensorMoEError, positive_integer, positive_number
from ..typing import NumPyArray
from .recording_sums import LayerSums, shapes_of

FORMAT = 1
_LABELS = "labels"


def write(layers: Mapping[str, LayerSums], path: str) -> None:
    """Write the sums of layers by name.

    Raises:
        TensorMoEError: the file cannot be written.
    """
    listed: list[Data] = []
    tensors: dict[str, NumPyArray] = {}
    for number, (name, sums) in enumerate(layers.items()):
        listed.append({"name": name, "experts": list(sums.experts), "threshold": sums.threshold})
        own = {**sums.arrays, _LABELS: sums.labels}
        # The format has no arrays without elements.
        tensors |= {f"{number}.{key}": array for key, array in own.items() if array.size}
    write_file(path, pack(tensors, write_json({"format": FORMAT, "recording": listed})))


def read(path: str) -> dict[str, LayerSums]:
    """Read the sums of layers by name.

    Raises:
        TensorMoEError: there is no such file, it holds something else, or it has changed.
    """
    tensors, text = unpack(path, integers=True)
    try:
        data = read_json(text)
        if "recording" not in data:
            raise TensorMoEError("recording", sorted(data), "it is a checkpoint, not a recording")
        if data.get("format") != FORMAT:
            raise TensorMoEError("format", data.get("format"), f"this version reads format {FORMAT}")
        return dict(
            _read_layer(number, each, tensors) for number, each in enumerate(_list(data["recording"]))
        )
    except TensorMoEError as error:
        remedy = f"it does not hold a recording ({error}): pass one that recording.save wrote"
        raise TensorMoEError("path", path, remedy) from error


def _list(value: object) -> list[object]:
    if not isinstance(value, list):
        raise TensorMoEError("recording", value, "it is a list of layers")
    return value


def _read_layer(number: int, data: object, tensors: Mapping[str, NumPyArray]) -> tuple[str, LayerSums]:
    match data:
        case {"name": str(name), "experts": [_, *_] as experts, "threshold": threshold}:
            counts = tuple(positive_integer("experts", n) for n in experts)
            limit = positive_number("threshold", threshold)
        case _:
            raise TensorMoEError("layer", data, "it has a name, experts and a threshold")
    labels = tensors.get(f"{number}.{_LABELS}")
    own = {name: tensors.get(f"{number}.{name}") for name in shapes_of(counts, 0)}
    for key, shape in shapes_of(counts, 0 if labels is None else len(labels)).items():
        array = own[key]
        if 0 not in shape and (array is None or array.shape != shape or array.dtype != "float64"):
            raise TensorMoEError(
                f"{key} of {name!r}", None if array is None else array.shape, f"its shape is {shape}"
            )
    sums = LayerSums(counts, limit, labels)
    sums.arrays |= {key: array for key, array in own.items() if array is not None}
    return name, sums
