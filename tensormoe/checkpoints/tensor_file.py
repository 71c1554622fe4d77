"""The safetensors format: the header's length in 8 bytes, the header in JSON, then the tensors' bytes.

It is read here and not by the package of that name, which knows no bfloat16 for NumPy. Nothing is allocated
before the sizes that the header declares are known to be those of the file. A checksum over the header and
all bytes makes every change an error: nothing else would tell that a bit of a weight has flipped.
"""

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from io import BufferedReader
from math import prod

import numpy as np

from ..arrays.numpy_kinds import import_bfloat16
from ..codec import Data, read_json
from ..errors import LARGEST, TensorMoEError
from ..typing import NumPyArray, Shape
from .files import Chunk, open_file

# The version of what the metadata say. Raise it for every change that older versions would misread.
FORMAT = 1
# The element types by their names in the format, with the bytes of an element: those of parameters, and that
# of labels and numbers of tokens in recordings.
_FLOATS = {"F64": ("float64", 8), "F32": ("float32", 4), "F16": ("float16", 2), "BF16": ("bfloat16", 2)}
_TYPES = {**_FLOATS, "I64": ("int64", 8)}
_CODES = {name: code for code, (name, _) in _TYPES.items()}
_METADATA = "__metadata__"
_FORMAT, _LAYERS, _CHECKSUM = "tensormoe.format", "tensormoe.layers", "tensormoe.sha256"
# The bytes of the header's length, and of what tensors are aligned to.
_WORD = 8
# A header may take up to 30 times its length of memory while it is read, so it must be short, or small beside
# the tensors: then all of a file takes at most twice its size and 32 MiB.
_SHORT_HEADER, _HEADERS_SHARE = 2**20, 32
# No layer's tensor has as many axes, and NumPy allows more.
_MOST_AXES = 32
_AGAIN = "save the layer again"
_ANOTHER = f"pass one that tm.save wrote, or {_AGAIN}"


class _UnreadableError(Exception):
    """What is wrong with a file."""


@dataclass(frozen=True)
class _Entry:
    """A tensor in the header: its type by the format's name, its shape, where its bytes start and end."""

    code: str
    shape: Shape
    start: int
    end: int


def pack(tensors: Mapping[str, NumPyArray], layers: str) -> list[Chunk]:
    """The bytes of a file in parts: the header, then the memory of each tensor.

    Args:
        tensors: by name, in types that `is_known` knows, or of int64.
        layers: what the tensors are of.

    Raises:
        TensorMoEError: so many small tensors that their header is too long to be read.

    Examples:
        >>> import numpy as np
        >>> from tensormoe.checkpoints.tensor_file import pack
        >>> header, *tensors = pack({"a": np.ones(3, "float32")}, layers="")
        >>> int.from_bytes(header[:8], "little") + 8 == len(header), tensors[0].nbytes
        (True, 12)
    """
    metadata: dict[str, Data] = {_FORMAT: str(FORMAT), _LAYERS: layers}
    header: dict[str, Data] = {_METADATA: metadata}
    chunks: list[memoryview] = []
    end = 0
    # Wide types first, so that tensors lie where their type may lie in a file that is mapped into memory.
    for name in sorted(tensors, key=lambda name: (-tensors[name].dtype.itemsize, name)):
        array, start = tensors[name], end
        end += array.nbytes
        code, shape = _CODES[array.dtype.name], list(array.shape)
        header[name] = {"dtype": code, "shape": shape, "data_offsets": [start, end]}
        chunks.append(_to_bits(array))
    metadata[_CHECKSUM] = _compute_checksum(header, chunks)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _WORD)
    if not _is_short(len(text), end):
        remedy = "they have more names than values: save fewer layers to a file"
        raise TensorMoEError("layers", f"{len(tensors):,} tensors", remedy)
    return [len(text).to_bytes(_WORD, "little") + text, *chunks]


def is_known(dtype: str) -> bool:
    """Whether a layer's tensors of the type of this name can be written."""
    return _CODES.get(dtype) in _FLOATS


def unpack(path: str, integers: bool = False) -> tuple[dict[str, NumPyArray], str]:
    """The tensors of a file by name, each in memory of its own, and what they are of, as `pack` got both.

    Args:
        path: of the file.
        integers: whether there may be tensors of int64, which layers do not have.

    Raises:
        TensorMoEError: there is no such file, or it holds anything but exactly what `pack` gave.
    """
    with open_file(path) as file:
        try:
            return _unpack(file, (*(_TYPES if integers else _FLOATS),))
        except _UnreadableError as error:
            raise TensorMoEError("path", path, str(error)) from error


def _unpack(file: BufferedReader, codes: tuple[str, ...]) -> tuple[dict[str, NumPyArray], str]:
    header, size = _read_header(file)
    metadata = _read_metadata(header)
    entries = {name: _read_entry(name, entry, codes) for name, entry in header.items() if name != _METADATA}
    _check_places(entries, size)
    in_order = sorted(entries, key=lambda name: entries[name].start)
    bits = {name: _read_bits(file, entries[name]) for name in in_order}
    noted = metadata.pop(_CHECKSUM)
    if _compute_checksum(header, map(_as_memory, bits.values())) != noted:
        raise _UnreadableError(f"it has changed since tm.save wrote it: {_AGAIN}")
    return {name: _from_bits(bits[name], entries[name].code) for name in in_order}, metadata[_LAYERS]


