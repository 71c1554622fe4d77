"""The inputs that a layer is looked at with, from a file of arrays or a folder of images."""

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from math import isqrt, prod

import numpy as np

from ..analysis.pictures_style import read_names
from ..analysis.reading import read_classes
from ..errors import TensorMoEError
from ..typing import NumPyArray, Shape
from .images import read_folder

# The arrays that an npz file may have.
INPUTS, LABELS, GROUPS, IDS, NAMES = "x", "labels", "groups", "ids", "names"
KNOWN = (INPUTS, LABELS, GROUPS, IDS, NAMES)
_FILES = "pass an .npz file with an array x, an .npy file, or a folder of images"
_COLOURS = (1, 3)
# Classes or groups: a table for each of more would be larger than any report.
_MOST = 10_000


@dataclass(frozen=True)
class Data:
    """Inputs of a layer, and what is known of each.

    Args:
        path: where they are from.
        x: (T, I), of the file's element type.
        labels, groups: (T,), integers from 0 on; None if there are none.
        ids: the name of each input; None for its number.
        names: of the classes; empty without labels.
        image_shape: if inputs are images, (H, W), or with colours as the last or the first axis.
    """

    path: str
    x: NumPyArray
    labels: NumPyArray | None
    groups: NumPyArray | None
    ids: tuple[str, ...] | None
    names: tuple[str, ...]
    image_shape: Shape | None

    def __len__(self) -> int:
        return len(self.x)

    def name(self, row: int) -> str:
        """What an input is called."""
        return str(row) if self.ids is None else self.ids[row]

    def take_images(self, rows: NumPyArray) -> NumPyArray:
        """Some inputs as (K, H, W), or (K, H, W, 3) from 0 to 1."""
        assert self.image_shape is not None
        pixels: NumPyArray = self.x[rows].astype("float64").reshape(-1, *self.image_shape)
        if pixels.ndim == 4 and pixels.shape[-1] not in _COLOURS:
            pixels = np.moveaxis(pixels, 1, -1)
        if pixels.ndim == 4 and pixels.shape[-1] == 1:
            pixels = pixels[..., 0]
        if pixels.ndim == 3:
            return pixels
        # Whatever the inputs were divided by, all of their range is seen.
        low, high = pixels.min(), pixels.max()
        spread: NumPyArray = (pixels - low) / max(high - low, np.finfo("float64").tiny)
        return spread


def read_data(path: str, features: int, image_shape: Shape | None = None) -> Data:
    """Read inputs for a layer, whole.

    Args:
        path: of an .npz file with `x` and possibly labels, groups, ids and names of classes; of an .npy file
            with x alone; or of a folder of images, whose folders are classes.
        features: of the layer, I. x is (…, I), or (T, …) with so many pixels.
        image_shape: (H, W), (H, W, 3) or (3, H, W); None to see for itself.

    Raises:
        TensorMoEError: no such file, one of another kind, arrays that are not known or do not fit, or values
            that are not finite.
    """
    arrays = read_folder(path, features) if os.path.isdir(path) else _read_file(path)
    unknown = [name for name in arrays if name not in KNOWN]
    if unknown or INPUTS not in arrays:
        raise TensorMoEError(
            "data", sorted(arrays), f"its arrays are {', '.join(KNOWN)}: x at least, no others"
        )
    x = _check_inputs(path, arrays[INPUTS])
    leading, seen = _find_leading(x.shape, features)
    shape = _check_image_shape(image_shape, features) or seen or _guess(x, leading, features)
    labels = _read_numbers(LABELS, arrays, leading)
    return Data(
        path,
        x.reshape(-1, features),
        labels,
        _read_numbers(GROUPS, arrays, leading),
        _read_ids(arrays, leading),
        _read_classes(arrays, labels),
        shape if prod(leading) == leading[0] else None,
    )


