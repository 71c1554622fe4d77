"""Values for a layer's contraction, and the part of a large layer that is small enough to be materialized."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import prod
from statistics import mean
from typing import Any

import numpy as np

from ..layers.stage import Stage
from ..networks.notation import INPUT, OUTPUT, expert_modes
from ..typing import NumPyArray

# The positions of each mode that take part, by the mode's name.
Sample = dict[str, NumPyArray]


@dataclass(frozen=True)
class Inputs:
    """NumPy arrays for the contraction of one layer.

    Args:
        x: (T, I).
        coefficients: E arrays (T, N_e); they need not sum to 1.
        cores: in the network's order and shapes.
        cotangent: (T, O), the weights of the outputs in the sum whose gradients are compared.

    Examples:
        >>> import numpy as np
        >>> import tensormoe as tm
        >>> from tensormoe.testing import Inputs, assert_equivalent
        >>> spec = tm.MuMoESpec(2, 1, experts=2, factorization=tm.TensorNetwork("n o, i o"), bias=False)
        >>> cores = [np.array([[1.0], [10.0]]), np.array([[1.0], [2.0]])]
        >>> inputs = Inputs(np.ones((1, 2)), [np.full((1, 2), 0.5)], cores, np.ones((1, 1)))
        >>> assert_equivalent(spec, inputs)
    """

    x: NumPyArray
    coefficients: list[NumPyArray]
    cores: list[NumPyArray]
    cotangent: NumPyArray

    @property
    def operands(self) -> list[NumPyArray]:
        """x, the coefficients and the cores: a program's operands."""
        return [self.x, *self.coefficients, *self.cores]

    def map(self, change: Callable[[NumPyArray], NumPyArray]) -> "Inputs":
        """The same with every array changed."""
        coefficients, cores = ([change(v) for v in part] for part in (self.coefficients, self.cores))
        return Inputs(change(self.x), coefficients, cores, change(self.cotangent))

    def restrict(self, sample: Sample) -> "Inputs":
        """The same with 0 for the input features, experts and outputs outside a sample."""
        features = self.x.shape[1]
        coefficients = zip(expert_modes(len(self.coefficients)), self.coefficients, strict=True)
        return Inputs(
            _only(self.x, sample[INPUT][sample[INPUT] < features]),
            [_only(a, sample[mode]) for mode, a in coefficients],
            self.cores,
            _only(self.cotangent, sample[OUTPUT]),
        )


def thin(inputs: Inputs, active: tuple[int, ...], generator: np.random.Generator) -> Inputs:
    """The same with at most so many coefficients of each level other than 0, of each token's own."""
    levels = zip(inputs.coefficients, active, strict=True)
    return replace(inputs, coefficients=[_keep(a, k, generator) for a, k in levels])


def _keep(a: NumPyArray, k: int, generator: np.random.Generator) -> NumPyArray:
    order = np.where(a == 0, -1.0, generator.random(a.shape))
    places = np.argsort(order, axis=1)[:, -k:]
    kept: Any = np.zeros_like(a)
    np.put_along_axis(kept, places, np.take_along_axis(a, places, axis=1), axis=1)
    return np.asarray(kept)


def real_inputs(layer: Stage, generator: np.random.Generator, batch_size: int) -> Inputs:
    """Random positive values, scaled so that half-precision types neither overflow nor underflow.

    With one sign, rounding errors add up and come closest to their bounds.
    """

    def values(size: tuple[int, ...], scale: float) -> NumPyArray:
        # Around 1, so products of many stay there; a power of two does not change rounding errors.
        drawn: NumPyArray = 2.0 ** (generator.uniform(-0.5, 0.5, size=size) - round(scale))
        return drawn

    network = layer.network
    carried = [index for core in network.cores for index in core.indices]
    # The more terms a sum has, the smaller they must be: a bond's cores share that scaling.
    shares = {bond: np.log2(size) / carried.count(bond) for bond, size in network.bonds}
    scales: dict[str, list[float]] = {}
    for core in network.cores:
        scales.setdefault(core.name, []).append(sum(shares.get(index, 0.0) for index in core.indices))
    return Inputs(
        values((batch_size, layer.in_features), np.log2(layer.in_features) / 2),
        [values((batch_size, n), 0.75 * np.log2(n)) for n in layer.experts],
        [values(shape, mean(scales[name])) for name, shape in network.shapes.items()],
        values((batch_size, layer.out_features), np.log2(layer.out_features) / 2),
    )


def integer_inputs(layer: Stage, generator: np.random.Generator, batch_size: int, below: int) -> Inputs:
    """Random integers from 0 to `below` − 1, in Python's own type, which has no limit.

    A fixed core of integers has its own.
    """
    fixed = {name: each for name, each in layer.network.fixed if each.is_whole}

    def values(*shape: int) -> NumPyArray:
        drawn: NumPyArray = generator.integers(below, size=shape).astype(object)
        return drawn

    return Inputs(
        values(batch_size, layer.in_features),
        [values(batch_size, n) for n in layer.experts],
        [
            fixed[name].values(name, shape).astype("int64").astype(object)
            if name in fixed
            else values(*shape)
            for name, shape in layer.network.shapes.items()
        ],
        values(batch_size, layer.out_features),
    )


def draw_sample(layer: Stage, generator: np.random.Generator, limit: int) -> Sample:
    """Random positions of each mode with at most `limit` elements of the weight tensor between them.

    All positions if that suffices; the bias row is always among them.
    """
    network = layer.network
    counts = dict(zip(network.modes, network.weight_shape, strict=True))
    while prod(counts.values()) > limit:
        largest = max(counts, key=counts.__getitem__)
        counts[largest] = (counts[largest] + 1) // 2
    sample = {}
    for mode, size in zip(network.modes, network.weight_shape, strict=True):
        positions = generator.permutation(size)[: counts[mode]]
        if mode == INPUT and network.has_bias and size - 1 not in positions:
            positions[0] = size - 1
        sample[mode] = np.sort(positions)
    return sample


def _only(array: NumPyArray, positions: NumPyArray) -> NumPyArray:
    kept: Any = np.zeros_like(array)
    kept[:, positions] = array[:, positions]
    return np.asarray(kept)
