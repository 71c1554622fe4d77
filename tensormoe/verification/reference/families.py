"""What a factorization's cores multiply out to, by the formulas of the literature.

Here the networks that everything else derives from are checked against their meaning. Sources:
Kolda and Bader, "Tensor Decompositions and Applications", 2009, sections 3 and 4; Oseledets, "Tensor-Train
Decomposition", 2011, equation 1.3; Zhao et al., "Tensor Ring Decomposition", 2016, equation 1.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import reduce
from itertools import islice
from math import prod

import numpy as np

from ...layers.stage import Stage
from ...networks.factorization import Factorization, Sum
from ...networks.families import CP, Dense, TensorRing, TensorTrain, Tucker
from ...networks.notation import Indices
from ...typing import NumPyArray
from .contraction import IndexedArray, contract

Cores = Sequence[NumPyArray]
Positions = Mapping[str, NumPyArray]


def weight_of_family(layer: Stage, cores: Cores, sample: Positions | None = None) -> NumPyArray:
    """W (N1, …, NE, I[+1], O) from the cores, without the network; at a sample's positions alone.

    The named families have formulas; any other is computed from its notation, parsed independently.
    """
    network = layer.network
    everywhere = zip(network.modes, network.weight_shape, strict=True)
    positions = sample or {mode: np.arange(size) for mode, size in everywhere}
    count, rows = _count_cores(layer.factorization, layer.levels), len(positions["i"])
    inputs = {**positions, "i": positions["i"][positions["i"] < layer.in_features]}
    weight = _weight(layer.factorization, layer.levels, cores[:count], inputs, rows)
    # What a split input has no row for is added level by level.
    for number, bias in enumerate(cores[count:]):
        axes = [axis for axis in range(layer.levels) if axis != number]
        row = np.expand_dims(bias, (*axes, layer.levels) if layer.levels else 0)
        zeros = np.zeros((*row.shape[:-2], rows - 1, row.shape[-1]), row.dtype)
        weight = weight + np.concatenate([zeros, row], axis=-2)
    return weight


def _weight(
    factorization: Factorization, levels: int, cores: Cores, positions: Positions, rows: int
) -> NumPyArray:
    """The weight tensor at positions; where a sum's term lacks an expert mode, that axis has size 1.

    Args:
        factorization: with the number of `levels`.
        cores: at the positions of modes that are whole.
        positions: of the experts, of the inputs without the row of the biases, and of the outputs.
        rows: with that row.
    """
    if isinstance(factorization, Sum):
        following = iter(cores)
        counts = [_count_cores(term, levels) for term in factorization.terms]
        weights = [
            _weight(term, levels, list(islice(following, count)), positions, rows)
            for term, count in zip(factorization.terms, counts, strict=True)
        ]
        return sum(weights[1:], weights[0])
    formula = _FORMULAS.get(type(factorization))
    if formula is not None:
        return _fill(formula(cores), rows)
    return _multiply_out(factorization, levels, cores, positions, rows)


def _fill(weight: NumPyArray, rows: int) -> NumPyArray:
    """A weight with a last row of zeros, if it has none for the biases."""
    missing = np.zeros((*weight.shape[:-2], rows - weight.shape[-2], weight.shape[-1]), weight.dtype)
    return np.concatenate([weight, missing], axis=-2)


def _count_cores(factorization: Factorization, levels: int) -> int:
    return len(str(factorization.notation(levels)).replace("+", ",").split(","))


def _canonical(cores: Cores) -> NumPyArray:
    """Σ_r of the outer products of all factors' r-th columns. The output core's rank comes first."""
    *factors, output = cores
    columns = zip(*(factor.T for factor in factors), output, strict=True)
    terms = [reduce(np.multiply.outer, column) for column in columns]
    return np.asarray(sum(terms[1:], terms[0]))


def _tucker(cores: Cores) -> NumPyArray:
    """The core tensor times each factor along its mode.

    The core tensor's first axis is the input rank, and the output factor's first axis is its rank.
    """
    *factors, output, core = cores
    weight = np.moveaxis(core, 0, -2)
    for factor in (*factors, output.T):
        # The first axis is summed, and the mode appended: after all of them, the order is the factors'.
        weight = np.tensordot(weight, factor, axes=(0, 1))
    return weight


def _ring(cores: Cores) -> NumPyArray:
    """The trace of the product of each mode's matrices."""
    return np.asarray(np.trace(_chain(cores), axis1=0, axis2=-1))


