"""ImageNet and whatever is laid out like it: a folder for each class, with its pictures in it."""

from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np

import tensormoe as tm
from tensormoe.typing import NumPyArray

from .images import SUFFIXES, Pictures, find_pictures

_LAYOUT = "root/train/<class>/<picture>, such as root/train/n01440764/n01440764_10026.JPEG"


@dataclass(frozen=True)
class ImageFolder:
    """The pictures of one split, and their classes.

    Args:
        pictures: sorted by class, then by name.
        labels: of each picture, numbers of `classes` (T,).
        classes: the names of the folders, sorted.
    """

    pictures: Pictures
    labels: NumPyArray
    classes: tuple[str, ...]


def read_folder(
    root: str | Path, split: str, *, size: int = 224, classes: int | tuple[str, ...] | None = None
) -> ImageFolder:
    """Find the pictures of a split; files are read when they are indexed.

    Args:
        root: the folder that holds a folder for each split.
        split: its name, such as "train" or "val".
        size: of both sides, in pixels.
        classes: what must be there: their number (1000 for ImageNet), or the names that another split has.

    Raises:
        TensorMoEError: a folder that is missing or empty, or other classes than must be there. It says
            where what was looked for.
    """
    folder = Path(root) / split
    if not folder.is_dir():
        raise tm.TensorMoEError("root", str(root), f"there is no folder {folder}: pictures lie in {_LAYOUT}")
    folders = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    names = tuple(path.name for path in folders)
    if not folders:
        remedy = f"{folder} has no folder of a class{_loose(folder)}: pictures lie in {_LAYOUT}"
        raise tm.TensorMoEError("root", str(root), remedy)
    _check_classes(folder, names, classes)
    members = [find_pictures(path) for path in folders]
    if empty := [path for path, pictures in zip(folders, members, strict=True) if not pictures]:
        kinds = ", ".join(sorted(SUFFIXES))
        remedy = f"{len(empty)} of {len(folders)} classes have no picture ({kinds}), the first is {empty[0]}"
        raise tm.TensorMoEError("root", str(root), remedy)
    labels = np.repeat(np.arange(len(names)), [len(pictures) for pictures in members])
    return ImageFolder(Pictures(tuple(chain(*members)), size), labels, names)


def _check_classes(folder: Path, names: tuple[str, ...], classes: int | tuple[str, ...] | None) -> None:
    if isinstance(classes, int) and len(names) != classes:
        remedy = f"{folder} must have {classes} folders, one for each class: {_LAYOUT}"
        raise tm.TensorMoEError("classes", len(names), remedy)
    if isinstance(classes, tuple) and names != classes:
        missing, further = sorted({*classes} - {*names}), sorted({*names} - {*classes})
        texts = {"lacks": missing, "has besides": further}
        said = " and ".join(f"{verb} {_some(which)}" for verb, which in texts.items() if which)
        raise tm.TensorMoEError("classes", len(names), f"{folder} {said}: splits must have the same classes")


def _some(names: list[str]) -> str:
    """The first three of some names, and how many there are."""
    return ", ".join(names[:3]) + (f" … ({len(names)})" if len(names) > 3 else "")


def _loose(folder: Path) -> str:
    """What ImageNet's validation pictures look like before they are sorted."""
    loose = len(find_pictures(folder))
    return f", but {loose} pictures beside each other: move each into its class's folder" if loose else ""
