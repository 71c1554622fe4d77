"""MNIST-1D: signals of 40 numbers, like handwritten digits, from its package's generator: nothing is loaded.

Source: Greydanus and Kobak, "Scaling Down Deep Learning with MNIST-1D", 2024.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from typing import NamedTuple

import numpy as np
from sklearn.model_selection import train_test_split

from tensormoe.errors import TensorMoEError
from tensormoe.typing import NumPyArray

# Of its 4,000 signals to train on.
_HELD_OUT = 800


class Signals(NamedTuple):
    """Signals and their classes.

    Args:
        values: (T, 40), over all of them with mean 0 and variance 1, in float32.
        labels: 0 to 9 (T,), in int64.
    """

    values: NumPyArray
    labels: NumPyArray


class Parts(NamedTuple):
    """3,200 signals to train on, 800 to choose by, and the package's 1,000 to judge by; always the same."""

    train: Signals
    validation: Signals
    test: Signals


@cache
def make_signals() -> Parts:
    """The package's own 5,000 signals, made by its generator with its own seed, once in a process.

    Raises:
        TensorMoEError: the package is not installed.
    """
    if find_spec("mnist1d") is None:
        raise TensorMoEError("task", "signals", "mnist1d is missing: pip install 'tensormoe[experiments]'")
    from mnist1d.data import get_dataset_args, make_dataset

    with _random_numbers_kept():
        made = make_dataset(get_dataset_args())
    values = {name: np.asarray(made[name], "float32") for name in ("x", "x_test")}
    labels = {name: np.asarray(made[name], "int64") for name in ("y", "y_test")}
    train, validation, train_labels, validation_labels = train_test_split(
        values["x"], labels["y"], test_size=_HELD_OUT, random_state=0, stratify=labels["y"]
    )
    return Parts(
        Signals(train, train_labels),
        Signals(validation, validation_labels),
        Signals(values["x_test"], labels["y_test"]),
    )


@contextmanager
def _random_numbers_kept() -> Iterator[None]:
    """The generator seeds the random numbers of the whole process; they go on as if it had not."""
    ours, numpys = random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        random.setstate(ours)
        np.random.set_state(numpys)
