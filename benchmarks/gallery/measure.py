"""Trains a structure on scikit-learn's digits, and verifies it on every framework."""

import warnings
from typing import TypedDict

import tensormoe as tm
from benchmarks.digits import BATCH, assess, train
from tensormoe import intervals
from tensormoe.demo.data import load

from .structures import Structure

# Parameters, gate and bias included, up to which bonds grow.
BUDGET = 6_000
SEEDS, EPOCHS = 5, 30
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
    layers = (train(spec, digits, seed, EPOCHS) for seed in range(SEEDS))
    return {"accuracies": [round(assess(each, digits)[0], 4) for each in layers], "verified": verified}


def interval(accuracies: list[float]) -> str:
    """The mean in percent, with half the width of its 95 % interval by Student's distribution."""
    return intervals.interval(accuracies).shown(1, 100)
