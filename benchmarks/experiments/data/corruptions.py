"""Images and texts with something wrong about them, at five severities.

Source: Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and
Perturbations", 2019, for noise, blur, contrast and pixelation. The severities are ours, in shares of an
image's side, so that they suit 8 pixels as well as 224.
"""

from collections.abc import Callable
from typing import NamedTuple, TypeVar

import numpy as np
from scipy.ndimage import gaussian_filter

import tensormoe as tm
from tensormoe.typing import NumPyArray

SEVERITIES = (1, 2, 3, 4, 5)
# One number for each severity: the standard deviation of noise; that of a blur, as a share of the side; what
# is left of contrast; the side of what is covered, and of the pixels' number, as shares; the share of tokens.
_NOISE = (0.08, 0.14, 0.20, 0.28, 0.38)
_BLUR = (0.04, 0.06, 0.09, 0.13, 0.18)
_CONTRAST = (0.70, 0.50, 0.35, 0.22, 0.12)
_OCCLUSION = (0.20, 0.30, 0.40, 0.50, 0.60)
_PIXELATION = (0.75, 0.625, 0.50, 0.375, 0.25)
_TOKENS = (0.01, 0.025, 0.05, 0.10, 0.20)
_GREY = 0.5

Generator = np.random.Generator
Strengths = tuple[float, float, float, float, float]
ImageChange = Callable[[NumPyArray, float, Generator], NumPyArray]
Change = TypeVar("Change")


def corrupt_images(images: NumPyArray, kind: str, severity: int, *, seed: int = 0) -> NumPyArray:
    """Images as a bad camera sees them.

    Args:
        images: (T, height, width) or (T, height, width, colours), from 0 to 1.
        kind: one of `IMAGE_KINDS`.
        severity: 1 to 5.
        seed: of what is random; the same images, kind and seed give the same result.

    Returns:
        Images of the same shape and type, from 0 to 1.

    Raises:
        TensorMoEError: another kind or severity, another shape, or images that are not from 0 to 1.
    """
    change, strength = _choose(IMAGE_KINDS, kind, severity)
    if images.ndim not in (3, 4):
        raise tm.TensorMoEError("images", images.shape, "pass (T, height, width), or with colours at last")
    if images.size and not (images.min() >= 0 and images.max() <= 1):
        raise tm.TensorMoEError("images", (images.min(), images.max()), "pass values from 0 to 1")
    changed = change(images, strength, np.random.default_rng(seed))
    return np.clip(changed, 0, 1).astype(images.dtype)


class Tokens(NamedTuple):
    """A text of which some tokens are not what they were.

    Args:
        tokens: (T,), fewer where some were deleted.
        kept: whether each is as it was, and so what a model can be asked to predict (T,).
    """

    tokens: NumPyArray
    kept: NumPyArray


TokenChange = Callable[[NumPyArray, float, int, Generator], Tokens]


def corrupt_tokens(tokens: NumPyArray, kind: str, severity: int, *, vocabulary: int, seed: int = 0) -> Tokens:
    """A text in which 1 % to 20 % of the tokens are wrong.

    Args:
        tokens: one after the other (T,).
        kind: "swap" lets neighbours change places, "replace" draws others in their place, and "delete"
            leaves tokens out.
        severity: 1 to 5.
        vocabulary: how many tokens there are to draw from.
        seed: of what is random; the same tokens, kind and seed give the same result.

    Raises:
        TensorMoEError: another kind or severity, or tokens of another shape.
    """
    if tokens.ndim != 1:
        raise tm.TensorMoEError("tokens", tokens.shape, "pass one text (T,)")
    change, share = _choose(TOKEN_KINDS, kind, severity)
    return change(tokens, share, vocabulary, np.random.default_rng(seed))


def _choose(kinds: dict[str, tuple[Change, Strengths]], kind: str, severity: int) -> tuple[Change, float]:
    if kind not in kinds:
        raise tm.TensorMoEError("kind", kind, f"choose one of {', '.join(kinds)}")
    if severity not in SEVERITIES:
        raise tm.TensorMoEError("severity", severity, f"choose 1 to {len(SEVERITIES)}")
    change, strengths = kinds[kind]
    return change, strengths[severity - 1]


