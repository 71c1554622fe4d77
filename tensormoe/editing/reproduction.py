"""Whether edits give the weights that are there, up to rounding.

Two machines need not round alike: the factors of an added matrix come from its singular values, and those of
equal size can be any of their rotations. So it is the weights that are compared and not the cores.
"""

from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np
import opt_einsum

from ..arrays.registry import backend_of
from ..errors import TensorMoEError
from ..fitting.target import read_values
from ..layers.parameters import cores_of, join_name
from ..layers.rows import with_rows
from ..layers.spec import Spec
from ..memory import check_memory, host_memory
from ..networks.network import Network
from ..networks.notation import INPUT, OUTPUT, expert_modes
from ..typing import Array, NumPyArray

# What singular values that count as zero, and sums of many float64, may come to.
_LEAST = 2.0**-40
_ROUNDINGS = 16

Side = tuple[Spec, Mapping[str, Array]]
Cores = Mapping[str, NumPyArray]


def check_weights(made: Side, kept: Side) -> None:
    """Raise an error that names an expert unless two layers' weights are equal up to rounding.

    Every row W[n, i, :] and every column W[n, :, o] is compared in its product with random numbers. The
    allowance is that of the same products of absolute values.
    """
    for name, stage in made[0].layers.items():
        others = kept[0].layers[name]
        rows = max(stage.rows, others.rows)
        read = [_read(*side, name) for side in (made, kept)]
        allowed = _ROUNDINGS * max(_LEAST, *(precision for _, precision in read))
        (own, ours), (network, theirs) = (
            with_rows(part.network, cores, rows)
            for part, (cores, _) in zip((stage, others), read, strict=True)
        )
        for mode, size in ((OUTPUT, stage.out_features), (INPUT, rows)):
            signs = np.random.default_rng().choice([-1.0, 1.0], size)
            vector = signs * np.random.default_rng().uniform(1, 2, size)
            first, second = _probe(own, ours, mode, vector), _probe(network, theirs, mode, vector)
            magnitude = sum(
                _probe(part, {each: np.abs(core) for each, core in cores.items()}, mode, np.abs(vector))
                for part, cores in ((own, ours), (network, theirs))
            )
            differ = ~(np.abs(first - second) <= allowed * magnitude)
            if differ.any():
                place = tuple(int(number) for number in np.argwhere(differ)[0][: stage.levels])
                raise TensorMoEError(
                    f"expert {place[0] if len(place) == 1 else place} of {name}" if place else name,
                    "another weight",
                    "the edits do not give it: the layer, its copy or the list has changed since",
                )


def _read(spec: Spec, arrays: Mapping[str, Array], layer: str) -> tuple[dict[str, NumPyArray], float]:
    """A layer's cores in float64, and the precision of their type."""
    cores = cores_of(spec, arrays, layer)
    values = {name: read_values(join_name(layer, name), array) for name, array in cores.items()}
    return values, max(float(backend_of(array).epsilon(array)) for array in cores.values())


def _probe(network: Network, cores: Cores, mode: str, vector: NumPyArray) -> NumPyArray:
    """Σ W[n, i, o] vector over one of the modes i and o, (N1, …, NE, the other)."""
    kept = (*expert_modes(network.levels), OUTPUT if mode == INPUT else INPUT)
    shape = [network.sizes[index] for index in kept]
    check_memory("layer", tuple(shape), "products of its weights", 32 * prod(shape), host_memory())
    total = np.zeros(shape)
    for term in network.terms:
        symbols = {index: number for number, index in enumerate(term.sizes)}
        carried = [index for index in kept if index in term.carried_modes or index in (INPUT, OUTPUT)]
        operands: list[Any] = [vector, [symbols[mode]]]
        for core in term.cores:
            operands += [cores[core.name], [symbols[index] for index in core.indices]]
        with np.errstate(over="ignore", invalid="ignore"):
            result = np.asarray(opt_einsum.contract(*operands, [symbols[index] for index in carried]))
            total = total + result.reshape(
                [size if i in carried else 1 for i, size in zip(kept, shape, strict=True)]
            )
    return total
