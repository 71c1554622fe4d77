"""Handwritten digits at hand: the 1,797 images of 8 × 8 pixels that scikit-learn brings.

Source: Alpaydin and Kaynak, "Optical Recognition of Handwritten Digits", 1998.
"""

from typing import NamedTuple

from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from tensormoe.typing import NumPyArray


class Images(NamedTuple):
    """Images and their classes.

    Args:
        pixels: (T, 8, 8), from 0 to 1, in float32.
        labels: 0 to 9 (T,), in int64.
    """

    pixels: NumPyArray
    labels: NumPyArray


class Digits(NamedTuple):
    """60 % of the images to train on, 20 % to choose by, and 20 % to judge by; the same ones each time."""

    train: Images
    validation: Images
    test: Images


def read_digits() -> Digits:
    """The digits, with each class's share the same in the three parts."""
    data = load_digits()
    pixels, labels = (data.images / 16).astype("float32"), data.target.astype("int64")
    rest, test, rest_labels, test_labels = train_test_split(
        pixels, labels, test_size=0.2, random_state=0, stratify=labels
    )
    train, validation, train_labels, validation_labels = train_test_split(
        rest, rest_labels, test_size=0.25, random_state=0, stratify=rest_labels
    )
    return Digits(
        Images(train, train_labels), Images(validation, validation_labels), Images(test, test_labels)
    )