def _read_header(file: BufferedReader) -> tuple[dict[str, object], int]:
    """The header, and how many bytes come after it."""
    size = os.fstat(file.fileno()).st_size
    length = int.from_bytes(file.read(_WORD), "little")
    rest = size - _WORD - length
    if size < _WORD or rest < 0 or not _is_short(length, rest):
        raise _UnreadableError(f"it is cut, or not a safetensors file: {_ANOTHER}")
    try:
        return read_json(file.read(length).decode()), rest
    except (TensorMoEError, UnicodeDecodeError) as error:
        raise _UnreadableError(f"it is damaged, or not a safetensors file: {_ANOTHER}") from error


def _is_short(length: int, rest: int) -> bool:
    """Whether a header's length fits the bytes of the tensors."""
    return length <= _SHORT_HEADER + rest // _HEADERS_SHARE


def _read_metadata(header: Mapping[str, object]) -> dict[str, str]:
    metadata = header.get(_METADATA)
    if not isinstance(metadata, dict) or not {_FORMAT, _LAYERS, _CHECKSUM} <= metadata.keys():
        remedy = (
            "pass its tensors to layer.load_arrays by the names of tm.initialize, or to tm.from_published if "
            "the published code wrote them"
        )
        raise _UnreadableError(f"tm.save did not write it, so nothing says what its tensors are of: {remedy}")
    if not all(isinstance(value, str) for value in metadata.values()):
        raise _UnreadableError(f"its metadata are damaged: {_AGAIN}")
    number = metadata[_FORMAT]
    if number.isascii() and number.isdigit() and number[:1] != "0" and number != str(FORMAT):
        raise _UnreadableError(
            f"its format is {number[:30]}, and this version reads {FORMAT}: update tensormoe"
        )
    return metadata


def _read_entry(name: str, entry: object, codes: tuple[str, ...]) -> _Entry:
    match entry:
        case {"dtype": str(code), "shape": list(shape), "data_offsets": [start, end], **rest} if not rest:
            entry = _Entry(code, tuple(shape), start, end)
        case _:
            raise _UnreadableError(f"its header is damaged at {name!r}: {_AGAIN}")
    if code not in codes:
        listed = ", ".join(codes)
        raise _UnreadableError(f"{name!r} is of type {code!r}; tensors of layers are of {listed}: {_AGAIN}")
    sizes = (start, end, *shape)
    if len(shape) > _MOST_AXES or not all(type(size) is int and 0 <= size <= LARGEST for size in sizes):
        raise _UnreadableError(f"its header is damaged at {name!r}: {_AGAIN}")
    if end - start != prod(shape) * _TYPES[code][1] or end == start:
        raise _UnreadableError(f"the shape of {name!r} does not fit the bytes that it has: {_AGAIN}")
    return entry


def _check_places(entries: Mapping[str, _Entry], size: int) -> None:
    """Raise an error unless the tensors lie one after the other and fill the file."""
    end = 0
    for entry in sorted(entries.values(), key=lambda entry: entry.start):
        if entry.start != end:
            raise _UnreadableError(f"its tensors overlap or leave gaps: {_AGAIN}")
        end = entry.end
    if end != size:
        raise _UnreadableError(
            f"its tensors have {end:,} bytes by its header, but {size:,} are there: {_AGAIN}"
        )


def _read_bits(file: BufferedReader, entry: _Entry) -> NumPyArray:
    bits = np.empty(entry.shape, f"<u{_TYPES[entry.code][1]}")
    if file.readinto(_as_memory(bits)) != bits.nbytes:
        raise _UnreadableError("it was cut while it was read: try again")
    return bits


def _as_memory(bits: NumPyArray) -> memoryview:
    return bits.reshape(-1).view(np.uint8).data


def _to_bits(array: NumPyArray) -> memoryview:
    """An array's memory, in row-major order and the format's order of bytes."""
    width = array.dtype.itemsize
    return _as_memory(np.ascontiguousarray(array).view(f"u{width}").astype(f"<u{width}", copy=False))


def _from_bits(bits: NumPyArray, code: str) -> NumPyArray:
    dtype = import_bfloat16() if code == "BF16" else np.dtype(_TYPES[code][0])
    return bits.astype(f"=u{dtype.itemsize}", copy=False).view(dtype)


def _compute_checksum(header: Mapping[str, object], chunks: Iterable[memoryview]) -> str:
    """Of the header without its own checksum, whatever the order of its fields, and of all bytes."""
    checksum = sha256(json.dumps(header, sort_keys=True).encode())
    for chunk in chunks:
        checksum.update(chunk)
    return checksum.hexdigest()
