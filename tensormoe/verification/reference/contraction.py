"""The reference of verification: the definition, term by term, by NumPy's einsum.

The weight tensor is multiplied out from its cores, and everything else is computed from it. No code is shared
with planning, lowering or any framework's automatic differentiation.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from typing import Any

import numpy as np

from ...layers.stage import Stage
from ...networks.network import Network
from ...networks.notation import BATCH, INPUT, OUTPUT, Indices, expert_modes, split
from ...networks.splits import Split
from ...typing import NumPyArray
from ..inputs import Inputs, Sample


@dataclass(frozen=True)
class IndexedArray:
    """An array with its indices, and the largest number of roundings that went into an entry."""

    indices: Indices
    value: NumPyArray
    roundings: int = 0


class Reference:
    """What the definition gives for floating-point numbers or integer objects.

    Args:
        layer: the stage whose contraction is computed.
        inputs: the values; x, coefficients and cotangent are 0 outside the sample.
        sample: the positions of each mode that are materialized. Since the values are 0 elsewhere, sums are
            complete, but outputs and gradients with respect to x and coefficients are known at these
            positions only.
        sparse: whether gradients with respect to coefficients that are 0 are left out, as 0.
    """

    def __init__(self, layer: Stage, inputs: Inputs, sample: Sample, sparse: bool = False) -> None:
        network = layer.network
        self._sparse = sparse
        self._layer, self._sample, self._network = layer, sample, network
        self._features = sample[INPUT][sample[INPUT] < layer.in_features]
        one = np.ones((len(inputs.x), 1), inputs.x.dtype)
        extended = np.concatenate([inputs.x, one], axis=1) if network.has_bias else inputs.x
        experts = expert_modes(network.levels)
        data = [(INPUT, extended), *zip(experts, inputs.coefficients, strict=True)]
        self._data = [IndexedArray((BATCH, mode), value[:, sample[mode]]) for mode, value in data]
        self._cotangent = IndexedArray((BATCH, OUTPUT), inputs.cotangent[:, sample[OUTPUT]])
        values = dict(zip(network.shapes, inputs.cores, strict=True))
        cores = [
            IndexedArray(core.indices, fill_rows(network, core.indices, values[core.name]))
            for core in network.cores
        ]
        self._cores = [replace(core, value=core.value[self._positions(core.indices)]) for core in cores]
        self._terms = complete_terms(network, split(self._cores, network.counts), sample)
        self.weight = multiply_out(self._terms, {mode: len(sample[mode]) for mode in network.modes})
        self.y = contract([self.weight, *self._data], (BATCH, OUTPUT))

    def of(self, inputs: Inputs) -> "Reference":
        """The same for other values."""
        return Reference(self._layer, inputs, self._sample, self._sparse)

    @property
    def cores(self) -> list[NumPyArray]:
        """The cores at the sample's positions, a shared one at those of each use."""
        return [core.value for core in self._cores]

    @cached_property
    def gradients(self) -> list[IndexedArray]:
        """The gradients of Σ y ∗ cotangent with respect to x, each level's coefficients, and each core."""
        data = []
        for number, term in enumerate(self._data):
            others = [self.weight, *_without(self._data, number), self._cotangent]
            data.append(contract(others, term.indices))
        kept = zip(data[1:], self._kept, strict=True)
        data[1:] = [replace(each, value=each.value * ones) for each, ones in kept]
        data[0] = replace(data[0], value=data[0].value[:, : len(self._features)])
        outer = contract([*self._data, self._cotangent], self._network.modes)
        cores = []
        own = zip(self._terms, split(self._cores, self._network.counts), strict=True)
        for cores_of_term, number in ((term, n) for term, cores in own for n in range(len(cores))):
            core = cores_of_term[number]
            sizes = zip(core.indices, core.value.shape, strict=True)
            # Ones along each axis keep an index that no other core carries.
            ones = [IndexedArray((index,), np.ones(size, core.value.dtype)) for index, size in sizes]
            gradient = contract([outer, *_without(cores_of_term, number), *ones], core.indices)
            cores.append(replace(gradient, value=self._spread(core.indices, gradient.value)))
        return data + self._add_uses(cores)

    def select(self, results: Sequence[NumPyArray]) -> list[NumPyArray]:
        """The parts of a program's output and gradients that `y` and `gradients` are compared with."""
        experts = (self._sample[mode] for mode in expert_modes(self._network.levels))
        positions = [self._sample[OUTPUT], self._features, *experts]
        cut = [array[:, kept] for array, kept in zip(results, positions, strict=False)]
        own = [array * ones for array, ones in zip(cut[2:], self._kept, strict=False)]
        return [*cut[:2], *own, *results[len(positions) :]]

    @property
    def _kept(self) -> list[Any]:
        """What gradients with respect to coefficients are multiplied by: 0 where they are left out."""
        return [term.value != 0 if self._sparse else 1 for term in self._data[1:]]

    def _add_uses(self, gradients: Sequence[IndexedArray]) -> list[IndexedArray]:
        """The gradient of each core: the sum of those of its uses."""
        total: dict[str, IndexedArray] = {}
        for core, own in zip(self._network.cores, gradients, strict=True):
            known = total.get(core.name)
            if known is not None:
                own = IndexedArray(
                    known.indices, known.value + own.value, max(known.roundings, own.roundings) + 1
                )
            total[core.name] = own
        return [*total.values()]

    def _positions(self, indices: Indices) -> Any:
        sizes = {**self._network.sizes, INPUT: self._network.weight_rows}
        return np.ix_(*(self._sample.get(index, np.arange(sizes[index])) for index in indices))

    def _spread(self, indices: Indices, value: NumPyArray) -> NumPyArray:
        """A core's gradient in the core's whole shape: it is 0 where no value takes part."""
        sizes = {**self._network.sizes, INPUT: self._network.weight_rows}
        whole: Any = np.zeros([sizes[index] for index in indices], value.dtype)
        whole[self._positions(indices)] = value
        return np.asarray(whole[tuple(slice(self._network.sizes[index]) for index in indices)])


