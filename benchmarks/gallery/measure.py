"""Trains a structure on scikit-learn's digits, and verifies it on every framework."""

import warnings
from statistics import mean, stdev
from typing import TypedDict

import numpy as np
import torch
from scipy.stats import t
from torch.nn.functional import cross_entropy

import tensormoe as tm
from tensormoe.demo.data import Digits, load

from .structures import Structure

# Parameters, gate and bias included, up to which bonds grow.
BUDGET = 6_000
SEEDS, EPOCHS, BATCH, RATE = 5, 30, 64, 3e-3
FRAMEWORKS = ("numpy", "torch", "jax")


class Measured(TypedDict):
    """What was measured of one structure.

    Keys:
        accuracies: on the 450 test images, one for each seed.
        verified: whether all methods of verification passed on NumPy, PyTorch and JAX.
    """

    accuracies: list[float]
    verified: bool


def match(spec: tm.Spec) -> tm.Spec:
    """The same structure at the budget; as it is if no bond of it can grow, or if it is larger already."""
    try:
        with warnings.catch_warnings():
            # That a bond has no use for more is seen on the page.
            warnings.simplefilter("ignore")
            return spec.matched(BUDGET)
    except tm.TensorMoEError:
        return spec


def measure(structure: Structure) -> Measured:
    """Verify a structure, then train it from five seeds."""
    spec = match(structure.build())
    verified = tm.verify(spec, FRAMEWORKS).passed
    digits = load(1, BATCH, "float32")
    return {"accuracies": [train(spec, digits, seed) for seed in range(SEEDS)], "verified": verified}


def train(spec: tm.Spec, digits: Digits, seed: int) -> float:
    """The test accuracy after the last step of Adam; a seed sets initial values and the order of the data."""
    x, labels, x_test, labels_test = (
        torch.from_numpy(array) for array in (digits.x, digits.labels, digits.x_test, digits.labels_test)
    )
    layer = tm.build(spec, "torch", seed=seed)
    optimizer = torch.optim.Adam(layer.parameters(), lr=RATE)
    generator = np.random.default_rng(seed)
    for _ in range(EPOCHS):
        order = torch.from_numpy(generator.permutation(len(x)))
        for batch in order.split(BATCH):
            optimizer.zero_grad()
            cross_entropy(layer(x[batch]), labels[batch]).backward()
            optimizer.step()
    with torch.no_grad():
        correct = layer(x_test).argmax(-1) == labels_test
        return round(float(correct.double().mean()), 4)


def interval(accuracies: list[float]) -> str:
    """The mean in percent, with half the width of its 95 % interval by Student's distribution."""
    count = len(accuracies)
    half = t.ppf(0.975, count - 1) * stdev(accuracies) / count**0.5
    return f"{100 * mean(accuracies):.1f} ± {100 * half:.1f}"
