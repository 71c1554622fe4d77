"""The reference of verification: the definition, term by term, by NumPy's own einsum in float64.

It shares no code with planning, lowering or any framework's automatic differentiation.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from .initialization import NumPyArray
from .layer_spec import MuMoESpec
from .notation import BATCH, INPUT, OUTPUT, Indices, expert_modes

Term = tuple[Indices, NumPyArray]


class Reference:
    """Random values for one layer, and what NumPy's einsum makes of them.

    Args:
        layer: whose contraction is computed.
        generator: of the values.
        tokens: the number of input vectors.
    """

    def __init__(self, layer: MuMoESpec, generator: np.random.Generator, tokens: int) -> None:
        network = layer.network
        self.layer = layer
        self.x = generator.normal(size=(tokens, layer.in_features))
        self.coefficients = [generator.dirichlet(np.ones(n), size=tokens) for n in layer.counts]
        self.cores = [generator.normal(size=shape) for shape in network.shapes.values()]
        self.cotangent = generator.normal(size=(tokens, layer.out_features))
        extended = np.concatenate([self.x, np.ones((tokens, 1))], axis=1) if layer.bias else self.x
        self._cores = [(core.indices, value) for core, value in zip(network.cores, self.cores, strict=True)]
        experts = expert_modes(network.levels)
        self._data = [((BATCH, INPUT), extended)]
        self._data += [((BATCH, mode), a) for mode, a in zip(experts, self.coefficients, strict=True)]
        self.weight = _einsum(self._cores, network.modes)
        self.y = _einsum([(network.modes, self.weight), *self._data], (BATCH, OUTPUT))

    @cached_property
    def gradients(self) -> list[NumPyArray]:
        """With respect to x, the coefficients of each level, and each core."""
        modes = self.layer.network.modes
        output = ((BATCH, OUTPUT), self.cotangent)
        full = [(modes, self.weight), *self._data, output]
        data = [_einsum(_without(full, 1 + n), term[0]) for n, term in enumerate(self._data)]
        data[0] = data[0][:, : self.layer.in_features]
        outer = (modes, _einsum([*self._data, output], modes))
        cores = []
        for number, (indices, value) in enumerate(self._cores):
            # Ones along each axis keep an index that no other core carries.
            ones = [((index,), np.ones(size)) for index, size in zip(indices, value.shape, strict=True)]
            cores.append(_einsum([outer, *_without(self._cores, number), *ones], indices))
        return data + cores


def _without(terms: Sequence[Term], position: int) -> list[Term]:
    return [term for number, term in enumerate(terms) if number != position]


def _einsum(terms: Sequence[Term], output: Indices) -> NumPyArray:
    numbers = {index: n for n, index in enumerate(dict.fromkeys(i for term in terms for i in term[0]))}
    operands: list[Any] = []
    for indices, value in terms:
        operands += [value, [numbers[index] for index in indices]]
    result: NumPyArray = np.einsum(*operands, [numbers[index] for index in output], optimize="greedy")
    return result