def fill_rows(network: Network, indices: Indices, value: NumPyArray) -> NumPyArray:
    """A core with all rows of W: zeros where it has none for a bias that other terms hold."""
    missing = network.weight_rows - network.input_size
    filled: Any = np.zeros(
        [n + missing * (i == INPUT) for i, n in zip(indices, value.shape, strict=True)], value.dtype
    )
    filled[tuple(map(slice, value.shape))] = value
    return np.asarray(filled)


def complete_terms(
    network: Network, terms: Sequence[Sequence[IndexedArray]], sample: Sample
) -> list[Sequence[IndexedArray]]:
    """The cores of each term with constants, which make up modes: sums of products with these are W.

    A term without the input mode is multiplied with what is 1 in the last row alone; one with the parts of a
    mode with what is 1 where they make up the mode's number.
    """
    completed: list[Sequence[IndexedArray]] = []
    for term, cores in zip(network.terms, terms, strict=True):
        constants = [_make_up(network, each, sample[each.mode]) for each in term.splits]
        if term.is_bias:
            row = sample[INPUT] == network.weight_rows - 1
            constants.append(IndexedArray((INPUT,), row.astype(int)))
        dtype = cores[0].value.dtype
        completed.append([*cores, *(replace(each, value=each.value.astype(dtype)) for each in constants)])
    return completed


def _make_up(network: Network, split: Split, positions: NumPyArray) -> IndexedArray:
    """What is 1 where the parts of a mode make up its number, at some of its positions."""
    size = network.sizes[split.mode]
    # The row of the biases has no parts.
    rows = np.pad(np.eye(size, prod(split.sizes), dtype=int), ((0, 1), (0, 0)))
    return IndexedArray((split.mode, *split.parts), rows[positions].reshape(len(positions), *split.sizes))


def multiply_out(terms: Sequence[Sequence[IndexedArray]], sizes: Mapping[str, int]) -> IndexedArray:
    """The sum of the products of each term's cores, each the same along what it lacks of these indices."""
    output = tuple(sizes)
    first, *others = (_multiply_out(term, sizes) for term in terms)
    value, roundings = first.value, first.roundings
    for other in others:
        value, roundings = value + other.value, max(roundings, other.roundings) + 1
    return IndexedArray(output, value, roundings)


def _multiply_out(term: Sequence[IndexedArray], sizes: Mapping[str, int]) -> IndexedArray:
    carried = {index for core in term for index in core.indices}
    product = contract(term, tuple(index for index in sizes if index in carried))
    lacking = tuple(axis for axis, index in enumerate(sizes) if index not in carried)
    stretched = np.broadcast_to(np.expand_dims(product.value, lacking), tuple(sizes.values()))
    return replace(product, indices=tuple(sizes), value=stretched)


def contract(terms: Sequence[IndexedArray], output: Indices) -> IndexedArray:
    """The sum of products over every index that the output lacks, pair by pair."""
    terms = list(terms)
    for chosen in _path(terms, output):
        group = [terms.pop(position) for position in sorted(chosen, reverse=True)]
        kept = {*output, *(index for term in terms for index in term.indices)}
        terms.append(_product(group, output if not terms else None, kept))
    return terms[0]


def _product(group: Sequence[IndexedArray], output: Indices | None, kept: set[str]) -> IndexedArray:
    sizes = {i: n for term in group for i, n in zip(term.indices, term.value.shape, strict=True)}
    result = output or tuple(index for index in sizes if index in kept)
    summed = prod(size for index, size in sizes.items() if index not in result)
    value = np.einsum(*_operands(group, sizes), [list(sizes).index(index) for index in result])
    # A result without axes may come as a plain number.
    value = np.asarray(value, group[0].value.dtype)
    own = len(group) - 1 + summed - 1
    return IndexedArray(result, value, own + sum(term.roundings for term in group))


def _path(terms: Sequence[IndexedArray], output: Indices) -> Sequence[Sequence[int]]:
    indices = list(dict.fromkeys(index for term in terms for index in term.indices))
    # Only shapes matter here, and the search cannot handle integer objects.
    shaped = [replace(term, value=np.broadcast_to(0.0, term.value.shape)) for term in terms]
    result = [indices.index(index) for index in output]
    path: Sequence[Sequence[int]] = np.einsum_path(*_operands(shaped, indices), result, optimize="greedy")[0]
    return path[1:]


def _operands(terms: Sequence[IndexedArray], indices: Any) -> list[Any]:
    numbers = {index: number for number, index in enumerate(indices)}
    return [part for term in terms for part in (term.value, [numbers[index] for index in term.indices])]


def _without(terms: Sequence[IndexedArray], position: int) -> list[IndexedArray]:
    return [term for number, term in enumerate(terms) if number != position]
