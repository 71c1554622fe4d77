"""A folder of images as arrays: each folder in it is a class."""

import os
from collections.abc import Iterator
from math import isqrt
from typing import TYPE_CHECKING

import numpy as np

from ..errors import TensorMoEError
from ..memory import check_memory, host_memory
from ..typing import NumPyArray

if TYPE_CHECKING:
    from PIL.Image import Image

_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")


def read_folder(path: str, features: int) -> dict[str, NumPyArray]:
    """Images of so many values, from 0 to 1: in grey, or in colour with the colours as the last axis.

    Returns:
        "x" (T, H, W[, 3]) and "ids", the files' names; from folders in the folder also "labels" and "names".

    Raises:
        TensorMoEError: no image, one that cannot be read or has another size, images both in the folder and
            in folders of it, or Pillow is missing.
    """
    try:
        from PIL import Image
    except ImportError as error:
        remedy = f"images need Pillow ({error}): pip install pillow, or pass an .npz file"
        raise TensorMoEError("data", path, remedy) from error
    try:
        if os.path.exists(os.path.join(path, "config.json")):
            raise TensorMoEError("data", path, "this is a model's folder: pass arrays or images")
        names = sorted(each.name for each in os.scandir(path) if each.is_dir() and _list(each.path))
        own = _list(path)
        if bool(own) == bool(names):
            remedy = f"put images ({', '.join(_SUFFIXES)}) into it, or into folders of it, one for each class"
            raise TensorMoEError("data", path, remedy)
        files = [(name, file) for name in names for file in _list(os.path.join(path, name))]
        files = files or [("", file) for file in own]
        check_memory("data", path, "its images", 8 * features * len(files), host_memory())
        pictures = [_read(Image, os.path.join(path, *filter(None, each)), features) for each in files]
    except OSError as error:
        raise TensorMoEError(
            "data", path, f"{error.strerror or error}: pass a folder that can be read"
        ) from error
    _check_alike(files, pictures)
    arrays = {"x": np.stack(pictures), "ids": np.array([os.path.join(*each) for each in files])}
    if names:
        labels = np.array([names.index(name) for name, _ in files])
        arrays |= {"labels": labels, "names": np.array(names)}
    return arrays


def _list(folder: str) -> list[str]:
    return sorted(each for each in os.listdir(folder) if each.lower().endswith(_SUFFIXES))


def _read(image_module: object, path: str, features: int) -> NumPyArray:
    try:
        with image_module.open(path) as image:  # type: ignore[attr-defined]
            return _convert(path, image, features)
    except TensorMoEError:
        raise
    except Exception as error:  # whatever a damaged file leads to
        raise TensorMoEError("data", path, f"this image cannot be read ({error}): remove it") from error


def _convert(path: str, image: "Image", features: int) -> NumPyArray:
    """Values from 0 to 1, in the number of colours that the layer has inputs for."""
    width, height = image.size
    modes = {width * height: "L", 3 * width * height: "RGB"}
    if features not in modes:
        raise TensorMoEError("data", path, f"it has {width} × {height} pixels; {_expect(features)}")
    return np.asarray(image.convert(modes[features]), "float32") / 255


def _expect(features: int) -> str:
    """The sizes of square images that fit."""
    sizes = list(_squares(features))
    such = f", such as {' or '.join(sizes)}" if sizes else ""
    return f"the layer takes {features:,}: pass images of so many pixels, or in colour of a third{such}"


def _squares(features: int) -> Iterator[str]:
    for pixels, kind in ((features, "grey"), (features // 3, "colour")):
        side = isqrt(pixels)
        if side > 1 and side**2 * (1 if kind == "grey" else 3) == features:
            yield f"{side} × {side} in {kind}"


def _check_alike(files: list[tuple[str, str]], pictures: list[NumPyArray]) -> None:
    for file, picture in zip(files, pictures, strict=True):
        if picture.shape != pictures[0].shape:
            shapes = f"{picture.shape}, the first one {pictures[0].shape}"
            raise TensorMoEError("data", os.path.join(*file), f"it is {shapes}: pass images of one size")
