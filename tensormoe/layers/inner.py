"""Inner products of weight tensors, which are not multiplied out."""

from collections.abc import Mapping
from typing import Any

import opt_einsum

from ..networks.network import Network
from ..networks.notation import Indices, is_mode
from ..typing import NumPyArray

# How many operations an element that is held is worth.
_HELD = 64

Term = tuple[Network, Mapping[str, NumPyArray]]


def inner(one: Term, other: Term, along: Indices = ()) -> NumPyArray:
    """The inner product of the weight tensors of two terms, over the modes that one of them carries.

    Args:
        one, other: a network of one term, with its cores by name; expert axes may have size 1.
        along: what is not summed over: modes, and at last bonds of both, of which the result has each twice,
            for its values in the one and in the other.

    Examples:
        >>> import numpy as np
        >>> import tensormoe as tm
        >>> from tensormoe.layers.inner import inner
        >>> term = tm.CP(rank=2).network((3,), 4, 5), {"expert1": np.ones((3, 2)), "input": np.ones((4, 2))}
        >>> term[1]["output"] = np.ones((2, 5))
        >>> float(inner(term, term)), inner(term, term, ("r",)).tolist()
        (240.0, [[60.0, 60.0], [60.0, 60.0]])
    """
    names: dict[tuple[str, int], int] = {}

    def number(indices: Indices, copy: int) -> list[int]:
        # Both share the modes.
        keys = [(index, 0 if is_mode(index) else copy) for index in indices]
        return [names.setdefault(key, len(names)) for key in keys]

    operands: list[Any] = []
    for copy, (network, cores) in enumerate((one, other)):
        for core in network.cores:
            operands += [cores[core.name], number(core.indices, copy)]
    kept = [(index, 0) for index in along] + [(index, 1) for index in along if not is_mode(index)]
    result = [names[key] for key in kept]
    planned = [opt_einsum.contract_path(*operands, result, optimize=search) for search in ("greedy", "auto")]
    # Of paths with as many operations, some hold a thousand times as much.
    path, _ = min(planned, key=lambda each: each[1].opt_cost + _HELD * each[1].largest_intermediate)
    product: NumPyArray = opt_einsum.contract(*operands, result, optimize=path)
    return product