def _train(cores: Cores) -> NumPyArray:
    """The product of each mode's matrices, of which the first is a row and the last a column."""
    weight = _chain(cores)
    if (weight.shape[0], weight.shape[-1]) != (1, 1):
        raise ValueError(f"a tensor train's outer ranks are 1, not {weight.shape[0]} and {weight.shape[-1]}")
    return np.asarray(weight[0, ..., 0])


def _chain(cores: Cores) -> NumPyArray:
    """The product of the cores, each as (entering rank, mode, leaving rank).

    The output core has its leaving rank first, the others their mode.
    """
    *before, output = cores
    matrices = [*(np.moveaxis(core, 0, 1) for core in before), np.moveaxis(output, 0, 2)]
    return reduce(lambda left, right: np.tensordot(left, right, axes=1), matrices)


_FORMULAS: dict[type, Callable[[Cores], NumPyArray]] = {
    CP: _canonical,
    Tucker: _tucker,
    TensorRing: _ring,
    TensorTrain: _train,
    Dense: lambda cores: cores[0],
}


def _multiply_out(
    factorization: Factorization, levels: int, cores: Cores, positions: Positions, rows: int
) -> NumPyArray:
    """The sum over the terms of a notation; an axis of size 1 for an expert mode that none carries.

    A term without `i` is in the last row. Each entry of a split mode is computed from those of its parts.
    """
    notation = str(factorization.notation(levels))
    splits = [_Numbers(each.mode, each.parts, each.sizes, positions) for each in factorization.splits()]
    following = iter(cores)
    output = (*(f"n{level}" for level in range(1, levels + 1)), "i", "o")
    total = None
    for term in notation.split("+"):
        named = [core.split(":")[-1].split() for core in term.split(",")]
        arrays = [IndexedArray(tuple(each), core) for each, core in zip(named, following, strict=False)]
        for split in splits:
            arrays = [split.read(array) for array in arrays]
        if levels == 1:
            arrays = [replace(each, indices=_first_level(each.indices)) for each in arrays]
        named = [[*array.indices] for array in arrays]
        kept = tuple(index for index in output if any(index in core for core in named))
        lacking = tuple(axis for axis, index in enumerate(output) if index not in kept)
        weight = np.expand_dims(contract(arrays, kept).value, lacking)
        if "i" not in kept:
            zeros = np.zeros((*weight.shape[:-2], rows - 1, weight.shape[-1]), weight.dtype)
            weight = np.concatenate([zeros, weight], axis=-2)
        weight = _fill(weight, rows)
        total = weight if total is None else total + weight
    return np.asarray(total)


def _first_level(indices: Indices) -> Indices:
    return tuple("n1" if index == "n" else index for index in indices)


class _Numbers:
    """The numbers that parts of a mode have at some of its positions, by division with remainder."""

    def __init__(self, mode: str, parts: Indices, sizes: Sequence[int], positions: Positions) -> None:
        whole = prod(sizes)
        self._mode, rest = mode, positions[mode]
        self._numbers: dict[str, NumPyArray] = {}
        for part, size in zip(parts, sizes, strict=True):
            whole //= size
            self._numbers[part], rest = np.divmod(rest, whole)

    def read(self, array: IndexedArray) -> IndexedArray:
        """A core with an axis for the mode in place of those for its parts."""
        own = [index for index in array.indices if index in self._numbers]
        if not own:
            return array
        axes = [array.indices.index(index) for index in own]
        values = np.moveaxis(array.value, axes, range(len(axes)))[tuple(self._numbers[each] for each in own)]
        return IndexedArray((self._mode, *(each for each in array.indices if each not in own)), values)
