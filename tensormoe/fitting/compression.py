"""Fits to a large weight by way of a small one: its inputs and outputs in the directions that count.

The weight of a network has a rank of at most the bonds that leave the cores of its input; the best one of
that rank lies almost entirely in the target's first singular directions. In twice as many of them, a fit
takes as many steps, each as much cheaper as the weight is smaller; a few steps in all directions follow.

Source: Carroll, Pruzansky and Kruskal, "CANDELINC: a general approach to multidimensional analysis of
many-way arrays with linear constraints on parameters", 1980; Bro and Andersson, "Improving the speed of
multiway algorithms, part II: compression", 1998.
"""

from collections.abc import Mapping
from dataclasses import replace
from math import prod

import numpy as np

from ..layers.stage import Stage
from ..networks.network import Core
from ..networks.notation import INPUT, OUTPUT
from ..typing import NumPyArray
from .starts import Cores

# For inputs and outputs, orthonormal directions as columns.
Directions = Mapping[str, NumPyArray]
# Directions for each that the network can use, and how much smaller the weight must become.
_SPARE, _WORTHWHILE = 2, 4


def find_directions(weight: NumPyArray) -> Directions:
    """For inputs and outputs, all directions as columns, those that count most first."""
    matrices = weight.reshape(-1, *weight.shape[-2:])
    grams = {
        INPUT: np.einsum("nio,njo->ij", matrices, matrices, optimize=True),
        OUTPUT: np.einsum("nio,nip->op", matrices, matrices, optimize=True),
    }
    return {mode: np.linalg.eigh(gram)[1][:, ::-1] for mode, gram in grams.items()}


def count_directions(stage: Stage) -> dict[str, int] | None:
    """How many directions a network is fitted in; None if all of them are as cheap, or the only way."""
    network = stage.network
    carriers = find_carriers(stage)
    if carriers is None:
        return None
    counts = {}
    for mode, cores in carriers.items():
        rank = sum(prod(network.sizes[index] for index in core.indices if index != mode) for core in cores)
        counts[mode] = min(_SPARE * rank, network.sizes[mode])
    whole = network.sizes[INPUT] * network.sizes[OUTPUT]
    return counts if _WORTHWHILE * counts[INPUT] * counts[OUTPUT] <= whole else None


def find_carriers(stage: Stage) -> dict[str, list[Core]] | None:
    """The cores of inputs and of outputs, one in each term; None if that is not so."""
    network = stage.network
    if stage.bias or network.has_bias or network.splits or network.held:
        return None
    carriers = {
        mode: [[core for core in term.cores if mode in core.indices] for term in network.terms]
        for mode in (INPUT, OUTPUT)
    }
    if any(len(cores) != 1 for several in carriers.values() for cores in several):
        return None
    return {mode: [core for (core,) in several] for mode, several in carriers.items()}


def narrow(stage: Stage, counts: Mapping[str, int]) -> Stage:
    """The stage with so many inputs and outputs."""
    part = replace(stage, in_features=counts[INPUT], out_features=counts[OUTPUT])
    return replace(part, optimize="auto", memory_limit=None)


def compress(weight: NumPyArray, bases: Directions) -> NumPyArray:
    """The weight in some directions."""
    return bases[INPUT].T @ weight @ bases[OUTPUT]


def expand(stage: Stage, cores: Cores, bases: Directions) -> Cores:
    """The cores of a fit in some directions as those of a stage."""
    expanded = dict(cores)
    for mode, carriers in (find_carriers(stage) or {}).items():
        for core in carriers:
            axis = core.indices.index(mode)
            turned = np.tensordot(expanded[core.name], bases[mode], axes=(axis, 1))
            expanded[core.name] = np.ascontiguousarray(np.moveaxis(turned, -1, axis))
    return expanded
