"""CelebA: 202,599 aligned faces with 40 attributes each, in the files in which it is published.

Source: Liu, Luo, Wang and Tang, "Deep Learning Face Attributes in the Wild", 2015. The files are
`img_align_celeba/` (unpacked), `list_attr_celeba.txt` and `list_eval_partition.txt`. They may also lie in
`Img/`, `Anno/` and `Eval/`, as in the published folder.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

import tensormoe as tm
from tensormoe.typing import NumPyArray

from .images import Pictures

SPLITS = ("train", "valid", "test")
_PICTURES, _ATTRIBUTES, _PARTITION = "img_align_celeba", "list_attr_celeba.txt", "list_eval_partition.txt"
# Where each of them is: beside each other, or in a folder of the published ones.
_PLACES = {_PICTURES: "Img", _ATTRIBUTES: "Anno", _PARTITION: "Eval"}


@dataclass(frozen=True)
class Faces:
    """The faces of one split.

    Args:
        pictures: in the order of the published lists.
        attributes: whether each face has each attribute (T, 40), bool.
        names: of the attributes.
    """

    pictures: Pictures
    attributes: NumPyArray
    names: tuple[str, ...]

    def attribute(self, name: str) -> NumPyArray:
        """Whether each face has it, 0 or 1 (T,).

        Raises:
            TensorMoEError: an attribute that is not one of the published.
        """
        if name not in self.names:
            raise tm.TensorMoEError("name", name, f"the attributes are {', '.join(self.names)}")
        return self.attributes[:, self.names.index(name)].astype("int64")


def read_celeba(root: str | Path, split: str, *, size: int = 224) -> Faces:
    """Find the faces of a split; files are read when they are indexed.

    Args:
        root: the folder with the published files.
        split: "train", "valid" or "test".
        size: of both sides, in pixels; of a face of 178 × 218 the middle square is taken.

    Raises:
        TensorMoEError: a split of another name; a file that is missing, or not as published. It says
            what was looked for where, or which line is wrong.
    """
    if split not in SPLITS:
        raise tm.TensorMoEError("split", split, f"CelebA has {', '.join(SPLITS)}")
    folder, attributes, partition = (_find(Path(root), name) for name in _PLACES)
    names, files, values = _read_attributes(attributes)
    members = _read_partition(partition, files) == SPLITS.index(split)
    chosen = tuple(folder / file for file, member in zip(files, members, strict=True) if member)
    there = {path.name for path in folder.iterdir()}
    if missing := [path.name for path in chosen if path.name not in there]:
        remedy = f"{folder} lacks {len(missing)} of {len(chosen)} pictures, the first is {missing[0]}"
        raise tm.TensorMoEError("root", str(root), f"{remedy}: unpack img_align_celeba.zip again")
    return Faces(Pictures(chosen, size), values[members], names)


def _find(root: Path, name: str) -> Path:
    places = (root / name, root / _PLACES[name] / name)
    for place in places:
        if place.exists():
            return place
    remedy = f"there is neither {places[0]} nor {places[1]}: put the files there as CelebA publishes them"
    raise tm.TensorMoEError("root", str(root), remedy)


def _read_attributes(path: Path) -> tuple[tuple[str, ...], list[str], NumPyArray]:
    """The names of attributes, of files, and whether each has each."""
    lines = path.read_text(encoding="utf-8").splitlines()
    names = tuple(lines[1].split()) if len(lines) > 1 else ()
    if not names or not lines[0].strip().isdigit():
        raise _unlike(path, 1, "the number of pictures, and a second line with the attributes' names")
    count = int(lines[0])
    rows = [line.split() for line in lines[2:]]
    if len(rows) != count:
        raise _unlike(path, 1, f"the number of pictures that follow, which are {len(rows)}")
    for number, row in enumerate(rows, start=3):
        if len(row) != len(names) + 1 or not {*row[1:]} <= {"-1", "1"}:
            raise _unlike(path, number, f"a file's name and {len(names)} times 1 or -1")
    values = np.array([row[1:] for row in rows]).reshape(count, len(names)) == "1"
    return names, [row[0] for row in rows], values


def _read_partition(path: Path, files: list[str]) -> NumPyArray:
    """The number of each file's split."""
    rows = [line.split() for line in path.read_text(encoding="utf-8").splitlines()]
    for number, row in enumerate(rows, start=1):
        if len(row) != 2 or row[1] not in ("0", "1", "2"):
            raise _unlike(path, number, "a file's name and 0, 1 or 2")
    splits = dict(rows)
    if missing := [file for file in files if file not in splits]:
        raise _unlike(path, len(rows) + 1, f"the split of {missing[0]}, which {_ATTRIBUTES} has")
    return np.array([int(splits[file]) for file in files])


def _unlike(path: Path, number: int, expected: str) -> tm.TensorMoEError:
    return tm.TensorMoEError("root", str(path), f"line {number} must be {expected}: copy it as published")
