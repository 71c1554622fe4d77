"""Token-level recordings on disk: a folder with an index, and for each layer files of some tokens each."""

import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from ..checkpoints.files import check_path, explain, write_file
from ..checkpoints.tensor_file import pack, unpack
from ..codec import Data, read_json, write_json
from ..errors import TensorMoEError
from ..typing import NumPyArray, Shape

FORMAT = 1
INDEX, SUMMARY = "index.json", "summary.safetensors"
# Bytes of the coefficients in one file, about. This many wait in memory for each layer.
_SHARD = 2**23
_COEFFICIENTS = "coefficients."


class Chunk(NamedTuple):
    """Some tokens of a layer.

    Attributes:
        coefficients: (T, N_e) for each level, in the type that the model computes with.
        columns: what rides along, (T,) each, such as "labels".

    Examples:
        >>> import numpy as np
        >>> import tensormoe as tm
        >>> chunk = tm.analysis.Chunk((np.ones((2, 1)),), {"labels": np.array([3, 8])})
        >>> chunk.columns["labels"].tolist()
        [3, 8]
    """

    coefficients: tuple[NumPyArray, ...]
    columns: Mapping[str, NumPyArray]


@dataclass
class _Shelf:
    """The files of one layer, and the tokens that wait for the next."""

    number: int
    experts: Shape
    sizes: list[int] = field(default_factory=list)
    waiting: list[Chunk] = field(default_factory=list)

    @property
    def names(self) -> list[str]:
        return [f"{self.number:04d}-{chunk:06d}.safetensors" for chunk in range(len(self.sizes))]

    def rows(self) -> int:
        """The tokens that one file holds."""
        width = sum(int(a.itemsize * a.shape[1]) for a in self.waiting[0].coefficients)
        return max(1, _SHARD // width)


@dataclass(frozen=True)
class Store:
    """A folder of tokens that is complete, read one file at a time.

    Args:
        path: of the folder.
        layers: for each layer the names of its files and the tokens in each.
    """

    path: str
    layers: Mapping[str, tuple[tuple[str, int], ...]]

    @classmethod
    def open(cls, path: str) -> "Store":
        """Read the index.

        Raises:
            TensorMoEError: there is none, or it is not one that `record` wrote.
        """
        try:
            with open(os.path.join(path, INDEX), encoding="utf-8") as file:
                data = read_json(file.read())
        except (OSError, UnicodeDecodeError, TensorMoEError) as error:
            raise TensorMoEError("path", path, "it has no index of a recording: pass its folder") from error
        if data.get("format") != FORMAT:
            remedy = f"this version reads format {FORMAT} of a recording's store: update tensormoe"
            raise TensorMoEError("path", data.get("format"), remedy)
        layers = data.get("layers")
        match layers:
            case dict() if all(_is_listing(files) for files in layers.values()):
                return cls(path, {name: tuple(map(tuple, files)) for name, files in layers.items()})
        raise TensorMoEError("path", path, "its index is damaged: record again")

    def chunks(self, name: str) -> Iterator[Chunk]:
        """The tokens of a layer in the order in which they came, some at a time.

        Raises:
            TensorMoEError: a file is missing, or has changed.
        """
        for file, tokens in self.layers.get(name, ()):
            chunk = _read(os.path.join(self.path, file))
            if any(len(array) != tokens for array in (*chunk.coefficients, *chunk.columns.values())):
                raise TensorMoEError("store", file, "it has other tokens than the index says: record again")
            yield chunk


class StoreWriter:
    """Writes a store beside its place, and puts it there when all is recorded.

    Args:
        path: of a folder that does not exist yet.

    Raises:
        TensorMoEError: something is there, or the system refuses to write.
    """

    def __init__(self, path: object) -> None:
        self.path = os.path.abspath(check_path(path))
        with explain(self.path, "nothing is recorded"), suppress(FileNotFoundError):
            os.lstat(self.path)
            raise TensorMoEError("store", path, "something is there already: pass the name of a new folder")
        self._folder = os.path.join(os.path.dirname(self.path), f".tensormoe-{secrets.token_hex(8)}")
        with explain(self.path, "nothing is recorded"):
            os.mkdir(self._folder)
        self._shelves: dict[str, _Shelf] = {}

    def check(self, name: str, columns: Mapping[str, NumPyArray]) -> None:
        """Raise an error unless a layer's tokens came with these columns before."""
        shelf = self._shelves.get(name)
        if shelf is None or not shelf.waiting:
            return
        known = shelf.waiting[0].columns.keys()
        if known != columns.keys():
            remedy = (
                f"the batches before had {', '.join(sorted(known)) or 'none'}: a store needs the same for all"
            )
            raise TensorMoEError("columns", sorted(columns), remedy)

    def append(self, name: str, chunk: Chunk) -> None:
        """Take tokens of a layer, and write a file when there are enough for one."""
        experts = tuple(a.shape[1] for a in chunk.coefficients)
        shelf = self._shelves.setdefault(name, _Shelf(len(self._shelves), experts))
        # What a framework handed over may be overwritten by the next batch.
        shelf.waiting.append(_map(np.copy, chunk))
        while sum(map(_count, shelf.waiting)) > shelf.rows():
            self._write(shelf, shelf.rows())

    def finish(self, write_summary: Callable[[str], None]) -> Store:
        """Write what waits, the summary and the index, and put the folder in its place."""
        for shelf in self._shelves.values():
            if sum(map(_count, shelf.waiting)):
                self._write(shelf, shelf.rows())
        write_summary(os.path.join(self._folder, SUMMARY))
        layers: dict[str, Data] = {
            name: [[file, size] for file, size in zip(shelf.names, shelf.sizes, strict=True)]
            for name, shelf in self._shelves.items()
        }
        text = write_json({"format": FORMAT, "layers": layers})
        write_file(os.path.join(self._folder, INDEX), [text.encode()])
        with explain(self.path, "the recording is not stored"):
            os.rename(self._folder, self.path)
        return Store.open(self.path)

    def abandon(self) -> None:
        """Remove what was written."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _write(self, shelf: _Shelf, rows: int) -> None:
        whole = _join(shelf.waiting)
        first, rest = _cut(whole, slice(0, rows)), _cut(whole, slice(rows, None))
        tensors = {f"{_COEFFICIENTS}{level}": a for level, a in enumerate(first.coefficients)}
        shelf.sizes.append(_count(first))
        write_file(
            os.path.join(self._folder, shelf.names[-1]), pack({**tensors, **first.columns}, layers="tokens")
        )
        shelf.waiting = [_map(np.copy, rest)]


def _read(path: str) -> Chunk:
    try:
        tensors, _ = unpack(path, integers=True)
    except TensorMoEError as error:
        remedy = f"a file of the recording cannot be read ({error.remedy}): record again"
        raise TensorMoEError("store", path, remedy) from error
    levels = sum(name.startswith(_COEFFICIENTS) for name in tensors)
    coefficients = tuple(tensors.pop(f"{_COEFFICIENTS}{level}") for level in range(levels))
    return Chunk(coefficients, tensors)


def _is_listing(files: object) -> bool:
    """Whether this lists names of files, none in another folder, and how many tokens each has."""
    return isinstance(files, list) and all(
        isinstance(each, list)
        and len(each) == 2
        and isinstance(each[0], str)
        and os.path.basename(each[0]) == each[0]
        and type(each[1]) is int
        for each in files
    )


def _count(chunk: Chunk) -> int:
    return len(chunk.coefficients[0])


def _map(change: Callable[[NumPyArray], NumPyArray], chunk: Chunk) -> Chunk:
    columns = {name: change(column) for name, column in chunk.columns.items()}
    return Chunk(tuple(map(change, chunk.coefficients)), columns)


def _cut(chunk: Chunk, rows: slice) -> Chunk:
    return _map(lambda array: array[rows], chunk)


def _join(chunks: Sequence[Chunk]) -> Chunk:
    coefficients = zip(*(chunk.coefficients for chunk in chunks), strict=True)
    columns = {name: np.concatenate([chunk.columns[name] for chunk in chunks]) for name in chunks[0].columns}
    return Chunk(tuple(map(np.concatenate, coefficients)), columns)
