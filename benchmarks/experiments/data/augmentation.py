"""RandAugment: some of fourteen changes to a picture, drawn at random, all of the same strength.

Source: Cubuk, Zoph, Shlens and Le, "RandAugment: Practical Automated Data Augmentation with a Reduced Search
Space", 2020; the ranges of the changes are those of AutoAugment (Cubuk et al., 2019, table 6).
"""

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

# What strengths are parts of.
STRONGEST = 30
# Grey for what a moved picture leaves empty.
_GREY = (128, 128, 128)

Picture = Image.Image
# A picture and a signed strength from −1 to 1.
Change = Callable[[Picture, float], Picture]


def rand_augment(picture: Picture, changes: int, strength: float, generator: np.random.Generator) -> Picture:
    """The picture after so many changes, each drawn anew, some of them in either direction.

    Args:
        picture: in RGB.
        changes: how many, N.
        strength: M, of 30.
        generator: of what is drawn.
    """
    for number in generator.integers(len(CHANGES), size=changes):
        sign = 1 if generator.random() < 0.5 else -1
        picture = CHANGES[tuple(CHANGES)[number]](picture, sign * strength / STRONGEST)
    return picture


def _move(
    matrix: Callable[[Picture, float], tuple[float, ...]], picture: Picture, strength: float
) -> Picture:
    """The picture under an affine map from its new places to the old ones."""
    affine, nearest = Image.Transform.AFFINE, Image.Resampling.NEAREST
    return picture.transform(picture.size, affine, matrix(picture, strength), nearest, fillcolor=_GREY)


def _enhance(kind: Callable[[Picture], ImageEnhance._Enhance], picture: Picture, strength: float) -> Picture:
    return kind(picture).enhance(1 + 0.9 * strength)


CHANGES: Mapping[str, Change] = {
    "identity": lambda picture, strength: picture,
    "autocontrast": lambda picture, strength: ImageOps.autocontrast(picture),
    "equalize": lambda picture, strength: ImageOps.equalize(picture),
    "rotate": lambda picture, strength: picture.rotate(30 * strength, fillcolor=_GREY),
    "solarize": lambda picture, strength: ImageOps.solarize(picture, round(256 * (1 - abs(strength)))),
    "posterize": lambda picture, strength: ImageOps.posterize(picture, round(8 - 4 * abs(strength))),
    "colour": partial(_enhance, ImageEnhance.Color),
    "contrast": partial(_enhance, ImageEnhance.Contrast),
    "brightness": partial(_enhance, ImageEnhance.Brightness),
    "sharpness": partial(_enhance, ImageEnhance.Sharpness),
    "shear x": partial(_move, lambda picture, strength: (1, 0.3 * strength, 0, 0, 1, 0)),
    "shear y": partial(_move, lambda picture, strength: (1, 0, 0, 0.3 * strength, 1, 0)),
    # 150 of 331 pixels at most.
    "translate x": partial(
        _move, lambda picture, strength: (1, 0, 150 / 331 * strength * picture.width, 0, 1, 0)
    ),
    "translate y": partial(
        _move, lambda picture, strength: (1, 0, 0, 0, 1, 150 / 331 * strength * picture.height)
    ),
}
