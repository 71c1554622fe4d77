"""The singular values of one expert's matrix."""

from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np

from ..errors import TensorMoEError, as_tuple, is_listed, non_negative_integer
from ..networks.network import Network
from ..networks.notation import INPUT, OUTPUT, expert_modes
from ..programs.contraction import weight_contraction
from ..typing import NumPyArray
from .factors import Cores, Factors, read_factors


def spectrum(
    layer: Any, expert: int | Sequence[int], cores: Cores | None = None, *, bias: bool = True
) -> NumPyArray:
    """The singular values of one expert's I × O matrix, largest first.

    Use it to see how many directions an expert uses, and how far from its largest rank it is. A core that
    alone carries the input or the output is first reduced to its triangular factor, so that at rank R a
    matrix of R × R takes the place of I × O.

    Args:
        layer, cores, bias: as for `gram`.
        expert: its number, the last level counting fastest; or its numbers on each level (n1, …, nE).

    Returns:
        (min(I[+1], O),) in NumPy's float64; what exceeds the rank is 0.

    Raises:
        TensorMoEError: as `gram`, or an expert that the layer lacks.

    Examples:
        >>> import numpy as np
        >>> import tensormoe as tm
        >>> layer = tm.build(tm.MuMoESpec(8, 6, experts=(4, 3), factorization=tm.CP(2)), "numpy", seed=0)
        >>> values = tm.analysis.spectrum(layer, (1, 2))
        >>> np.allclose(values, np.linalg.svd(layer.materialize()[1, 2])[1], atol=1e-6)
        True
        >>> int(np.sum(values > 1e-12))
        2
    """
    factors = read_factors(layer, cores, bias)
    values = min(factors.network.input_size, factors.network.output_size)
    one = _select(factors, read_expert(expert, factors.network.experts))
    for mode in (INPUT, OUTPUT):
        one = _reduce(one, mode)
    matrix = one.contract(weight_contraction(one.network))
    singular = np.linalg.svd(matrix.reshape(matrix.shape[-2:]), compute_uv=False)
    return np.pad(singular, (0, values - len(singular)))


def read_expert(expert: int | Sequence[int], experts: tuple[int, ...]) -> tuple[int, ...]:
    """The number of an expert on each level.

    Raises:
        TensorMoEError: an expert that there is not.
    """
    numbers = tuple(non_negative_integer("expert", number) for number in as_tuple(expert))
    if not is_listed(expert) and numbers[0] < prod(experts):
        return tuple(int(number) for number in np.unravel_index(numbers[0], experts))
    fits = len(numbers) == len(experts) and all(n < size for n, size in zip(numbers, experts, strict=True))
    if not is_listed(expert) or not fits:
        last = tuple(size - 1 for size in experts)
        remedy = f"pass a number from 0 to {prod(experts) - 1}, or one for each level, up to {last}"
        raise TensorMoEError("expert", expert, remedy)
    return numbers


def _select(factors: Factors, expert: tuple[int, ...]) -> Factors:
    """The cores of one expert, whose axes of experts have size 1."""
    network = factors.network
    chosen = dict(zip(expert_modes(network.levels), expert, strict=True))
    arrays = [
        array[tuple(_at(chosen.get(index)) for index in core.indices)]
        for core, array in zip(network.cores, factors.arrays, strict=True)
    ]
    return Factors(replace(network, experts=(1,) * network.levels), tuple(arrays))


def _at(number: int | None) -> slice:
    return slice(None) if number is None else slice(number, number + 1)


def _reduce(factors: Factors, mode: str) -> Factors:
    """The same singular values with fewer rows of a mode, if one core alone carries it."""
    network = factors.network
    carriers = network.axes[mode]
    if len(carriers) > 1:
        return factors
    ((name, axis),) = carriers.items()
    place = [core.name for core in network.cores].index(name)
    core = np.moveaxis(factors.arrays[place], axis, 0)
    if prod(core.shape[1:]) >= len(core):
        return factors
    triangle = np.asarray(np.linalg.qr(core.reshape(len(core), -1), mode="r"))
    reduced = np.moveaxis(triangle.reshape(-1, *core.shape[1:]), 0, axis)
    arrays = (*factors.arrays[:place], reduced, *factors.arrays[place + 1 :])
    return Factors(_resize(network, mode, len(triangle)), arrays)


def _resize(network: Network, mode: str, size: int) -> Network:
    return replace(network, input_size=size) if mode == INPUT else replace(network, output_size=size)