def _add_noise(images: NumPyArray, deviation: float, generator: Generator) -> NumPyArray:
    noisy: NumPyArray = images + deviation * generator.normal(size=images.shape)
    return noisy


def _blur(images: NumPyArray, share: float, generator: Generator) -> NumPyArray:
    deviation = share * min(images.shape[1:3])
    blurred: NumPyArray = gaussian_filter(images, deviation, axes=(1, 2), mode="nearest")
    return blurred


def _fade(images: NumPyArray, left: float, generator: Generator) -> NumPyArray:
    mean = images.mean(axis=tuple(range(1, images.ndim)), keepdims=True)
    faded: NumPyArray = mean + left * (images - mean)
    return faded


def _cover(images: NumPyArray, share: float, generator: Generator) -> NumPyArray:
    """A grey rectangle in the image's proportions, anywhere."""
    covered = np.ones(images.shape[:3], dtype=bool)
    for axis in (1, 2):
        length = round(share * images.shape[axis])
        starts = generator.integers(0, images.shape[axis] - length + 1, len(images))
        places = np.arange(images.shape[axis])
        within = (places >= starts[:, None]) & (places < starts[:, None] + length)
        covered &= within[:, :, None] if axis == 1 else within[:, None, :]
    return np.where(covered.reshape(covered.shape + (1,) * (images.ndim - 3)), _GREY, images)


def _pixelate(images: NumPyArray, share: float, generator: Generator) -> NumPyArray:
    """Means over fewer pixels, each of which is as large as several were."""
    down, across = (_merge(side, max(1, round(share * side))) for side in images.shape[1:3])
    fewer = np.einsum("ij,tj...->ti...", down, images)
    pixelated: NumPyArray = np.einsum("ij,thj...->thi...", across, fewer)
    return pixelated


def _merge(side: int, fewer: int) -> NumPyArray:
    """What each of a row's pixels is made of, if they are as many as before but show fewer (side, side)."""
    edges, cuts = np.arange(side + 1), np.linspace(0, side, fewer + 1)
    least = np.maximum(edges[:-1], cuts[:-1, None])
    overlaps = np.clip(np.minimum(edges[1:], cuts[1:, None]) - least, 0, None)
    means = overlaps / overlaps.sum(axis=1, keepdims=True)
    # Each pixel shows the one of the fewer that its middle is in.
    chosen: NumPyArray = means[np.searchsorted(cuts, edges[:-1] + 0.5, side="right") - 1]
    return chosen


def _swap(tokens: NumPyArray, share: float, vocabulary: int, generator: Generator) -> Tokens:
    first = np.arange(generator.integers(0, 2), len(tokens) - 1, 2)
    first = first[generator.random(len(first)) < share]
    swapped = tokens.copy()
    swapped[first], swapped[first + 1] = tokens[first + 1], tokens[first]
    kept = np.ones(len(tokens), dtype=bool)
    kept[first] = kept[first + 1] = False
    return Tokens(swapped, kept)


def _replace(tokens: NumPyArray, share: float, vocabulary: int, generator: Generator) -> Tokens:
    kept = generator.random(len(tokens)) >= share
    drawn = generator.integers(0, vocabulary, len(tokens)).astype(tokens.dtype)
    return Tokens(np.where(kept, tokens, drawn), kept)


def _delete(tokens: NumPyArray, share: float, vocabulary: int, generator: Generator) -> Tokens:
    left = tokens[generator.random(len(tokens)) >= share]
    return Tokens(left, np.ones(len(left), dtype=bool))


IMAGE_KINDS: dict[str, tuple[ImageChange, Strengths]] = {
    "noise": (_add_noise, _NOISE),
    "blur": (_blur, _BLUR),
    "contrast": (_fade, _CONTRAST),
    "occlusion": (_cover, _OCCLUSION),
    "pixelation": (_pixelate, _PIXELATION),
}
TOKEN_KINDS: dict[str, tuple[TokenChange, Strengths]] = {
    "swap": (_swap, _TOKENS),
    "replace": (_replace, _TOKENS),
    "delete": (_delete, _TOKENS),
}
