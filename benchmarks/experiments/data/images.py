"""Pictures in files, read when they are needed, at the size that a model takes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
from PIL import Image

import tensormoe as tm
from tensormoe.typing import NumPyArray

SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".webp"})
# What a random crop keeps of a picture's area, and its width by its height, as is usual on ImageNet.
_AREAS, _RATIOS = (0.08, 1.0), (3 / 4, 4 / 3)
_TRIES = 10

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Pictures:
    """Files of pictures, as a sequence of arrays (size, size, 3) in RGB, uint8.

    Args:
        paths: of the files, in the order of the data.
        size: of both sides, in pixels.
        crop_seed: draws a crop of each picture, mirrored half of the time; None takes its middle square.

    Raises:
        TensorMoEError: when a file is read that is missing, cut off, or not a picture.
    """

    paths: tuple[Path, ...]
    size: int
    crop_seed: int | None = None

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> NumPyArray:
        path = self.paths[index]
        try:
            with Image.open(path) as opened:
                picture = opened.convert("RGB")
        except OSError as error:
            remedy = f"it can't be read as a picture ({error}): copy this file again"
            raise tm.TensorMoEError("path", str(path), remedy) from error
        generator = None if self.crop_seed is None else np.random.default_rng([self.crop_seed, index])
        box = _middle(*picture.size) if generator is None else _crop(*picture.size, generator)
        pixels = np.array(picture.resize((self.size, self.size), Image.Resampling.BICUBIC, box))
        return pixels[:, ::-1].copy() if generator is not None and generator.random() < 0.5 else pixels

    def cropped(self, seed: int) -> Self:
        """The same pictures, in other crops for each seed: pass the number of the epoch."""
        return replace(self, crop_seed=seed)

    def chosen(self, which: NumPyArray) -> Self:
        """Those of the pictures for which a mask (T,) is true."""
        return replace(self, paths=tuple(path for path, own in zip(self.paths, which, strict=True) if own))

    def sized(self, size: int) -> Self:
        """The same pictures with other sides."""
        return replace(self, size=size)


def standardize(pixels: NumPyArray, mean: Sequence[float], deviation: Sequence[float]) -> NumPyArray:
    """Pictures (…, height, width, 3) in uint8 as networks take them, (…, 3, height, width) in float32.

    Args:
        pixels: of any number of pictures.
        mean, deviation: of each colour, of 1; image processors of transformers name theirs.
    """
    centre, spread = np.array(mean, "float32"), np.array(deviation, "float32")
    return np.moveaxis((pixels.astype("float32") / 255 - centre) / spread, -1, -3)


def find_pictures(folder: Path) -> list[Path]:
    """The pictures right in a folder, sorted by name."""
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)


def _middle(width: int, height: int) -> Box:
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    return left, top, left + side, top + side


def _crop(width: int, height: int, generator: np.random.Generator) -> Box:
    """A part of random area and aspect ratio, the middle square if ten of them do not fit."""
    for _ in range(_TRIES):
        area = width * height * generator.uniform(*_AREAS)
        ratio = np.exp(generator.uniform(*np.log(_RATIOS)))
        across, down = float(np.sqrt(area * ratio)), float(np.sqrt(area / ratio))
        if across <= width and down <= height:
            left, top = (float(generator.uniform(0, room)) for room in (width - across, height - down))
            return left, top, left + across, top + down
    return _middle(width, height)