def _read_file(path: str) -> dict[str, NumPyArray]:
    """The arrays of a file. Nothing in it is ever unpickled."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise TensorMoEError("data", path, f"this is not an ordinary file: {_FILES}")
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return {INPUTS: loaded}
        with loaded:
            return {name: _check_array(name, loaded[name]) for name in loaded.files}
    except TensorMoEError:
        raise
    except Exception as error:  # whatever a damaged archive leads to
        reason = getattr(error, "strerror", None) or str(error).split("\n")[0] or type(error).__name__
        raise TensorMoEError("data", path, f"it cannot be read ({reason}): {_FILES}") from error


def _check_array(name: str, member: object) -> NumPyArray:
    if not isinstance(member, np.ndarray):
        raise TensorMoEError("data", name, f"this member is not an array: {_FILES}")
    return member


def _check_inputs(path: str, x: NumPyArray) -> NumPyArray:
    if x.dtype.kind not in "biuf" or x.size == 0:
        raise TensorMoEError("x", f"{x.dtype} {x.shape}", "pass at least one input, of real numbers")
    if not np.isfinite(x).all():
        wrong = tuple(map(int, np.argwhere(~np.isfinite(x))[0]))
        raise TensorMoEError("x", float(x[wrong]), f"inputs are finite, but {path} has this at {wrong}")
    return x


def _find_leading(shape: Shape, features: int) -> tuple[Shape, Shape | None]:
    """The axes of tokens; and those of an image, if that is what each input is."""
    if len(shape) > 1 and shape[-1] == features:
        return shape[:-1], None
    if len(shape) > 2 and prod(shape[1:]) == features:
        return shape[:1], shape[1:] if _is_image(shape[1:]) else None
    remedy = (
        f"the layer takes {features:,} features: pass x as (…, {features:,}), or as images of so many pixels"
    )
    raise TensorMoEError("x", shape, remedy)


def _is_image(shape: Shape) -> bool:
    return len(shape) == 2 or (len(shape) == 3 and (shape[-1] in _COLOURS or shape[0] in _COLOURS))


def _check_image_shape(shape: Shape | None, features: int) -> Shape | None:
    if shape is not None and (prod(shape) != features or not _is_image(shape)):
        remedy = (
            f"the layer takes {features:,} features: pass height, width and, in colour, 3, such as 28,28,3"
        )
        raise TensorMoEError("--image-shape", shape, f"{remedy}, of so many values")
    return shape


def _guess(x: NumPyArray, leading: Shape, features: int) -> Shape | None:
    """Inputs without a sign that fill a square are taken for images in grey."""
    side = isqrt(features)
    looks = len(leading) == 1 and side > 3 and side**2 == features
    return (side, side) if looks and x.min() >= 0 else None


def _read_numbers(name: str, arrays: Mapping[str, NumPyArray], leading: Shape) -> NumPyArray | None:
    """One for each token; those of an input count for all of its tokens."""
    if name not in arrays:
        return None
    values = arrays[name]
    if values.shape == leading[:1]:
        values = np.broadcast_to(values.reshape(-1, *(1,) * (len(leading) - 1)), leading)
    numbers = read_classes(name, values, leading)
    if numbers.max() >= _MOST:
        raise TensorMoEError(name, int(numbers.max()), f"number {name} from 0 on: there may be {_MOST:,}")
    return numbers


def _read_ids(arrays: Mapping[str, NumPyArray], leading: Shape) -> tuple[str, ...] | None:
    if IDS not in arrays:
        return None
    ids = arrays[IDS]
    if ids.dtype.kind not in "iuU" or ids.shape not in (leading, (prod(leading),)):
        remedy = f"pass a text or an integer for each of the inputs {leading}"
        raise TensorMoEError(IDS, f"{ids.dtype} {ids.shape}", remedy)
    return tuple(read_names(IDS, ids.reshape(-1).tolist(), ids.size))


def _read_classes(arrays: Mapping[str, NumPyArray], labels: NumPyArray | None) -> tuple[str, ...]:
    count = 0 if labels is None else int(labels.max()) + 1
    if NAMES not in arrays:
        return tuple(map(str, range(count)))
    names = arrays[NAMES]
    if names.dtype.kind != "U" or names.ndim != 1 or len(names) < count or labels is None:
        remedy = "pass a text for each class, with labels from 0 to one less than there are"
        raise TensorMoEError(NAMES, f"{names.dtype} {names.shape}", remedy)
    return tuple(read_names(NAMES, names.tolist(), len(names)))
