"""scikit-learn's bundled handwritten digits, split and standardized, and the order to train in."""

from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Digits:
    """Images (T, 64) and labels (T,) for training and for testing, and the batches of every step.

    Args:
        batches: (steps, batch size) positions in the training set: the data order of every run.
    """

    x: Array
    labels: Array
    x_test: Array
    labels_test: Array
    batches: Array


def load(epochs: int, batch_size: int, dtype: str) -> Digits:
    """The 1,797 images of 8 × 8 pixels, a quarter of them for testing."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, labels = load_digits(return_X_y=True)
    x, x_test, y, y_test = train_test_split(images, labels, test_size=0.25, random_state=0, stratify=labels)
    mean, deviation = x.mean(axis=0), x.std(axis=0) + 1.0
    generator = np.random.default_rng(0)
    steps = len(x) // batch_size
    orders = [generator.permutation(len(x))[: steps * batch_size] for _ in range(epochs)]
    return Digits(
        ((x - mean) / deviation).astype(dtype),
        y.astype("int64"),
        ((x_test - mean) / deviation).astype(dtype),
        y_test.astype("int64"),
        np.concatenate(orders).reshape(epochs * steps, batch_size),
    )
