"""Corruptions do what their names say, more so with each severity, and the same for the same seed."""

import numpy as np
import pytest

import tensormoe as tm
from benchmarks.experiments.data.corruptions import (
    IMAGE_KINDS,
    SEVERITIES,
    TOKEN_KINDS,
    corrupt_images,
    corrupt_tokens,
)

IMAGES = np.random.default_rng(0).random((6, 16, 16)).astype("float32")
TEXT = np.arange(10_000) % 97


@pytest.mark.parametrize("kind", IMAGE_KINDS)
def test_images_change_more_with_each_severity_and_in_each_colour_alike(kind: str) -> None:
    distances = [np.square(corrupt_images(IMAGES, kind, severity) - IMAGES).mean() for severity in SEVERITIES]
    assert (np.diff([0, *distances]) > 0).all()
    changed = corrupt_images(IMAGES, kind, 3, seed=1)
    assert changed.dtype == IMAGES.dtype
    assert changed.min() >= 0
    assert changed.max() <= 1
    assert (changed == corrupt_images(IMAGES, kind, 3, seed=1)).all()
    if kind != "noise":
        coloured = corrupt_images(np.stack([IMAGES, IMAGES], axis=-1), kind, 3, seed=1)
        assert np.allclose(coloured, changed[..., None], atol=1e-6)


def test_a_blurred_dot_is_a_bell() -> None:
    dot = np.zeros((1, 31, 31))
    dot[0, 15, 15] = 1
    blurred = corrupt_images(dot, "blur", 1)[0]
    steps = np.arange(31) - 15
    bell = np.exp(-(steps**2) / (2 * (0.04 * 31) ** 2))
    bell = np.outer(bell, bell)
    assert np.allclose(blurred, bell / bell.sum(), atol=1e-4)


def test_less_contrast_keeps_the_mean() -> None:
    faded = corrupt_images(IMAGES.astype("float64"), "contrast", 2)
    assert np.allclose(faded.mean(axis=(1, 2)), IMAGES.mean(axis=(1, 2)))
    assert np.allclose(faded.std(axis=(1, 2)), 0.5 * IMAGES.std(axis=(1, 2)))


def test_a_square_is_covered() -> None:
    covered = corrupt_images(np.zeros((20, 10, 10)), "occlusion", 4)
    assert set(np.unique(covered)) == {0, 0.5}
    for image in covered:
        rows, columns = np.nonzero(image)
        assert len(rows) == 25
        assert np.ptp(rows) == np.ptp(columns) == 4
    assert len({tuple(map(tuple, np.argwhere(image))) for image in covered}) > 5


def test_half_as_many_pixels_are_means_of_four() -> None:
    pixelated = corrupt_images(IMAGES, "pixelation", 3)
    means = IMAGES.reshape(6, 8, 2, 8, 2).mean(axis=(2, 4))
    assert np.allclose(pixelated, means.repeat(2, axis=1).repeat(2, axis=2), atol=1e-6)


def test_pixels_that_do_not_divide_keep_what_is_everywhere_the_same() -> None:
    grey = np.full((2, 8, 8), 0.3)
    for severity in SEVERITIES:
        assert np.allclose(corrupt_images(grey, "pixelation", severity), 0.3)


SHARES = list(zip(SEVERITIES, (0.01, 0.025, 0.05, 0.1, 0.2), strict=True))


@pytest.mark.parametrize(("severity", "share"), SHARES)
def test_a_share_of_tokens_changes(severity: int, share: float) -> None:
    results = {kind: corrupt_tokens(TEXT, kind, severity, vocabulary=97) for kind in TOKEN_KINDS}
    for kind in ("swap", "replace"):
        assert abs((~results[kind].kept).mean() - share) < 0.02
        assert (results[kind].tokens == TEXT)[results[kind].kept].all()
    swapped, kept = results["swap"]
    assert (np.sort(swapped) == np.sort(TEXT)).all()
    assert (swapped != TEXT)[~kept].all()
    left = results["delete"].tokens
    assert abs(1 - len(left) / len(TEXT) - share) < 0.02
    rest = iter(TEXT.tolist())
    assert all(token in rest for token in left.tolist())


def test_tokens_change_the_same_way_for_a_seed() -> None:
    one, again, other = (corrupt_tokens(TEXT, "replace", 3, vocabulary=97, seed=seed) for seed in (0, 0, 1))
    assert (one.tokens == again.tokens).all()
    assert (one.kept != other.kept).any()


def test_what_cannot_be_corrupted_is_refused() -> None:
    with pytest.raises(tm.TensorMoEError, match="choose one of noise, blur, contrast, occlusion, pixelation"):
        corrupt_images(IMAGES, "fog", 1)
    with pytest.raises(tm.TensorMoEError, match="severity: received 6; choose 1 to 5"):
        corrupt_images(IMAGES, "noise", 6)
    with pytest.raises(tm.TensorMoEError, match="pass values from 0 to 1"):
        corrupt_images(255 * IMAGES, "noise", 1)
    with pytest.raises(tm.TensorMoEError, match="height, width"):
        corrupt_images(IMAGES[0], "noise", 1)
    with pytest.raises(tm.TensorMoEError, match="choose one of swap, replace, delete"):
        corrupt_tokens(TEXT, "insert", 1, vocabulary=97)
    with pytest.raises(tm.TensorMoEError, match="pass one text"):
        corrupt_tokens(TEXT[None], "swap", 1, vocabulary=97)
