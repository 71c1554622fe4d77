"""MNIST-1D, from its package's own generator."""

import random

import numpy as np
import pytest

from benchmarks.experiments.data.signals import make_signals

mnist1d = pytest.importorskip("mnist1d.data")


def test_signals_are_the_packages_own_and_leave_random_numbers_alone() -> None:
    random.seed(3)
    np.random.seed(3)
    expected = random.random(), float(np.random.rand())
    random.seed(3)
    np.random.seed(3)
    train, validation, test = make_signals()
    assert (random.random(), float(np.random.rand())) == expected

    made = mnist1d.make_dataset(mnist1d.get_dataset_args())
    np.testing.assert_array_equal(test.values, made["x_test"].astype("float32"))
    assert test.labels.tolist() == made["y_test"].tolist()
    assert [part.values.shape for part in (train, validation, test)] == [(3200, 40), (800, 40), (1000, 40)]
    everything = np.concatenate([train.values, validation.values])
    assert sorted(everything.sum(1).tolist()) == sorted(made["x"].astype("float32").sum(1).tolist())
    # Each class has its share in both parts.
    shares = [np.bincount(part.labels) / len(part.labels) for part in (train, validation)]
    np.testing.assert_allclose(*shares, atol=0.01)
